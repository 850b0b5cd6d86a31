"""Options: checked values, settings as text, and the page that lists them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.options import (
    ENCODING,
    OTHER_WORDS,
    TEMPLATES,
    VOCABULARY,
    Attribution,
    CollectOptions,
    DenseClip,
    Ensemble,
    Naming,
    SegmentOptions,
    Superpixels,
    parse_settings,
    to_dict,
)
from freeda.options.reference import field_notes, lists
from freeda.options.superpixels import PARAMETERS
from freeda.options.word_list import without_kin

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"


@pytest.mark.parametrize(
    "options", [SegmentOptions, Superpixels, Ensemble, DenseClip, Naming, CollectOptions, Attribution]
)
def test_every_field_tells_its_meaning_and_source(options: type) -> None:
    notes = field_notes(options)
    assert list(notes) == [f.name for f in fields(options)]
    assert all(meaning and source for meaning, source in notes.values())


def test_the_page_lists_every_option() -> None:
    """`python -m freeda.options` prints what belongs between the page's two marks."""
    found = re.search(r"<!-- begin lists -->\n(.*)<!-- end lists -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None and found[1].strip() == lists().strip()
    listed = (SegmentOptions, Superpixels, Ensemble, DenseClip, Naming, CollectOptions, Attribution)
    assert all(re.search(f"^- `{f.name}[=`]", found[1], re.M) for cls in listed for f in fields(cls))


def test_stages_and_parameters_name_fields() -> None:
    names = {f.name for f in fields(SegmentOptions)}
    assert set(ENCODING) < names and set(VOCABULARY) < names and not set(ENCODING) & set(VOCABULARY)
    read = {name for some in PARAMETERS.values() for name in some}
    assert read == {f.name for f in fields(Superpixels)} - {"algorithm"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "k is 2.5: it must be a whole number"),
        ({"k": True}, "whole number"),
        ({"k": "many"}, "k is 'many'"),
        ({"local_weight": 1.01}, "local_weight is 1.01: it must lie between 0 and 1"),
        ({"local_weight": float("nan")}, "finite"),
        ({"local_weight": 10**400}, "finite"),
        ({"max_share": -0.1}, "max_share is -0.1"),
        ({"min_similarity": 1.5}, "min_similarity is 1.5: it must lie between -1 and 1"),
        ({"background_threshold": 7}, "background_threshold is 7.0"),
        ({"background": "sky"}, "background is 'sky': it must be 'none', 'constant', 'local', 'local-of"),
        ({"prototypes": "median"}, "prototypes is 'median'"),
        ({"clusters": 0}, "clusters is 0"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"refine": "crf"}, "refine is 'crf': it must be 'none' or 'pamr'"),
        ({"refine_iterations": 0}, "refine_iterations is 0"),
        ({"refine_dilations": ()}, "at least one distance"),
        ({"refine_dilations": (1, 0)}, "an item of refine_dilations is 0: it must be at least 1"),
        ({"stride": 449}, "stride is 449: it must lie between 1 and the window side 448"),
        ({"stride": 0}, "stride is 0"),
        ({"window": -5}, "window is -5"),
        ({"short_side": 0}, "short_side is 0"),
        ({"long_side": 0}, "long_side is 0"),
        ({"templates": "nice ones"}, "name a set"),
        ({"templates": ["no slot"]}, "exactly one {}"),
        ({"templates": []}, "exactly one {}"),
        ({"templates": [3]}, "an item of templates is 3: it must be a text"),
        ({"others": " "}, "others is blank"),
        ({"others": "rest", "other_words": ()}, "other_words is empty"),
        ({"superpixels": "slic"}, "superpixels is 'slic': it must be a Superpixels"),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"locl_weight": 1}, "did you mean 'local_weight'"),
    ],
)
def test_values_out_of_range(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        SegmentOptions().with_changes(**changes)
    assert "\n" not in str(caught.value)


def test_values_are_tidied() -> None:
    made = SegmentOptions(k=np.int64(7), local_weight=1, templates=["a {}."], refine_dilations=[2])
    assert (made.k, made.local_weight, made.templates, made.refine_dilations) == (7, 1.0, ("a {}.",), (2,))
    assert type(made.k) is int and type(made.local_weight) is float
    assert SegmentOptions(templates="simple").templates == TEMPLATES["simple"]
    assert SegmentOptions(templates="the {}").templates == ("the {}",)
    assert SegmentOptions(stride=9000, window=None).window is None
    with pytest.raises(InputError, match="steps is 'few'"):
        CollectOptions(steps="few")


# Field: the nearest values that are refused, then the nearest that are taken.
EDGES: dict[type, dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    Superpixels: {
        **dict.fromkeys(("scale", "kernel_size", "max_dist"), ((0, 0.0, -1), (1e-9,))),
        **dict.fromkeys(("min_size_factor", "max_size_factor"), ((0, 0.0, -1), (1e-9,))),
        **dict.fromkeys(("min_size", "n_segments", "max_num_iter"), ((0, -1), (1,))),
        **dict.fromkeys(("num_superpixels", "num_levels"), ((0, -1), (1,))),
        "sigma": ((-1e-9, 100.1), (None, 0, 100)),
        "compactness": ((-1e-9, 1.1e6), (None, 0, 1e6)),
        "start_label": ((-1, 2), (0, 1)),
        "ratio": ((-1e-9, 1.001), (0, 1)),
        "rng": ((-1, 2**32), (0, 2**32 - 1)),
        "markers": ((0, 10**9 + 1), (None, 1, 10**9)),
        "connectivity": ((0, 3), (1, 2)),
        "prior": ((-1, 6), (0, 5)),
        "histogram_bins": ((0, 16), (1, 15)),
        "num_iterations": ((-1, 1001), (0, 1000)),
    },
    Naming: {
        "neighbours": ((0,), (1,)),
        "merge": ((-1.01, 1.01), (-1, 1)),
        **dict.fromkeys(("votes", "far"), ((-0.01, 1.01), (0, 1))),
    },
    CollectOptions: {
        "size": ((0, 4, 510), (8, 520)),
        "width": ((0, 4, 510), (None, 8, 520)),
        "steps": ((0,), (1,)),
        "guidance": ((-0.1,), (0,)),
        "threshold": ((0, 1), (0.01, 0.99)),
        "keep_share": ((0, 1), (0.01, 0.99)),
        "map_tail": ((0, 0.5), (0.01, 0.49)),
        "min_contrast": ((-1.01, 1.01), (None, -1, 1)),
        "min_agreement": ((-1.01, 1.01), (None, -1, 1)),
        "key_weight": ((-0.01, 1.01), (0, 1)),
        "min_area": ((-0.01, 0.95, 1), (0, 0.94)),
        "max_area": ((0.005, 1.01), (0.006, 1)),
        "prompts_per_word": ((0,), (1,)),
        "batch_size": ((0,), (1,)),
        "shard_size": ((0,), (1,)),
        "templates": (((), ("no slot",), ("{} and {}",)), (("{}",),)),
        "word_prompts": (((), ("no slot",), ("{} and {}",)), (("{}",),)),
    },
}


@pytest.mark.parametrize(
    ("options", "name"), [(options, name) for options, names in EDGES.items() for name in names]
)
def test_where_values_end(options: type, name: str) -> None:
    refused, taken = EDGES[options][name]
    for value in refused:
        with pytest.raises(InputError):
            options(**{name: value})
    for value in taken:
        assert getattr(options(**{name: value}), name) == value


def test_slic_needs_compactness() -> None:
    with pytest.raises(InputError, match="above 0 for slic"):
        Superpixels("slic", compactness=0)
    assert Superpixels("watershed", compactness=0).parameters()["compactness"] == 0


@pytest.mark.parametrize(
    ("first", "last", "steps", "counted"),
    [
        (0.0, 1.0, 3, "yes yes yes"),
        (0.5, 1.0, 4, "no no yes yes"),
        (0.5, 1.0, 3, "no yes yes"),  # the middle of the second lies at 0.5
        (0.0, 0.5, 4, "yes yes no no"),
        (0.3, 0.7, 2, "no no"),  # the middles lie at 0.25 and 0.75
        (0.2, 0.8, 2, "yes yes"),
    ],
)
def test_a_step_counts_by_its_middle(first: float, last: float, steps: int, counted: str) -> None:
    options = Attribution(from_step=first, to_step=last)
    if "yes" in counted:
        assert options.counted(steps) == [word == "yes" for word in counted.split()]
    else:
        with pytest.raises(InputError, match=f"none of {steps} steps"):
            options.counted(steps)


def test_superpixels_defaults_are_their_librarys() -> None:
    from inspect import signature

    from skimage import segmentation

    for algorithm in ("slic", "quickshift", "watershed"):
        theirs = signature(getattr(segmentation, algorithm)).parameters
        for name, value in Superpixels(algorithm).parameters().items():
            assert value == theirs[name].default, (algorithm, name)
    assert Superpixels().parameters() == {"scale": 100.0, "sigma": 1.0, "min_size": 20}


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ([], {}),
        (["k=64"], {"k": 64}),
        ([" k = 64 ", "k=65"], {"k": 65}),
        (["local_weight=1"], {"local_weight": 1.0}),
        (["window=none"], {"window": None}),
        (["min_similarity=0.25"], {"min_similarity": 0.25}),
        (["min_similarity=None"], {"min_similarity": None}),
        (["spherical=no"], {"spherical": False}),
        (["spherical=True"], {"spherical": True}),
        (["others=everything else"], {"others": "everything else"}),
        (["others=a=b"], {"others": "a=b"}),
        (["templates=imagenet-80"], {"templates": TEMPLATES["imagenet-80"]}),
        (["templates=a {}.|the {}, old"], {"templates": ("a {}.", "the {}, old")}),
        (['templates=["a {}."]'], {"templates": ("a {}.",)}),
        (["refine_dilations=1,2|4"], {"refine_dilations": (1, 2, 4)}),
        (["refine_dilations=[3]"], {"refine_dilations": (3,)}),
        (["stride=500", "window=600"], {"stride": 500, "window": 600}),
        (
            ["superpixels.algorithm=slic", "superpixels.sigma=0.5", "superpixels.slic_zero=on"],
            {"superpixels": Superpixels("slic", sigma=0.5, slic_zero=True)},
        ),
        (["superpixels.sigma=none"], {"superpixels": Superpixels()}),
    ],
)
def test_settings(settings: list[str], changes: dict[str, Any]) -> None:
    assert parse_settings(settings, SegmentOptions()) == SegmentOptions(**changes)


