"""Options out of range, and models that give nonsense: one clear error each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_input.common import NOISE, SIZE, WORDS, one_line
from commands import refused, run
from freeda.errors import FreedaError, InputError, ModelError, printable
from freeda.options import Superpixels

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "k=0": ({"k": 0}, "k is 0"),
    "k=-5": ({"k": -5}, "k is -5"),
    "k=2.5": ({"k": 2.5}, "k is"),
    "k=many": ({"k": "many"}, "k is 'many'"),
    "local_weight=1.01": ({"local_weight": 1.01}, "local_weight is 1.01"),
    "local_weight=nan": ({"local_weight": np.nan}, "local_weight is nan"),
    "background=sea": ({"background": "sea"}, "background is 'sea'"),
    "background_threshold=5": ({"background_threshold": 5.0}, "background_threshold is 5.0"),
    "background_threshold=inf": ({"background_threshold": np.inf}, "background_threshold is inf"),
    "min_similarity=2": ({"min_similarity": 2.0}, "min_similarity is 2.0"),
    "window=0": ({"window": 0}, "window is 0"),
    "window=-48": ({"window": -48}, "window is -48"),
    "stride=0": ({"stride": 0}, "stride is 0"),
    "stride=49": ({"stride": 49}, "between 1 and the window side 48"),
    "short_side=0": ({"short_side": 0}, "short_side is 0"),
    "long_side=-1": ({"long_side": -1}, "long_side is -1"),
    "templates=a photo": ({"templates": ("a photo",)}, "{}"),
    "templates=|": ({"templates": ()}, "{}"),
    "superpixels.scale=0": ({"superpixels": {"scale": 0}}, "superpixels.scale is 0"),
    "superpixels.sigma=1e9": ({"superpixels": {"sigma": 1e9}}, "superpixels.sigma is 1000000000.0"),
    "superpixels.algorithm=voronoi": ({"superpixels": {"algorithm": "voronoi"}}, "'voronoi'"),
    "kk=3": ({"kk": 3}, "unknown option 'kk'"),
}


@pytest.mark.parametrize("setting", OPTIONS)
def test_options_out_of_range(
    tmp_path: Path, photo: Path, tiny_model: Any, preset_file: Path, tiny_bank: Path, setting: str
) -> None:
    changes, says = OPTIONS[setting]
    with pytest.raises(InputError) as caught:
        if "superpixels" in changes:
            changes = {"superpixels": Superpixels(**changes["superpixels"])}
        tiny_model.segment(NOISE, WORDS, **changes)
    one_line(caught.value, says)
    name = setting.partition("=")[0].partition(".")[2] or setting.partition("=")[0]
    arguments = ("--model", preset_file, "--bank", tiny_bank, "--out", tmp_path / "out")
    refused(run("segment", photo, "--classes", "cat", "--set", setting, *arguments), name)
    assert not (tmp_path / "out").exists()


def test_options_that_are_large_but_right(tiny_model: Any) -> None:
    for changes in ({"k": 10**9}, {"window": 10**6}, {"superpixels": Superpixels(min_size=10**6)}):
        assert tiny_model.segment(NOISE, WORDS, **changes).labels.shape == SIZE
    with pytest.raises(InputError, match="pixels: at most"):
        tiny_model.segment(NOISE, WORDS, short_side=10**6, long_side=10**9)
    for size in (0, -1, 2.5):
        with pytest.raises(InputError, match="batch_size is"):
            tiny_model.encode(NOISE, batch_size=size)


@pytest.mark.parametrize("part", ["clip", "dense"])
def test_encoders_that_give_nan(tiny_model: Any, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    encoder, name = getattr(tiny_model.encoders, part), {"clip": "encode_image", "dense": "encode"}[part]
    real = getattr(encoder, name)
    monkeypatch.setattr(encoder, name, lambda x: real(x) * float("nan"))
    with pytest.raises(ModelError) as caught:
        tiny_model.encode(NOISE)
    one_line(caught.value, "NaN or infinity in float32")


def test_messages_are_one_short_line() -> None:
    error = InputError("a\nb\x1b[0m\u2028\u202ec\ud800 " + "x" * 5000)
    assert str(error).startswith(r"a\nb\x1b[0m\u2028\u202ec\ud800 x") and len(str(error)) == 600
    assert isinstance(error, FreedaError) and str(FreedaError()) == ""
    assert printable("naïve 🦊 قطة می\u200cخواهم") == "naïve 🦊 قطة می\u200cخواهم"
