"""`freeda demo`: the whole story on the bundled miniature, told with figures and pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from .bank import Bank
from .collection.captions import Caption
from .collection.job import collect
from .collection.masks import WordMask
from .collection.nouns import Noun
from .collection.shard import load_models
from .errors import InputError
from .files import atomic_write_json, make_folder
from .miniature import trial
from .miniature.scenes import CLASSES, DrawnScene
from .miniature.things import THINGS
from .model import FreeDA
from .presets import PRESETS
from .profile import Clock
from .segment.scene import Scene
from .show import Row, Section, Tile, draw_regions, heat_map, mask_picture, palette, tint, write_page

SHOWN = 6
JUDGED = 100
"""Generated pictures whose word masks are judged."""
_Drawn = tuple[Caption, npt.NDArray[np.uint8], list[tuple[Noun, WordMask]]]
LABELS = {
    "full": "full method",
    "local_only": "local similarity only",
    "global_only": "global similarity only",
    "clip_patches": "CLIP patches, no bank",
    "true_masks": "prototypes from true masks",
    "regions_upper_bound": "superpixels labelled perfectly",
}


def run_demo(out: str | Path, seed: int = 0, captions: int = 400, scenes: int = 200) -> dict[str, object]:
    """Collect a bank live, segment held-out scenes, print a table, write `out/page.png` and `report.json`.

    Returns the report: mIoU by variant, counts, seconds by stage, and what was measured beside. `seed`
    changes the captions and the held-out scenes. Raises InputError where `out` cannot be written.
    """
    out = make_folder(out)
    for name in ("page.png", "report.json"):  # an earlier demo's lie beside its bank
        if (out / name).exists() and not (out / "demo-bank").is_dir():
            raise InputError(f"{out / name}: no demo's: it would be lost, so give another --out")
    console, clock, drawn = Console(), Clock(), list[_Drawn]()
    preset = PRESETS["miniature"]
    with clock("load"):
        models = load_models(preset, preset.collect)
    with clock("scenes"):
        described, unseen_scenes = trial.bank_scenes(seed, captions), trial.held_out(seed, scenes)
        texts = trial.bank_captions(described, seed)
    # Always drawn anew: the demo's figures must not come from an earlier run's bank. The name is the demo's
    # own, so that no bank of the user's is ever removed.
    place = out / "demo-bank"

    def keep(*picture: Any) -> None:
        if len(drawn) < JUDGED:
            drawn.append(picture)

    shutil.rmtree(place, ignore_errors=True)
    with clock("collect"):
        bank = collect(texts, place, preset, seed=seed, progress=True, models=models, on_picture=keep)
    model = FreeDA(preset, models.encoders, bank)
    with clock("encode"):
        encoded = [model.encode(s.image) for s in track(unseen_scenes, "encoding scenes", console=console)]
    with clock("measure"):
        prototypes = trial.true_prototypes(models.encoders, described)
        scores = trial.measure(model, unseen_scenes, encoded, prototypes)
        words = trial.unseen_words(model, unseen_scenes, encoded)
    with clock("attribution"):
        judge = trial.AttributionJudge(model, prototypes)
        for _, image, found in drawn:
            judge.see(image, found)
        reliability = judge.reliability(unseen_scenes[:50])
    things = [iou for c, iou in judge.ious if c in THINGS]
    stuff = [iou for c, iou in judge.ious if c not in THINGS]
    report: dict[str, object] = {
        "miou": scores.miou,
        "captions": captions,
        "pairs": len(bank),
        "scenes": scenes,
        "seed": seed,
        "attribution_iou": {
            "all": _mean(things + stuff),
            "things": _mean(things),
            "stuff": _mean(stuff),
            "words": len(judge.ious),
            "judge_on_rendered_scenes": reliability,
        },
        "word_forms": words,
        "per_class": scores.per_class["full"],
    }
    with clock("page"):
        page = _page(out, drawn, unseen_scenes, encoded, model, scores.miou)
    report["seconds"] = {s.name: round(s.seconds, 2) for s in clock.stages() if s.name != "other"}
    atomic_write_json(out / "report.json", _without_nan(report))
    _print(console, report, scores, bank, page)
    return report


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what could not be measured (a class that no scene shows) is null."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _print(console: Console, report: dict[str, object], scores: trial.Scores, bank: Bank, page: Path) -> None:
    table = Table(
        "",
        "mIoU",
        "things",
        "stuff",
        title=f"{report['scenes']} held-out scenes, {len(CLASSES)} classes, "
        f"bank of {report['captions']} captions ({len(bank)} pairs)",
    )
    for name, label in LABELS.items():
        iou = scores.per_class[name]
        table.add_row(
            label,
            f"{scores.miou[name]:.3f}",
            f"{np.nanmean([iou[c] for c in THINGS]):.3f}",
            f"{np.nanmean([v for c, v in iou.items() if c not in THINGS]):.3f}",
            style="bold" if name == "full" else "",
        )
    console.print(table)
    a, w = report["attribution_iou"], report["word_forms"]
    assert isinstance(a, dict) and isinstance(w, dict)
    console.print(
        f"word masks on generated pictures: IoU {a['all']:.3f} (things {a['things']:.3f}, stuff "
        f"{a['stuff']:.3f}; {a['words']} words) against a pixel classifier that itself reaches "
        f"{a['judge_on_rendered_scenes']:.3f} on rendered scenes",
        highlight=False,
    )
    console.print(
        f"classes with a second name: IoU {w['bank_words']:.3f} by the bank's words, "
        f"{w['unseen_words']:.3f} by words no caption of the bank used",
        highlight=False,
    )
    console.print(
        Text.assemble(
            ("pictures", "green"), f" {page}   ", ("report", "green"), f" {page.parent / 'report.json'}"
        ),
        highlight=False,
        soft_wrap=True,
    )


def _page(
    out: Path,
    drawn: list[_Drawn],
    scenes: list[DrawnScene],
    encoded: list[Scene],
    model: FreeDA,
    miou: dict[str, float],
) -> Path:
    colours = palette(len(CLASSES))
    offline = []
    for caption, image, words in drawn[:SHOWN]:
        tiles = [Tile(image, "generated")]
        for noun, word in words[:4]:
            tiles += [
                Tile(heat_map(image, word.map), f"“{noun.lemma}”"),
                Tile(mask_picture(image, word.mask), "mask"),
            ]
        offline.append(Row(tiles[:9], caption.text))
    online = []
    vocabulary = model.vocabulary(list(CLASSES))
    for truth, scene in list(zip(scenes, encoded, strict=True))[:SHOWN]:
        result = model.segment(scene, vocabulary)
        online.append(
            Row(
                [
                    Tile(truth.image, "scene"),
                    Tile(draw_regions(scene.working_image(), scene.regions()), "regions", True),
                    Tile(tint(truth.image, result.labels, colours, 0.75), "result", True),
                    Tile(tint(truth.image, truth.labels.astype(np.int64), colours, 0.75), "truth"),
                ]
            )
        )
    return write_page(
        out / "page.png",
        "freeda: from captions to label maps",
        [
            Section(
                "Offline: captions become reference pairs",
                offline,
                "Each caption is drawn; cross-attention finds its nouns; a mask of each gives one prototype.",
            ),
            Section(
                "Online: held-out scenes segmented by words",
                online,
                f"Against the bank just made; mIoU {miou['full']:.3f}.",
                list(zip(CLASSES, colours, strict=True)),
            ),
        ],
        tile=150,
    )
