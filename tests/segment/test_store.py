"""Vocabularies and segmentations on disk: the same again, and one clear error for any other file."""

from __future__ import annotations

import copy
import functools
import json
import operator
import os
import pickle
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from freeda.errors import BankError, InputError
from freeda.segment import Segmentation, Vocabulary
from freeda.segment.result import segment_scene
from freeda.source_file import SourceFile

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((12, 12, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def result(tiny_model: Any) -> Segmentation:
    classes = {"cat": ["dog"], "wooden table": [], "größe 🙂": []}
    return tiny_model.segment(IMAGE, classes, k=3, background="constant", background_threshold=0.5)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"others": "everything else"},
        {"prototypes": "all", "k": 4},
        {"prototypes": "k-means", "clusters": 2},
    ],
)
def test_a_vocabulary_comes_back_whole(tiny_model: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    made = tiny_model.vocabulary({"cat": ["dog", "puss"], "wooden table": [], "حصان": []}, **changes)
    path = made.save(tmp_path / "deep" / "words.npz")
    again = Vocabulary.load(path)
    for f in fields(Vocabulary):
        assert same(getattr(made, f.name), getattr(again, f.name)), f.name
    assert made.digest() == again.digest()
    scene = tiny_model.encode(IMAGE)
    assert np.array_equal(tiny_model.segment(scene, made).labels, tiny_model.segment(scene, again).labels)
    assert [p.name for p in path.parent.iterdir()] == ["words.npz"]


def test_a_vocabulary_made_by_hand(tmp_path: Path) -> None:
    made = Vocabulary(("a", "b"), np.eye(2, 20, dtype=np.float32), np.ones((2, 24), np.float32))
    again = Vocabulary.load(made.save(tmp_path / "v"))
    assert again.names == ("a", "b") and again.options is None and again.models is None


def test_the_digest_sees_every_change(tiny_model: Any) -> None:
    made = tiny_model.vocabulary(["cat", "dog"])
    others = [
        replace(made, prototypes=made.prototypes + np.float32(1e-3)),
        replace(made, text_embeddings=-made.text_embeddings),
        replace(made, names=("cat", "dog.")),
        replace(made, models=None),
        tiny_model.vocabulary(["dog", "cat"]),
        tiny_model.vocabulary(["cat", "dog"], k=2),
    ]
    assert len({v.digest() for v in [made, *others]}) == 1 + len(others)
    assert made.digest() == replace(made).digest()


def test_a_vocabulary_of_other_models_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    made = tiny_model.vocabulary(["cat"])
    clip = {"id": "somebody/other-clip", "revision": None}
    other = replace(made, models={**made.models, "clip": clip})
    other = Vocabulary.load(other.save(tmp_path / "v.npz"))
    for use in (
        lambda: tiny_model.ready(other),
        lambda: tiny_model.segment(IMAGE, other),
        lambda: tiny_model.segment(tiny_model.encode(IMAGE), other),
        lambda: tiny_model.segment_many(tmp_path, other),
    ):
        (tmp_path / "x.png").touch()
        with pytest.raises(InputError, match=r"made with CLIP somebody/other-clip, but .* is loaded"):
            use()


def test_options_of_a_vocabulary_are_the_ones_on_record(tiny_model: Any) -> None:
    made = tiny_model.vocabulary(["cat", "dog"], k=2)
    scene = tiny_model.encode(IMAGE)
    assert tiny_model.segment(scene, made).options.k == 2
    with pytest.raises(InputError, match="'k' shapes a vocabulary"):
        tiny_model.segment(scene, made, k=3)


def test_a_segmentation_comes_back_whole(result: Segmentation, tmp_path: Path) -> None:
    path = result.save_npz(tmp_path / "photo.npz")
    again = Segmentation.load_npz(path)
    assert again.labels.dtype == np.int32 and np.array_equal(again.labels, result.labels)
    assert again.names == result.names == ("cat", "wooden table", "größe 🙂", "background")
    assert again.options == result.options and again.models == result.models
    assert again.shares == result.shares and again.source == result.source
    for part in ("palette", "regions", "image", "confidence"):
        assert same(getattr(result, part), getattr(again, part)), part
    assert same(result.scores(["background", "cat"]), again.scores(["background", "cat"]))
    # Labelled anew without any model: by the vocabulary that was kept, and by its classes in another order.
    scene, vocabulary = again.need_scene()
    assert np.array_equal(segment_scene(scene, vocabulary).labels, result.relabel(vocabulary).labels)
    assert again.save(tmp_path / "out", "p")["overlay"].is_file()
    third = Segmentation.load_npz(again.save_npz(tmp_path / "again.npz"))
    assert same(third.scores(), result.scores())


def test_results_travel_and_models_do_not(tiny_model: Any) -> None:
    """Pickled, as multiprocessing does it, and copied: without the model, the bank and what was computed."""
    whole = tiny_model.segment(tiny_model.encode(IMAGE), ["cat", "dog"], k=3)
    plain = pickle.dumps(whole)
    assert len(whole.confidence) and len(whole.regions) and pickle.dumps(whole) == plain
    for got in (pickle.loads(plain), copy.deepcopy(whole)):
        assert got.bank is None
        assert same(got.labels, whole.labels) and same(got.scores(), whole.scores())
        assert got.relabel(got.vocabulary).shares == whole.shares
        with pytest.raises(InputError, match="takes a Vocabulary"):
            got.relabel(["cat"])
    assert whole.bank is tiny_model.bank
    dumps = pickle.dumps  # a pool sends its functions, too
    for send, model in ((dumps, tiny_model), (dumps, tiny_model.segment), (copy.deepcopy, tiny_model)):
        with pytest.raises(InputError, match="neither copied nor sent to another process: call freeda"):
            send(model)


def test_less_may_be_kept(result: Segmentation, tmp_path: Path) -> None:
    sizes = {k: result.save_npz(tmp_path / k, keep=k).stat().st_size for k in ("scene", "image", "labels")}
    assert sizes["scene"] > sizes["image"] > sizes["labels"]
    image, bare = (Segmentation.load_npz(tmp_path / k) for k in ("image", "labels"))
    assert same(image.image, result.image) and same(bare.regions, result.regions)
    assert np.array_equal(bare.mask("cat"), result.labels == 0)
    for ask in (lambda: image.scores(), lambda: bare.confidence, lambda: image.save_npz(tmp_path / "x")):
        with pytest.raises(InputError, match="without its scene"):
            ask()
    with pytest.raises(InputError, match="photograph, which was not kept"):
        bare.save(tmp_path / "out")
    with pytest.raises(InputError, match="keep is 'all'"):
        result.save_npz(tmp_path / "y", keep="all")
    assert not (tmp_path / "x").exists() and not (tmp_path / "y").exists()


def test_the_file_is_plain_numpy(result: Segmentation, tmp_path: Path) -> None:
    with np.load(result.save_npz(tmp_path / "p.npz"), allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]))
        assert header["format"] == "freeda-segmentation" and header["names"][0] == "cat"
        assert file["labels"].dtype == np.uint8 and file["palette"].shape == (4, 3)
        assert all(file[name].dtype != object for name in file.files)


