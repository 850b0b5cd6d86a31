"""Models of the hub: whether they are here, what fetching them would take, and fetching."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, get_token, snapshot_download
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from rich.console import Console
from rich.text import Text

from .errors import InputError, ModelError, first_line, printable
from .model_files import Part, damage, here, index_of, unfit, wanted
from .presets import ModelSource

TIMEOUT = 10
"""Seconds that the hub may take to answer what it has."""


@dataclass(frozen=True)
class Missing:
    """Files of a model that the hub has and this machine lacks."""

    source: ModelSource
    part: Part
    what: str
    """The model's name in messages: "CLIP"."""
    revision: str
    """A branch, tag or commit that the hub has."""
    files: dict[str, int]
    """Name -> bytes, by the hub's own listing."""
    instead: str = ""
    """The commit that the preset was written for, where the hub does not have it."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.files.values())


def is_offline() -> bool:
    """Whether the user forbids asking the hub (HF_HUB_OFFLINE), as the hub's own client understands it."""
    return constants.HF_HUB_OFFLINE


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, or the public one."""
    return constants.ENDPOINT


def cache() -> Path:
    """The folder that fetched models are kept in."""
    return Path(constants.HF_HUB_CACHE)


def find(source: ModelSource, part: Part) -> Path | None:
    """The folder in the hub's cache that holds a whole model; None where it is not there, or not whole."""
    for folder in snapshots(source):
        if not wanted(part, here(folder), index_of(folder), source.weight_name)[1]:
            return folder
    return None


def snapshots(source: ModelSource) -> Iterator[Path]:
    """The folders of the cache, whole or not, that hold the model at a revision that would do."""
    for revision in _revisions(source):
        try:
            yield Path(
                snapshot_download(source.id, revision=revision, local_files_only=True, allow_patterns=[])
            )
        except (OSError, ValueError, RuntimeError):  # nothing of it is here, or no home folder to look in
            continue


def commit_of(folder: Path) -> str | None:
    """The commit of a folder of the hub's cache; None for any other folder."""
    inside = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return folder.name if inside else None


def ask(source: ModelSource, part: Part, what: str) -> Missing:
    """What of a model has to be fetched, by the hub's listing; nothing is. Raises ModelError, one line."""
    if is_offline():
        has = f"{_named(source)} is not in the local cache"
        if folder := next(snapshots(source), None):
            lacking = wanted(part, here(folder), index_of(folder), source.weight_name)[1]
            has = f"{_named(source)} in the local cache lacks {lacking} ({folder})"
        raise ModelError(f"{what}: {has} and HF_HUB_OFFLINE is set; {HINT}")
    revisions = _revisions(source)
    for i, revision in enumerate(revisions):
        try:
            info = HfApi().model_info(source.id, revision=revision, files_metadata=True, timeout=TIMEOUT)
        except Exception as error:
            if isinstance(error, errors.RevisionNotFoundError) and i + 1 < len(revisions):
                continue
            raise _refused(error, source, what) from error
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
        names, lacking = wanted(part, sizes, chosen=source.weight_name)
        if lacking:
            raise ModelError(f"{what}: {source.id} at {endpoint()} lacks {lacking}: it is no such model")
        there = {name for folder in snapshots(source) if folder.name == info.sha for name in here(folder)}
        files = {name: sizes[name] for name in names if name not in there}
        return Missing(source, part, what, revision, files, revisions[0] if i else "")
    raise AssertionError("a source has a revision")


def tell(several: Sequence[Missing]) -> None:
    """Say on stderr, in one line, what is about to be fetched, from where and into which folder."""
    size = in_bytes(sum(missing.size for missing in several))
    said = f"fetching {listed(several)}: {size} from {endpoint()} into {cache()}"
    note = "".join(
        f"; {m.source.id} there lacks commit {m.instead[:12]}, so {m.revision} is taken"
        for m in several
        if m.instead
    )
    Console(stderr=True).print(Text(printable(said + note)), soft_wrap=True)


def fetch(missing: Missing) -> Path:
    """Fetch what is missing into the cache; returns the folder.

    The small files come first, and are looked at before the large ones are asked for. The hub's own bars
    show on a terminal. Raises ModelError, one line.
    """
    check_room([missing])
    large = [name for name in missing.files if name.endswith((".safetensors", ".bin"))]
    small = [name for name in missing.files if name not in large]
    for chosen in (small, large) if large else (small,):
        folder = _download(missing, chosen)
        wrong = damage(folder, chosen)
        with suppress(OSError, ValueError):  # of a file that was not asked for now
            wrong = wrong or unfit(missing.part, folder)
        if wrong:
            raise ModelError(f"{missing.what}: {missing.source.id}: {wrong}")
    return folder


