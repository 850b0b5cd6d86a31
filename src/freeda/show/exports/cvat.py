"""CVAT for images 1.1: masks as run lengths, one a class.

Format: https://docs.cvat.ai/docs/dataset_management/formats/xml_format
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..palette import to_hex
from .coco import run_lengths
from .labelled import Labelled, in_xml

TAIL = "</annotations>\n"


def masks(picture: Labelled) -> list[bytes]:
    """A file of one picture."""
    text = head(picture.names, picture.colours, 1) + image(picture, 0) + TAIL
    return [text.encode("utf-8")]


def head(names: Sequence[str], colours: NDArray[np.uint8], images: int) -> str:
    """What stands before the images: the labels of the task."""
    labels = "".join(
        f"<label><name>{in_xml(name)}</name><color>{to_hex(colour)}</color><type>any</type>"
        "<attributes></attributes></label>\n"
        for name, colour in zip(names, colours, strict=True)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><name>freeda</name><size>{images}</size><mode>annotation</mode>\n"
        f"<labels>\n{labels}</labels></task></meta>\n"
    )


def image(picture: Labelled, number: int) -> str:
    """One image with a mask of every class that is there: runs along the rows of the box around it."""
    height, width = picture.size
    name = quoteattr(in_xml(picture.file_name, escaped=False))
    lines = [f'<image id="{number}" name={name} width="{width}" height="{height}">']
    for label, box in enumerate(ndimage.find_objects(picture.ids)):
        if box is None:
            continue
        inside = (picture.ids[box] == label + 1).astype(np.int32)
        lengths, _ = run_lengths(inside.T)[1]
        (top, high), (left, wide) = ((part.start, part.stop - part.start) for part in box)
        called = quoteattr(in_xml(picture.names[label], escaped=False))
        lines.append(
            f'<mask label={called} source="auto" occluded="0" rle="{", ".join(map(str, lengths.tolist()))}" '
            f'left="{left}" top="{top}" width="{wide}" height="{high}" z_order="0"></mask>'
        )
    return "\n".join([*lines, "</image>", ""])
