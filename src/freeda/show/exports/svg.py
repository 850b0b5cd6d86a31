"""Areas as an SVG drawing: one path a class, exact to the pixel unless a tolerance is given."""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from ...errors import printable
from ..palette import to_hex
from .labelled import Labelled


def drawing(picture: Labelled) -> list[bytes]:
    """One path a class that is there, filled by the even-odd rule; a unit is a pixel."""
    height, width = picture.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill-rule="evenodd">'
    ]
    for label, areas in picture.areas.items():
        said = _plain(picture.names[label])
        path = "".join(_path(ring, picture) for area in areas for ring in area.rings)
        lines.append(
            f'<path id="label-{label + 1}" data-name={quoteattr(said)} '
            f'fill="{to_hex(picture.colours[label])}" d="{path}"><title>{escape(said)}</title></path>'
        )
    return ["\n".join([*lines, "</svg>", ""]).encode("utf-8")]


def _path(ring: NDArray[Any], picture: Labelled) -> str:
    """A ring as path data: steps along rows and columns, or straight lines where it was simplified."""
    few = picture.simplified(ring)
    if few is not ring:
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in few.tolist()) + "Z"
    (x, y), (next_x, _) = ring[:2].tolist()
    steps = np.diff(ring, axis=0).sum(axis=1).tolist()  # one of the two is 0
    letters = ("h", "v") if next_x != x else ("v", "h")
    return f"M{x} {y}" + "".join(f"{letters[i % 2]}{step}" for i, step in enumerate(steps)) + "Z"


def _plain(name: str) -> str:
    """A name without the characters that XML 1.0 forbids."""
    return re.sub("[\ufffe\uffff]", "\ufffd", printable(name))