def test_a_thousand_labels(tiny_model: Any, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(300)]
    made = tiny_model.segment(IMAGE, names)
    again = Segmentation.load_npz(made.save_npz(tmp_path / "p", keep="labels"))
    assert np.array_equal(again.labels, made.labels) and len(again.names) == 300


def test_without_superpixels(tiny_model: Any, tmp_path: Path) -> None:
    from freeda.options import Superpixels

    made = tiny_model.segment(IMAGE, ["cat", "dog"], superpixels=Superpixels("none"))
    again = Segmentation.load_npz(made.save_npz(tmp_path / "p"))
    assert (again.regions == -1).all() and same(again.scores(), made.scores())


# --- files that are not what they should be


def rewrite(path: Path, to: Path, **changes: Any) -> Path:
    """A copy of a saved file with entries changed (arrays), left out (None), or the header edited."""
    with np.load(path, allow_pickle=False) as file:
        entries = {name: file[name] for name in file.files}
    header = json.loads(bytes(entries["header"]))
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del entries[name]
        elif name == "header":
            header.update(value)
        else:
            entries[name] = value
    if "header" in entries:
        entries["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with open(to, "wb") as out:
        np.savez(out, **entries)
    return to


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"header": {"format": "other"}}, "some other file"),
        ({"header": {"format": "freeda-vocabulary"}}, "a saved vocabulary, expected a saved segmentation"),
        ({"header": {"version": 99}}, "version 99"),
        ({"header": {"names": ["one"]}}, "no names"),
        ({"header": {"names": [1, 2, 3, 4]}}, "'names' is"),
        ({"header": {"names": ["a", "b", "c", "d" * 50_000]}}, "'names' is"),
        ({"header": {"names": 3}}, "damaged"),
        ({"header": {"options": {"colour": 1}}}, "damaged.*colour"),
        ({"header": {"options": {"k": 0}}}, "k is 0"),
        ({"header": None}, "some other .npz file"),
        ({"labels": None}, "'labels' is missing"),
        ({"labels": np.zeros((3, 3, 3), np.uint8)}, "dimensions"),
        ({"labels": np.zeros((60, 84), np.float32)}, "float32"),
        ({"labels": np.zeros((0, 0), np.uint8)}, "no names"),
        ({"image": np.zeros((2, 2, 3), np.uint8)}, "another size"),
        ({"image": None}, "missing"),
        ({"features": np.zeros((1, 24), np.float32)}, "damaged"),
        ({"local__indptr": np.array([0, 1, 99])}, "damaged"),
        ({"vocabulary__prototypes": np.full((3, 24), np.nan, np.float32)}, "NaN"),
        ({"vocabulary__text_embeddings": np.zeros((2, 20), np.float32)}, "damaged"),
    ],
)
def test_damaged_segmentations(
    result: Segmentation, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = rewrite(result.save_npz(tmp_path / "good.npz"), tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError, match=says) as caught:
        Segmentation.load_npz(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


JUNK: list[Any] = [-1, None, "x", {}, [[]], {"path": 3}, ["x", 3]]


@pytest.mark.filterwarnings("ignore:.*moved or changed")
@pytest.mark.parametrize("what", ["segmentation", "vocabulary"])
def test_no_field_of_a_header_is_believed(tiny_model: Any, tmp_path: Path, what: str) -> None:
    """Each field, and each field of the objects in it, with other kinds of values: refused, or harmless."""
    good, path = tmp_path / "good.npz", tmp_path / "bad.npz"
    if what == "vocabulary":
        tiny_model.vocabulary(["cat", "dog"]).save(good)
    else:
        Image.fromarray(IMAGE[:20, :30]).save(tmp_path / "x.png")
        tiny_model.segment(tmp_path / "x.png", ["cat"]).save_npz(good)
    with np.load(good, allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]))
    numbers = [("options", "local_weight"), ("models", "clip", "id")]
    places: list[tuple[str, ...]] = [*numbers, *((name,) for name in header)]
    places += [(a, b) for a in ("file", "models", "vocabulary") for b in header.get(a) or ()]
    refused = 0
    for place in places:
        for junk in [10**400, float("inf")] if place in numbers else JUNK:
            changed = json.loads(json.dumps(header))
            functools.reduce(operator.getitem, place[:-1], changed)[place[-1]] = junk
            rewrite(good, path, header=changed)
            try:
                if what == "vocabulary":
                    found = Vocabulary.load(path)
                    assert tiny_model.segment(IMAGE[:20, :30], found).caveats.lines() is not None
                    assert repr(found) and found.digest() and found.save(tmp_path / "again.npz")
                else:
                    again = Segmentation.load_npz(path)
                    assert repr(again) and again._repr_html_() and again.explain(3, 4)
                    if place[0] == "file":
                        again.export(tmp_path / "out", ["labelme", "geojson"], str(refused))
                    again.save_npz(tmp_path / "again.npz")
                    again.relabel(tiny_model.vocabulary(["cat"]))
            except (InputError, BankError) as error:
                assert "\n" not in str(error), (place, junk)
                refused += 1
    assert refused > len(places)


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "cut":
        data = data[: len(data) // 2]
    elif kind == "bit":
        data[len(data) // 2] ^= 255
    elif kind == "empty":
        data = bytearray()
    elif kind == "text":
        data = bytearray(b"hello")
    path.write_bytes(data)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.txt", "hello")
    elif kind == "objects":
        with open(path, "wb") as out:
            np.savez(out, header=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind in ("gone", "folder"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
    elif kind == "header":
        with open(path, "wb") as out:
            np.savez(out, header=np.frombuffer(b"[1, 2]", np.uint8))


@pytest.mark.parametrize(
    "kind", ["cut", "bit", "empty", "text", "zip", "objects", "gone", "folder", "header"]
)
@pytest.mark.parametrize("what", ["vocabulary", "segmentation"])
def test_files_of_another_kind(
    result: Segmentation, tiny_model: Any, tmp_path: Path, kind: str, what: str
) -> None:
    path = tmp_path / "file.npz"
    if what == "vocabulary":
        tiny_model.vocabulary(["cat"]).save(path)
    else:
        result.save_npz(path)
    damage(path, kind)
    with pytest.raises(InputError) as caught:
        Vocabulary.load(path) if what == "vocabulary" else Segmentation.load_npz(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_space_leaves_the_older_file(
    result: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    path = result.save_npz(tmp_path / "p.npz", keep="labels")
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        result.save_npz(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# --- what can be asked of a segmentation


def test_as_arrays_and_tensors(result: Segmentation) -> None:
    assert same(np.asarray(result), result.labels)
    assert np.asarray(result, dtype=np.uint8).dtype == np.uint8
    assert np.asarray(result) is not np.array(result)
    tensor = result.to_torch()
    assert tensor.dtype == torch.int64 and np.array_equal(tensor.numpy(), result.labels)
    tensor[:] = 99
    assert result.labels.max() < 99
    assert same(result.confidence, result.scores().max(axis=0)) and result.confidence is result.confidence


def test_regions_have_the_photographs_size(tiny_model: Any) -> None:
    made = tiny_model.segment(IMAGE, ["cat", "dog"])
    small = made.working_regions()
    assert made.regions.shape == IMAGE.shape[:2] == made.size
    for y, x in ((0, 0), (59, 83), (17, 30)):
        at = int((y + 0.5) * small.shape[0] / 60), int((x + 0.5) * small.shape[1] / 84)
        assert made.regions[y, x] == small[at]


def test_said_in_a_line(result: Segmentation) -> None:
    said = repr(replace(result, file=SourceFile("photo.jpg")))
    assert said.startswith("<Segmentation of photo.jpg, 84 x 60: ") and said.endswith("%>")
    largest = max(result.shares, key=lambda n: result.shares[n])
    assert f": {largest} {100 * result.shares[largest]:.1f} %" in said
    with pytest.raises(InputError, match="no class 'moon'"):
        result.mask("moon")
    with pytest.raises(InputError, match="one string"):
        result.scores("cat")
