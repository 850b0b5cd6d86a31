"""Exports from a segmentation, from many photographs, from a saved file; and what a notebook shows."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export_readers import read_coco, read_svg
from freeda.errors import InputError
from freeda.options import EXPORTS
from freeda.segment import Segmentation
from freeda.show import palette, to_hex
from freeda.show.palette import REST

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((12, 12, 1))).astype(np.uint8)
WORDS = ["cat", "<b>wooden & table</b>", "größe 🙂"]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def result(tiny_model: Any) -> Segmentation:
    return tiny_model.segment(IMAGE, WORDS, k=3)


def test_every_kind_at_once(result: Segmentation, tmp_path: Path) -> None:
    files = result.export(tmp_path, list(EXPORTS))
    assert set(files) == {*EXPORTS, "coco-panoptic.json"}
    assert sorted(p.name for p in files.values()) == sorted(p.name for p in tmp_path.glob("[!.]*"))
    assert {p.name for p in files.values()} == {"image" + end for ends in EXPORTS.values() for end in ends}
    np.testing.assert_array_equal(read_svg(files["svg"], result.size)[0], result.labels)
    np.testing.assert_array_equal(read_coco(files["coco"], result.size)[0], result.labels)
    again = Segmentation.load_npz(files["npz"])
    np.testing.assert_array_equal(again.labels, result.labels)
    assert again.scene is not None
    # The usual pictures are those that `save` writes, to the byte.
    usual = result.save(tmp_path / "usual", exports="svg")
    assert set(usual) == {"svg", "labels", "overlay", "json"}
    for kind in ("svg", "labels", "overlay"):
        assert usual[kind].read_bytes() == files[kind].read_bytes(), kind


def test_what_is_none_of_the_words_is_grey_everywhere(tiny_model: Any, tmp_path: Path) -> None:
    more = {"others": " The  rest", "background": "constant", "background_threshold": 0.6}
    result = tiny_model.segment(IMAGE, WORDS, **more)
    grey = [to_hex(REST[kind]) for kind in ("others", "background")]
    assert result.names == (*WORDS, "The rest", "background")
    expected = [*map(to_hex, palette(3)), *grey]
    assert list(map(to_hex, result.palette)) == expected
    files = result.save(tmp_path, exports=["svg", "coco-panoptic"])
    assert [one["colour"] for one in json.loads(files["json"].read_text())["classes"]] == expected
    table = np.array(Image.open(files["labels"]).getpalette()).reshape(-1, 3)[:5]
    assert [to_hex(colour) for colour in table] == expected
    coco = json.loads(files["coco-panoptic.json"].read_text())["categories"]
    assert [to_hex(np.array(one["color"])) for one in coco] == expected
    found = {expected[i] for i in np.unique(result.labels)}
    assert set(re.findall('fill="(#.{6})"', files["svg"].read_text())) == found and found & set(grey)
    typed = tiny_model.segment(IMAGE, ["cat", "Background"], **{**more, "background": "none", "others": None})
    assert to_hex(typed.palette[1]) == grey[1]


def test_from_a_file_that_kept_less(result: Segmentation, tmp_path: Path) -> None:
    bare = Segmentation.load_npz(result.save_npz(tmp_path / "bare.npz", keep="labels"))
    kinds = [kind for kind in EXPORTS if kind != "overlay"]
    files = bare.export(tmp_path / "out", kinds, "x")
    np.testing.assert_array_equal(read_svg(files["svg"], result.size)[0], result.labels)
    np.testing.assert_array_equal(Segmentation.load_npz(files["npz"]).labels, result.labels)
    seen = Segmentation.load_npz(result.save_npz(tmp_path / "seen.npz", keep="image"))
    again = Segmentation.load_npz(seen.export(tmp_path / "out", "npz", "y")["npz"])
    assert again.scene is None and np.array_equal(again.image, result.image)
    for kinds, told in ((["overlay"], "photograph"), (["svg", "pdf"], "no export 'pdf'.*svg")):
        with pytest.raises(InputError, match=told):
            bare.export(tmp_path / "none", kinds)
    assert not (tmp_path / "none").exists()


def test_many_photographs_and_reruns(tiny_model: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / "in" / name)

    def run(words: list[str], *exports: str) -> list[bool]:
        many = tiny_model.segment_many(tmp_path / "in", words, tmp_path / "out", exports=exports)
        return [(outcome.kept, set(outcome.files) >= set(exports))[0] for outcome in many]

    svg = tmp_path / "out" / "a.svg"
    assert run(["cat", "dog"], "svg", "npz") == [False, False] and svg.is_file()
    assert run(["cat", "dog"], "svg") == run(["cat", "dog"]) == [True, True]
    assert run(["cat", "dog"], "svg", "yolo") == [False, False]
    # A run that asks for fewer, or labels anew, forgets none of the others.
    assert run(["cat", "dog"], "npz") == run(["cat", "dog"], "svg", "npz", "yolo") == [True, True]
    list(tiny_model.segment_many(tmp_path / "in", ["cat", "dog"], tmp_path / "out", again=True))
    assert run(["cat", "dog"], "svg", "npz", "yolo") == [True, True]
    svg.unlink()
    assert run(["cat", "dog"], "svg") == [False, True] and svg.is_file()
    # Other words without the drawing leave the old one there: it must not pass for theirs later.
    before = svg.read_text("utf-8")
    assert run(["house", "tree"]) == [False, False] and svg.read_text("utf-8") == before
    assert run(["house", "tree"], "svg") == [False, False]
    assert 'data-name="cat"' not in svg.read_text("utf-8")
    assert json.loads((tmp_path / "out" / "a.json").read_text("utf-8"))["exports"] == ["svg"]
    with pytest.raises(InputError, match="no export 'psd'"):
        tiny_model.segment_many(tmp_path / "in", WORDS, tmp_path / "out", exports=["psd"])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("keep", ["scene", "labels"])
def test_what_a_notebook_shows(result: Segmentation, keep: str, tmp_path: Path) -> None:
    page = Page(Segmentation.load_npz(result.save_npz(tmp_path / "r.npz", keep))._repr_html_())
    (source,) = page.pictures
    data = re.fullmatch("data:image/jpeg;base64,(.+)", source)
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    assert picture.width / picture.height == pytest.approx(84 / 60, rel=0.02)
    found = [name for name, share in result.shares.items() if share > 0]
    assert [text for text in page.texts if text in WORDS] == sorted(found, key=lambda n: -result.shares[n])
    assert f"{100 * result.shares[found[0]]:.1f} %" in page.texts


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2500, 2), (1000, 1921)])
def test_large_and_narrow_results_stay_small(size: tuple[int, int]) -> None:
    from freeda.show import palette
    from freeda.show.html import result_html

    labels = RNG.integers(0, 40, size)
    page = Page(result_html(None, labels, [str(i) for i in range(40)], palette(40), None))
    picture = Image.open(io.BytesIO(base64.b64decode(page.pictures[0].split(",")[1])))
    assert max(picture.size) <= 1920


def test_a_reduced_picture_shows_the_pixels_in_the_middle() -> None:
    from freeda.show import palette
    from freeda.show.html import result_html

    labels = np.zeros((30, 1950), int)  # every third pixel is shown
    labels[1::3, 1::3] = 1
    (source,) = Page(result_html(None, labels, ["a", "b"], palette(2), None)).pictures
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    assert np.abs(picture.astype(int) - palette(2)[1]).max() < 12


def test_supervision(result: Segmentation) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    made = result.to_supervision()
    assert isinstance(made, supervision.Detections) and len(made) == len(np.unique(result.labels))
    for box, mask, _, label, _, data in made:
        name = data["class_name"]
        assert result.names[label] == name
        np.testing.assert_array_equal(mask, result.mask(str(name)))
        ys, xs = np.nonzero(mask)
        np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max(), ys.max()], atol=1)


def test_supervision_is_asked_for_by_name(result: Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match="pip install supervision"):
        result.to_supervision()
