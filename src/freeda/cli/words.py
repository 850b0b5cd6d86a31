"""Class names as the command line takes them: a list with commas, or a file with one class a line."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..options.words import with_synonyms as with_synonyms


def read_names(classes: str | None, classes_file: Path | None) -> Sequence[str] | Mapping[str, Sequence[str]]:
    """Class names as given by `--classes` or `--classes-file` (one a line, `#` for remarks), not yet checked.

    "sofa=couch=settee" is the class sofa with two synonyms; a class with a comma in it goes between double
    quotes in `--classes`, as in CSV. Raises InputError for none or both of the two, for a file that cannot be
    read, for quotes that are not closed, and for a class that is given twice.
    """
    if (classes is None) == (classes_file is None):
        raise InputError(
            'give the words to look for: either --classes "cat, sofa=couch" or --classes-file FILE'
        )
    return with_synonyms(_listed(classes or "") if classes_file is None else _lines(classes_file))


def _listed(classes: str) -> list[str]:
    line = " ".join(classes.split())
    try:
        return next(csv.reader([line], skipinitialspace=True, strict=True)) if line else []
    except csv.Error as error:
        raise InputError(
            f"--classes {classes!r}: double quotes go around a whole class, commas and synonyms included: "
            '"bread, sliced=toast"'
        ) from error


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: class list cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: class list is not UTF-8 text") from error
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
