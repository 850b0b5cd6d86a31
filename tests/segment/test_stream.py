"""Many photographs: results as they come, bad files told, nothing done twice, nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from freeda.errors import FreedaWarning, InputError, MachineError
from freeda.segment import Segmentation, Vocabulary
from freeda.segment.stream import ahead

RNG = np.random.default_rng(0)
WORDS = ["cat", "boat", "sky"]


def photo(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def encoded(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were encoded."""
    seen: list[str] = []
    real = tiny_model._read

    def read(image: Any, *args: Any, **keywords: Any) -> Any:
        seen.append(Path(image).name)
        return real(image, *args, **keywords)

    monkeypatch.setattr(tiny_model, "_read", read)
    return seen


def test_results_equal_those_of_one_by_one(tiny_model: Any, folder: Path) -> None:
    outcomes = list(tiny_model.segment_many(folder, WORDS))
    assert [o.path.name for o in outcomes] == ["a.png", "b.png", "c.png"]
    for outcome in outcomes:
        single = tiny_model.segment(outcome.path, WORDS)
        assert np.array_equal(outcome.result.labels, single.labels) and outcome.files == {}


def test_written_as_they_come(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    stream = tiny_model.segment_many(folder / "*.png", WORDS, tmp_path / "out", npz=True)
    first = next(stream)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".freeda.jsonl",
        ".lock",
        "a.json",
        "a.labels.png",
        "a.npz",
        "a.overlay.jpg",
    ]
    assert set(first.files) == {"npz", "labels", "overlay", "json"}
    again = Segmentation.load_npz(first.files["npz"])
    assert np.array_equal(again.labels, np.asarray(Image.open(first.files["labels"])))
    record = json.loads(first.files["json"].read_text())
    assert record["models"] == tiny_model.encoders.identity and len(record["fingerprint"]) == 64


def test_a_rerun_continues(tiny_model: Any, folder: Path, tmp_path: Path, encoded: list[str]) -> None:
    out = tmp_path / "out"
    stream = tiny_model.segment_many(folder, WORDS, out)
    next(stream), next(stream)
    stream.close()
    times = {p: p.stat().st_mtime_ns for p in out.glob("[!.]*")}
    assert encoded[:2] == ["a.png", "b.png"]  # the next one may be read already
    encoded.clear()
    outcomes = list(tiny_model.segment_many(folder, WORDS, out))
    assert encoded == ["c.png"]
    assert [o.kept for o in outcomes] == [True, True, False]
    assert outcomes[0].files["json"] == out / "a.json" and outcomes[0].result is None
    assert times == {p: p.stat().st_mtime_ns for p in times}
    for name in (".0123456789abcdef.tmp", ".mine.tmp"):  # what a killed run left, and somebody's
        (out / name).touch()
    list(tiny_model.segment_many(folder, WORDS, out, again=True))
    assert [p.name for p in out.glob(".*.tmp")] == [".mine.tmp"]
    assert len(encoded) == 4 and len(list(out.glob("[!.]*"))) == 9


@pytest.mark.parametrize(
    "change", ["words", "option", "vocabulary", "photograph", "labels", "json", "npz", "overlay"]
)
def test_what_makes_a_rerun_redo(
    tiny_model: Any, folder: Path, tmp_path: Path, encoded: list[str], change: str
) -> None:
    out, words, more = tmp_path / "out", WORDS, {}
    list(tiny_model.segment_many(folder, words, out))
    if change == "words":
        words = [*WORDS, "dog"]
    elif change == "option":
        more = {"local_weight": 0.5}
    elif change == "vocabulary":
        made = tiny_model.vocabulary(words)
        words = replace(made, prototypes=made.prototypes * np.float32(1.01))
    elif change == "photograph":
        photo(folder / "b.png")
    elif change == "labels":
        (out / "b.labels.png").unlink()
    elif change == "overlay":
        (out / "b.overlay.jpg").unlink()
    elif change == "json":
        (out / "b.json").write_text((out / "b.json").read_text()[:50])
    elif change == "npz":
        more = {"npz": True}
    encoded.clear()
    list(tiny_model.segment_many(folder, words, out, **more))
    everything = change in ("words", "option", "vocabulary", "npz")
    assert encoded == (["a.png", "b.png", "c.png"] if everything else ["b.png"])
    # A damaged record could be anybody's file by now: it stays, and so does what it spoke of.
    more_names = {"b-2.json"} if change == "json" else set()
    assert {p.name for p in out.glob("*.json")} == {"a.json", "b.json", "c.json"} | more_names
    encoded.clear()
    list(tiny_model.segment_many(folder, words, out, **more))
    assert encoded == []


