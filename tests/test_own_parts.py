"""Parts of one's own as docs/extending.md tells to write them: used, right, and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, label

import freeda
from freeda.collection.shard import with_generator
from freeda.errors import BankError, FreedaError, InputError, ModelError
from freeda.images import read_image
from freeda.presets import PRESETS
from freeda.segment import Segmentation
from freeda.segment.regions import Masks, nearest

BARE = replace(PRESETS["miniature"], bank=None)
NAMES = ["sunset", "water", "house"]


class Edges:
    """Patches described by how much brighter it gets to the right, to the left, downwards and upwards."""

    name = "example/edges"
    dim = 4
    grid = 8

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.float().mean(dim=1, keepdim=True)
        right = torch.nn.functional.pad(grey.diff(dim=3), (0, 1))
        down = torch.nn.functional.pad(grey.diff(dim=2), (0, 0, 0, 1))
        steps = torch.cat([right, -right, down, -down], dim=1).clamp(min=0)
        return torch.nn.functional.adaptive_avg_pool2d(steps, self.grid).permute(0, 2, 3, 1)


class Pieces:
    """Connected pieces of one colour each, two levels a channel: a map, or masks that overlap by 4 pixels."""

    name = "example/pieces"
    whole = True

    def __init__(self, masks: bool = False) -> None:
        self.masks = masks

    def __call__(self, image: Any) -> Any:
        coarse = (image >= 128) @ np.array([1, 2, 4])
        found = [label(coarse == colour) for colour in np.unique(coarse)]
        pieces = [numbers == i + 1 for numbers, count in found for i in range(count)]
        if not self.masks:
            return np.argmax(pieces, axis=0)
        grown = np.stack([binary_dilation(piece, iterations=4) for piece in pieces])
        return Masks(grown, np.array([piece.mean() for piece in pieces]))  # the larger has the seam


class Distances:
    """How near the nearest prototype of each text row is, as a share among the rows."""

    name = "example/distances"

    def __call__(self, features: Any, vocabulary: Any, bank: Any, options: Any) -> Any:
        apart = np.linalg.norm(features[:, None] - vocabulary.prototypes[None], axis=2)
        rows = range(len(vocabulary.text_embeddings))
        nearest = [apart[:, vocabulary.owners == row].min(axis=1) for row in rows]
        weight = np.exp(-8 * np.stack(nearest, axis=1))
        return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def halves(size: int) -> np.ndarray[Any, Any]:
    """0 in the left half of a square, 1 in the right."""
    return np.arange(size)[None].repeat(size, axis=0) * 2 // size


def quarters() -> np.ndarray[Any, Any]:
    """Black on the left, white above red on the right; as large as windows are cut."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:64, 64:] = 255
    image[64:, 64:] = [255, 0, 0]
    return image


def test_patches_of_gradients(tmp_path: Path) -> None:
    """With a bank of their own; scores are those of the cosines with what was pooled from such patches."""
    up = np.concatenate([np.arange(32), np.arange(32)[::-1]]) / 31
    image = np.broadcast_to(up[None, :, None], (64, 64, 3))  # brightens to the middle, darkens from there
    model = freeda.load(BARE, dense=Edges())
    scene = model.encode(image, regions=halves(64))
    np.testing.assert_allclose(scene.mosaic.features, [[1, 0, 0, 0], [0, 1, 0, 0]], atol=1e-6)
    quick = replace(BARE, collect=replace(BARE.collect, steps=2))
    models = with_generator(model.encoders, quick, quick.collect)
    bank = freeda.collect(["a boat on the water"], tmp_path / "edges", quick, models=models)
    assert bank.prototypes.shape[1] == 4
    with pytest.raises(BankError, match="example/edges"):
        freeda.load("miniature", bank)
    model = freeda.load(BARE, bank, dense=Edges())
    words = model.vocabulary(["boat", "water"])
    scores = model.segment(image, words, regions=halves(64), local_weight=1.0).scores()
    unit = words.prototypes / np.linalg.norm(words.prototypes, axis=1, keepdims=True)
    for column, axis in ((10, 0), (50, 1)):
        np.testing.assert_allclose(scores[:, 30, column], 1 / (1 + np.exp(-unit[:, axis])), atol=1e-5)


