"""The loaded models and a bank: the object that people hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from .bank import Bank
from .bank.taught import Lesson, Taught
from .encoders import DenseEncoder, Encoders, PatchEncoder, check_part, load_encoders
from .errors import InputError
from .image_text import ImageTextEncoder, TransformersEncoder
from .images import RGB, to_image, world_of
from .model_words import ModelWords
from .options import Changes, SegmentOptions, export_kinds
from .precision import waits_for
from .presets import DEFAULT, Preset, find_preset, with_models
from .profile import OFF, Clock
from .region_models import RegionModel, load_regions
from .sam3 import Sam3
from .segment.lessons import Where, teach, with_lessons
from .segment.matching import LocalScore, PlaneScore
from .segment.naming import Namer, name_scene
from .segment.planes import check_pictures, see_scenes, with_planes
from .segment.prototypes import ReferenceBank
from .segment.regions import RegionMap, Regions
from .segment.result import Segmentation, segment_scene
from .segment.scene import Photograph, Scene, encode_scenes, refuse_late
from .segment.stream import AHEAD, Outcome, Stream, ahead, recipe
from .segment.support import identity_of, values_of, weights_of
from .segment.vocabulary import (
    Names,
    Vocabulary,
    WordEmbedder,
)
from .segment.window_encoding import batch_of
from .source_file import source_file
from .sources import Images, every_image, is_one


class FreeDA(ModelWords):
    """Open-vocabulary segmentation with a preset's encoders and a reference bank; made by `freeda.load`.

    `encode` an image once and `segment` the `Scene` as often as you like, or let `segment` (or calling the
    model) do both. Has `preset`, `encoders`, `bank` (None: labelled without), `regions` (None: superpixels)
    and `score` (None: what the options say). Options are fields of `freeda.options.SegmentOptions`.
    """

    def __init__(
        self,
        preset: Preset,
        encoders: Encoders,
        bank: ReferenceBank | None = None,
        clock: Clock = OFF,
        regions: Regions | None = None,
        score: LocalScore | None = None,
        taught: Taught | None = None,
    ):
        if bank is not None and not hasattr(bank, "search"):
            raise InputError(f"bank is {bank!r}: it must be a bank directory or an open Bank")
        check_part(regions, "regions", "__call__", "name", "whole")
        check_part(score, "score", "__call__", "name")
        self._scenes = encode_scenes if preset.detector is None else see_scenes
        if preset.detector is not None:
            check_pictures(bank)
            score = PlaneScore() if score is None else score
        elif bank is not None and hasattr(bank, "check_models"):
            bank.check_models(encoders.identity)
        self.preset, self.encoders, self.bank = preset, encoders, bank
        self.regions, self.score = regions, score
        self.taught = Taught() if taught is None else taught
        """What people taught it; counts in all that it labels."""
        self.taught.check_models(encoders.identity)
        self.clock = clock
        """Times the stages of whatever this model does, where it is switched on."""
        if clock.on:
            clock.settle = waits_for(encoders.device)
        self._embed = WordEmbedder(encoders.clip)

    def __repr__(self) -> str:
        return f"FreeDA({self.preset.name!r}, bank={self.bank!r}, device={self.device})"

    @classmethod
    def from_pretrained(cls, preset: str | Path | Preset = DEFAULT, **how: Any) -> FreeDA:
        """`freeda.load`, as models of transformers and diffusers are loaded."""
        return load(preset, **how)

    def __call__(self, image: Any, classes: Vocabulary | Names, **changes: Unpack[Changes]) -> Segmentation:
        """`segment`."""
        return self.segment(image, classes, **changes)

    @property
    def device(self) -> torch.device:
        """Where the encoders are."""
        return self.encoders.device

    def to(self, device: str | torch.device) -> FreeDA:
        """The same model on another device: weights are read again, parts of your own stay. As `load`."""
        parts: tuple[Any, Any] = self.encoders.clip, self.encoders.dense
        own = [None if isinstance(one, (TransformersEncoder, DenseEncoder, Sam3)) else one for one in parts]
        moved = load_encoders(self.preset, device, self.encoders.dtype, *own)
        same = not isinstance(self.regions, RegionModel)
        cut = self.regions if same else load_regions(self.preset, device, self.encoders.dtype)
        return self._like(encoders=moved, regions=cut)

    def __reduce__(self) -> Any:
        raise InputError(
            "a loaded model is neither copied nor sent to another process: call freeda.load there, and send "
            "photographs and results"
        )

    def with_bank(self, bank: ReferenceBank | None) -> FreeDA:
        """The same model with another bank. Raises as the bank's own check of its models."""
        return self._like(bank=bank)

    def with_taught(self, taught: Taught) -> FreeDA:
        """The same model with other lessons. Raises InputError for lessons of other models."""
        return self._like(taught=taught)

    def _like(self, **parts: Any) -> FreeDA:
        own = ("preset", "encoders", "bank", "clock", "regions", "score", "taught")
        made = FreeDA(**{**{name: getattr(self, name) for name in own}, **parts})
        made._embed = self._embed if made.encoders is self.encoders else made._embed
        return made

    def teach(self, image: Any, where: Where, word: str) -> Lesson:
        """Let a region of an image, and whatever looks like it, be `word`; `taught.undo()` takes it back.

        `image` is a `Scene`, which takes milliseconds, or what `encode` takes; `where` is a mask (H, W), a
        box (x0, y0, x1, y1) or a point (x, y) in its pixels, or a region's number (`segment.lessons.place`).
        Raises InputError for a place outside the image, a word that is none, and a detector's preset.
        """
        scene = image if isinstance(image, Scene) else self.encode(image)
        return teach(self.taught, scene, where, word, self._embed)

    @property
    def identity(self) -> dict[str, Any]:
        """What results remember of it: the encoders' identity, and names of other `regions` and `score`."""
        own = {"regions": self.regions, "score": self.score}
        return {**self.encoders.identity, **{part: one.name for part, one in own.items() if one is not None}}

    def encode(
        self,
        image: Any,
        batch_size: int | None = None,
        on_done: Callable[[int, int], None] | None = None,
        *,
        regions: Regions | RegionMap | None = None,
        **changes: Unpack[Changes],
    ) -> Scene:
        """Encode an image: a path, a PIL image, or an array (uint8, or float in [0, 1]; (H, W[, 3 or 4])).

        `batch_size` windows go through the encoders together (None: as many as suit the device);
        `on_done(done, in_all)` is called after each batch; `regions` is a map (H, W) of whole numbers, the
        region of every pixel (-1: in none), or a source of `Regions`; `changes` are fields of SegmentOptions.
        Raises InputError.
        """
        one = self._read(image, self.options.with_changes(**changes), regions, on_done)
        ((_, found),) = self._scenes(self.encoders, [one], batch_size, self.clock)
        if isinstance(found, Exception):
            raise found
        return found

    def encode_many(
        self, images: Iterable[Any], batch_size: int | None = None, **changes: Unpack[Changes]
    ) -> Iterator[Scene]:
        """Encode images as `encode` does, each when its windows are done; a batch is filled from several.

        The next image is read meanwhile. Raises InputError at the first that cannot be encoded.
        """
        options = self.options.with_changes(**changes)
        given = [images] if is_one(images) else images
        read = (self._read(image, options) for image in given)
        photographs = ahead(read, AHEAD if self.device.type != "cpu" else 1)
        for _, found in self._scenes(self.encoders, photographs, batch_size, self.clock):
            if isinstance(found, Exception):
                raise found
            yield found

    def _read(
        self,
        image: Any,
        options: SegmentOptions,
        regions: Regions | RegionMap | None = None,
        on_done: Callable[[int, int], None] | None = None,
    ) -> Photograph:
        with self.clock("read", beside=threading.current_thread() is not threading.main_thread()):
            pixels = to_image(image)
            outside = self.outside(image, pixels)
            file = source_file(image, pixels.shape[:2]) if isinstance(image, (str, Path)) else None
        dense = weights_of(options, self.bank is not None).dense
        if dense and not hasattr(self.encoders.clip, "encode_dense"):  # patches as they are, and told so
            options = replace(options, dense_clip=replace(options.dense_clip, attention="own"))
        return Photograph(
            pixels,
            options,
            self.regions if regions is None else regions,
            dense,
            file,
            outside,
            on_done,
            model=self,
        )

    def outside(self, image: Any, pixels: RGB | None = None) -> str:
        """What the models know, where that is not photographs and nothing says that an image is such; or "".

        `pixels` are those of the image, where they are at hand.
        """
        world = self.preset.world
        return world if world and world_of(image, pixels) != world else ""

    def segment(
        self,
        image: Any,
        classes: Vocabulary | Names | Namer,
        *,
        regions: Regions | RegionMap | None = None,
        **changes: Unpack[Changes],
    ) -> Segmentation:
        """Label an image with class names or a vocabulary; `changes` are fields of SegmentOptions.

        `image` and `regions` are what `encode` takes, or the `Scene` that it gave: then nothing is encoded,
        which takes milliseconds, and `changes` may not touch the encoding (`scene.AFTER_ENCODING`). `classes`
        is what `vocabulary` takes or gives, or a `namer()`. Every pixel gets a label: `Segmentation.labels`
        is (H, W) int32, numbers into `Segmentation.names`. Raises InputError as `encode` and `vocabulary`
        do, and for a vocabulary of other models.
        """
        if isinstance(image, Scene):
            if regions is not None:
                raise InputError("regions cannot change after encoding: give them to encode()")
            options = image.relabelling(changes)
            if isinstance(classes, Vocabulary):
                refuse_late(changes)
            elif not isinstance(classes, Namer):
                classes = self._make_vocabulary(classes, options)
            return self._label(image, classes, options)
        # Class names are looked at first: a wrong list should not cost an encoded image.
        known = classes if isinstance(classes, Namer) else self.ready(classes, **changes)
        scene = self.encode(image, regions=regions, **changes)
        return self._label(scene, known, scene.options)

    def name(
        self, image: Any, *, regions: Regions | RegionMap | None = None, **changes: Unpack[Changes]
    ) -> Segmentation:
        """Label an image with names found in the bank, none given (docs/words.md): arguments as `segment`.

        The result's `tree` tells what stands behind each name; "background" is what nothing in the bank is
        near. Raises as `segment` does, and BankError for a bank whose rows have no nouns.
        """
        return self.segment(image, self.namer(**changes), regions=regions, **changes)

    def _label(self, scene: Scene, known: Vocabulary | Namer, options: SegmentOptions) -> Segmentation:
        if isinstance(known, Namer):
            ready = partial(self._make_vocabulary, options=options)
            return name_scene(scene, known, ready, options, self.clock, self.score)
        known = with_lessons(known, self.taught)
        if self.preset.detector is not None:
            scene = with_planes(scene, known, self.encoders, self.clock)
        return segment_scene(scene, known, options, self.bank, self.clock, self.score)

    def segment_many(
        self,
        images: Images | Iterable[Any],
        classes: Vocabulary | Names | Namer,
        out: str | Path | None = None,
        *,
        recursive: bool = False,
        strict: bool = False,
        again: bool = False,
        npz: bool = False,
        exports: str | Sequence[str] = (),
        batch_size: int | None = None,
        on_start: Callable[[Path], None] | None = None,
        on_done: Callable[[int, int], None] | None = None,
        **changes: Unpack[Changes],
    ) -> Iterator[Outcome]:
        """Label many images in their order, a batch of windows from several; `changes` as `segment`.

        While the encoders work the next image is read and, beside an accelerator, the one before labelled and
        written; no more images are held than that takes (docs/speed.md).

        Args:
            images: files, folders, globs such as "photos/*.jpg"; or arrays and PIL images, also from an
                endless iterator. What it gave before it raises is labelled first.
            classes: class names or a vocabulary, made ready once; or `namer()`, to find names for each.
            out: where every photograph's files go as soon as it is labelled; None writes nothing. Arrays have
                no name to be written by.
            recursive: look into the folders of folders too.
            strict: raise at the first unreadable photograph instead of telling it in its `Outcome`.
            again: label anew what `out` already holds as these same words, options and models made it.
            npz, exports: write STEM.npz too, and other files, as in `Segmentation.export`.
            on_start, on_done: called with a path before it is encoded, and as in `encode`.

        Raises InputError at once for missing images, unusable names or options; later where writing fails.
        """
        found, options = every_image(images, recursive), self.options.with_changes(**changes)
        known = classes if isinstance(classes, Namer) else self.ready(classes, **changes)
        resolved = self._resolved(options, known)
        batch, made_by = batch_of(self.encoders, batch_size), self.identity
        if resolved.weights.support:
            made_by["values"] = identity_of(values_of(self.bank))
        stream = Stream(
            read=lambda image: self._read(image, options, on_done=on_done),
            encode=partial(self._scenes, self.encoders, batch_size=batch, clock=self.clock),
            label=lambda scene: self._label(scene, known, options),
            vocabulary=known,
            about=recipe(resolved, made_by, self.encoders.dtype),
            out=out,
            strict=strict,
            again=again,
            exports=export_kinds([*export_kinds(exports), *(["npz"] if npz else [])]),
            on_start=on_start,
            beside=self.device.type != "cpu",
            clock=self.clock,
        )
        return stream.run(found)


