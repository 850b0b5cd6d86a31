"""Pictures of a bank's rows: as kept, or drawn again from the caption and the seed that the row remembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
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
from ..options import PACE, CollectOptions, to_dict
from .limits import Limits
from .sessions import Shelf

Picture = tuple[RGB, npt.NDArray[np.bool_]]
"""A picture (h, w, 3) and a mask (h, w) in it."""
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

    def __init__(self, model: FreeDA, busy: Lock, limits: Limits) -> None:
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
        pictures: list[tuple[RGB, list[tuple[Noun, WordMask]]]] = []
        made = self._shard(
            [Caption("page", text)], seed, lambda _, image, words: pictures.append((image, words))
        )
        if made.error is not None:
            raise InputError(f"this caption cannot be drawn ({told_of(made.error)})")
        if not pictures:
            raise InputError('no noun was found in this caption: try one such as "a red house on the grass"')
        image, words = pictures[0]
        return Drawn(image, tuple(words), {pair.noun for pair in made.pairs})

    def stepwise(self, rows: Sequence[int]) -> Iterator[tuple[dict[int, Picture], bool]]:
        """`pictures`, first those at hand, then with a few more each time; and whether more are to come."""
        found = {row: known for row in rows if (known := self._pictures.get(row)) is not None}
        missing = [row for row in dict.fromkeys(rows) if row not in found]
        yield dict(found), bool(missing)
        for start in range(0, len(missing), _STEP):
            found.update(self.pictures(missing[start : start + _STEP]))
            yield dict(found), start + _STEP < len(missing)

    def pictures(self, rows: Sequence[int]) -> dict[int, Picture]:
        """Picture and mask of those rows of the bank that kept one, or whose picture can be drawn again."""
        bank: Any = self._model.bank
        if not hasattr(bank, "row"):
            return {}
        found: dict[int, Picture] = {}
        missing: dict[int, dict[str, Any]] = {}
        for row in dict.fromkeys(rows):
            known = self._pictures.get(row)
            pair = bank.row(row) if known is None else {}
            if known is not None:
                found[row] = known
            elif pair["image"] is not None and pair["mask"] is not None:
                found[row] = kept_picture(pair, Path(getattr(bank, "path", "bank")), row)
            elif self._same(bank, pair):
                missing[row] = pair
        found.update(self._again(bank, missing))
        for row, picture in found.items():
            self._pictures.put(row, picture)
        return found

    def _again(self, bank: Any, missing: dict[int, dict[str, Any]]) -> dict[int, Picture]:
        """Rows that kept no picture: seed and caption make the same one again, up to rounding."""
        captions = {
            pair["caption_id"]: Caption(pair["caption_id"], pair["caption"]) for pair in missing.values()
        }
        seen: dict[tuple[str, str], Picture] = {}

        def keep(caption: Caption, image: RGB, words: list[tuple[Noun, WordMask]]) -> None:
            seen.update({(caption.id, noun.lemma): (image, word.mask) for noun, word in words})

        if captions:
            self._shard(list(captions.values()), bank.meta["seed"], keep)
        wanted = {row: (pair["caption_id"], pair["noun"]) for row, pair in missing.items()}
        return {row: seen[key] for row, key in wanted.items() if key in seen}

    def _same(self, bank: Any, pair: dict[str, Any]) -> bool:
        """Whether a row's picture is what this machine would draw: same generator, options and seed."""
        meta = getattr(bank, "meta", None)
        if not self.possible or meta is None or "seed" not in meta:
            return False
        mine = {name: value for name, value in to_dict(self.options).items() if name not in PACE}
        theirs = {name: value for name, value in meta["options"].items() if name in mine}
        drawer = generator_of(self._model.preset)
        return bool(
            {**mine, **theirs} == mine
            and without_commits(meta["models"]).get("generator") == without_commits({"": drawer})[""]
            and pair["seed"] == picture_seed(pair["caption_id"], meta["seed"])
        )

    def _shard(self, captions: list[Caption], seed: int, on_picture: Any) -> ShardResult:
        with self._busy:
            if self._models is None:
                self._models = with_generator(self._model.encoders, self._model.preset, self.options)
            return make_shard(captions, self._models, self.options, seed=seed, on_picture=on_picture)