def test_pieces_as_a_map() -> None:
    expected = np.zeros((128, 128), int)
    expected[64:, 64:] = 1  # in the order of the colours: black 0, red 1, white 7
    expected[:64, 64:] = 2
    assert np.array_equal(freeda.load("miniature", regions=Pieces()).encode(quarters()).regions(), expected)


def test_pieces_as_masks_that_overlap() -> None:
    regions = freeda.load("miniature", regions=Pieces(masks=True)).encode(quarters()).regions()
    assert len(np.unique(regions)) == 3
    assert (regions[:, :68] == regions[0, 0]).all()  # black is the largest: it has what it grew by
    assert regions[30, 68] == regions[0, 127] != regions[90, 68] == regions[127, 127]


def test_shares_of_distances() -> None:
    model = freeda.load("miniature", score=Distances())
    result = model.segment(quarters(), NAMES, regions=halves(128), local_weight=1.0)
    scores, words = result.scores(), model.vocabulary(NAMES)
    assert result.scene is not None
    for feature, column in zip(result.scene.mosaic.features, (10, 100), strict=True):
        near = [np.linalg.norm(p - feature) for p in words.prototypes]
        nearest = np.array(
            [min(d for d, o in zip(near, words.owners, strict=True) if o == r) for r in range(3)]
        )
        shares = np.exp(-8 * nearest) / np.exp(-8 * nearest).sum()
        np.testing.assert_allclose(scores[:, 60, column], shares, atol=1e-5)
        assert result.labels[60, column] == nearest.argmin()


def test_a_scene_outlives_the_score_that_its_file_names(tmp_path: Path) -> None:
    """Labelled anew by a model of the usual score, it was scored by that, and a file of it can be used."""
    own = freeda.load("miniature", score=Distances()).segment(quarters(), NAMES)
    kept = Segmentation.load_npz(own.save_npz(tmp_path / "own.npz"))
    usual = freeda.load("miniature").segment(kept.scene, NAMES)
    assert kept.models["score"] == "example/distances" and "score" not in usual.models
    again = Segmentation.load_npz(usual.save_npz(tmp_path / "usual.npz"))
    assert np.array_equal(again.scores(), usual.scores())


@pytest.mark.parametrize(
    ("give", "says"),
    [
        (lambda x: x.permute(0, 3, 1, 2), r"gave \(1, 4, 8, 8\): expected a tensor of shape \(1, 8, 8, 4\)"),
        (lambda x: x[..., :3], r"gave \(1, 8, 8, 3\)"),
        (lambda x: x.numpy(), "gave a ndarray"),
        (lambda x: x * torch.nan, "gave NaN"),
    ],
)
def test_patches_that_are_none(give: Any, says: str) -> None:
    class Own(Edges):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return give(super().encode(x))  # type: ignore[no-any-return]

    with pytest.raises(ModelError, match=says):
        freeda.load(BARE, dense=Own()).encode(quarters())


def test_patches_of_a_module_in_training() -> None:
    """With a gradient, and in another precision."""

    class Own(torch.nn.Module):
        name, dim, grid = "example/module", 4, 8

        def __init__(self) -> None:
            super().__init__()
            self.mix = torch.nn.Conv2d(3, 4, 1).double()

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            small = torch.nn.functional.adaptive_avg_pool2d(x.double(), self.grid)
            return self.mix(small).permute(0, 2, 3, 1)  # type: ignore[no-any-return]

    features = freeda.load(BARE, dense=Own()).encode(quarters()).mosaic.features
    assert features.dtype == np.float32 and features.shape[1] == 4