def load(
    preset: str | Path | Preset = DEFAULT,
    bank: str | Path | ReferenceBank | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
    clip: str | Path | ImageTextEncoder | None = None,
    dense: str | Path | PatchEncoder | None = None,
    generator: str | Path | None = None,
    clock: Clock = OFF,
    regions: str | Path | Regions | None = None,
    score: LocalScore | None = None,
    taught: str | Path | Taught | None = None,
) -> FreeDA:
    """Load a preset's encoders and a bank.

    Args:
        preset: "miniature" (bundled, offline), another of `PRESETS`, a preset JSON file, or a `Preset`.
        bank: a bank directory, or an open one (`Bank`, `GrownBank`, ...); None takes the preset's own, if
            it has one ("vit-b" and "vit-l" have none: `freeda.collect` or `freeda.grow.grow` makes one).
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "float32", "bfloat16" or "float16", of the image encoders' matrix products; "auto" takes the
            fastest that the device multiplies natively (see docs/speed.md).
        clip, dense, generator: hub ids or local folders instead of the preset's; `clip` and `dense` also
            encoders of your own (docs/extending.md).
        clock: times the stages of all that the model does (`freeda.profile.Clock`).
        regions: where regions come from: "sam2", "eomt", "mask2former" or "oneformer", "superpixels", the hub
            id or folder of such a model (docs/models.md), or a source of your own; None takes the preset's.
        score: how regions are scored instead of by the options (docs/extending.md).
        taught: lessons (`freeda.bank.taught.Taught`), or the file that keeps them; None begins without any.

    Raises InputError, ModelError or BankError, each one line.
    """
    parts: dict[str, Any] = {"clip": clip, "dense": dense, "generator": generator, "regions": regions}
    named = {part: one for part, one in parts.items() if isinstance(one, (str, Path))}
    own = {part: one for part, one in parts.items() if part not in named}
    chosen = with_models(find_preset(preset), **named)
    place = chosen.bank if bank is None else bank
    # Opened before the weights are: a wrong path should be told at once.
    lessons = taught if taught is None or isinstance(taught, Taught) else Taught(taught)
    opened = Bank.open(place) if isinstance(place, (str, Path)) else place
    encoders = load_encoders(chosen, device, dtype, own.get("clip"), own.get("dense"))
    cut = load_regions(chosen, device, dtype) if own.get("regions") is None else regions
    return FreeDA(chosen, encoders, opened, clock, cut, score, lessons)  # type: ignore[arg-type]
