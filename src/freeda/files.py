"""Writing files so that they appear whole or not at all, and over nobody's but freeda's own."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any

from .errors import ADDRESS, InputError

DAMAGED_NPZ = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),
)
"""What numpy and zipfile raise for an .npz file that is damaged, or none."""
RECORD = ".freeda.jsonl"
"""One JSON object a line: "name" of a file and "sha256" of what was to be written to it, before it was."""
_HOMELESS = Path(os.devnull)
OWN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
"""How a file of our own is opened to be written in place: what a link of its name leads to is somebody's."""


@contextmanager
def atomic_path(final: str | Path, *, flush: bool = True) -> Iterator[Path]:
    """A temporary path beside `final` that becomes `final` when the block ends without an error.

    The folder is made if need be. The temporary name starts with a dot and ends in `.tmp`, so that no pattern
    such as `*.parquet` ever picks up what a killed process left; writers that guess a format from the suffix
    (Pillow, `numpy.save`) must be told it. The block may also write a folder, if `final` does not exist yet.

    Raises InputError naming `final` where the system refuses (no space, no permission, read-only, a name it
    does not take, ...).
    On any error the temporary file is removed and an older `final` stays as it was. Without `flush` a file
    may be found damaged after a power cut: for files that tell so themselves and can be made again.
    """
    with atomic_paths(final, flush=flush) as (temp,):
        yield temp


@contextmanager
def atomic_paths(*finals: str | Path, flush: bool = True) -> Iterator[list[Path]]:
    """Like `atomic_path` for files that belong together: none is renamed before all are on the disk."""
    targets = [usable(final) for final in finals]
    # The final name is no part of the temporary one, which would else be too long before the final one is.
    temps = [t.parent / f".{secrets.token_hex(8)}.tmp" for t in targets]
    at = 0  # which of them an error without a file name is about
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield temps
        for at in range(len(temps) if flush else 0):
            _flush(temps[at])
        for at in range(len(temps)):
            os.replace(temps[at], targets[at])
    except OSError as error:
        concerned = [i for i in range(len(temps)) if _names(error, targets[i], temps[i])]
        if isinstance(error.filename, (str, bytes)) and not concerned:
            raise  # about another file, which the block reads
        target = targets[concerned[0] if concerned else at]
        raise InputError(f"{target}: cannot be written ({_reason(error)})") from error
    finally:
        for temp in temps:
            _remove(temp)


