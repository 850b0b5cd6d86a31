"""The page that goes with a shared bank: what it is and holds, which models made it, under which licences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..errors import printable
from ..presets import PRESETS, ModelSource
from .bank import Bank

_BAR = 40
_MOST_FREQUENT = 20
_PARTS = {"clip": "keys", "dense": "prototypes", "generator": "pictures"}


def bank_card(bank: Bank, repo: str, licence: str = "other") -> str:
    """A bank's card as Markdown with the hub's header; `licence` is the bank's own, as the hub names it."""
    meta = bank.meta
    counts = Counter(bank.nouns)
    lines = [
        "---",
        f"license: {json.dumps(licence)}",
        f"pretty_name: {json.dumps(_plain(f'freeda bank, {len(bank):,} pairs'))}",
        "tags:",
        "- freeda",
        "- open-vocabulary-segmentation",
        "---",
        "",
        "# A bank of references for open-vocabulary segmentation",
        "",
        f"{len(bank):,} pairs of a textual key and a visual prototype, of {len(counts):,} different nouns, "
        "for [FreeDA](https://arxiv.org/abs/2404.06542) (Barsellotti et al., CVPR 2024).",
        "",
        "```",
        f"freeda bank pull {_plain(repo)} --out bank/",
        'freeda segment photo.jpg --classes "cat, sofa" --bank bank/'
        + (f" --model {meta['preset']}" if meta.get("preset") in PRESETS else ""),
        "```",
        "",
        "| Model | Gives | Licence |",
        "|---|---|---|",
        *_models(meta),
        "",
        "The models' licences may bind what is made with them.",
        "",
        "| | |",
        "|---|---|",
        *(
            f"| {name} | {value} |"
            for name, value in (
                ("pairs", f"{len(bank):,}"),
                ("captions", f"{meta['captions']:,}"),
                ("pictures drawn", _count(meta.get("pictures"))),
                ("different nouns", f"{len(counts):,}"),
                ("width of a key", f"{meta['dimensions']['key']:,}"),
                ("width of a prototype", f"{meta['dimensions']['prototype']:,}"),
                ("shards", f"{len(meta['shards']):,}"),
                ("bytes of shards", f"{sum(s['bytes'] for s in meta['shards']):,}"),
                ("identity", f"`{bank.identity}`"),
            )
        ),
        "",
        "## Pairs a noun",
        "",
        "```",
        *_bars(_by_size(counts)),
        "```",
        "",
        f"The {min(_MOST_FREQUENT, len(counts))} most frequent:",
        "",
        "```",
        *_bars({_plain(noun)[:40]: n for noun, n in counts.most_common(_MOST_FREQUENT)}),
        "```",
        "",
        "## How it was made",
        "",
        "```json",
        _plain_json({k: v for k, v in meta.items() if k not in ("shards", "format", "version")}),
        "```",
        "",
    ]
    return "\n".join(lines)


def model_licences(meta: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(id, what it gives, licence) of every model that made a bank, of all that were merged into it too."""
    found: dict[tuple[str, str], str] = {}
    merged = meta.get("merged")
    inner = [m.get("made") for m in merged if isinstance(m, dict)] if isinstance(merged, list) else []
    for made in (meta, *inner):
        models = made.get("models") if isinstance(made, Mapping) else None
        for part, gives in _PARTS.items():
            model = models.get(part) if isinstance(models, dict) else None
            if isinstance(model, dict):
                said = f"{model.get('id')}{f' at {r}' if (r := model.get('revision')) else ''}"
                found[said, gives] = _licence(str(model.get("id")))
    return [(said, gives, licence) for (said, gives), licence in found.items()]


def _models(meta: Mapping[str, Any]) -> list[str]:
    return [
        f"| `{_plain(said).replace('|', ' ')}` | {gives} | {_plain(licence)} |"
        for said, gives, licence in model_licences(meta)
    ]


def _licence(name: str) -> str:
    for preset in PRESETS.values():
        sources: tuple[ModelSource, ...] = (preset.clip, preset.dense, preset.generator)
        for source in sources:
            if name == source.id or name == f"{preset.name}/{source.id.rsplit('/', 1)[-1]}":
                return source.licence
    return "unknown"


def _by_size(counts: Counter[str]) -> dict[str, int]:
    """ "4-7" -> how many nouns have 4 to 7 pairs; every class up to the largest."""
    out: dict[str, int] = {}
    low, most = 1, max(counts.values())
    while low <= most:
        high = 2 * low - 1
        name = f"{low:,}" if low == high else f"{low:,}-{high:,}"
        out[name] = sum(low <= n <= high for n in counts.values())
        low *= 2
    return out


def _bars(values: Mapping[str, int]) -> list[str]:
    wide, most = max(map(len, values)), max([*values.values(), 1])
    number = max(len(f"{n:,}") for n in values.values())
    return [
        f"{name:>{wide}} {n:>{number},} {'#' * -(-n * _BAR // most)}".rstrip() for name, n in values.items()
    ]


def _count(value: Any) -> str:
    return f"{value:,}" if type(value) is int else "unknown"


def _plain(text: str) -> str:
    """A text that cannot end a code block or a table."""
    return printable(text).replace("`", "'")


def _plain_json(value: Any) -> str:
    return "\n".join(_plain(line) for line in json.dumps(value, indent=1, ensure_ascii=False).split("\n"))