def config_folder(source: ModelSource, part: Part, what: str) -> Path:
    """A folder that holds the model's config.json at least; that alone is fetched if need be."""
    for folder in (find(source, part), *snapshots(source)):
        if folder is not None and (folder / "config.json").is_file():
            return folder
    missing = ask(source, part, what)
    return fetch(replace(missing, files={"config.json": missing.files["config.json"]}))


def check_room(several: Sequence[Missing]) -> None:
    """Raise InputError where the cache's disk has no room for all of it, or there is no place for one."""
    if str(cache()).startswith("~"):
        raise InputError(f"{cache()}: this user has no home folder: set HF_HOME to a folder for models")
    size, free = sum(missing.size for missing in several), free_bytes(cache())
    if size > free:
        raise InputError(
            f"{cache()}: {in_bytes(size)} are to be fetched, but {in_bytes(free)} are free there: make room, "
            "or name a folder on another disk (HF_HOME)"
        )


def free_bytes(folder: Path) -> int:
    """What is free on the disk that a folder is on, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def in_bytes(n: float) -> str:
    """ "7.24 GB", "12 MB", "3 kB", in thousands."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n / 1e3:.3g} kB"


def listed(several: Sequence[Missing]) -> str:
    """ "CLIP openai/clip-vit-large-patch14 1.71 GB, ..."."""
    return ", ".join(f"{m.what} {m.source.id} {in_bytes(m.size)}" for m in several)


def _revisions(source: ModelSource) -> list[str]:
    """Those that would do, the best first."""
    if source.revision is not None:
        return [source.revision]
    return [source.known, "main"] if source.known else ["main"]


def _download(missing: Missing, files: Sequence[str]) -> Path:
    quiet = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if quiet:
        disable_progress_bars()
    try:
        return Path(
            snapshot_download(missing.source.id, revision=missing.revision, allow_patterns=list(files))
        )
    except Exception as error:
        raise _refused(error, missing.source, missing.what) from error
    finally:
        if quiet:
            enable_progress_bars()


def _named(source: ModelSource) -> str:
    return source.id if source.revision is None else f"{source.id} at revision {source.revision}"


HINT = "run the same once with a network, or name a local folder in a preset file (--model X.json)"
"""What to do where a model of the hub cannot be had."""


def _refused(error: Exception, source: ModelSource, what: str) -> ModelError:
    return ModelError(f"{what}: {_named(source)} is not in the local cache, and {why(error, source)}")


def why(error: BaseException, source: ModelSource) -> str:
    """What is true of an error of the hub's client, as the end of a sentence, with what to do."""
    hub = endpoint()
    token = "the token in use" if get_token() else "no token is set"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return why(error.__cause__, source)
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated: accept its terms at {hub}/{source.id} and set HF_TOKEN ({token})"
    if isinstance(error, errors.DisabledRepoError):
        return f"{hub} has disabled it: take another model (--model X.json)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{hub} has no such repository: it was renamed or withdrawn, or it is private and HF_TOKEN must "
            f"be a token that may read it ({token})"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{hub} has the repository, but not that revision"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{hub} no longer has one of its files ({first_line(error)})"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{hub} refuses the token (HF_TOKEN, or the one of `hf auth login`): renew it or unset it"
    if status == 429:
        return f"{hub} answers too many requests of this machine at present: try later, or set HF_TOKEN"
    if status is not None:
        return f"{hub} answered {status} ({first_line(error)}): try later"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ProxyError" in kinds:
        names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
        set_here = [name for name in names if os.environ.get(name) or os.environ.get(name.lower())]
        proxy = ", ".join(set_here) or "of this system"
        return f"the proxy ({proxy}) did not let {hub} be asked ({first_line(error)})"
    if kinds & {"ConnectError", "ConnectTimeout", "TimeoutException", "NetworkError", "ConnectionError"}:
        return f"{hub} cannot be reached ({first_line(error)}): is there a network? {HINT}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be kept in {cache()} ({error.strerror})"
    return f"{hub} did not give it ({first_line(error)}); {HINT}"
