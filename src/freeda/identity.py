"""Which models something was made with, and whether they are the ones at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import shortened

_PARTS = (("clip", "clip_dim", "CLIP"), ("dense", "dense_dim", "dense encoder"))


def difference(made: Mapping[str, Any], loaded: Mapping[str, Any]) -> str | None:
    """How two identities (`encoders.model_identity`) differ, or None where they name the same models.

    Reads as the end of a sentence that begins "made with": "CLIP a/b (512 wide), but c/d (768 wide) is
    loaded".
    """
    for part, width, what in _PARTS:
        if made.get(width) != loaded.get(width):
            return (
                f"{what} {_name(made.get(part))} ({made.get(width)} wide), but "
                f"{_name(loaded.get(part))} ({loaded.get(width)} wide) is loaded"
            )
        if not _same(made.get(part), loaded.get(part)):
            return f"{what} {_name(made.get(part))}, but {_name(loaded.get(part))} is loaded"
    return None


def other_commits(made: Mapping[str, Any], loaded: Mapping[str, Any]) -> str | None:
    """Which models of the same name are another commit of the hub's than they were; None where none is known.

    Reads as the end of a sentence that begins "made with": "CLIP a/b at commit 0123456, now 89abcde".
    """
    told = []
    for part, what in (*((part, what) for part, _, what in _PARTS), ("generator", "generator")):
        then, now = (_commit(models.get(part)) for models in (made, loaded))
        if then and now and then != now:
            told.append(f"{what} {_name(made[part])} at commit {then[:7]}, now {now[:7]}")
    return ", ".join(told) or None


def without_commits(models: Mapping[str, Any]) -> dict[str, Any]:
    """Identities without the hub's commits: what must agree where rows are added to others."""
    return {
        part: {k: v for k, v in known.items() if k != "commit"} if isinstance(known, Mapping) else known
        for part, known in models.items()
    }


def first_difference(a: Any, b: Any, name: str = "") -> str:
    """The first setting in which JSON values differ, as "options.k was 8, now 9"; "" where they agree."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            found = first_difference(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return ""
    return "" if a == b else f"{name} was {shortened(a, 80)}, now {shortened(b, 80)}"


def _commit(model: Any) -> str:
    return str(model.get("commit") or "") if isinstance(model, Mapping) else ""


def _name(model: Any) -> str:
    if not isinstance(model, Mapping):
        return json.dumps(model)
    return str(model.get("id")) + (f" at {model['revision']}" if model.get("revision") else "")


def _same(made: Any, loaded: Any) -> bool:
    """Whether two entries name the same weights: a local copy of a hub model keeps its folder's name."""
    if not isinstance(made, Mapping) or not isinstance(loaded, Mapping):
        return False
    a, b = str(made.get("id")), str(loaded.get("id"))
    if a != b:
        # Only a telling name ("dinov2-large") stands for a model; "clip" could be any.
        tail = a.rsplit("/", 1)[-1]
        return tail == b.rsplit("/", 1)[-1] and "-" in tail
    return None in (made.get("revision"), loaded.get("revision")) or made["revision"] == loaded["revision"]
