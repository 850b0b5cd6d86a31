"""Names found in a bank: votes, merging and nearness against a plain reference, and what results tell."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import freeda
from freeda.bank.layered import GrownBank, LayeredBank
from freeda.errors import BankError, InputError
from freeda.miniature.scenes import HELD_OUT, render
from freeda.miniature.trial import CLASS_OF
from freeda.options import Naming
from freeda.segment.naming import Namer
from small_banks import KEY, PROTOTYPE, make_bank, make_pair

NOUNS = ("sofa", "couch", "cat", "", "sky", "Background", "cat ")


def pair(i: int, noun: str, spread: float = 0.4) -> Any:
    """A row near its noun's own place; "couch" and "sofa" share one."""
    place = np.random.default_rng(sum(map(ord, {"couch": "sofa"}.get(noun, noun.strip()))))
    own, rng = place.normal(size=KEY + PROTOTYPE), np.random.default_rng(i)
    key, prototype = np.split(own + spread * rng.normal(size=KEY + PROTOTYPE), [KEY])
    key = (key / np.linalg.norm(key)).astype(np.float16)
    return make_pair(i, noun=noun, key=key, prototype=(7 * prototype).astype(np.float16))


def small(path: Path, first: int, n: int, nouns: tuple[str, ...] = NOUNS) -> freeda.Bank:
    return make_bank(path, [[pair(first + i, nouns[i % len(nouns)]) for i in range(n)]])


def banks(folder: Path) -> dict[str, Any]:
    one, other = small(folder / "one", 0, 40), small(folder / "other", 100, 25, ("sky", "couch", "dog"))
    return {"bank": one, "layered": LayeredBank([one, other]), "grown": GrownBank(one, other)}


def scene_of(features: np.ndarray) -> Any:
    return SimpleNamespace(region_features=lambda: features.astype(np.float32))


def random_regions(n: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, PROTOTYPE))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Plain:
    """The rules in loops over lists."""

    def __init__(self, bank: Any, options: Naming) -> None:
        self.options = options
        self.words = ["" if w.strip().lower() == "background" else w.strip().lower() for w in bank.nouns]
        rows = np.arange(len(bank))
        self.keys = np.asarray(bank.keys[rows], np.float64)
        looks = np.asarray(bank.prototypes[rows], np.float64)
        self.looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)
        self.count = Counter(w for w in self.words if w)

    def nearest(self, look: np.ndarray, n: int) -> list[tuple[float, int]]:
        cosines = sorted((-float(look @ other), row) for row, other in enumerate(self.looks))
        return [(-c, row) for c, row in cosines[:n]]

    def near(self) -> float:
        found = []
        for row, word in enumerate(self.words):
            others = self.nearest(self.looks[row], self.options.neighbours + 1)
            own = [c for c, r in others if r != row and word and self.words[r] == word]
            found += own[:1]
        return float(np.quantile(found, self.options.far)) if found else 2.0

    def point(self, word: str) -> list[np.ndarray]:
        named = np.array([bool(w) for w in self.words])
        out = []
        for part in (self.keys, self.looks):
            mean = part[np.array(self.words) == word].mean(axis=0) - part[named].mean(axis=0)
            out.append(mean / np.linalg.norm(mean))
        return out

    def merged(self, words: set[str]) -> dict[str, str]:
        leaders: list[str] = []
        of: dict[str, str] = {}
        for word in sorted(words, key=lambda w: (-self.count[w], w)):
            for leader in leaders:
                pairs = zip(self.point(word), self.point(leader), strict=True)
                if min(float(a @ b) for a, b in pairs) >= self.options.merge:
                    of[word] = leader
                    break
            else:
                leaders.append(word)
                of[word] = word
        return of

    def find(self, features: np.ndarray) -> tuple[dict[str, set[str]], list[dict[str, float]], list[float]]:
        votes, near = [], []
        for feature in features:
            counted: Counter[str] = Counter()
            found = [(c, self.words[r]) for c, r in self.nearest(feature, self.options.neighbours)]
            for cosine, word in found:
                if word:
                    counted[word] += max(cosine, 0.0)  # type: ignore[assignment]
            near.append(max((c for c, word in found if word), default=-1.0))
            votes.append(counted)
        of = self.merged({word for counted in votes for word in counted})
        names: dict[str, set[str]] = {}
        total: Counter[str] = Counter()
        for counted in votes:
            for word, vote in counted.items():
                total[of[word]] += vote  # type: ignore[assignment]
        for leader in sorted(total, key=lambda w: (-total[w], w)):
            mine = [
                sum(v for w, v in counted.items() if of[w] == leader) / max(sum(counted.values()), 1e-12)
                for counted in votes
            ]
            if max(mine) >= self.options.votes and max(mine) > 0:
                names[leader] = {w for w, other in of.items() if other == leader} - {leader}
        shares = [{w: v / sum(c.values()) for w, v in c.items() if v > 0} for c in votes]
        return names, shares, near


