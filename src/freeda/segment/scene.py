"""A photograph encoded once, to be labelled with any class names afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..encoders import Encoders
from ..errors import InputError, out_of_memory
from ..images import RGB
from ..options import ENCODING, VOCABULARY, SegmentOptions
from ..profile import OFF, Clock
from ..source_file import SourceFile
from .mosaic import Mosaic, join
from .regions import RegionMap, SuperpixelRegions, region_map, regions_from, superpixels
from .window_encoding import Floats, Frame, encode_frames, unit_rows
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
    cut: RegionMap | None = None
    """(h, w) regions of the working image, where they are no superpixels."""
    seen: Any = None
    """What a detector keeps of the photograph until it is told words (`planes`)."""
    prompts: tuple[str, ...] | None = None
    """The words whose planes its features are, where a detector gave them."""
    model: Any = field(default=None, compare=False)
    """The model (`FreeDA`) that encoded it, which no copy and no file keeps."""

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, or another process, gets of it: nothing that can be computed again."""
        return {f.name: None if f.name == "model" else getattr(self, f.name) for f in fields(self)}

    def __repr__(self) -> str:
        height, width = self.size
        of, windows = self.file.name if self.file else "an array", len(self.mosaic.embeddings)
        return f"<Scene of {of}, {width} x {height}: {windows} windows>"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the photograph in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def regions(self) -> RegionMap:
        """(h, w) int64: regions of the working image, for show (labelling cuts each window by itself)."""
        return self._superpixels if self.cut is None else self.cut

    @cached_property
    def _superpixels(self) -> RegionMap:
        return superpixels(self.working_image(), self.options.superpixels)

    def region_weights(self) -> Any:
        """(R, B) scipy CSR float32: what share of each region of `regions()` has each of the mosaic's
        features; rows sum to 1."""
        regions, atoms = self.regions(), self.mosaic.atoms
        inside = regions >= 0
        counts = sparse.coo_matrix(
            (np.ones(int(inside.sum()), np.float32), (regions[inside], atoms[inside])),
            shape=(int(regions.max()) + 1, self.mosaic.local.shape[0]),
        ).tocsr()
        pixels = np.asarray(counts.sum(axis=1)).ravel()
        return sparse.diags_array(1 / pixels) @ counts @ self.mosaic.local

    def region_features(self) -> Floats:
        """(R, D) float32, L2-normalised: the mean feature of each region of `regions()`."""
        return unit_rows(self.region_weights() @ self.mosaic.features)

    def teach(self, where: Any, word: str) -> Any:
        """`FreeDA.teach` by the model that encoded it. Raises InputError where that is not at hand."""
        if self.model is None:
            raise InputError("this scene's model is not at hand: FreeDA.teach(scene, where, word) takes any")
        return self.model.teach(self, where, word)

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


@dataclass(frozen=True)
class Photograph:
    """What is to be encoded."""

    image: RGB | None
    """(H, W, 3) uint8, or None where there is an `error` instead."""
    options: SegmentOptions
    regions: Any = None
    """A source of `Regions`, a map (H, W) or `Masks`; None: superpixels as the options say."""
    dense: bool = False
    """Whether regions get image-text features, as the options say."""
    file: SourceFile | None = None
    outside: str = ""
    on_done: Callable[[int, int], None] | None = None
    """Called with windows done, windows in all."""
    error: Exception | None = None
    tag: Any = None
    """Whatever the caller wants to know it by."""
    model: Any = None
    """What its scene remembers as its model."""


def encode_scenes(
    encoders: Encoders,
    photographs: Iterable[Photograph],
    batch_size: int | None = None,
    clock: Clock = OFF,
) -> Iterator[tuple[Photograph, Scene | Exception]]:
    """Encode photographs, batches filled from several of them; each in its order, as soon as it is done.

    An InputError or a lack of memory is given in the scene's place. See `encode_frames` for what is held.
    """
    asked: deque[Photograph] = deque()

    def frames() -> Iterator[Frame]:
        for photograph in photographs:
            asked.append(photograph)
            yield _frame(photograph, clock)

    for frame in encode_frames(encoders, frames(), batch_size, clock):
        photograph = asked.popleft()
        yield photograph, frame.error or _scene(encoders, photograph, frame, clock)


def encode_scene(
    encoders: Encoders,
    image: RGB,
    options: SegmentOptions,
    file: SourceFile | None = None,
    batch_size: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
    clock: Clock = OFF,
    outside: str = "",
    regions: Any = None,
    dense: bool = False,
) -> Scene:
    """Encode an image (H, W, 3) uint8; `on_done(windows_done, windows_in_all)` reports progress."""
    one = Photograph(image, options, regions, dense, file, outside, on_done)
    ((_, found),) = encode_scenes(encoders, [one], batch_size, clock)
    if isinstance(found, Exception):
        raise found
    return found


def _frame(photograph: Photograph, clock: Clock) -> Frame:
    image, options, error = photograph.image, photograph.options, photograph.error
    regions = regions_from(photograph.regions, options.superpixels)
    if image is not None and error is None:
        try:
            size = working_size(image.shape[0], image.shape[1], options)
            with clock("resize"):
                working = resize_image(image, size)
            whole = None
            if regions.whole:
                with clock("regions"):
                    whole = region_map(regions, image, size)
            boxes = sliding_boxes(*size, options.window, options.stride)
            how = options.dense_clip if photograph.dense else None
            return Frame(working, boxes, regions, whole, photograph.on_done, dense_clip=how)
        except (InputError, MemoryError, RuntimeError) as failed:
            if not (isinstance(failed, InputError) or out_of_memory(failed)):
                raise
            error = failed
    return Frame(np.empty((0, 0, 3), np.uint8), (), regions, error=error)


def _scene(encoders: Encoders, photograph: Photograph, frame: Frame, clock: Clock) -> Scene | Exception:
    image, cut, models = photograph.image, frame.whole, dict(encoders.identity)
    assert image is not None
    try:
        with clock("join"):
            mosaic = join(frame.encodings, *frame.image.shape[:2])
        if not isinstance(frame.regions, SuperpixelRegions):
            models["regions"] = frame.regions.name
            cut = region_map(frame.regions, frame.image) if cut is None else cut
    except (InputError, MemoryError) as error:
        return error
    kept = (photograph.options, photograph.file, models, photograph.outside, cut)
    return Scene(image, mosaic, *kept, model=photograph.model)