def atomic_write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path`, whole or not at all; the path is returned. Errors as `atomic_path`."""
    with atomic_path(path) as temp:
        temp.write_bytes(data)
    return Path(path)


def atomic_write_text(path: str | Path, text: str) -> Path:
    """Write `text` in UTF-8 with unix line ends, whole or not at all. Errors as `atomic_path`.

    Also raises InputError for text without a UTF-8 form (lone surrogates).
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: this text has no UTF-8 form ({error.reason})") from error
    return atomic_write_bytes(path, data)


def atomic_write_json(path: str | Path, value: Any) -> Path:
    """Write `to_json(value)` in UTF-8, whole or not at all. Errors as `to_json` and `atomic_path`."""
    try:
        text = to_json(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return atomic_write_text(path, text)


def to_json(value: Any, indent: int | None = 2) -> str:
    """`value` as JSON, indented or (None) in one line.

    Raises InputError for what JSON lacks: NaN, infinities, sets, bytes, ...

    The text always has a UTF-8 form: a lone surrogate, as in file names that are not UTF-8, is written as its
    JSON escape and read back as itself.
    """
    try:
        marks = (",", ":") if indent is None else None
        text = json.dumps(value, indent=indent, separators=marks, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    except (TypeError, ValueError) as error:
        raise InputError(f"this value has no JSON form ({error})") from error


def sweep(folder: Path) -> None:
    """Remove what killed writers of this module left in a folder that nobody else writes into now."""
    for temp in folder.glob(".*.tmp"):
        if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", temp.name):
            _remove(temp)


def make_folder(path: str | Path) -> Path:
    """Make a folder with its parents, unless it is there. Raises InputError naming it where that fails."""
    try:
        usable(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be made ({_reason(error)})") from error
    return Path(path)


def cache_folder() -> Path:
    """Where freeda keeps what it can make again: $FREEDA_CACHE, else freeda in the user's cache folder.

    A user whom the system does not know has none: it is a folder that cannot be, and the error of writing
    there says so.
    """
    own = os.environ.get("FREEDA_CACHE")
    try:
        return Path(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "freeda").expanduser()
    except RuntimeError:
        return _HOMELESS / "freeda"


def usable(path: str | Path) -> Path:
    """The path, unless no file system could take it."""
    try:
        if b"\0" in os.fsencode(path):
            raise InputError(f"{path}: a path cannot hold a NUL character")
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: this path has no form on disk ({error.reason})") from error
    if ADDRESS.match(str(path)):
        raise InputError(f"{path}: an address: name a place on this machine (only collect --out takes one)")
    if _HOMELESS in Path(path).parents:
        raise InputError("this user has no home folder: set FREEDA_CACHE to a folder for what freeda keeps")
    return Path(path)


def _flush(temp: Path) -> None:
    """Push a file's bytes to the disk: some file systems report a full disk only then."""
    if temp.is_file():
        handle = os.open(temp, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _names(error: OSError, final: Path, temp: Path) -> bool:
    """Whether an error says that it is about the file being written (a failed write names no file)."""
    if not isinstance(error.filename, (str, bytes)):
        return False
    named = Path(os.fsdecode(error.filename))
    return named in (final, temp) or named in final.parents or temp in named.parents


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def _remove(temp: Path) -> None:
    if temp.is_dir():
        shutil.rmtree(temp, ignore_errors=True)
    else:
        with suppress(OSError):
            temp.unlink()


def digest_of(path: str | Path) -> str | None:
    """SHA-256 (hex) of a file's bytes; None for what is no plain readable file."""
    with suppress(OSError, ValueError):
        if Path(path).is_file():
            with open(path, "rb") as file:
                return file_digest(file, "sha256").hexdigest()
    return None


class Written:
    """The files that freeda wrote into a folder, and the only way to write more there.

    A file is ours while it holds just what was written: one of that name that came from elsewhere, or that
    somebody has corrected since, is not.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = usable(folder)
        self._known: dict[str, set[str]] = defaultdict(set)
        try:
            text = (self.folder / RECORD).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        except OSError as error:
            raise InputError(f"{self.folder / RECORD}: cannot be read ({error.strerror})") from error
        self._learn(text.splitlines())

    def ours(self, name: str) -> bool:
        """Whether a file of that name may be written: there is none, or it is as we wrote it."""
        path = self.folder / name
        return not os.path.lexists(path) or digest_of(path) in self._known.get(name, ())

    @contextmanager
    def replace(self, *names: str) -> Iterator[list[Path]]:
        """Temporary paths that become these files, all on the disk before the first is renamed.

        Raises InputError for a name that is another's file, and as `files.atomic_paths`.
        """
        for name in names:
            if not self.ours(name):
                raise InputError(
                    f"{self.folder / name}: not written over, since freeda did not write it or somebody has "
                    "changed it: move it away, or choose another folder"
                )
        with atomic_paths(*(self.folder / name for name in names)) as temps:
            yield temps
            self._note(dict(zip(names, map(digest_of, temps), strict=True)))

    def _note(self, digests: dict[str, str | None]) -> None:
        """Claim contents before they appear, so that a killed run's files are known as ours."""
        lines = [json.dumps({"name": name, "sha256": digest}) for name, digest in digests.items()]
        path = make_folder(self.folder) / RECORD
        try:
            handle = os.open(path, OWN | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(handle).st_size
                torn = size and os.pread(handle, 1, size - 1) != b"\n"  # by a full disk, or a crash
                os.write(handle, ("\n" * bool(torn) + "\n".join(lines) + "\n").encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        self._learn(lines)

    def _learn(self, lines: list[str]) -> None:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, RecursionError):  # torn, or somebody's
                entry = json.loads(line)
                self._known[entry["name"]].add(entry["sha256"])
