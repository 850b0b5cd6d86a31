"""The report as a Markdown page that reads well with 2 classes and with 200."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import printable
from .figures import amount, best_first, ends, labels_told, share
from .screen import MANY, METRICS

_EACH = 10


def page(
    told: Mapping[str, Any],
    pictures: Mapping[str, Path],
    worst: Sequence[Mapping[str, Any]],
    warnings: Sequence[str] = (),
) -> str:
    """Markdown of `figures`; `pictures` by kind as `write_report` names them, `worst` images worst first;
    `warnings` stand above the figures.
    """
    parts = [
        f"# {escape(told['dataset'])}: mIoU {share(told['miou'])}",
        *(f"> {escape(line)}" for line in warnings),
        _head(told),
        _sizes(told["by_size"]),
        _classes(told["classes"], pictures),
        _mistakes(told["mistakes"], pictures),
        _images(worst, pictures),
        _settings(told["settings"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` in one line of which Markdown makes nothing but itself, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", printable(text))


def _head(told: Mapping[str, Any]) -> str:
    rows = [(name, share(told[key])) for name, key in METRICS]
    rows[0] = (f"**{rows[0][0]}**", f"**{rows[0][1]}**")
    rows += [("images", amount(told["images"])), ("pixels counted", amount(told["pixels"]))]
    rows += [("labels", labels_told(told))]
    if told["seconds_an_image"] is not None:
        rows += [("seconds an image (median)", f"{told['seconds_an_image']:.3g}")]
    if told["peak_memory"] is not None:
        rows += [("memory at its peak", f"{told['peak_memory'] / 2**30:.2f} GiB")]
    return _table(("", ""), rows)


def _sizes(sizes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (s["size"], share(s["miou"]), share(s["recall"]), amount(s["components"]), amount(s["pixels"]))
        for s in sizes
    ]
    head = ("component", "mIoU", "recall", "components", "true pixels")
    return (
        "## By size\n\nSmall components have fewer than 32 × 32 pixels, large ones 96 × 96 or more.\n\n"
        + _table(head, rows)
    )


def _classes(classes: Sequence[dict[str, Any]], pictures: Mapping[str, Path]) -> str:
    head = ("class", "IoU", "accuracy", "boundary IoU", "true pixels")

    def table(of: Iterable[Mapping[str, Any]]) -> str:
        return _table(
            head,
            (
                (
                    escape(c["name"]),
                    share(c["iou"]),
                    share(c["accuracy"]),
                    share(c["boundary_iou"]),
                    amount(c["pixels"]),
                )
                for c in of
            ),
        )

    lines = ["## Classes", _picture(pictures, "classes", "IoU of every class")]
    if len(classes) <= MANY:
        lines.append(table(best_first(classes)))
    else:
        worst, best = ends(classes, _EACH)
        lines += [
            f"The {len(best)} best of those in the truth:",
            table(best),
            f"The {len(worst)} worst:",
            table(worst),
        ]
        lines.append(_folded(f"All {len(classes)} classes", table(classes)))
    return "\n\n".join(line for line in lines if line)


def _mistakes(mistakes: Sequence[Mapping[str, Any]], pictures: Mapping[str, Path]) -> str:
    lines = ["## What is taken for what", _picture(pictures, "confusion", "confusion matrix")]
    if mistakes:
        rows = [
            (
                escape(m["truth"]),
                escape(m["taken_for"]),
                f"{100 * m['share_of_truth']:.1f} %",
                f"{100 * m['share_of_mistakes']:.1f} %",
            )
            for m in mistakes
        ]
        lines.append(_table(("truth", "taken for", "of the truth", "of all mistakes"), rows))
    else:
        lines.append("There is no mistake.")
    return "\n\n".join(line for line in lines if line)


def _images(worst: Sequence[Mapping[str, Any]], pictures: Mapping[str, Path]) -> str:
    if not worst:
        return ""
    rows = [(escape(w["name"]), share(w["miou"]), share(w["pixel_accuracy"])) for w in worst[:_EACH]]
    lines = ["## Images", "The worst, by mIoU over the classes in truth or prediction:"]
    lines.append(_table(("image", "mIoU", "pixel accuracy"), rows))
    lines += [_picture(pictures, "worst", "the worst images"), _picture(pictures, "best", "the best images")]
    return "\n\n".join(line for line in lines if line)


def _settings(settings: Mapping[str, Any]) -> str:
    rows = [(escape(name), escape(value)) for name, value in _flat(settings)]
    return "## Settings\n\n" + _table(("setting", "value"), rows, "---|") if rows else ""


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested settings by its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], others: str = "---:|") -> str:
    """The first column to the left, the others as told: numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + others * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _picture(pictures: Mapping[str, Path], kind: str, told: str) -> str:
    return f"![{told}]({pictures[kind].name})" if kind in pictures else ""


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
