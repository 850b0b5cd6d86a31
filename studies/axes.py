"""What `studies.ablations` varies: one axis a question of the paper, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Source = Literal["bank", "masks", "judge", "whole", "true", "rendered-whole"]


@dataclass(frozen=True)
class Variant:
    """One row of a table: how it differs from the preset."""

    name: str
    online: tuple[str, ...] = ()
    """Settings of SegmentOptions, as `freeda segment --set` takes them."""
    offline: tuple[str, ...] = ()
    """Settings of CollectOptions that need no other pictures, as `freeda collect --set` takes them."""
    share: float = 1.0
    """The bank's captions, as a share of the usual number."""
    source: Source = "bank"
    """Where class prototypes come from; see `World.class_means`. "bank": retrieved, as always."""
    at: float | None = None
    """Its place on the picture's axis; None: the picture lists rows."""
    line: str = ""
    """Which line of the picture it belongs to, where there are several."""


@dataclass(frozen=True)
class Axis:
    """One question: a table and a picture."""

    key: str
    title: str
    what: str
    """The head of the table's first column."""
    variants: tuple[Variant, ...]
    usual: str
    """The variant that changes nothing, from which differences are told."""
    along: str = ""
    """What the picture's places are, where variants have any."""
    log: bool = False
    """Places are laid out by their logarithm."""
    shown: tuple[str, ...] = ()
    """Variants of which a few scenes are drawn, too."""
    columns: tuple[str, ...] = ()
    """What else the table tells, of what is measured beside."""
    regions: bool = False
    """On the sheet of scenes superpixels are drawn as well."""


def _one(option: str, values: Sequence[float], offline: bool = False) -> tuple[Variant, ...]:
    """A variant a value of one numeric option."""
    return tuple(
        Variant(
            f"{v:g}",
            online=() if offline else (f"{option}={v:g}",),
            offline=(f"{option}={v:g}",) if offline else (),
            at=v,
        )
        for v in values
    )


def _cut(name: str, algorithm: str, **fields: float) -> Variant:
    settings = [f"algorithm={algorithm}", *(f"{k}={v:g}" for k, v in fields.items())]
    return Variant(name, tuple(f"superpixels.{s}" for s in settings))


OWN = "min_similarity=0.99"
"""Keeps a class to the references of its very word."""


def _templates(name: str, templates: str) -> tuple[Variant, ...]:
    setting = (f"templates={templates}",)
    return (
        Variant(f"{name}: bank and names", setting, setting),
        Variant(f"{name}: names only", setting),
        Variant(f"{name}: bank and names, own word only", (*setting, OWN), setting),
    )


