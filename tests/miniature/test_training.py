"""The training loop: deterministic, and a cut changes nothing; the losses say what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from freeda.miniature.train.common import Draws, Recipe, augment, fit
from freeda.miniature.train.dense import _agreement, _patchwork, _presence
from freeda.miniature.train.words import FORMS, present

RECIPE = Recipe(steps=9, batch=4, rate=1e-2, warmup=2)


def _train(folder: Path, cut_at: int | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1))
    calls = iter(range(100))

    def loss(draws: Draws) -> torch.Tensor:
        if cut_at is not None and next(calls) == cut_at:
            raise KeyboardInterrupt
        x = draws.randn(4, 3)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    fit("toy", model, RECIPE, loss, folder, save_every=0.0)
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("cut_at", [1, 4, 8])
def test_a_cut_run_goes_on_to_the_same_weights(tmp_path: Path, cut_at: int) -> None:
    whole = _train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", cut_at)
    for name, value in _train(tmp_path / "cut").items():
        assert torch.equal(value, whole[name]), name


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


def test_agreement_is_the_log_probability_of_what_was_said() -> None:
    scores, said = torch.randn(2, 5, 4), torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])[:, None].repeat(1, 5, 1)
    expected = 0.0
    for b in range(2):
        for p in range(5):
            weights = [float(torch.exp(s)) for s in scores[b, p]]
            expected -= (
                np.log(sum(w for w, s in zip(weights, said[b, p], strict=True) if s) / sum(weights)) / 10
            )
    assert _agreement(scores, said).item() == pytest.approx(expected, rel=1e-4)


def test_patchwork_takes_pixels_from_the_owner() -> None:
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 128, 128)
    mixed, owner = _patchwork(x, Draws("x", 1))
    assert torch.equal(mixed[:, 0, ::8, ::8].flatten(1).long(), owner)


def test_presence_prefers_the_right_word() -> None:
    said, bias = torch.tensor([[1.0, 0.0]]).repeat(3, 1), torch.full((2,), -6.0)
    good = torch.zeros(3, 256, 2)
    good[:, :20, 0] = 12
    own = torch.ones(3, 256, dtype=torch.bool)
    assert _presence(good, own, said, bias) < 0.1 < _presence(good.flip(-1), own, said, bias)
