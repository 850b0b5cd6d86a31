"""What `studies.ablations` varies: one axis a question of the paper, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Source = Literal["bank", "masks", "judge", "whole", "true", "rendered-whole"]
MASKS, BOUND = "Word masks, IoU", "Labelled perfectly"
"""Columns that only some axes have."""
OWN = "min_similarity=0.99"
"""Keeps a class to the references of its very word."""


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
    """Its place on the chart's axis; None: the chart lists rows."""
    line: str = ""
    """Which line of the chart it belongs to, where there are several."""


@dataclass(frozen=True)
class Axis:
    """One question: a table and a chart."""

    key: str
    title: str
    what: str
    """The head of the table's first column."""
    variants: tuple[Variant, ...]
    usual: str
    """The variant that changes nothing, from which differences are told."""
    along: str = ""
    """What the chart's places are, where variants have any."""
    log: bool = False
    """Places are laid out by their logarithm."""
    shown: tuple[str, ...] = ()
    """Variants of which a few scenes are drawn, too."""
    columns: tuple[str, ...] = ()
    """What else the table tells, of what is measured beside."""
    parts: bool = True
    """Things and stuff have columns of their own."""
    regions: bool = False
    """On the sheet of scenes superpixels are drawn as well."""


def _listed(text: str) -> tuple[Variant, ...]:
    """A variant a line: its name, then after bars its online and its offline settings."""
    made = []
    for line in text.strip().splitlines():
        name, online, offline = [cell.strip() for cell in f"{line}||".split("|")][:3]
        made.append(Variant(name, tuple(online.split()), tuple(offline.split())))
    return tuple(made)


def _offline(settings: str) -> str:
    """The line of a variant that is named by its offline settings."""
    given = settings.split()
    return f"{', '.join(f'`{one}`' for one in given)} | | {' '.join(given)}"


def _values(option: str, values: Sequence[float], offline: bool = False) -> tuple[Variant, ...]:
    """A variant a value of one numeric option."""
    made = [(f"{v:g}", (f"{option}={v:g}",), v) for v in values]
    return tuple(Variant(n, () if offline else s, s if offline else (), at=v) for n, s, v in made)


_CUTS = """
felzenszwalb 100, 0.7, 20 (VOC's; the preset's) | algorithm=felzenszwalb
felzenszwalb 100, 1.0, 20 (Context's, ADE's)    | algorithm=felzenszwalb sigma=1
felzenszwalb 100, 1.0, 100 (Stuff's)            | algorithm=felzenszwalb sigma=1 min_size=100
felzenszwalb 20, 0.5, 50 (Cityscapes')          | algorithm=felzenszwalb scale=20 sigma=0.5 min_size=50
felzenszwalb 400, 0.7, 20                       | algorithm=felzenszwalb scale=400
slic, 100 segments                              | algorithm=slic n_segments=100
slic, 250 segments                              | algorithm=slic n_segments=250
quickshift                                      | algorithm=quickshift
quickshift, kernel 3, distance 6                | algorithm=quickshift kernel_size=3 max_dist=6
watershed, 100 markers                          | algorithm=watershed markers=100
watershed, 250 markers                          | algorithm=watershed markers=250
seeds, 100 superpixels                          | algorithm=seeds num_superpixels=100
seeds, 250 superpixels, 2 levels                | algorithm=seeds num_superpixels=250 num_levels=2
none: patches decide                            | algorithm=none
"""
_REDUCTIONS = f"""
mean
mean, own word only                    | {OWN}
k-means 2                              | prototypes=k-means clusters=2
k-means 4                              | prototypes=k-means clusters=4
k-means 8                              | prototypes=k-means clusters=8
k-means 4, not spherical               | prototypes=k-means clusters=4 spherical=false
all, the best decides                  | prototypes=all
all, half best and half mean           | prototypes=all max_share=0.5
all, the mean of cosines               | prototypes=all max_share=0
knn-vote, 8 neighbours                 | prototypes=knn-vote neighbours=8
knn-vote, 32 neighbours                | prototypes=knn-vote
k-means 4, own word only               | prototypes=k-means clusters=4 {OWN}
all, the best decides, own word only   | prototypes=all {OWN}
knn-vote, 8 neighbours, own word only  | prototypes=knn-vote neighbours=8 {OWN}
"""
_KEYS = """
template
caption, weight 0.25      |     | key=caption key_weight=0.25
caption, weight 0.5       |     | key=caption key_weight=0.5
caption, weight 0.75      |     | key=caption key_weight=0.75
token                     |     | key=token
template, k 8             | k=8 |
caption, weight 0.5, k 8  | k=8 | key=caption key_weight=0.5
token, k 8                | k=8 | key=token
"""
_TEMPLATES = "".join(
    f"""
{name}: bank and names                | templates={templates}       | templates={templates}
{name}: names only                    | templates={templates}       |
{name}: bank and names, own word only | templates={templates} {OWN} | templates={templates}"""
    for name, templates in (("imagenet-80", "imagenet-80"), ("simple", "simple"), ("the bare word", '["{}"]'))
)
_SOURCES: tuple[tuple[str, Source], ...] = (
    ("generated, attention masks, retrieved (the method)", "bank"),
    ("generated, attention masks, class mean", "masks"),
    ("generated, judge's masks, class mean", "judge"),
    ("generated, whole pictures, class mean", "whole"),
    ("rendered, true masks, class mean", "true"),
    ("rendered, whole pictures, class mean", "rendered-whole"),
)
_MASKS = """
attribution.blocks=down, attribution.blocks=up, attribution.blocks=all, attribution.to_step=0.5,
attribution.from_step=0.5, attribution.heads=max, attribution.normalisation=step,
attribution.normalisation=head, attribution.normalisation=words, map_range=percentiles, map_range=max,
threshold=0.3, threshold=0.5, threshold=0.6, threshold_rule=otsu, threshold_rule=percentile keep_share=0.15,
threshold_rule=percentile keep_share=0.25, threshold_rule=percentile keep_share=0.35, refine=vote,
refine=mean, refine=mean threshold_rule=otsu,
refine=mean threshold_rule=otsu attribution.normalisation=words, min_contrast=0.3, min_contrast=0.4,
min_agreement=0.2, min_agreement=0.3, key=caption key_weight=0.25, key=caption key_weight=0.5, key=token
"""
_PROPAGATION = """
attribution.propagation=self, attribution.propagation=self threshold=0.5,
attribution.propagation=self threshold=0.6, attribution.propagation=self threshold_rule=otsu,
attribution.propagation=self refine=mean threshold_rule=otsu
"""
_SHARES = tuple(
    Variant(f"{line}, x {share:g}", settings, share=share, at=share, line=line)
    for line, settings in (("usual retrieval", ()), ("own word only", (OWN,)))
    for share in (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)
)

