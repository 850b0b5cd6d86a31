"""What the background's rules give on the miniature, where some classes of the truth are made background.

    python benchmarks/background.py [--scenes 60] [--draws 4] [--quick]

Of its 21 classes, 7 drawn by chance are not asked for, and all their pixels are background. Told is the mIoU
over the other 14 and the background, a mean over the draws, for every rule and threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import arguments, begin, report

import freeda
from freeda.evaluation.metric import Confusion
from freeda.miniature.dataset import Scenes

RULES = ("constant", "local", "local-of-winner")
THRESHOLDS = (0.5, 0.55, 0.575, 0.6, 0.625, 0.65)
HIDDEN = 7


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--scenes", type=int, help="default 60, quick 4")
    parser.add_argument("--draws", type=int, help="of the classes to hide; default 4, quick 1")
    given = begin(parser)
    data = Scenes(0, given.scenes or (4 if given.quick else 60))
    model, rng = freeda.load("miniature"), np.random.default_rng(0)
    scenes = [model.encode(data.read_image(i)) for i in range(len(data))]
    settings = [("none", model.options.background_threshold), *((r, t) for r in RULES for t in THRESHOLDS)]
    found: dict[tuple[str, float], list[tuple[float, float]]] = {setting: [] for setting in settings}
    for _ in range(given.draws or (1 if given.quick else 4)):
        hidden = rng.choice(len(data.classes), HIDDEN, replace=False)
        asked = np.setdiff1d(np.arange(len(data.classes)), hidden)
        label = np.full(len(data.classes), len(asked), np.uint8)
        label[asked] = np.arange(len(asked))
        words = model.vocabulary([data.classes[c] for c in asked])
        for rule, threshold in settings:
            counts = Confusion(len(asked) + 1)
            for i, scene in enumerate(scenes):
                done = model.segment(scene, words, background=rule, background_threshold=threshold)
                counts.update(done.labels, label[data.read_truth(i)])
            found[rule, threshold].append((counts.miou(), counts.per_class_iou()[-1]))
    rows: list[dict[str, Any]] = []
    for (rule, threshold), scores in found.items():
        miou, alone = np.mean(scores, axis=0).tolist()
        rows.append({"rule": rule, "threshold": threshold, "mIoU": miou, "IoU of the background": alone})
    report("background", given, rows)


if __name__ == "__main__":
    main()
