"""What a scene and a vocabulary make together: the label map and what can be asked about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import Written, to_json
from ..identity import difference
from ..options import VOCABULARY, SegmentOptions, export_kinds, to_dict
from ..options.detector import check_detecting
from ..options.exports import FORMAT, PICTURES, RECORD, export_names
from ..profile import OFF, Clock
from ..show.caveats import Caveats
from ..show.explanation import CLASSES, REFERENCES, Explanation
from ..show.export import record_of
from ..show.exports import Labelled, detections, render
from ..show.html import result_html
from ..show.text import percent
from .background import label_names
from .explain import explain_pixel
from .label_map import LabelMap
from .matching import LocalScore, of_words
from .npz import RESULT, dump_npz, write_npz
from .prototypes import ReferenceBank
from .refine import place_scores
from .regions import voted
from .scene import Scene, refuse_late
from .store import parts_of, read_segmentation
from .support import Support, identity_of, resolve, retrieve_support, values_of
from .upsample import dense_scores, enlarged, label_map
from .verdicts import RegionVerdict, by_region
from .vocabulary import Vocabulary
from .window_encoding import Floats

if TYPE_CHECKING:
    import torch


class Segmentation(LabelMap):
    """A labelled photograph. `np.asarray(result)` is its label map.

    Scores are not stored: they are computed from the scene when asked for.
    """

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of the photograph each name covers, 0 to 1; they sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names)) / self.labels.size
        return dict(zip(self.names, counts.tolist(), strict=True))

    @cached_property
    def regions(self) -> npt.NDArray[np.int32]:
        """(H, W) int32: superpixels of the photograph, numbered from 0 (all -1 where options ask for none).

        Cut at the working size, as one picture, and enlarged; where windows overlap, labels follow each
        window's own superpixels. Kept once computed.
        """
        return enlarged(self.working_regions().astype(np.int32), self.size)

    @cached_property
    def confidence(self) -> Floats:
        """(H, W) float32: the best name's score at every pixel; kept once computed."""
        out = np.empty(self.labels.shape, dtype=np.float32)
        for start, stop, strip in self._strips():
            out[start:stop] = strip.max(axis=-1)
        return out

    def by_region(self) -> list[RegionVerdict]:
        """What each region got, and how sure that is. Raises InputError where there is no scene."""
        return by_region(self)

    @cached_property
    def uncertainty(self) -> float:
        """Share of the photograph that is expected to be wrong, 0 to 0.5: for ordering, no promise."""
        return sum(one.unsure for one in by_region(self))

    def scores(self, names: Sequence[str] | None = None) -> Floats:
        """(len(names), H, W) float32: the ensemble scores, resized to the photograph; None = all names.

        Roughly -0.2 to 1; no softmax. This is classes x height x width numbers: ask for the names you need.
        """
        columns = [self._number(n) for n in self._listed(names)]
        out = np.empty((len(columns), *self.labels.shape), dtype=np.float32)
        for start, stop, strip in self._strips():
            out[:, start:stop] = np.moveaxis(strip[..., columns], -1, 0)
        return out

    def explain(
        self,
        x: int,
        y: int,
        bank: ReferenceBank | str | Path | None = None,
        *,
        classes: int = CLASSES,
        references: int = REFERENCES,
    ) -> Explanation:
        """Why the pixel in column `x` and row `y` (from 0, in the photograph) got its word.

        All labels are ranked by the very scores that decided; of the best `classes` the `references` rows of
        the bank that the region looks most like are listed, among those that were retrieved. `bank` (open,
        or its directory) is the one that the vocabulary was made with; None takes the model's, which a file
        does not keep: without one, no references are listed. Prints, draws and saves itself. Raises
        InputError for a place outside the photograph, a segmentation saved without its scene, and another
        bank than the vocabulary's; BankError for a bank of other models or a damaged one.
        """
        return explain_pixel(self, x, y, bank, classes, references)

    def relabel(self, vocabulary: Vocabulary, **changes: Any) -> Segmentation:
        """The same photograph with other words or options, nothing encoded: no model is needed.

        `changes` are fields of SegmentOptions that touch neither the encoding nor a vocabulary. Raises
        InputError for others, where it was saved without its scene, and for a vocabulary of other models.
        """
        scene, _ = self.need_scene()
        if not isinstance(vocabulary, Vocabulary):
            raise InputError("relabel takes a Vocabulary: FreeDA.segment(scene, names) reads class names")
        refuse_late(changes)
        options = scene.relabelling(changes)
        return segment_scene(
            scene, vocabulary, options, self.bank, score=of_words(self.score), support=self.support
        )

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """(H, W) bool: where the photograph is labelled `name`. Raises InputError for another name."""
        return self.labels == self._number(name)

    def to_torch(self) -> torch.Tensor:
        """(H, W) int64 tensor on the CPU: the labels, a copy."""
        import torch

        return torch.from_numpy(self.labels.astype(np.int64))

    def to_supervision(self) -> Any:
        """A `supervision.Detections` with one entry for every class found: its mask, box, number and name.

        Raises InputError where the package supervision is not installed.
        """
        return detections(self.labels, self.names)

    def save(
        self,
        out_dir: str | Path,
        stem: str | None = None,
        scores: bool = False,
        exports: str | Sequence[str] = (),
    ) -> dict[str, Path]:
        """Write the palette PNG, the overlay with its legend and the JSON; returns their paths by kind.

        `stem` defaults to the photograph's file name. `scores` adds each class's mean score to the JSON.
        `exports` are written too, before the JSON. Errors as `export`.
        """
        found = self.scores() if scores else None
        record = record_of(self.labels, self.names, found, self.palette, self.caveats)
        return self.write(Written(out_dir), stem or self.stem, [*export_kinds(exports), *PICTURES], record)

    def export(
        self, out_dir: str | Path, kinds: str | Sequence[str], stem: str | None = None, tolerance: float = 0.0
    ) -> dict[str, Path]:
        """Write files that other tools read; returns their paths by kind. docs/exports.md tells of each.

        `kinds` are one or more of "labels", "overlay", "svg", "coco", "coco-instances", "coco-panoptic",
        "labelme", "yolo", "geojson", "npz" (`freeda.options.EXPORTS`). Polygons leave the true outlines by at
        most `tolerance` pixels: 0 is exact. Raises InputError for another kind, for what was not kept, for a
        georeference that cannot be kept, where writing fails, and where a file of that name is there that
        freeda did not write or that was changed since; then none of the files is new.
        """
        return self.write(Written(out_dir), stem or self.stem, export_kinds(kinds), tolerance=tolerance)

    def write(
        self,
        folder: Written,
        stem: str,
        kinds: Sequence[str],
        record: Mapping[str, Any] | None = None,
        tolerance: float = 0.0,
    ) -> dict[str, Path]:
        """`export` into an open folder, and STEM.json where there is a `record` (`record_of` and more).

        All files or none are new; the JSON is renamed last: where it is, all is there.
        """
        if Path(stem).name != stem:
            raise InputError(f"stem {stem!r} is not a file name: folders belong into out_dir")
        names = export_names(stem, dict.fromkeys(kinds))
        kept = (self.labels, self.names, self.palette, self.photo, self.file)
        labelled = Labelled(*kept, folder.folder, stem, tolerance, self.caveats)
        drawn = (render(labelled, kind) for kind in kinds if kind != "npz")
        made = {name: data for files in drawn for name, data in files.items()}
        if record is not None:
            names["json"] = f"{stem}{RECORD}"
            found = {} if self.tree is None else {"tree": self.tree.to_dict()}
            told = {"format": FORMAT, "image": self.source, **{kind: names[kind] for kind in PICTURES}}
            made_by = {"options": to_dict(self.options), "models": self.models}
            made[names["json"]] = to_json({**told, **record, **found, **made_by}).encode()
        with folder.replace(*names.values()) as temps:
            for name, temp in zip(names.values(), temps, strict=True):
                if name in made:
                    temp.write_bytes(made[name])
                else:  # an npz, with whatever there is
                    keep = "labels" if self.photo is None else "image" if self.scene is None else "scene"
                    dump_npz(temp, RESULT, *parts_of(self, keep))
        return {kind: folder.folder / name for kind, name in names.items()}

    def save_npz(self, path: str | Path, keep: str = "scene") -> Path:
        """Write one .npz file that `load_npz` reads back; docs/python.md says what is in it.

        `keep` is "scene" (everything: scores can still be asked for, and the photograph labelled anew),
        "image" (labels, region map and the photograph's pixels) or "labels" (no pixels). Raises InputError
        for another word, for what an earlier file did not keep, and where writing fails.
        """
        return write_npz(path, RESULT, *parts_of(self, keep))

    @classmethod
    def load_npz(cls, path: str | Path) -> Segmentation:
        """Read what `save_npz` wrote. Raises InputError for a file that is damaged or something else."""
        return cls(**read_segmentation(path))

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, or another process, gets of it: neither the bank nor what can be computed again."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "bank"} | {"bank": None}

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.labels, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        shares = sorted(self.shares.items(), key=lambda item: -item[1])
        found = [f"{name} {percent(share)}" for name, share in shares if share > 0]
        more = f", and {len(found) - 5} more" if len(found) > 5 else ""
        of = f" of {self.file.name}" if self.file else ""
        return f"<Segmentation{of}, {self.size[1]} x {self.size[0]}: {', '.join(found[:5])}{more}>"

    def _repr_html_(self) -> str:
        """The overlay and the shares of the classes found, for notebooks."""
        name = self.file.name if self.file else None
        return result_html(self.photo, self.labels, self.names, self.palette, name, self.caveats)

    def _listed(self, names: Sequence[str] | None) -> list[str]:
        if isinstance(names, str):
            raise InputError(f"names must be a list of strings, not the one string {names!r}")
        return list(self.names if names is None else names)

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"there is no class {name!r} here: the classes are {', '.join(self.names)}")
        return self.names.index(name)

    def _strips(self) -> Iterator[tuple[int, int, Floats]]:
        return dense_scores(self.place_scores(), self.size)


