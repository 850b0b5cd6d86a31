"""The models and all workspaces: pictures are encoded, labelled, corrected and taught here."""

from __future__ import annotations

import io
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..bank.taught import Taught
from ..errors import InputError
from ..model import FreeDA
from ..options import Changes
from ..segment.result import Segmentation
from ..segment.scene import Scene
from ..segment.upsample import enlarged
from ..segment.vocabulary import Vocabulary
from ..show.export import png
from ..sources import find_images
from . import masks
from .kept import Drawing
from .limits import Limits, Refused, Shelf, Turns
from .photographs import file_of, plain_name, read, reduced, samples, size_of, small_jpeg, stat_of
from .state import Edits, Event, Settings
from .store import FOLDER, Disk, Memory
from .workspace import EVERYTHING_ELSE, Final, Picture, Workspace, parsed, wording

_VOCABULARIES = 64
"""Lists of words whose vectors are kept: going back to one costs nothing."""
_SHOWN = 100_000_000
"""Bytes of reduced pictures that are kept for browsers."""
_PER_PIXEL = 24
"""Bytes that labels, regions and corrections of an open picture take."""
SHARED = "folder"
"""The id of the workspace that all browsers share in folder mode."""


class Cancelled(Exception):
    """Nobody wants this any more."""


@dataclass
class Encoded:
    """A picture as the models see it, and what was last made of it."""

    scene: Scene
    scale: float
    lock: Lock = field(default_factory=Lock)
    key: tuple[int, int] | None = None
    result: Segmentation | None = None
    final: Final | None = None
    before: Final | None = None
    """The labels before those, for who asked for them when they were new."""

    @property
    def weight(self) -> int:
        """Bytes of memory, about."""
        mosaic, image = self.scene.mosaic, self.scene.image
        sparse = sum(m.data.nbytes + m.indices.nbytes for m in (mosaic.local, mosaic.context))
        joint = 0 if mosaic.joint is None else mosaic.joint.nbytes
        arrays = mosaic.features.nbytes + mosaic.embeddings.nbytes + 3 * mosaic.atoms.nbytes
        return int(sparse + joint + arrays + image.nbytes + _PER_PIXEL * image.shape[0] * image.shape[1])