def test_settings_keep_what_they_do_not_name() -> None:
    base = SegmentOptions(k=3, superpixels=Superpixels(scale=7.0))
    made = parse_settings(["superpixels.min_size=2"], base)
    assert made.k == 3 and made.superpixels == Superpixels(scale=7.0, min_size=2)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("k", "'k' is not NAME=VALUE"),
        ("=3", "is not NAME=VALUE"),
        ("k=", "k is ''"),
        ("k=many", "k is 'many': it must be a whole number"),
        ("kk=3", "did you mean 'k'"),
        ("superpixels=slic", "superpixels.FIELD=VALUE"),
        ("superpixels.colour=3", "unknown option 'superpixels.colour'"),
        ("superpixels.scael=3", "did you mean 'superpixels.scale'"),
        ("superpixels.algorithm=voronoi", "superpixels.algorithm is 'voronoi': it must be 'felzenszwalb'"),
        ("k.k=3", "unknown option 'k.k'"),
        ("local_weight=nan", "finite"),
        ("spherical=perhaps", "must be true or false"),
        ("refine_dilations=1,x", "whole number"),
        ("other_words=[1", "not a JSON list"),
        ("templates=nice", "name a set"),
        ("background=sky", "it must be 'none'"),
    ],
)
def test_settings_that_cannot_be_read(setting: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_settings([setting], SegmentOptions())
    assert "\n" not in str(caught.value)


def test_other_words_without_the_users_own() -> None:
    assert len(set(OTHER_WORDS)) == len(OTHER_WORDS)
    assert without_kin(["floor", "trees", "wall", "sky"], ["Wooden Floor", "tree"]) == ("wall", "sky")
    assert without_kin(["traffic light", "bus", "gas"], ["light", "Buses"]) == ("gas",)
    assert without_kin(["sky", "sky"], ["cat"]) == ("sky",)
    assert without_kin(["gas", "ties"], ["ga", "tie"]) == ("gas",)  # of three letters none is a plural


def test_to_dict_is_plain() -> None:
    import json

    made = SegmentOptions(others="rest")
    plain = json.loads(json.dumps(to_dict(made)))
    parts = {"superpixels": Superpixels, "dense_clip": DenseClip, "naming": Naming}
    nested = {name: kind(**plain.pop(name)) for name, kind in parts.items()}
    assert SegmentOptions(**plain, **nested) == made