AXES: tuple[Axis, ...] = (
    Axis(
        "weight",
        "Local, global, both",
        "`local_weight`",
        _one("local_weight", (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1)),
        usual="0.95",
        along="weight of the local similarity: 0 global only, 1 local only",
        shown=("0", "1", "0.8", "0.95"),
    ),
    Axis(
        "superpixels",
        "Superpixels",
        "`superpixels.*`",
        (
            _cut("felzenszwalb 100, 0.7, 20 (VOC's; the preset's)", "felzenszwalb"),
            _cut("felzenszwalb 100, 1.0, 20 (Context's, ADE's)", "felzenszwalb", sigma=1),
            _cut("felzenszwalb 100, 1.0, 100 (Stuff's)", "felzenszwalb", sigma=1, min_size=100),
            _cut("felzenszwalb 20, 0.5, 50 (Cityscapes')", "felzenszwalb", scale=20, sigma=0.5, min_size=50),
            _cut("felzenszwalb 400, 0.7, 20", "felzenszwalb", scale=400),
            _cut("slic, 100 segments", "slic", n_segments=100),
            _cut("slic, 250 segments", "slic", n_segments=250),
            _cut("quickshift", "quickshift"),
            _cut("quickshift, kernel 3, distance 6", "quickshift", kernel_size=3, max_dist=6),
            _cut("watershed, 100 markers", "watershed", markers=100),
            _cut("watershed, 250 markers", "watershed", markers=250),
            _cut("seeds, 100 superpixels", "seeds", num_superpixels=100),
            _cut("seeds, 250 superpixels, 2 levels", "seeds", num_superpixels=250, num_levels=2),
            _cut("none: patches decide", "none"),
        ),
        usual="felzenszwalb 100, 0.7, 20 (VOC's; the preset's)",
        columns=("Regions a scene", "Labelled perfectly"),
        shown=(
            "felzenszwalb 100, 0.7, 20 (VOC's; the preset's)",
            "slic, 100 segments",
            "quickshift",
            "watershed, 100 markers",
            "seeds, 100 superpixels",
            "none: patches decide",
        ),
        regions=True,
    ),
    Axis(
        "k",
        "Prototypes retrieved, K",
        "`k`",
        _one("k", (1, 2, 4, 8, 16, 24, 32, 64, 128, 350)),
        usual="24",
        along="K",
        log=True,
    ),
    Axis(
        "reduction",
        "From retrieved prototypes to a class",
        "`prototypes`",
        (
            Variant("mean"),
            Variant("mean, own word only", (OWN,)),
            Variant("k-means 2", ("prototypes=k-means", "clusters=2")),
            Variant("k-means 4", ("prototypes=k-means", "clusters=4")),
            Variant("k-means 8", ("prototypes=k-means", "clusters=8")),
            Variant("k-means 4, not spherical", ("prototypes=k-means", "clusters=4", "spherical=false")),
            Variant("all, the best decides", ("prototypes=all",)),
            Variant("all, half best and half mean", ("prototypes=all", "max_share=0.5")),
            Variant("all, the mean of cosines", ("prototypes=all", "max_share=0")),
            Variant("knn-vote, 8 neighbours", ("prototypes=knn-vote", "neighbours=8")),
            Variant("knn-vote, 32 neighbours", ("prototypes=knn-vote",)),
            Variant("k-means 4, own word only", ("prototypes=k-means", "clusters=4", OWN)),
            Variant("all, the best decides, own word only", ("prototypes=all", OWN)),
            Variant("knn-vote, 8 neighbours, own word only", ("prototypes=knn-vote", "neighbours=8", OWN)),
        ),
        usual="mean",
    ),
    Axis(
        "keys",
        "Textual keys",
        "`key`",
        (
            Variant("template"),
            Variant("caption, weight 0.25", offline=("key=caption", "key_weight=0.25")),
            Variant("caption, weight 0.5", offline=("key=caption", "key_weight=0.5")),
            Variant("caption, weight 0.75", offline=("key=caption", "key_weight=0.75")),
            Variant("token", offline=("key=token",)),
            Variant("template, k 8", ("k=8",)),
            Variant("caption, weight 0.5, k 8", ("k=8",), ("key=caption", "key_weight=0.5")),
            Variant("token, k 8", ("k=8",), ("key=token",)),
        ),
        usual="template",
        columns=("Pairs",),
    ),
    Axis(
        "threshold",
        "Mask threshold",
        "`threshold`",
        _one("threshold", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), offline=True),
        usual="0.4",
        along="threshold of the word's map, scaled to 0 to 1",
        columns=("Pairs",),
    ),
    Axis(
        "captions",
        "Captions a bank",
        "Retrieval, share of the captions",
        tuple(
            Variant(f"{line}, x {share:g}", settings, share=share, at=share, line=line)
            for line, settings in (("usual retrieval", ()), ("own word only", (OWN,)))
            for share in (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
        ),
        usual="usual retrieval, x 1",
        along="captions",
        log=True,
        columns=("Captions", "Pairs"),
    ),
    Axis(
        "sources",
        "Generated and true references",
        "Class prototype",
        (
            Variant("generated, attention masks, retrieved (the method)"),
            Variant("generated, attention masks, class mean", source="masks"),
            Variant("generated, judge's masks, class mean", source="judge"),
            Variant("generated, whole pictures, class mean", source="whole"),
            Variant("rendered, true masks, class mean", source="true"),
            Variant("rendered, whole pictures, class mean", source="rendered-whole"),
        ),
        usual="generated, attention masks, retrieved (the method)",
    ),
    Axis(
        "templates",
        "Prompt templates",
        "`templates`",
        (
            Variant("sub-imagenet-7"),
            *_templates("imagenet-80", "imagenet-80"),
            *_templates("simple", "simple"),
            *_templates("the bare word", '["{}"]'),
            Variant("sub-imagenet-7, own word only", (OWN,)),
        ),
        usual="sub-imagenet-7",
    ),
)
