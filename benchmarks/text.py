"""Class names through CLIP: prompts padded to the longest of their batch, against all padded to 77."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from common import arguments, begin, class_names, random_encoders, report, side_by_side

from freeda.options import SegmentOptions


@torch.inference_mode()
def padded(clip: Any, prompts: list[str], batch_size: int = 256) -> torch.Tensor:
    """(N, D) embeddings, every prompt padded to 77 tokens."""
    rows = [ids + [49407] * (77 - len(ids)) for ids in clip.tokenizer(prompts)["input_ids"]]
    return torch.cat(
        [
            clip.model.text_projection(
                clip.model.text_model(input_ids=torch.tensor(rows[i : i + batch_size])).pooler_output
            )
            for i in range(0, len(rows), batch_size)
        ]
    )


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    rows = []
    for size in given.model:
        clip = random_encoders(size).clip
        for classes in (8,) if given.quick else (59,):  # more classes take longer, in proportion
            prompts = [t.replace("{}", n) for n in class_names(classes) for t in SegmentOptions().templates]
            work = {
                "ours": partial(clip.encode_text, prompts),
                "padded to 77": partial(padded, clip, prompts),
            }
            taken = side_by_side(work, min(given.repeats, 2))
            one, other = work["ours"](), work["padded to 77"]()
            rows.append(
                {"model": size, "classes": classes, "prompts": len(prompts)}
                | {f"{name} {k} s": v for name, t in taken.items() for k, v in t.items()}
                | {f"{k} times faster": taken["padded to 77"][k] / taken["ours"][k] for k in ("wall", "cpu")}
                | {"largest difference": float((one - other).abs().max() / other.abs().max())}
            )
    report("text", given, rows)


if __name__ == "__main__":
    main()