@pytest.mark.parametrize(
    ("part", "given", "says"),
    [
        ("dense", Edges, "a class, not an object of it"),
        ("dense", object(), "it has no 'name'"),
        ("regions", np.zeros((4, 4), int), "it cannot be called"),
        ("regions", len, "it has no 'name'"),
        ("score", "knn-vote", "it cannot be called"),
        ("score", Distances, "a class"),
    ],
)
def test_what_is_no_part_is_told_at_once(part: str, given: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"^{part} is .*: {says}.* \\(docs/extending.md\\)$"):
        freeda.load(BARE, **{part: given})


def test_a_source_of_regions_may_draw_into_its_picture() -> None:
    class Own(Pieces):
        def __call__(self, image: Any) -> Any:
            found = super().__call__(image)
            image[:] = 0
            return found

    image = quarters()
    scene = freeda.load("miniature", regions=Own()).encode(image)
    assert np.array_equal(image, quarters()) and np.array_equal(scene.image, image)


def test_masks_without_their_name_and_with_logits() -> None:
    model = freeda.load(BARE)
    masks = np.stack([halves(128) == 0, halves(128) == 1])
    pair: Any = (masks, np.ones(2))
    assert np.array_equal(model.encode(quarters(), regions=pair).regions(), halves(128))
    with pytest.raises(FreedaError, match="masks are float64: expected bool"):
        model.encode(quarters(), regions=Masks(masks - 0.5, np.ones(2)))  # type: ignore[arg-type]


def test_one_label_a_region(tmp_path: Path) -> None:
    """The same by every way that leads to labels; an explanation says where scores would differ."""
    model, image = freeda.load("miniature"), read_image("docs/scene.png")[150:350]
    given = np.full(image.shape[:2], -1)
    given[:, 20:300], given[60:, 320:] = 0, 1  # across several windows
    scene = model.encode(image, regions=given)
    own = model.segment(scene, NAMES)
    result = model.segment(scene, NAMES, region_vote=True)
    rows, columns = (nearest(*n) for n in zip(scene.regions().shape, scene.size, strict=True))
    regions = scene.regions()[rows[:, None], columns]
    assert len(np.unique(own.labels[regions == 0])) > 1 and (regions < 0).any()
    expected = own.labels.copy()
    for region in range(2):
        expected[regions == region] = np.bincount(own.labels[regions == region]).argmax()
    assert np.array_equal(result.labels, expected) and result.options.region_vote
    assert own.vocabulary is not None and np.array_equal(own.scores(), result.scores())
    assert np.array_equal(own.relabel(own.vocabulary, region_vote=True).labels, expected)
    kept = Segmentation.load_npz(result.save_npz(tmp_path / "kept.npz"))
    assert np.array_equal(kept.relabel(own.vocabulary).labels, own.labels)
    assert np.array_equal(kept.relabel(own.vocabulary, region_vote=True).labels, expected)
    y, x = np.argwhere(result.labels != own.labels)[0].tolist()
    told = str(result.explain(x, y))
    got, scored = (one.names[one.labels[y, x]] for one in (result, own))
    assert f"(region_vote): most pixels of this one's have {got}; by its own scores" in told
    assert f"would be {scored}" in told and f"; {scored} 0." in told and "ahead of" in told


def test_one_label_a_superpixel(tmp_path: Path) -> None:
    """Of the whole picture, as they are shown; in a stream and in a measurement too."""
    model = freeda.load("miniature")
    image = np.random.default_rng(1).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    result = model.segment(image, NAMES, region_vote=True)
    assert all(len(np.unique(result.labels[result.regions == r])) == 1 for r in np.unique(result.regions))
    assert len(np.unique(result.labels)) > 1
    (streamed,) = model.segment_many([image], NAMES, region_vote=True)
    assert streamed.result is not None and np.array_equal(streamed.result.labels, result.labels)
    counts = []
    for vote in (False, True):
        options = replace(PRESETS["miniature"].segment, region_vote=vote)
        found = freeda.evaluate("miniature", out=tmp_path / str(vote), limit=1, report=False, options=options)
        counts.append(found.counts.arrays())
    assert any(not np.array_equal(a, b) for a, b in zip(counts[0].values(), counts[1].values(), strict=True))
