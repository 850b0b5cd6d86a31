"""Class names as the command line takes them: a list, or a file of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..options.word_list import split_words
from .base import say

Classes = Annotated[
    str | None,
    typer.Option("--classes", help='Words, separated by commas: "cat, sofa=couch, wooden floor".'),
]
ClassesFile = Annotated[
    Path | None, typer.Option("--classes-file", help="A file of words, one a line, or a names file.")
]
_SHOWN = 20


def read_names(classes: str | None, classes_file: Path | None) -> Sequence[str]:
    """Class names as `--classes` or `--classes-file` gives them (docs/words.md), not yet checked.

    What a file holds is printed. Raises InputError for none or both of the two, and as `split_words` and
    `word_list` do.
    """
    if classes is not None and classes_file is not None:
        raise InputError("--classes and --classes-file are both given: name the words in one of them")
    if classes_file is None:
        if classes is None:
            raise InputError(
                'give the words to look for: either --classes "cat, sofa=couch" or --classes-file FILE'
            )
        return split_words(classes)
    from ..collection.names import word_list

    names = word_list(classes_file)
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    say(f"{classes_file}: {'; '.join(names[:_SHOWN])}{more}")
    return names