def test_a_saved_vocabulary_is_the_same_vocabulary(
    tiny_model: Any, folder: Path, tmp_path: Path, encoded: list[str]
) -> None:
    made = tiny_model.vocabulary(WORDS)
    list(tiny_model.segment_many(folder, made, tmp_path / "out"))
    encoded.clear()
    again = Vocabulary.load(made.save(tmp_path / "v.npz"))
    assert all(o.kept for o in tiny_model.segment_many(folder, again, tmp_path / "out"))


def test_one_stem_twice_never_overwrites(tiny_model: Any, tmp_path: Path, encoded: list[str]) -> None:
    one, two = photo(tmp_path / "x" / "p.png"), photo(tmp_path / "y" / "p.png", (20, 20))
    out = tmp_path / "out"
    list(tiny_model.segment_many(one, WORDS, out))
    list(tiny_model.segment_many(two, WORDS, out))
    sizes = {p.name: Image.open(p).size for p in out.glob("*.png")}
    assert sizes == {"p.labels.png": (40, 30), "p-2.labels.png": (20, 20)}
    assert all(o.kept for o in tiny_model.segment_many([two, one], WORDS, out))
    assert encoded == ["p.png", "p.png"]


def test_one_name_in_two_present_folders(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    """A path as typed means another file elsewhere: photographs are known by where they lie."""
    sizes = {"A": (40, 30), "B": (20, 20)}
    for place, size in sizes.items():
        photo(tmp_path / place / "photos" / "p.png", size)
    for place in ("A", "B", "A"):
        monkeypatch.chdir(tmp_path / place)
        (outcome,) = tiny_model.segment_many("photos", WORDS, tmp_path / "out")
        record = json.loads(outcome.files["json"].read_text())
        assert (record["width"], record["height"]) == sizes[place]
        assert record["image"] == str(tmp_path / place / "photos" / "p.png")
    assert outcome.kept and len(encoded) == 2
    moved = (tmp_path / "A" / "photos").rename(tmp_path / "C")
    (again,) = tiny_model.segment_many(moved, WORDS, tmp_path / "out")
    assert again.kept and again.files == outcome.files


def test_two_runs_at_once_do_not_mix(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    first = tiny_model.segment_many(folder, WORDS, tmp_path / "out")
    next(first)
    with pytest.raises(InputError, match=r"out: another run is writing this folder of results \(process"):
        next(tiny_model.segment_many(folder, WORDS, tmp_path / "out"))
    assert [o.kept for o in first] == [False, False]
    assert all(o.kept for o in tiny_model.segment_many(folder, WORDS, tmp_path / "out"))


def test_other_peoples_files_beside_the_photographs(tiny_model: Any, folder: Path) -> None:
    names = ("a.txt", "a.svg", "a.npz", "b.json", "c.labels.png", "c.overlay.jpg")
    for name in names:
        (folder / name).write_text(f"somebody's {name}")
    made = [*tiny_model.segment_many(folder / "?.png", WORDS, folder, exports=["yolo", "svg", "npz"])]
    assert [o.files["json"].name for o in made] == ["a-2.json", "b-2.json", "c-2.json"]
    assert all((folder / name).read_text() == f"somebody's {name}" for name in names)
    (folder / "a-2.json").unlink()
    with pytest.raises(InputError, match=r"a\.txt: not written over, since freeda did not write it"):
        made[0].result.export(folder, ["coco", "yolo"])
    assert not (folder / "a.coco.json").exists()
    made[0].result.export(folder, ["yolo"], "d")
    assert made[0].result.export(folder, ["yolo"], "d")["yolo"].name == "d.txt"  # ours: written again


def test_what_somebody_corrected_is_not_written_over(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(tiny_model.segment_many(folder, WORDS, out, exports=["labelme"]))
    (out / "b.labelme.json").write_text("corrected by hand")
    assert all(o.kept for o in tiny_model.segment_many(folder, WORDS, out, exports=["labelme"]))
    made = [*tiny_model.segment_many(folder, ["dog", "sea"], out, exports=["labelme"])]
    assert [o.error is None for o in made] == [True, False, True]
    assert "b.labelme.json: not written over, since freeda did not write it or somebody" in str(made[1].error)
    assert (out / "b.labelme.json").read_text() == "corrected by hand"


def test_one_that_cannot_be_written_stops_no_other(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    long = photo(folder / ("b" * 245 + ".png"))
    made = [*tiny_model.segment_many(folder, WORDS, tmp_path / "out")]
    assert [o.path.name for o in made if o.error] == [long.name]
    assert "File name too long" in str(made[2].error)
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 30), (24, 0), (24, 30))]
    shape = {"driver": "GTiff", "height": 24, "width": 30, "count": 3, "dtype": "uint8"}
    with rasterio.open(folder / "g.tif", "w", **shape, crs="EPSG:4326", gcps=points) as file:
        file.write(np.zeros((3, 24, 30), np.uint8))
    made = [*tiny_model.segment_many(folder, WORDS, tmp_path / "geo", exports=["geojson"])]
    assert [o.path.name for o in made if o.error] == [long.name, "g.tif"]
    assert "g.tif: placed by control points" in str(made[-1].error)
    assert {p.stem for p in (tmp_path / "geo").glob("*.json")} == {"a", "b", "c"}


def test_a_place_on_the_map_goes_with_the_result(
    tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export made later asks no photograph that has the same name by now."""
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    shape = {"driver": "GTiff", "height": 24, "width": 30, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    for place, x in (("A", 500_064), ("B", 700_064)):
        (tmp_path / place).mkdir()
        transform = rasterio.transform.Affine(0.5, 0, x, 0, -0.5, 4_649_776)
        with rasterio.open(tmp_path / place / "tile.tif", "w", **shape, transform=transform) as file:
            file.write(np.full((3, 24, 30), x % 200, np.uint8))
    monkeypatch.chdir(tmp_path / "A")
    (outcome,) = tiny_model.segment_many("tile.tif", WORDS, "out", npz=True)
    monkeypatch.chdir(tmp_path / "B")
    kept = Segmentation.load_npz(tmp_path / "A" / outcome.files["npz"])
    (tmp_path / "A" / "tile.tif").write_bytes((tmp_path / "B" / "tile.tif").read_bytes())
    made = kept.export(tmp_path / "later", "geojson")["geojson"]
    (first, *_) = json.loads(made.read_text())["features"]
    ring = np.asarray(first["geometry"]["coordinates"][0][0])
    assert 500_064 <= ring[:, 0].min() < ring[:, 0].max() <= 500_079
    with pytest.warns(FreedaWarning, match=r"A/tile\.tif: moved or changed"):
        told = json.loads(kept.export(tmp_path / "later", "labelme")["labelme"].read_text())
    assert told["imageData"] is not None and told["imagePath"] == "tile.tif"


def test_results_beside_the_photographs(tiny_model: Any, folder: Path) -> None:
    for _ in range(2):
        outcomes = list(tiny_model.segment_many(folder, WORDS, folder))
        assert [o.path.name for o in outcomes] == ["a.png", "b.png", "c.png"]
    assert all(o.kept for o in outcomes) and len(list(folder.glob("[!.]*"))) == 12


def test_a_bad_file_is_told_and_the_rest_done(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "b.png").write_bytes(b"nothing like a picture")
    outcomes = list(tiny_model.segment_many(folder, WORDS, tmp_path / "out"))
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert "b.png: not an image" in str(outcomes[1].error) and not outcomes[1].kept
    assert {p.stem for p in (tmp_path / "out").glob("*.json")} == {"a", "c"}
    stream = tiny_model.segment_many(folder, WORDS, tmp_path / "out", strict=True)
    assert next(stream).kept
    with pytest.raises(InputError, match=r"b\.png"):
        next(stream)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_photograph_too_large_for_memory(
    tiny_model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = tiny_model.encoders.dense.encode
    calls = iter(range(100))

    def encode(x: Any) -> Any:
        if next(calls) == 0:
            raise error
        return real(x)

    monkeypatch.setattr(tiny_model.encoders.dense, "encode", encode)
    first, *rest = tiny_model.segment_many(folder, WORDS)
    assert "a.png: this photograph does not fit into memory" in str(first.error)
    assert all(o.result is not None for o in rest)


def test_memory_that_fails_while_labelling(
    tiny_model: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freeda.segment import result

    real, calls = result.label_map, iter(range(100))

    def label_map(*given: Any) -> Any:
        if next(calls) == 0:
            raise MemoryError
        return real(*given)

    monkeypatch.setattr(result, "label_map", label_map)
    first, *rest = tiny_model.segment_many(folder, WORDS, tmp_path / "out")
    assert "a.png: this photograph does not fit into memory" in str(first.error)
    assert all(o.files for o in rest)


def test_a_lost_device_is_no_photographs_fault(
    tiny_model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops the stream, strict or not: no other photograph can be labelled by this process."""

    def encode(x: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might")

    monkeypatch.setattr(tiny_model.encoders.dense, "encode", encode)
    for strict in (False, True):
        with pytest.raises(MachineError, match=r"illegal memory access.*does nothing more for this process"):
            next(tiny_model.segment_many(folder, WORDS, strict=strict))


def test_a_mistake_of_ours_is_not_swallowed(
    tiny_model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(x: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(tiny_model.encoders.dense, "encode", encode)
    with pytest.raises(RuntimeError, match="mat1"):
        next(tiny_model.segment_many(folder, WORDS))


@pytest.mark.parametrize(
    ("given", "changes", "says"),
    [
        ("no.png", {}, "no such file"),
        (None, {"k": 0}, "k is 0"),
        (None, {"colour": 1}, "colour"),
        (None, {"classes": []}, "empty"),
        (None, {"classes": ["background"], "background": "constant"}, "'background'"),
    ],
)
def test_mistakes_are_told_before_anything_is_encoded(
    tiny_model: Any, folder: Path, encoded: list[str], given: str | None, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        tiny_model.segment_many(given or folder, **{"classes": WORDS, **changes})
    assert encoded == []


def test_progress(tiny_model: Any, folder: Path) -> None:
    photo(folder / "wide.png", (200, 40))
    starts, windows = [], []
    stream = tiny_model.segment_many(
        folder, WORDS, batch_size=2, on_start=starts.append, on_done=lambda *done: windows.append(done)
    )
    list(stream)
    assert [p.name for p in starts] == ["a.png", "b.png", "c.png", "wide.png"]
    assert windows[-1][0] == windows[-1][1] > 4 and windows[-2][0] < windows[-2][1]


def test_only_the_present_photograph_is_held(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    import gc
    import weakref

    seen = []
    for outcome in tiny_model.segment_many(folder, WORDS, tmp_path / "out"):
        gc.collect()
        assert all(ref() is None for ref in seen)
        seen.append(weakref.ref(outcome.result.scene))
        del outcome
    assert len(seen) == 3


@pytest.mark.parametrize("n", [1, 3])
def test_reading_ahead(n: int) -> None:
    """Items keep their order; at most n are made before they are asked for; an error comes in its place."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(8):
            if i == 6:
                raise InputError("six")
            made.append(i)
            yield i

    found = []
    with pytest.raises(InputError, match="six"):
        for item in ahead(items(), n):
            found.append(item)
            assert len(made) <= len(found) + n
    assert found == made == list(range(6))
    assert list(ahead([], n)) == []


class Broken:
    """An iterator that gives images, and then fails."""

    def __init__(self, *images: Any) -> None:
        self._left = list(images)

    def __iter__(self) -> Broken:
        return self

    def __next__(self) -> Any:
        if self._left:
            return self._left.pop(0)
        raise KeyError("the camera")


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_what_came_before_an_iterator_failed_is_given(
    tiny_model: Any, folder: Path, tmp_path: Path, batch_size: int
) -> None:
    images = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    given = []
    with pytest.raises(KeyError, match="the camera"):
        for outcome in tiny_model.segment_many(Broken(*images), WORDS, batch_size=batch_size):
            given.append(outcome.result.labels)
    expected = [tiny_model.segment(image, WORDS).labels for image in images]
    assert len(given) == 3 and all(map(np.array_equal, given, expected))


def test_a_path_of_an_iterator_that_is_not_there(tiny_model: Any, folder: Path, tmp_path: Path) -> None:
    """Told in its turn, as one that cannot be read; a list is looked at before anything is encoded."""
    paths = [folder / "a.png", folder / "no.png", tmp_path / "*.gif", folder / "c.png"]
    for out in (None, tmp_path / "out"):
        made = [*tiny_model.segment_many(iter(paths), WORDS, out)]
        assert [o.path.name for o in made] == ["a.png", "no.png", "*.gif", "c.png"]
        assert [o.error is None for o in made] == [True, False, False, True]
        assert "no.png: no such file" in str(made[1].error)
    with pytest.raises(InputError, match=r"no\.png: no such file"):
        [*tiny_model.segment_many(iter(paths), WORDS, strict=True)]
    with pytest.raises(InputError, match=r"no\.png: no such file"):
        tiny_model.segment_many(paths, WORDS)


def test_one_image_is_one(tiny_model: Any, folder: Path) -> None:
    """Rows of a tensor are no photographs; those of an array of paths are."""
    path = folder / "a.png"
    image = np.array(Image.open(path))
    expected = tiny_model.segment(image, WORDS).labels
    for one in (image, torch.from_numpy(image), Image.open(path), path, str(path)):
        (outcome,) = tiny_model.segment_many(one, WORDS)
        assert np.array_equal(outcome.result.labels, expected)
        (scene,) = tiny_model.encode_many(one)
        assert np.array_equal(scene.image, image)
    several = np.array([str(path), str(folder / "b.png")])
    assert [o.path.name for o in tiny_model.segment_many(several, WORDS)] == ["a.png", "b.png"]
    assert len([*tiny_model.segment_many(torch.from_numpy(np.stack([image, image])), WORDS)]) == 2
    for none in (None, 3):
        with pytest.raises(InputError, match="names no image file"):
            tiny_model.segment_many(none, WORDS)


def test_what_makes_iterators_is_not_read_ahead(tiny_model: Any, folder: Path) -> None:
    """As data loaders do, which would not fit into memory."""

    class Endless:
        given = 0

        def __iter__(self) -> Any:
            while True:
                self.given += 1
                yield np.zeros((24, 24, 3), np.uint8)

    images = Endless()
    stream = tiny_model.segment_many(images, WORDS, batch_size=1)
    next(stream), next(stream)
    stream.close()
    assert images.given <= 5


@pytest.mark.parametrize("batch_size", [1, 50])
def test_a_bad_file_takes_no_name(tiny_model: Any, tmp_path: Path, batch_size: int) -> None:
    """Nor does it free the one that another has by then."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "p.jpg").write_text("nothing like a picture")
    for name in ("p.png", "p.tif", "q.png"):
        photo(tmp_path / "in" / name)
    made = [*tiny_model.segment_many(tmp_path / "in", WORDS, tmp_path / "out", batch_size=batch_size)]
    assert [o.files.get("json", Path()).name for o in made] == ["", "p.json", "p-2.json", "q.json"]
