"""The page that goes with a shared bank: what it is and holds, which models made it, under which licences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..errors import printable
from ..presets import PRESETS
from .bank import Bank

_BAR = 40
_MOST_FREQUENT = 20
_PARTS = {"clip": "keys", "dense": "prototypes", "generator": "pictures"}
_CARD = """---
{{ card_data }}
---

# A bank of references for open-vocabulary segmentation

{{ pairs }} pairs of a textual key and a visual prototype, of {{ nouns }} different nouns, for \
[FreeDA](https://arxiv.org/abs/2404.06542) (Barsellotti et al., CVPR 2024).

```
freeda bank pull {{ repo }} --out bank/
freeda segment photo.jpg --classes "cat, sofa" --bank bank/{{ model }}
```

| Model | Gives | Licence |
|---|---|---|
{{ models }}

The models' licences may bind what is made with them.

| | |
|---|---|
{{ facts }}

## Pairs a noun

```
{{ sizes }}
```

The {{ shown }} most frequent:

```
{{ frequent }}
```

## How it was made

```json
{{ made }}
```
"""


def bank_card(bank: Bank, repo: str, licence: str = "other") -> str:
    """A bank's card as Markdown with the hub's header; `licence` is the bank's own, as the hub names it."""
    from huggingface_hub import DatasetCard, DatasetCardData

    meta, counts = bank.meta, Counter(bank.nouns)
    drawn, top = meta.get("pictures"), counts.most_common(_MOST_FREQUENT)
    facts = {
        "pairs": f"{len(bank):,}",
        "captions": f"{meta['captions']:,}",
        "pictures drawn": f"{drawn:,}" if type(drawn) is int else "unknown",
        "different nouns": f"{len(counts):,}",
        "width of a key": f"{meta['dimensions']['key']:,}",
        "width of a prototype": f"{meta['dimensions']['prototype']:,}",
        "shards": f"{len(meta['shards']):,}",
        "bytes of shards": f"{sum(s['bytes'] for s in meta['shards']):,}",
        "identity": f"`{bank.identity}`",
    }
    made = {key: value for key, value in meta.items() if key not in ("shards", "format", "version")}
    card = DatasetCard.from_template(
        DatasetCardData(
            license=licence,
            pretty_name=f"freeda bank, {len(bank):,} pairs",
            tags=["freeda", "open-vocabulary-segmentation"],
        ),
        template_str=_CARD,
        pairs=facts["pairs"],
        nouns=facts["different nouns"],
        repo=_plain(repo),
        model=f" --model {meta['preset']}" if meta.get("preset") in PRESETS else "",
        models="\n".join(
            f"| `{_plain(said).replace('|', ' ')}` | {gives} | {_plain(own)} |"
            for said, gives, own in model_licences(meta)
        ),
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        sizes=_bars(_by_size(counts)),
        shown=len(top),
        frequent=_bars({_plain(noun)[:40]: n for noun, n in top}),
        made="\n".join(map(_plain, json.dumps(made, indent=1, ensure_ascii=False).split("\n"))),
    )
    return f"{card}\n"


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


def _licence(name: str) -> str:
    for preset in PRESETS.values():
        for source in (preset.clip, preset.dense, preset.generator):
            if name in (source.id, f"{preset.name}/{source.id.rsplit('/', 1)[-1]}"):
                return source.licence
    return "unknown"


def _by_size(counts: Counter[str]) -> dict[str, int]:
    """ "4-7" -> how many nouns have 4 to 7 pairs; every class up to the largest."""
    lows = [2**i for i in range(max(counts.values()).bit_length())]
    names = [f"{low:,}" if low == 1 else f"{low:,}-{2 * low - 1:,}" for low in lows]
    classes = Counter(n.bit_length() - 1 for n in counts.values())
    return {name: classes[i] for i, name in enumerate(names)}


def _bars(values: Mapping[str, int]) -> str:
    wide, most = max(map(len, values)), max([*values.values(), 1])
    number = max(len(f"{n:,}") for n in values.values())
    return "\n".join(
        f"{name:>{wide}} {n:>{number},} {'#' * -(-n * _BAR // most)}".rstrip() for name, n in values.items()
    )


def _plain(text: str) -> str:
    """A text that cannot end a code block or a table."""
    return printable(text).replace("`", "'")