def segment_scene(
    scene: Scene,
    vocabulary: Vocabulary,
    options: SegmentOptions | None = None,
    bank: ReferenceBank | None = None,
    clock: Clock = OFF,
    score: LocalScore | None = None,
    support: Support | None = None,
) -> Segmentation:
    """Join a scene and a vocabulary: milliseconds, nothing is encoded. `options` None: the scene's.

    `bank` explains, and its region values (`bank.regions`) support; `support` is what they gave before, for
    a result whose bank is not at hand.

    Raises InputError where the two were made with different models.
    """
    if vocabulary.models and scene.models and (told := difference(vocabulary.models, scene.models)):
        raise InputError(f"this vocabulary was made with {told}: make it again with these models")
    if (
        scene.mosaic.features.shape[1] != vocabulary.prototypes.shape[-1]
        or scene.mosaic.embeddings.shape[1] != vocabulary.text_embeddings.shape[1]
    ):
        raise InputError("this scene and this vocabulary were made with different models")
    options = scene.options if options is None else options
    if scene.prompts is not None:
        check_detecting(options)
        if scene.prompts != vocabulary.prompts:
            raise InputError(
                f"these scores are of {', '.join(scene.prompts)[:80]}, and of no other words: give the model "
                "the scene, FreeDA.segment(result.scene, names)"
            )
    if vocabulary.options is not None:  # so that the record tells what really made the prototypes
        options = replace(options, **{name: getattr(vocabulary.options, name) for name in VOCABULARY})
    names, models = label_names(vocabulary.names, options), dict(scene.models)
    with clock("labels"):
        values = values_of(bank)
        options = resolve(options, len(vocabulary.prototypes) > 0, values is not None or support is not None)
        if not options.weights.support:
            support = None
        elif values is not None:
            support = retrieve_support(scene, values, options.weights.neighbours)
            models["values"] = identity_of(values)
        scores = place_scores(scene, vocabulary, options, score, bank, support)
        labels = label_map(scores, scene.size)
        if options.region_vote:
            labels = voted(labels, enlarged(scene.regions(), scene.size))
    caveats = Caveats(scene.outside, vocabulary.answered or {})
    photo = scene.image
    if score is not None:
        models["score"] = score.name
    kept = (scene.file, models, scene, vocabulary, photo)
    return Segmentation(
        labels, names, options, *kept, score=score, bank=bank, support=support, caveats=caveats
    )