@pytest.mark.parametrize(
    "options", [Naming(), Naming(neighbours=3, votes=0.5, merge=0.4, far=0.3), Naming(merge=-1.0), Naming(70)]
)
@pytest.mark.parametrize("kind", ["bank", "layered", "grown"])
def test_as_the_rules_say(tmp_path: Path, kind: str, options: Naming) -> None:
    bank = banks(tmp_path)[kind]
    namer, plain = Namer(bank, options), Plain(bank, options)
    features = random_regions(9)
    found = namer.find(scene_of(features))
    names, shares, near = plain.find(features)
    assert namer.near == pytest.approx(plain.near(), abs=1e-3)
    assert list(found.names) == list(names)
    assert {name: set(words) for name, words in found.names.items()} == names
    np.testing.assert_allclose(found.nearest, near, atol=1e-3)
    for row, expected in zip(found.votes, shares, strict=True):
        mine = {w: v for w, v in zip(found.words, row, strict=True) if v > 0}
        assert mine == pytest.approx(expected, abs=2e-3)


def test_what_is_alike_is_one_name(tmp_path: Path) -> None:
    namer = Namer(banks(tmp_path)["bank"], Naming())
    found = namer.find(scene_of(random_regions(40)))
    assert ("sofa" in found.names) != ("couch" in found.names)
    joined = {name: words for name, words in found.names.items() if words}
    assert set(joined) | {w for words in joined.values() for w in words} == {"sofa", "couch"}
    assert set(namer.words) == {"sofa", "couch", "cat", "sky"}  # "cat " is cat; blank and background are none


def test_equal_votes_go_by_the_alphabet(tmp_path: Path) -> None:
    """Rows that are the same but for their nouns: whatever their order, the same names in the same order."""
    made = []
    for number, nouns in enumerate([("b", "a", "c"), ("c", "b", "a")]):
        rows = [replace(pair(7, "a"), noun=noun, caption_id=f"c{i}") for i, noun in enumerate(nouns * 2)]
        namer = Namer(make_bank(tmp_path / str(number), [rows]), Naming(neighbours=6))
        found = namer.find(scene_of(random_regions(3)))
        assert found.votes.shape == (3, 3) and namer.near == pytest.approx(1, abs=1e-3)
        made.append((found.names, sorted(found.words)))
    assert made[0] == made[1] and next(iter(made[0][0])) == "a"


def test_a_blank_noun_names_nothing(tmp_path: Path) -> None:
    rows = [pair(i, "cat") for i in range(4)] + [pair(i, "sky") for i in range(4)]
    rows = [replace(row, noun=noun) for row, noun in zip(rows, ["cat"] * 4 + [" "] * 4, strict=True)]
    bank = make_bank(tmp_path, [rows])
    looks = np.asarray(bank.prototypes, np.float64)
    sky = looks[4:5] / np.linalg.norm(looks[4:5])
    found = Namer(bank, Naming(neighbours=2)).find(scene_of(sky))
    assert list(found.names) == ["cat"] and found.nearest.tolist() == [-1] and not found.votes.any()


def test_banks_that_name_nothing(tmp_path: Path) -> None:
    empty = small(tmp_path / "one", 0, 4).only(["nothing"])
    blank = make_bank(tmp_path / "blank", [[pair(0, " "), pair(1, "background")]])
    named_by_files = SimpleNamespace(nouns=["0.pt"], named=False, keys=0, search=0)
    for bank, kind, said in (
        (None, InputError, "preset 'vit-b' has none of its own"),
        (empty, BankError, "holds no pairs"),
        (blank, BankError, "no row has a noun"),
        (named_by_files, BankError, "its rows have no nouns"),
        (SimpleNamespace(search=0), BankError, "its rows have no nouns"),
    ):
        with pytest.raises(kind, match=said):
            Namer(bank, Naming(), "vit-b")  # type: ignore[arg-type]
    alone = Namer(make_bank(tmp_path / "alone", [[pair(0, "cat")]]), Naming())
    assert alone.near == 2 and list(alone.find(scene_of(random_regions(2))).names) == ["cat"]
    with pytest.raises(InputError, match="no regions"):
        alone.find(scene_of(random_regions(0)))


@pytest.fixture(scope="module")
def model() -> freeda.FreeDA:
    return freeda.load("miniature")


