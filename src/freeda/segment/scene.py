"""A photograph encoded once, to be labelled with any class names afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders import Encoders
from ..errors import InputError
from ..options import ENCODING, VOCABULARY, SegmentOptions
from ..profile import OFF, Clock
from ..source_file import SourceFile
from .mosaic import Mosaic, join
from .regions import RegionMap, superpixels
from .window_encoding import encode_windows
from .windows import resize_image, sliding_boxes, working_size

AFTER_ENCODING = tuple(f.name for f in fields(SegmentOptions) if f.name not in ENCODING)
"""Options that may still change once the image is encoded."""


@dataclass(frozen=True, repr=False)
class Scene:
    """Everything costly about a photograph; none of it depends on class names."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3) uint8 RGB, the photograph at its own size."""
    mosaic: Mosaic
    """Its windows' regions, features and embeddings, joined."""
    options: SegmentOptions
    """What it was encoded with."""
    file: SourceFile | None = None
    """The file it came from."""
    models: Mapping[str, Any] = field(default_factory=dict)
    """Which models encoded it (`Encoders.identity`)."""
    outside: str = ""
    """What the models know (`Preset.world`), where nothing says that the photograph is such."""

    def __repr__(self) -> str:
        height, width = self.size
        of, windows = self.file.name if self.file else "an array", len(self.mosaic.embeddings)
        return f"<Scene of {of}, {width} x {height}: {windows} windows>"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photograph in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def regions(self) -> RegionMap:
        """(h, w) int64: superpixels of the working image, for show (labelling cuts each window by itself)."""
        return superpixels(self.working_image(), self.options.superpixels)

    def working_image(self) -> npt.NDArray[np.uint8]:
        """(h, w, 3) uint8: the photograph at the size at which its windows were cut."""
        h, w = self.mosaic.atoms.shape
        return resize_image(self.image, (h, w))

    def relabelling(self, changes: Mapping[str, Any]) -> SegmentOptions:
        """Its options with `changes`, fields of SegmentOptions that do not touch the encoding
        (`AFTER_ENCODING`). Raises InputError for others.
        """
        fixed = [name for name in changes if name not in AFTER_ENCODING]
        if fixed:
            raise InputError(
                f"option {fixed[0]!r} cannot change after encoding: give it to encode(); here go "
                + ", ".join(AFTER_ENCODING)
            )
        return self.options.with_changes(**changes)


def refuse_late(changes: Iterable[str]) -> None:
    """Raise InputError for an option that shapes a vocabulary, given with one that is made already."""
    late = [name for name in changes if name in VOCABULARY]
    if late:
        raise InputError(f"option {late[0]!r} shapes a vocabulary: give it to vocabulary() instead")


def encode_scene(
    encoders: Encoders,
    image: npt.NDArray[np.uint8],
    options: SegmentOptions,
    file: SourceFile | None = None,
    batch_size: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
    clock: Clock = OFF,
    outside: str = "",
) -> Scene:
    """Encode an image (H, W, 3) uint8; `on_done(windows_done, windows_in_all)` reports progress."""
    height, width = working_size(image.shape[0], image.shape[1], options)
    with clock("resize"):
        working = resize_image(image, (height, width))
    boxes = sliding_boxes(height, width, options.window, options.stride)
    encodings = list(
        encode_windows(encoders, working, boxes, options.superpixels, batch_size, on_done, clock)
    )
    with clock("join"):
        mosaic = join(encodings, height, width)
    return Scene(image, mosaic, options, file, encoders.identity, outside)
