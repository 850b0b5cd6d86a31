"""Sharing banks through the Hugging Face hub, as data-set repositories: bank.json, the shards and a card.

Arrays and indices are not shared: they are made again from the shards, and nobody need trust them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BankError, FreedaError, InputError, first_line
from ..files import make_folder
from ..hub import is_offline
from .arrays import write_arrays
from .bank import Bank
from .card import bank_card
from .clean import REPORT
from .format import MANIFEST, SHARDS
from .manifest import fresh_bank, read_manifest, refuse_taken
from .verify import find_damage

CARD = "README.md"
_KIND = "dataset"
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
Told = Callable[[str], None] | None


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

    Every byte is looked at before, so that no damaged bank goes out. Shards that the repository holds from
    before and the bank does not are removed there, in the same commit. Raises InputError for no such name,
    BankError for damage and where the hub cannot be asked or refuses.
    """
    tell = on_step or (lambda _: None)
    _check_name(repo)
    path, opened = Path(bank), Bank.open(bank)
    _refuse_damage(path, path, "it is not shared", lambda file: tell(f"reading {file}"))
    if is_offline():
        raise BankError(f"{repo}: nothing can be shared offline (HF_HUB_OFFLINE is set)")
    api, shards = _api(), [entry["file"] for entry in opened.meta["shards"]]
    with _asking(repo):
        tell("uploading")
        api.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            repo_type=_KIND,
            folder_path=str(path),
            allow_patterns=[MANIFEST, REPORT, *shards],
            delete_patterns=[f"{SHARDS}/*"],
            commit_message=message or f"{len(opened):,} pairs",
        )
        card = bank_card(opened, repo, licence).encode()
        done = api.upload_file(
            path_or_fileobj=card,
            path_in_repo=CARD,
            repo_id=repo,
            repo_type=_KIND,
            commit_message=message or "card",
        )
    return str(getattr(done, "commit_url", done))


def pull(repo: str, out: str | Path, *, revision: str | None = None, on_step: Told = None) -> Bank:
    """Fetch a shared bank into a new directory, look at every byte of it, and make its arrays.

    Only bank.json, the shards it lists and the report of `clean` are fetched, into the hub's own cache,
    whence a stopped download goes on; the files are linked from there where the system can, else copied.
    Offline, what the cache holds is taken. Raises InputError for no such name; BankError where the hub cannot
    be asked, the repository holds no bank, or what came is damaged, and where `out` is there already.
    """
    tell, out = on_step or (lambda _: None), Path(out)
    _check_name(repo)
    refuse_taken(out)
    with fresh_bank(out) as temp:
        with _asking(repo):
            tell(f"fetching {MANIFEST}")
            told = Path(_fetch_one(repo, MANIFEST, revision))
            meta, shards = _described(repo, told.parent)
            tell(f"fetching {len(shards):,} shards, {sum(s.bytes for s in shards):,} bytes")
            files = [MANIFEST, *(s.file for s in shards)]
            # At the commit of that bank.json, whatever is pushed meanwhile.
            folder = Path(_fetch(repo, [*files, REPORT], told.parent.name))
        for file in (*files, REPORT):
            if (folder / file).is_file():
                _place(folder / file, temp / file)
        _refuse_damage(temp, Path(repo), "pull it again, or tell its owner", lambda f: tell(f"reading {f}"))
        tell("making its arrays")
        write_arrays(temp, shards, {name: int(meta["dimensions"][name]) for name in ("key", "prototype")})
    return Bank.open(out)


def _described(repo: str, folder: Path) -> Any:
    try:
        return read_manifest(folder, look=False)
    except BankError as error:
        raise BankError(f"{repo}: {str(error).removeprefix(f'{folder / MANIFEST}: ')}") from error


def _refuse_damage(path: Path, name: Path, then: str, on_file: Callable[[str], None]) -> None:
    for file, wrong in find_damage(path, on_file):
        raise BankError(f"{name}: damaged bank: {file} {wrong}: {then}")


def _place(source: Path, target: Path) -> None:
    """The file under another name; links save the space, and no file of a bank is ever written into."""
    make_folder(target.parent)
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:
        try:
            shutil.copyfile(real, target)
        except OSError as error:
            raise BankError(f"{target}: cannot be written ({error.strerror})") from error


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _fetch_one(repo: str, file: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repo, file, repo_type=_KIND, revision=revision, local_files_only=is_offline())


def _fetch(repo: str, files: list[str], revision: str) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(
        repo, repo_type=_KIND, revision=revision, allow_patterns=files, local_files_only=is_offline()
    )


def _check_name(repo: str) -> None:
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise InputError(f"{repo!r} is no repository's name: write name/repo, of letters, digits, - _ .")


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one clear line, without a line for each of its retries."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    except FreedaError:
        raise
    except Exception as error:  # connection, authorisation and not-found errors share no base
        line = first_line(error)
        if is_offline():
            raise BankError(
                f"{repo}: HF_HUB_OFFLINE is set, and this bank is not whole in the hub's cache"
            ) from error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise BankError(
                f"{repo}: the hub refuses ({line}): log in with `hf auth login`; is the name yours?"
            ) from error
        if status == 404:
            raise BankError(f"{repo}: the hub has no such bank ({line})") from error
        raise BankError(
            f"{repo}: the hub cannot be asked ({line}): is there a network? A bank may also be copied "
            "as a folder"
        ) from error
    finally:
        enable_progress_bars()
        logging.set_verbosity(level)