def test_a_scene_of_the_small_world(model: freeda.FreeDA, tmp_path: Path) -> None:
    drawn = render(HELD_OUT, 25)
    scene = model.encode(drawn.image)
    result = model.name(scene)
    again = model.name(drawn.image)
    assert np.array_equal(result.labels, again.labels) and result.tree == again.tree
    assert all(result.shares[name] > 0 for name in result.names if name != "background")
    meant = np.array([CLASS_OF.get(name, "") for name in result.names])[result.labels]
    truth = np.array(freeda.miniature.scenes.CLASSES)[drawn.labels]
    assert (meant == truth).mean() > 0.8
    tree = result.tree
    assert tree is not None
    assert {area.name: pytest.approx(area.share) for area in tree.areas} == {
        name: share for name, share in result.shares.items() if share > 0
    }
    for area in tree.areas:
        assert sum(word.share for word in area.words) == pytest.approx(area.share)
        for word in area.words:
            assert sum(one.share for one in word.regions) == pytest.approx(word.share)
            for one in word.regions:
                here = (result.labels == result.names.index(area.name)) & (result.regions == one.region)
                assert one.share == pytest.approx(here.mean())
                assert sum(one.votes.values()) == pytest.approx(1)
        assert f"{area.name} " in str(tree)
    confident = result.scores().argmax(axis=0)
    assert np.array_equal(confident, result.labels)
    assert "Names were found" in str(result.explain(5, 5))
    files = result.save(tmp_path, exports=["labelme", "npz"])
    record = json.loads(files["json"].read_text())
    assert record["tree"] == json.loads(json.dumps(tree.to_dict()))
    kept = freeda.Segmentation.load_npz(files["npz"])
    assert np.array_equal(kept.labels, result.labels) and kept.names == result.names and kept.tree is None
    with pytest.raises(InputError, match="scored by 'near'"):
        kept.scores()
    words = model.vocabulary(["sky", "night", "house"])
    for known in (result, kept):  # words that are given are scored as ever
        assert np.array_equal(known.relabel(words).labels, model.segment(scene, words).labels)


def test_other_regions_and_options(model: freeda.FreeDA) -> None:
    drawn = render(HELD_OUT, 25)
    given = drawn.labels.astype(int)
    given[:20] = -1
    result = model.name(drawn.image, regions=given, naming=Naming(far=0.0))
    assert result.options.naming.far == 0 and result.tree is not None
    parts = sum(one.share for area in result.tree.areas for word in area.words for one in word.regions)
    assert parts == pytest.approx(1 - 20 / 128)
    every = model.name(drawn.image, background="constant", background_threshold=-1.0)
    assert every.shares["background"] == 0
    with pytest.raises(InputError, match="cannot change after encoding"):
        model.name(model.encode(drawn.image), regions=given)


def test_noise_is_not_named(model: freeda.FreeDA) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert model.name(noise).shares["background"] > 0.6
    nothing = model.name(noise, naming=Naming(far=1.0))
    assert nothing.shares["background"] == 1 and len(nothing.names) == 2
    assert nothing.tree is not None and [area.name for area in nothing.tree.areas] == ["background"]
    assert "nothing in the bank is near" in str(nothing.tree)


def test_many_photographs(model: freeda.FreeDA, tmp_path: Path) -> None:
    for i in range(2):
        freeda.show.write_image(tmp_path / "in" / f"{i}.png", render(HELD_OUT, i).picture(1))
    first = list(model.segment_many(tmp_path / "in", model.namer(), tmp_path / "out"))
    for outcome in first:
        assert outcome.result is not None
        alone = model.name(outcome.path)
        assert np.array_equal(alone.labels, outcome.result.labels) and alone.tree == outcome.result.tree
    assert all(o.kept for o in model.segment_many(tmp_path / "in", model.namer(), tmp_path / "out"))
    other = {"naming": Naming(neighbours=5)}
    assert not any(
        o.kept for o in model.segment_many(tmp_path / "in", model.namer(**other), tmp_path / "out", **other)
    )
    with pytest.raises(InputError, match="yolo numbers classes"):
        list(model.segment_many(tmp_path / "in", model.namer(), tmp_path / "out", exports="yolo"))


def test_a_score_of_ones_own_stays(model: freeda.FreeDA) -> None:
    class Flat:
        name = "example/flat"

        def __call__(self, features: Any, vocabulary: Any, bank: Any, options: Any) -> Any:
            return np.full((len(features), len(vocabulary.text_embeddings)), 0.5, np.float32)

    own = freeda.FreeDA(model.preset, model.encoders, model.bank, score=Flat())
    assert own.name(render(HELD_OUT, 3).image).models["score"] == "near, example/flat"
