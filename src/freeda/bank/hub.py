"""Sharing banks through the Hugging Face hub, as data-set repositories: bank.json, the shards and a card.

Arrays and indices are not shared: they are made again from the shards, and nobody need trust them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from ..errors import BankError, FreedaError, InputError, first_line, printable
from ..files import make_folder
from ..hub import is_offline
from ..presets import PRESETS
from .arrays import write_arrays
from .bank import Bank
from .clean import REPORT
from .format import MANIFEST, REGIONS, SHARDS, VECTORS, ShardEntry
from .manifest import fresh_bank, read_manifest, refuse_taken
from .verify import find_damage

CARD = "README.md"
_KIND = "dataset"
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
Told = Callable[[str], None] | None
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


def push(
    bank: str | Path,
    repo: str,
    *,
    private: bool = False,
    licence: str = "other",
    message: str | None = None,
    on_step: Told = None,
) -> str:
    """Share a bank as the hub's data set `repo` ("name/repo"), made if need be; the address of what was made.

    Its region values go with it. Every byte is looked at before, so that no damaged bank goes out. Shards
    that the repository holds from before and the bank does not are removed there, in the same commit. Raises
    InputError for no such name, BankError for damage and where the hub cannot be asked or refuses.
    """
    tell = on_step or (lambda _: None)
    _check_name(repo)
    path, opened = Path(bank), Bank.open(bank)
    _refuse_damage(path, path, "it is not shared", lambda file: tell(f"reading {file}"))
    if is_offline():
        raise BankError(f"{repo}: nothing can be shared offline (HF_HUB_OFFLINE is set)")
    api, shards = HfApi(), [entry["file"] for entry in opened.meta["shards"]]
    if (regions := opened.regions) is not None:
        shards += [f"{REGIONS}/{file}" for file in (MANIFEST, *(e["file"] for e in regions.meta["shards"]))]
    card = bank_card(opened, repo, licence).encode()
    where: dict[str, Any] = {"repo_id": repo, "repo_type": _KIND}
    with _asking(repo):
        tell("uploading")
        api.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True)
        api.upload_folder(
            folder_path=str(path),
            allow_patterns=[MANIFEST, REPORT, *shards],
            delete_patterns=[f"{SHARDS}/*", f"{REGIONS}/*"],
            commit_message=message or f"{len(opened):,} pairs",
            **where,
        )
        said = message or "card"
        done = api.upload_file(path_or_fileobj=card, path_in_repo=CARD, commit_message=said, **where)
    return str(getattr(done, "commit_url", done))


def pull(repo: str, out: str | Path, *, revision: str | None = None, on_step: Told = None) -> Bank:
    """Fetch a shared bank into a new directory, look at every byte of it, and make its arrays.

    Only bank.json, the shards it lists, the report of `clean`, and the same of region values are fetched,
    into the hub's own cache, whence a stopped download goes on; the files are linked from there where the
    system can, else copied. Offline, what the cache holds is taken. Raises InputError for no such name;
    BankError where the hub cannot be asked, the repository holds no bank, or what came is damaged, and where
    `out` is there already.
    """
    tell, out = on_step or (lambda _: None), Path(out)
    how: dict[str, Any] = {"repo_type": _KIND, "local_files_only": is_offline()}
    _check_name(repo)
    refuse_taken(out)
    with fresh_bank(out) as temp:
        with _asking(repo):
            tell(f"fetching {MANIFEST}")
            told = Path(hf_hub_download(repo, MANIFEST, revision=revision, **how))
            commit = told.parent.name  # of that bank.json, whatever is pushed meanwhile
            places = {"": told}
            try:  # before any shard: a cache that holds the shards knows whether there is one
                inner = f"{REGIONS}/{MANIFEST}"
                places[f"{REGIONS}/"] = Path(hf_hub_download(repo, inner, revision=commit, **how))
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) and not is_offline():
                    raise
            found = {where: _manifest_of(file, repo) for where, file in places.items()}
            files = [f"{at}{f}" for at, (_, s) in found.items() for f in (MANIFEST, *(x.file for x in s))]
            in_all = [shard for _, shards in found.values() for shard in shards]
            tell(f"fetching {len(in_all):,} shards, {sum(s.bytes for s in in_all):,} bytes")
            wanted = [*files, REPORT]
            folder = Path(snapshot_download(repo, revision=commit, allow_patterns=wanted, **how))
        for file in (*files, REPORT):
            if (folder / file).is_file():
                _place(folder / file, temp / file)
        _refuse_damage(temp, Path(repo), "pull it again, or tell its owner", lambda f: tell(f"reading {f}"))
        tell("making its arrays")
        for at, (meta, shards) in found.items():
            write_arrays(temp / at, shards, {name: meta["dimensions"][name] for name in VECTORS})
    return Bank.open(out)


def _manifest_of(file: Path, repo: str) -> tuple[dict[str, Any], list[ShardEntry]]:
    try:
        return read_manifest(file.parent, look=False)
    except BankError as error:
        raise BankError(f"{repo}: {str(error).removeprefix(f'{file}: ')}") from error


def _refuse_damage(path: Path, name: Path, then: str, on_file: Callable[[str], None]) -> None:
    for file, wrong in find_damage(path, on_file):
        raise BankError(f"{name}: damaged bank: {file} {wrong}: {then}")


def _place(source: Path, target: Path) -> None:
    """The file under another name; links save the space, and no file of a bank is ever written into."""
    make_folder(target.parent)
    try:
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise BankError(f"{target}: cannot be written ({error.strerror})") from error


def _check_name(repo: str) -> None:
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError(f"{repo!r} is no repository's name: write name/repo, of letters, digits, - _ .")


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one clear line, without a line for each of its retries."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    except FreedaError:
        raise
    except Exception as error:  # connection, authorisation and not-found errors share no base
        line, status = first_line(error), getattr(getattr(error, "response", None), "status_code", None)
        if is_offline():
            told = "HF_HUB_OFFLINE is set, and this bank is not whole in the hub's cache"
        elif status in (401, 403):
            told = f"the hub refuses ({line}): log in with `hf auth login`; is the name yours?"
        elif status == 404:
            told = f"the hub has no such bank ({line})"
        else:
            told = f"the hub cannot be asked ({line}): is there a network? A bank may be copied as a folder"
        raise BankError(f"{repo}: {told}") from error
    finally:
        enable_progress_bars()
        logging.set_verbosity(level)


def bank_card(bank: Bank, repo: str, licence: str = "other") -> str:
    """A bank's card as Markdown with the hub's header; `licence` is the bank's own, as the hub names it."""
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
    if bank.regions is not None:
        facts["region values"] = f"{len(bank.regions):,} of {bank.regions.meta['pictures']:,} pictures"
    made = {key: value for key, value in meta.items() if key not in ("shards", "format", "version")}
    header = DatasetCardData(
        license=licence,
        pretty_name=f"freeda bank, {len(bank):,} pairs",
        tags=["freeda", "open-vocabulary-segmentation"],
    )
    card = DatasetCard.from_template(
        header,
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
        sizes=_bars(_by_size(counts)) if counts else "none",
        shown=len(top),
        frequent=_bars({_plain(noun)[:40]: n for noun, n in top}) if top else "none",
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
