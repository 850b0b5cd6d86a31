"""Small banks with random rows, for tests of what is done to banks as a whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from freeda.bank import Bank, Pair
from freeda.bank.format import caption_digest, shard_name, write_shard
from freeda.bank.manifest import finish_bank

KEY, PROTOTYPE = 6, 5
MODELS: dict[str, Any] = {
    "clip": {"id": "openai/clip-vit-base-patch16", "revision": None},
    "dense": {"id": "facebook/dinov2-base", "revision": "abc"},
    "clip_dim": KEY,
    "dense_dim": PROTOTYPE,
}


def make_pair(i: int, **changes: Any) -> Pair:
    """Pair i: two a caption, the picture with the first of them."""
    rng = np.random.default_rng(i)
    key = rng.normal(size=KEY)
    given: dict[str, Any] = {
        "caption_id": f"c{i // 2}",
        "caption": f"a cat and a dog {i // 2}",
        "noun": ("cat", "dog")[i % 2],
        "spans": ((2, 5),) if i % 2 == 0 else ((12, 15),),
        "seed": 2**62 + i // 2,
        "key": (key / np.linalg.norm(key)).astype(np.float16),
        "prototype": (rng.normal(size=PROTOTYPE) * 10).astype(np.float16),
        "area": 0.25,
        "contrast": 0.5,
        "agreement": float(np.float32(rng.uniform(0, 0.4))),
        "image": b"jpeg%d" % (i // 2) if i % 2 == 0 else None,
        "mask": b"png%d" % i,
    }
    return Pair(**{**given, **changes})


def kept(noun: str, i: int) -> Pair:
    """Pair i, its picture and mask kept: noise, and a rectangle."""
    image, mask = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 40 + i, 3), dtype=np.uint8)).save(
        image, "JPEG"
    )
    inside = np.zeros((40, 40 + i), bool)
    inside[5 : 20 + i, 8:30] = True
    Image.fromarray(inside).save(mask, "PNG")
    return make_pair(i, noun=noun, caption_id=str(i), image=image.getvalue(), mask=mask.getvalue())


def make_bank(path: Path, shards: list[list[Pair]], **about: Any) -> Bank:
    """A bank of these shards; `about` changes what bank.json says."""
    said = {"models": MODELS, "preset": "vit-b", "seed": 0, **about}
    for i, pairs in enumerate(shards):
        ids = len({p.caption_id for p in pairs})
        info = {
            "settings": {"models": said["models"]},
            "digest": caption_digest([]),
            "captions": ids + 1,
            "pictures": ids,
            "rejected": {"too small": 2},
            "failed": [],
        }
        write_shard(path / shard_name(i), pairs, info)
    finish_bank(path, len(shards), said)
    return Bank.open(path)


def rows_of(bank: Bank) -> list[dict[str, Any]]:
    """Every row with its vectors as bytes, so that rows can be compared."""
    rows = [bank.row(i) for i in range(len(bank))]
    return [{k: v.tobytes() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in rows]


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    found = [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {str(p.relative_to(path)): p.read_bytes() for p in found}