AXES: tuple[Axis, ...] = (
    Axis(
        "weight",
        "Local, global, both",
        "`local_weight`",
        _values("local_weight", (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1)),
        usual="0.95",
        along="weight of the local similarity: 0 global only, 1 local only",
        shown=("0", "1", "0.8", "0.95"),
    ),
    Axis(
        "superpixels",
        "Superpixels",
        "`superpixels.*`",
        tuple(Variant(v.name, tuple(f"superpixels.{s}" for s in v.online)) for v in _listed(_CUTS)),
        usual="felzenszwalb 100, 0.7, 20 (VOC's; the preset's)",
        columns=("Regions a scene", BOUND),
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
        _values("k", (1, 2, 4, 8, 16, 24, 32, 64, 128, 350)),
        usual="24",
        along="prototypes retrieved, K",
        log=True,
    ),
    Axis("reduction", "From retrieved prototypes to a class", "`prototypes`", _listed(_REDUCTIONS), "mean"),
    Axis("keys", "Textual keys", "`key`", _listed(_KEYS), "template", columns=("Pairs",)),
    Axis(
        "threshold",
        "Mask threshold",
        "`threshold`",
        _values("threshold", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), offline=True),
        usual="0.4",
        along="threshold of the word's map, scaled to 0 to 1",
        columns=("Pairs",),
    ),
    Axis(
        "captions",
        "Captions a bank",
        "Retrieval, share of the captions",
        _SHARES,
        usual="usual retrieval, x 1",
        along="captions a bank",
        log=True,
        columns=("Captions", "Pairs"),
    ),
    Axis(
        "sources",
        "Generated and true references",
        "Class prototype",
        tuple(Variant(name, source=source) for name, source in _SOURCES),
        usual=_SOURCES[0][0],
    ),
    Axis(
        "templates",
        "Prompt templates",
        "`templates`",
        _listed(f"sub-imagenet-7{_TEMPLATES}\nsub-imagenet-7, own word only | {OWN}"),
        usual="sub-imagenet-7",
    ),
    Axis(
        "propagation",
        "Self-attention propagation",
        "Changed",
        _listed("nothing: the defaults\n" + "\n".join(map(_offline, _PROPAGATION.split(",")))),
        usual="nothing: the defaults",
        columns=(MASKS, "Pairs"),
        parts=False,
    ),
    Axis(
        "masks",
        "Attribution, masks and keys",
        "Changed",
        _listed("nothing: the defaults\n" + "\n".join(map(_offline, _MASKS.split(",")))),
        usual="nothing: the defaults",
        columns=(MASKS, "Pairs"),
        parts=False,
    ),
)
