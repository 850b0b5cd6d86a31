"""The training loop: deterministic, and a cut changes nothing; the losses say what they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import standin  # noqa: F401 - gives torch the device of that name, before autograd counts devices
from freeda.presets import PRESETS
from studies.train.clip import kept_tokenizer
from studies.train.common import Draws, Optimiser, Recipe, augment, fit, orthogonal
from studies.train.data import FORMS, present
from studies.train.dense import patch_targets
from studies.train.regions import MOST, SIDE, _bag_loss, _cut

RECIPE = Recipe(steps=9, batch=4, rate=1e-2, warmup=2)


def _train(
    folder: Path, cut_at: int | None = None, muon: bool = False, device: str = "cpu"
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1)).to(device)
    calls = iter(range(100))

    def loss(draws: Draws) -> torch.Tensor:
        if cut_at is not None and next(calls) == cut_at:
            raise KeyboardInterrupt
        x = draws.randn(4, 3).to(device)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    fit("toy", model, replace(RECIPE, muon=muon), loss, folder, save_every=0.0)
    return {k: v.cpu().clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize(("cut_at", "device"), [(1, "cpu"), (4, "cpu"), (8, "cpu"), (4, "standin")])
def test_a_cut_run_goes_on_to_the_same_weights(tmp_path: Path, cut_at: int, muon: bool, device: str) -> None:
    whole = _train(tmp_path / "whole", muon=muon, device=device)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", cut_at, muon, device)
    for name, value in _train(tmp_path / "cut", muon=muon, device=device).items():
        assert torch.equal(value, whole[name]), name


def test_the_two_optimisers_differ(tmp_path: Path) -> None:
    plain, muon = _train(tmp_path / "a"), _train(tmp_path / "b", muon=True)
    assert not torch.equal(plain["0.weight"], muon["0.weight"])


@pytest.mark.parametrize("shape", [(3, 3), (4, 9), (16, 5), (32, 100)])
def test_updates_are_made_orthogonal(shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    turned = u.T @ orthogonal(x) @ v.T
    assert (turned - torch.diag(turned.diag())).abs().max() < 1e-4
    assert turned.diag().min() > 0.3 and turned.diag().max() < 1.3


def test_the_order_in_memory_does_not_matter() -> None:
    weights = []
    for order in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 6, 3).to(memory_format=order)
        optimiser = Optimiser(layer, 0.01, muon=True)
        for step in range(3):
            layer.weight.grad = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(step))
            optimiser.step(1e-2)
        weights.append(layer.weight.detach())
    assert torch.allclose(*weights, atol=1e-6)


def test_draws_depend_on_stage_and_step_only() -> None:
    assert torch.equal(Draws("a", 3).rand(4), Draws("a", 3).rand(4))
    assert not torch.equal(Draws("a", 3).rand(4), Draws("a", 4).rand(4))
    assert not torch.equal(Draws("a", 3).rand(4), Draws("b", 3).rand(4))


def test_augmentation_keeps_shape_and_range() -> None:
    x = torch.rand(6, 3, 32, 32)
    y = augment(x, Draws("x", 0))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1 and not torch.equal(x, y)


def test_words_are_found_longest_first() -> None:
    row = dict(zip(FORMS, present([["a beach ball on the grass"]])[0], strict=True))
    assert row["beach ball"] and row["grass"] and not row["ball"] and not row["beach"]


def test_the_bag_loss_is_its_definition() -> None:
    torch.manual_seed(0)
    log, bag = torch.randn(7, 4).log_softmax(-1), torch.tensor([0, 0, 0, 1, 1, 1, 1])
    said = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])
    p = log.exp().tolist()
    agreement = -np.mean([np.log(sum(p[m][w] for w in range(4) if said[bag[m], w])) for m in range(7)])
    presence = []
    for b in range(2):
        for w in range(4):
            if said[b, w]:
                nowhere = np.prod([1 - p[m][w] for m in range(7) if bag[m] == b])
                presence.append(-np.log(1 - nowhere))
    assert _bag_loss(log, bag, said).item() == pytest.approx(agreement + 0.5 * np.mean(presence), rel=1e-4)


def test_patch_targets_are_means_over_pixels() -> None:
    rng = np.random.default_rng(0)
    maps, names = rng.integers(0, 5, (2, 16, 24)), rng.random((2, 5, 3)).astype(np.float32)
    names /= names.sum(-1, keepdims=True)
    names[:, 4] = 0  # a region without a name
    target, known = patch_targets(torch.from_numpy(maps), torch.from_numpy(names))
    assert target.shape == (2, 6, 3)
    for b in range(2):
        for y in range(2):
            for x in range(3):
                pixels = maps[b, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].ravel()
                mean = names[b][pixels].sum(0) / (pixels != 4).sum()
                assert target[b, 3 * y + x].numpy() == pytest.approx(mean, abs=1e-5)
                assert known[b, 3 * y + x].item() == pytest.approx((pixels != 4).mean(), abs=1e-5)


def test_a_cut_region_shows_nothing_of_its_surroundings() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, 64:] = (250, 10, 10)
    image[40:80, 20:50] = (10, 240, 20)
    numbers, crops, extent = _cut(image)
    assert (
        len(crops) == numbers.max() + 1 <= MOST
        and crops.shape[1:] == (SIDE, SIDE, 4)
        and extent.shape == (len(crops),)
    )
    green = crops[numbers[60, 30]]
    inside = green[..., 3] == 255
    assert inside.mean() > 0.4 and np.abs(green[inside][:, :3].astype(int) - (10, 240, 20)).max() <= 1
    outside = green[..., 3] == 0
    assert outside.any() and (green[outside] == 0).all()


def test_a_run_that_goes_on_reads_words_as_before(tmp_path: Path) -> None:
    captions = [[f"a {colour} {word} on the grass" for word in FORMS] for colour in ("red", "blue", "old")]
    first, again = (kept_tokenizer(captions, tmp_path) for _ in range(2))
    text = "in front of a wall, a red house and an old car on the grass"
    assert again.get_vocab() == first.get_vocab()
    assert again(text).input_ids == first(text).input_ids
    assert first.eos_token_id == max(first.get_vocab().values())
    assert first.decode(first(text).input_ids, skip_special_tokens=True).replace(" ,", ",") == text


def test_the_region_model_begins_as_the_dense_encoder() -> None:
    """Before queries join, its layers give what the dense encoder's do."""
    from transformers import Dinov2Model

    from studies.train.masks import JOINED, make_model, masks_of

    dense = Dinov2Model.from_pretrained(str(PRESETS["miniature"].dense.id), dtype=torch.float32).eval()
    model = make_model(dense).eval()
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = dense(pixel_values=x, output_hidden_states=True).hidden_states[-1 - JOINED]
        found = model.embeddings(x)
        for layer in model.layers[:-JOINED]:
            found = layer(found)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    labels = torch.tensor([[3] * 20] * 2 + [[7] * 20])
    assert [mask.sum().item() for mask in masks_of(labels)] == [40, 20]
    labels[0, :3] = 9  # too few to be a region
    assert len(masks_of(labels)) == 2
