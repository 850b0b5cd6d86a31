"""Pictures of a bank's rows: as kept, or drawn again from the caption and the seed that the row remembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bank.inspect import kept_picture
from ..collection.captions import Caption
from ..collection.generator import picture_seed
from ..collection.job import generator_of
from ..collection.masks import WordMask
from ..collection.nouns import Noun
from ..collection.shard import CollectModels, ShardResult, make_shard, told_of, with_generator
from ..errors import InputError
from ..identity import without_commits
from ..images import RGB
from ..model import FreeDA
from ..options import PACE, CollectOptions, from_dict, to_dict
from .limits import Limits, Shelf

Picture = tuple[RGB, npt.NDArray[np.bool_]]
"""A picture (h, w, 3) and a mask (h, w) in it."""
_Seen = tuple[RGB, list[tuple[Noun, WordMask]]]
_STEP = 2
"""Pictures drawn before the visitor sees the next ones, and before others have their turn."""
_KEPT = 256
"""Pictures of rows that are remembered."""


@dataclass(frozen=True)
class Drawn:
    """A caption's picture and what was found in it."""

    image: RGB
    words: tuple[tuple[Noun, WordMask], ...]
    kept: set[str]
    """Nouns that would become references of a bank."""


class Drawing:
    """The offline stage at hand: loaded when it is first needed, and only where its weights are local.

    A large preset's generator is gigabytes from the hub and minutes a picture: the page never fetches it.
    """

    def __init__(self, model: FreeDA, busy: AbstractContextManager[Any], limits: Limits) -> None:
        self._model, self._busy = model, busy
        self._models: CollectModels | None = None
        self._pictures: Shelf[Picture] = Shelf(_KEPT, 60.0 * limits.minutes)

    @property
    def possible(self) -> bool:
        """Whether captions can be drawn: the generator's weights lie in folders of this machine."""
        sources = (self._model.preset.generator, self._model.preset.lora)
        return all(Path(source.id).is_dir() for source in sources if source is not None)

    @property
    def options(self) -> CollectOptions:
        """The preset's options of the offline stage."""
        return self._model.preset.collect

    def draw(self, text: str, seed: int) -> Drawn:
        """Draw one caption and locate its nouns. Raises InputError for one without nouns."""
        if not self.possible:
            raise InputError("this model's generator is not on this machine: captions cannot be drawn here")
        made, seen = self._shard([Caption("page", text)], seed)
        if made.error is not None:
            raise InputError(f"this caption cannot be drawn ({told_of(made.error)})")
        if not seen:
            raise InputError('no noun was found in this caption: try one such as "a red house on the grass"')
        image, words = seen["page"]
        return Drawn(image, tuple(words), {pair.noun for pair in made.pairs})

    def stepwise(self, rows: Sequence[int]) -> Iterator[tuple[dict[int, Picture], bool]]:
        """Pictures of rows of the bank, first those at hand, then with a few more each time; and whether more
        are to come. Rows that kept no picture, and whose picture cannot be drawn again, are left out.
        """
        found = {row: known for row in rows if (known := self._pictures.get(row)) is not None}
        missing = [row for row in dict.fromkeys(rows) if row not in found]
        yield dict(found), bool(missing)
        for start in range(0, len(missing), _STEP):
            more = self._made(missing[start : start + _STEP])
            for row, picture in more.items():
                self._pictures.put(row, picture)
            found.update(more)
            yield dict(found), start + _STEP < len(missing)

    def _made(self, rows: Sequence[int]) -> dict[int, Picture]:
        bank: Any = self._model.bank
        pairs = {row: bank.row(row) for row in rows} if hasattr(bank, "row") else {}
        found: dict[int, Picture] = {}
        again: dict[int, dict[str, Any]] = {}
        for row, pair in pairs.items():
            if pair["image"] is not None and pair["mask"] is not None:
                found[row] = kept_picture(pair, Path(getattr(bank, "path", "bank")), row)
            elif self._same(bank, pair):
                again[row] = pair
        if again:  # seed and caption make the same picture again, up to rounding
            captions = {pair["caption_id"]: pair["caption"] for pair in again.values()}
            _, seen = self._shard([Caption(*one) for one in captions.items()], bank.meta["seed"])
            for row, pair in again.items():
                image, words = seen.get(pair["caption_id"], (None, []))
                masks = {noun.lemma: word.mask for noun, word in words}
                if image is not None and pair["noun"] in masks:
                    found[row] = image, masks[pair["noun"]]
        return found

    def _same(self, bank: Any, pair: dict[str, Any]) -> bool:
        """Whether a row's picture is what this machine would draw: same generator, options and seed."""
        meta = getattr(bank, "meta", None)
        if not self.possible or meta is None or "seed" not in meta:
            return False
        mine = {name: value for name, value in to_dict(self.options).items() if name not in PACE}
        then = {name: value for name, value in meta["options"].items() if name in mine}
        try:  # with what was not there yet as it is by default
            filled = to_dict(from_dict(CollectOptions, then))
        except InputError:
            return False
        theirs = {name: filled[name] for name in then}
        drawer = generator_of(self._model.preset)
        return bool(
            {**mine, **theirs} == mine
            and without_commits(meta["models"]).get("generator") == without_commits({"": drawer})[""]
            and pair["seed"] == picture_seed(pair["caption_id"], meta["seed"])
        )

    def _shard(self, captions: list[Caption], seed: int) -> tuple[ShardResult, dict[str, _Seen]]:
        """What captions give, and by their ids the pictures with the nouns that were located."""
        seen: dict[str, _Seen] = {}

        def keep(caption: Caption, image: RGB, words: list[tuple[Noun, WordMask]]) -> None:
            seen[caption.id] = image, words

        with self._busy:
            if self._models is None:
                self._models = with_generator(self._model.encoders, self._model.preset, self.options)
            return make_shard(captions, self._models, self.options, seed=seed, on_picture=keep), seen
