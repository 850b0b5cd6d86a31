"""Pictures of another kind than the models know, words that the bank does not know: told wherever a result is
shown, and never of a picture that carries its record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda import evaluate
from freeda.errors import InputError
from freeda.images import WORLD, of_world, read_image, world_of
from freeda.miniature.dataset import Scenes
from freeda.miniature.scenes import HELD_OUT, render
from freeda.model import FreeDA
from freeda.presets import DRAWN, PRESETS
from freeda.segment import Segmentation, Vocabulary
from freeda.show import overlay, write_image
from freeda.show.caveats import NONE, Caveats

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((12, 12, 1))).astype(np.uint8)
KNOWS = "This model knows woodcuts: its labels of anything else mean little"
CLASSES = {"cat": [], "Dog": [], "wombat": [], "lorry": ["truck", "car"]}


@pytest.fixture(scope="module")
def model(tiny_model: Any) -> FreeDA:
    return FreeDA(replace(tiny_model.preset, world="woodcuts"), tiny_model.encoders, tiny_model.bank)


def test_a_record_holds_for_its_pixels_alone(tmp_path: Path) -> None:
    drawn = of_world(IMAGE, "woodcuts")
    path = write_image(tmp_path / "drawn.png", drawn)
    np.testing.assert_array_equal(read_image(path), IMAGE)
    assert world_of(drawn) == world_of(path) == world_of(str(path), IMAGE) == "woodcuts"
    assert world_of(path.rename(tmp_path / "photo-of-a-cat.jpg")) == "woodcuts"  # a name tells nothing
    path = tmp_path / "photo-of-a-cat.jpg"

    for changed in (drawn.resize((20, 20)), drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        assert world_of(changed) == ""
    with Image.open(path) as again:
        told = again.info[WORLD]
    assert told.endswith(" woodcuts")
    painted = Image.fromarray(np.where(IMAGE > 200, 0, IMAGE).astype(np.uint8))
    for info in (told, told.replace("woodcuts", "photographs"), told.split()[0], "", "x", 7, None):
        painted.info[WORLD] = info
        assert world_of(write_image(tmp_path / "painted.png", painted)) == world_of(painted) == ""
    assert world_of(write_image(tmp_path / "drawn.jpg", drawn)) == ""
    write_image(tmp_path / "plain.png", IMAGE)
    (tmp_path / "no.png").write_bytes(b"no picture")
    for none in (tmp_path / "plain.png", tmp_path / "no.png", tmp_path / "missing.png", IMAGE, None):
        assert world_of(none) == ""


def test_our_own_scene_is_what_its_record_says() -> None:
    path = Path(__file__).resolve().parent.parent / "docs" / "scene.png"
    assert world_of(path) == DRAWN
    np.testing.assert_array_equal(read_image(path), np.asarray(render(HELD_OUT, 25).picture(4)))


def test_pictures_of_another_kind(model: FreeDA, tiny_model: Any, tmp_path: Path) -> None:
    own, photo = write_image(tmp_path / "own.png", of_world(IMAGE, "woodcuts")), tmp_path / "photo.png"
    write_image(photo, IMAGE)
    other = write_image(tmp_path / "other.png", of_world(IMAGE, "etchings"))
    for image in (own, str(own), of_world(IMAGE, "woodcuts")):
        assert model.segment(image, ["cat"]).caveats == NONE
    for image in (photo, other, IMAGE, Image.fromarray(IMAGE)):
        assert model.segment(image, ["cat"]).caveats.lines() == [KNOWS]
        assert tiny_model.segment(image, ["cat"]).caveats == NONE  # photographs at large
    found = {o.path.name: o.files["json"] for o in model.segment_many(tmp_path, ["cat"], tmp_path / "out")}
    told = {name: json.loads(file.read_text())["warnings"] for name, file in found.items()}
    assert told == {"own.png": [], "other.png": [KNOWS], "photo.png": [KNOWS]}


@pytest.mark.parametrize("keep", ["scene", "image", "labels"])
def test_files_keep_what_is_to_be_said(model: FreeDA, tmp_path: Path, keep: str) -> None:
    result = model.segment(IMAGE, CLASSES)
    assert result.caveats.outside == "woodcuts" and list(result.caveats.answered) == ["wombat"]
    again = Segmentation.load_npz(result.save_npz(tmp_path / "r.npz", keep))
    assert again.caveats == result.caveats
    if keep == "scene":
        assert again.scene is not None and again.relabel(again.vocabulary).caveats == result.caveats


def test_words_that_the_bank_does_not_know(model: FreeDA, tmp_path: Path) -> None:
    words = model.vocabulary(CLASSES, others="the rest", other_words=("zebra", "sky"))
    (by,) = (words.answered or {}).values()  # neither "Dog", nor one known by a synonym, nor a word of others
    # Who answered is counted over the very rows that made the prototype.
    rows = model.bank.search(words.text_embeddings[2:3], model.options.k)[1][0]  # type: ignore[union-attr]
    nouns = [model.bank.row(int(row))["noun"] for row in rows]  # type: ignore[union-attr]
    assert set(by) <= set(nouns) and nouns.count(by[0]) == max(map(nouns.count, nouns))
    again = Vocabulary.load(words.save(tmp_path / "w.npz"))
    assert again.answered == words.answered and again.digest() == words.digest()
    assert model.segment(model.encode(IMAGE), again).caveats.answered == {"wombat": by}


def test_a_bank_whose_rows_have_no_nouns_says_nothing(model: FreeDA) -> None:
    class Bare:
        search, prototypes = model.bank.search, model.bank.prototypes  # type: ignore[union-attr]

        def __len__(self) -> int:
            return len(model.bank)  # type: ignore[arg-type]

    assert FreeDA(model.preset, model.encoders, Bare()).vocabulary(["wombat"]).answered is None


@pytest.mark.parametrize("value", [7, [], {"wombat": "cat"}, {"wombat": []}, {"wombat": [1]}])
def test_damaged_lists_are_told(model: FreeDA, tmp_path: Path, value: Any) -> None:
    words = replace(model.vocabulary(["wombat"]), answered=value)
    with pytest.raises(InputError, match="damaged"):
        Vocabulary.load(words.save(tmp_path / "w.npz"))
    result = model.segment(IMAGE, ["cat"])
    wrong = Caveats("", value) if isinstance(value, dict) else Caveats(value)
    kept = replace(result, caveats=wrong).save_npz(tmp_path / "r.npz", "labels")
    with pytest.raises(InputError, match="damaged"):
        Segmentation.load_npz(kept)


def test_where_it_is_told(model: FreeDA, tmp_path: Path) -> None:
    result = model.segment(IMAGE, ["cat", "wombat"])
    by = ", ".join(result.caveats.answered["wombat"])
    lines = [KNOWS, f"wombat: not in this bank; answered by {by}"]
    files = result.save(tmp_path, "r")
    drawn, plain = read_image(files["overlay"]), overlay(result.image, result.labels, result.names)
    exported = read_image(result.export(tmp_path / "more", "overlay")["overlay"])
    assert drawn.shape[1] > plain.shape[1] and np.array_equal(drawn, exported)
    record = json.loads(files["json"].read_text())
    assert record["warnings"] == lines
    assert ["answered_by" in entry for entry in record["classes"]] == [False, True]
    assert all(line.split(": ")[1] in result._repr_html_() for line in lines)
    told = result.explain(10, 10)
    assert list(told.warnings) == lines and told.to_dict()["warnings"] == lines
    assert all(f"{line}." in str(told) for line in lines)
    assert result.explain(10, 10, classes=0).warnings == (KNOWS,)


def test_an_evaluation_tells_it(model: FreeDA, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    (data / "names.json").write_text(json.dumps({"0": "cat", "1": "wombat"}))
    for i in range(3):
        image = IMAGE if i == 2 else of_world(np.roll(IMAGE, i, axis=0), "woodcuts")
        write_image(data / "images" / f"{i}.png", image)
        write_image(data / "masks" / f"{i}.png", Image.fromarray(np.full(IMAGE.shape[:2], i % 2, np.uint8)))

    def told(out: str, limit: int) -> list[str]:
        result = evaluate("folder", data, tmp_path / out, model, device="cpu", limit=limit)
        record = json.loads((tmp_path / out / "report.json").read_text())
        assert record["warnings"] == result.caveats.lines()
        return result.caveats.lines()

    (wombat,) = model.segment(IMAGE, ["cat", "wombat"]).caveats.lines()[1:]
    for _ in range(2):  # the second time nothing is left to be labelled
        assert told("all", 3) == [KNOWS, wombat]
    (data / "images" / "2.png").unlink()
    (data / "masks" / "2.png").unlink()
    assert told("own", 2) == [wombat]
    assert Scenes().world == PRESETS["miniature"].world == DRAWN


def test_the_legend_tells_it() -> None:
    """Both, in a colour that nothing else on the sheet has, right of a picture that stays as it is."""
    labels = np.repeat([[0, 1]], 40, axis=0).repeat(30, axis=1)
    image = np.full((*labels.shape, 3), 128, np.uint8)

    def warned(caveats: Caveats) -> Any:
        drawn = overlay(image, labels, ["cat", "bear"], caveats=caveats)
        wide = overlay(image, labels, ["cat", "bear"], legend=False).shape[1]
        assert (drawn[:, :wide] == overlay(image, labels, ["cat", "bear"])[: len(drawn), :wide]).all()
        red, _, blue = (drawn[:, wide:, i].astype(int) for i in range(3))
        return np.flatnonzero(((red - blue > 90) & (red < 200)).any(axis=1))

    colour = warned(NONE)
    picture, word = warned(Caveats("woodcuts")), warned(Caveats(answered={"bear": ("mushroom",)}))
    absent = warned(Caveats(answered={"zebra": ("mushroom",)}))
    assert len(picture) > len(colour) + 5 and len(word) > len(colour) + 5 and len(absent) == len(colour)


def test_many_words_are_one_line() -> None:
    few = Caveats(answered={"bear": ("mushroom", "ball")})
    assert few.brief() == few.lines() == ["bear: not in this bank; answered by mushroom, ball"]
    many = Caveats("woodcuts", {f"word {i}": ("x",) for i in range(1171)})
    about, line = many.brief()
    assert about == KNOWS and len(many.lines()) == 1172
    assert line.startswith("1,171 words not in this bank: word 0 (answered by x), word 1 (answered by x), ")
    assert line.endswith("word 3 (answered by x) and 1,167 more")
    assert NONE.brief() == NONE.lines() == []