class Studio:
    """Everything shared by visitors. Its methods may be called from any thread.

    Encoders and generators work for one at a time (`turns`); labelling an encoded picture takes milliseconds
    and waits for no encoder (`quick`). Methods raise FreedaError, one friendly line.
    """

    def __init__(self, model: FreeDA, limits: Limits | None = None) -> None:
        self.model, self.limits = model, limits or Limits()
        self.turns, self.quick = Turns(self.limits.waiting), Lock()
        self.drawing = Drawing(model, self.turns, self.limits)
        self.place = Path(tempfile.mkdtemp(prefix="freeda-app-")).resolve()
        """A new private folder for what is sent and exported; it goes when the studio closes."""
        seconds = 60.0 * self.limits.minutes
        self.visitors: Shelf[Workspace] = Shelf(self.limits.workspaces, seconds, dropped=self._forget)
        self.shared: Workspace | None = None
        memory = self.limits.memory_megabytes * 1_000_000
        self._encoded: Shelf[Encoded] = Shelf(memory, seconds, weigh=lambda one: one.weight)
        self._shown: Shelf[bytes] = Shelf(_SHOWN, seconds, weigh=len)
        self._decoding = BoundedSemaphore(2)
        self._known: Shelf[Vocabulary] = Shelf(_VOCABULARIES, seconds)
        self.wake: Callable[[], None] = lambda: None
        """Tells the background that there is work."""

    def close(self) -> None:
        """Remove what visitors sent."""
        if self.shared is not None:
            self.shared.store.close()
        shutil.rmtree(self.place, ignore_errors=True)

    # workspaces

    def open_folder(self, folder: Path, words: str | None) -> Workspace:
        """Share a folder's pictures with all visitors; the caller holds its lock (`lock.only_writer`).

        Raises InputError for a folder without images, unusable words, and state that is damaged.
        """
        root = folder / FOLDER
        taught = Taught(root / "taught.jsonl")
        made = Workspace(
            self.limits,
            self.model.options,
            Disk(root),
            taught,
            self.model.with_taught(taught),
            SHARED,
            folder.resolve().name,
        )
        for path in find_images(folder):
            id = sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
            try:
                size = size_of(path, path.name, self.limits)
                made.pictures[id] = Picture(id, path.name, path, size, stat=stat_of(path))
            except InputError as error:
                made.pictures[id] = Picture(
                    id, path.name, path, (0, 0), error=self.without_places(str(error))
                )
        if words is not None and words != made.state.given:
            self.set_words(made, words, made.state.settings, made.state.colours, {"given": words})
        for picture in made.pictures.values():
            if picture.error is None:
                made.remembered(picture)
        made.refuse_others()
        self.shared = made
        return made

    def new(self, sample: int | None = None) -> Workspace:
        """A visitor's workspace, with one of the samples where it is told which."""
        taught = Taught()
        made = Workspace(self.limits, self.model.options, Memory(), taught, self.model.with_taught(taught))
        made.own = self.place / made.id
        made.own.mkdir()
        self.visitors.put(made.id, made)
        if sample is not None:
            chosen = samples()[sample % len(samples())]
            made.record(wording(chosen.words, made.state.settings, {}))
            self.add(made, [(chosen.name, io.BytesIO(png(chosen.picture)))])
        return made

    def workspace(self, id: str) -> Workspace:
        """Raises Refused (404) where there is none (any more)."""
        found = self.shared if id == SHARED else self.visitors.get(id)
        if found is None:
            raise Refused(404, "there is no such workspace (any more): open the photographs again")
        return found

    def everybody(self) -> list[Workspace]:
        """All workspaces, the one used last first."""
        return [*([self.shared] if self.shared else []), *reversed(self.visitors.values())]

    def add(self, ws: Workspace, files: Sequence[tuple[str | None, BinaryIO]]) -> None:
        """Put photographs into a visitor's workspace. Raises InputError at the first that cannot be used."""
        if ws.own is None:
            raise Refused(409, "the folder's pictures are those that lie in it: put photographs there")
        if len(ws.pictures) + len(files) > self.limits.pictures:
            raise Refused(413, f"a workspace holds at most {self.limits.pictures} pictures")
        most = self.limits.folder_megabytes * 1_000_000
        size = sum(file.seek(0, io.SEEK_END) for _, file in files)
        while (others := [w for w in self.visitors.values() if w is not ws]) and (
            size + sum(w.bytes for w in [ws, *others]) > most
        ):
            self.visitors.drop(others[0].id)
        if ws.bytes + size > most:
            raise Refused(413, f"a workspace holds at most {self.limits.folder_megabytes} MB of pictures")
        found: list[Picture] = []
        try:
            for name, file in files:
                found.append(self._received(ws.own, plain_name(name), file))
        except InputError:
            for one in found:  # all or none
                one.path.unlink()
            raise
        with ws.lock:
            ws.pictures.update((one.id, one) for one in found)
            ws.bytes += size
            ws.stopped = False
            ws.changed()
        self.wake()

    def _received(self, folder: Path, name: str, file: BinaryIO) -> Picture:
        path = folder / (secrets.token_hex(8) + Path(name).suffix[:6].lower())
        if file.seek(0, io.SEEK_END) > self.limits.upload_megabytes * 1_000_000:
            raise Refused(413, f"{name} is larger than {self.limits.upload_megabytes} MB")
        try:
            file.seek(0)
            with open(path, "wb") as kept:
                shutil.copyfileobj(file, kept)
            return Picture(path.name[:16], name, path, size_of(path, name, self.limits))
        except InputError:
            path.unlink(missing_ok=True)
            raise

    def remove(self, ws: Workspace, id: str) -> None:
        """Take a picture out of a visitor's workspace."""
        if ws.own is None:
            raise Refused(409, "the folder's pictures stay where they are")
        with ws.lock:
            gone = ws.pictures.pop(ws.picture(id).id)
            ws.bytes -= gone.path.stat().st_size
            gone.path.unlink(missing_ok=True)
            ws.changed()
        self._encoded.drop((ws.id, id))

    def _forget(self, ws: Workspace) -> None:
        for id in ws.pictures:
            self._encoded.drop((ws.id, id))
        if ws.own is not None:
            shutil.rmtree(ws.own, ignore_errors=True)

    def without_places(self, text: str) -> str:
        """A message without any folder of this machine."""
        return text.replace(f"{self.place}/", "").replace(str(self.place), "")

    # labels

    def set_words(
        self, ws: Workspace, text: str, settings: Settings, colours: dict[str, str], more: Event | None = None
    ) -> None:
        """Other words, settings or colours. Raises InputError where they cannot be used."""
        words = parsed(text, self.limits)
        if words:
            self.vocabulary(words, settings)
        ws.record({**wording(text, settings, colours), **(more or {})})
        ws.stopped = False
        self.wake()

    def vocabulary(self, words: dict[str, tuple[str, ...]], settings: Settings) -> Vocabulary:
        """Words ready for the models."""
        changes: Changes = {} if settings.k is None else {"k": int(settings.k)}
        if settings.others:
            changes["others"] = EVERYTHING_ELSE
        key = repr(words), settings.k, settings.others
        with self.quick:
            found = self._known.get(key)
            if found is None:
                found = self.model.vocabulary(words, **changes)
                self._known.put(key, found)
        return found

    def encode(self, path: Path, name: str, scale: float | None, on_done: Any = None) -> Scene:
        """Encode a photograph at its working size; the caller has its turn."""
        pixels = read(path, name)
        size = (pixels.shape[0], pixels.shape[1])
        known: dict[str, Any] = {
            "outside": self.model.outside(path, pixels),
            "file": file_of(path, name, size),
        }
        superpixels = replace(self.model.options.superpixels, scale=self.scale(scale))
        scene = self.model.encode(reduced(pixels, self.limits), superpixels=superpixels, on_done=on_done)
        return replace(scene, **known)

    @contextmanager
    def received(self, name: str | None, file: BinaryIO) -> Iterator[Picture]:
        """A photograph of nobody's, for the length of the block."""
        picture = self._received(self.place, plain_name(name), file)
        try:
            yield picture
        finally:
            picture.path.unlink(missing_ok=True)

    def scale(self, given: float | None) -> float:
        """The superpixels' scale, the preset's where none is given."""
        return self.model.options.superpixels.scale if given is None else float(given)

    def segment(self, model: Any, scene: Scene, known: Vocabulary, settings: Settings) -> Segmentation:
        """Label an encoded picture: milliseconds."""
        changes: dict[str, Any] = {}
        if settings.local_weight is not None:
            changes["local_weight"] = float(settings.local_weight)
        with self.quick:
            return model.segment(scene, known, **changes)

    def encoded(self, ws: Workspace, picture: Picture, behind: bool = False) -> Encoded:
        """A picture ready to be labelled, encoded now if need be. Raises InputError."""
        ws.check(picture)
        scale, key = self.scale(ws.state.settings.scale), (ws.id, picture.id)

        def kept() -> Encoded | None:
            found = self._encoded.get(key)
            return found if found is not None and found.scale == scale else None

        def go_on(done: int, of: int) -> None:
            if behind and (ws.stopped or picture.id not in ws.pictures):
                raise Cancelled

        if (found := kept()) is None:
            with self.turns.behind if behind else self.turns:
                if (found := kept()) is None:  # nobody was faster
                    found = Encoded(self.encode(picture.path, picture.name, scale, go_on), scale)
                    self._encoded.put(key, found)
        return found

    def shown(self, ws: Workspace, picture: Picture, side: int) -> bytes:
        """The photograph as JPEG, at most `side` pixels long. Raises InputError."""
        key = ws.id, picture.id, side
        found = self._shown.get(key)
        if found is None:
            if picture.size == (0, 0):
                raise InputError(picture.error or "this picture cannot be read")
            with self._decoding:
                found = small_jpeg(picture.path, picture.name, side)
            self._shown.put(key, found)
        return found

    def labels(self, ws: Workspace, picture: Picture, behind: bool = False) -> Final:
        """A picture's labels as things stand, corrections included."""
        while True:
            encoded = self.encoded(ws, picture, behind)
            with ws.lock:
                stamp, names, settings = ws.stamp(picture), ws.names(), ws.state.settings
                words, edits = ws.words(), ws.state.edits(picture.id)
            if self.scale(settings.scale) == encoded.scale:  # as is to be expected
                break
        with encoded.lock:
            if encoded.final is None or encoded.final.stamp != stamp:
                if encoded.key != stamp[:2] and words:
                    known = self.vocabulary(words, settings)
                    encoded.result = self.segment(ws.model, encoded.scene, known, settings)
                    told = encoded.result.caveats
                    ws.caveats = replace(told, outside=told.outside or ws.caveats.outside)
                encoded.key, encoded.result = stamp[:2], encoded.result if words else None
                encoded.before = encoded.final
                encoded.final = self._final(ws, encoded, stamp, names, edits)
            encoded.final = replace(encoded.final, version=ws.settle(picture, encoded.final))
            return encoded.final

    def version(self, ws: Workspace, picture: Picture, version: int | None) -> Final:
        """The labels of a version, None: the last. Raises Refused (409) for one that is not kept any more."""
        final = self.labels(ws, picture)
        for one in (final, self.encoded(ws, picture).before):
            if one is not None and version in (None, one.version):
                return one
        raise Refused(409, "the labels have changed meanwhile: ask for them again")

    def result(self, ws: Workspace, picture: Picture) -> tuple[Segmentation, Final]:
        """What the models say of a picture, and what people made of it. Raises Refused where no word is."""
        final = self.labels(ws, picture)
        result = self.encoded(ws, picture).result
        if result is None:
            raise Refused(409, "the picture has no labels yet: type a word")
        return result, final

    def _final(
        self, ws: Workspace, encoded: Encoded, stamp: Any, names: tuple[str, ...], edits: Edits
    ) -> Final:
        result, size = encoded.result, encoded.scene.size
        regions = enlarged(encoded.scene.regions(), size)
        base = np.full(size, -1, np.int16) if result is None else result.labels
        composed = self.composed(ws, base, regions, names, edits)
        if result is None:
            return Final(stamp, composed, names, {}, None)
        verdicts = result.by_region()
        places = (regions + 1).ravel()  # -1 is in no region
        right = np.bincount(places, composed.corrected.ravel()) / np.maximum(np.bincount(places), 1)
        doubt = sum(one.unsure * (1 - float(right[one.region + 1])) for one in verdicts)
        margins = {one.region: one.margin for one in verdicts if np.isfinite(one.margin)}  # of one word alone
        return Final(stamp, composed, names, margins, doubt)

    def composed(
        self, ws: Workspace, base: NDArray[Any], regions: NDArray[Any], names: tuple[str, ...], edits: Edits
    ) -> masks.Composed:
        """Labels with what was accepted and corrected; `base` counts where nothing was accepted."""
        size = (base.shape[0], base.shape[1])
        shapes = [masks.pixels(mask, size) for event in edits.shapes for mask in event["masks"]]
        paint = [
            (masks.pixels(event["mask"], size), None if event["word"] is None else names.index(event["word"]))
            for event in edits.paint
        ]
        if edits.accepted is None:
            return masks.compose(base, regions, shapes, paint)
        cut = masks.compose(np.full(size, -1, np.int16), regions, shapes, ())
        truth = ws.accepted_labels(edits.accepted, names)
        truth = truth if truth.shape == size else enlarged(truth, size)
        return replace(masks.compose(truth, cut.regions, (), paint), own=cut.own)

    def truth(self, ws: Workspace, picture: Picture) -> tuple[NDArray[np.int16], tuple[str, ...]] | None:
        """An accepted picture's labels and what they mean, nothing encoded; None of one that is not."""
        with ws.lock:
            names, edits = ws.names(), ws.state.edits(picture.id)
        if edits.accepted is None:
            return None
        base = ws.accepted_labels(edits.accepted, names)
        return self.composed(ws, base, np.full(base.shape, -1), names, edits).labels, names
