"""The paper's ablations: what is measured is what the package's own ways give, kept parts are taken again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from freeda.collection.shard import load_models, make_shard
from freeda.errors import InputError
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES
from freeda.model import FreeDA
from freeda.options import parse_settings
from studies import ablations, charts
from studies import world as world_module
from studies.ablations import Findings, measure, table, write_page
from studies.axes import AXES, MASKS, OWN, Axis, Variant
from studies.charts import command, rows_of
from studies.held_out import MemoryBank
from studies.sweep import END, PRESET, begin, between_marks, folder_of
from studies.world import World, draw, pairs_of, plan

DOCS = Path(__file__).parents[2] / "docs"
QUICK = replace(PRESET, collect=replace(PRESET.collect, steps=2, batch_size=3))
SMALL = Axis(
    "small",
    "Small",
    "`k`",
    (Variant("24"), Variant("2", ("k=2",)), Variant("slic", ("superpixels.algorithm=slic",))),
    usual="24",
    columns=("Pairs",),
    shown=("24",),
)


@pytest.fixture(scope="module")
def models() -> Any:
    return load_models(QUICK, QUICK.collect, "cpu")


@pytest.fixture
def world(models: Any, tmp_path: Path) -> World:
    return World(7, 5, 2, QUICK, models, tmp_path)


@pytest.mark.parametrize("axis", AXES, ids=lambda a: a.key)
def test_every_axis_has_one_variant_that_changes_nothing(axis: Axis) -> None:
    def parsed(v: Variant) -> tuple[object, ...]:
        online, offline = parse_settings(v.online, PRESET.segment), parse_settings(v.offline, PRESET.collect)
        return online, offline, v.share, v.source

    plain = [v.name for v in axis.variants if parsed(v) == (PRESET.segment, PRESET.collect, 1.0, "bank")]
    assert plain == [axis.usual]
    # Two rows alike would measure nothing, and two of one name could not be told apart.
    assert len({parsed(v) for v in axis.variants}) == len(axis.variants)
    assert len({v.name for v in axis.variants}) == len(axis.variants) and {*axis.shown} <= {
        v.name for v in axis.variants
    }
    places = [v.at is None for v in axis.variants]
    assert all(places) or (not any(places) and axis.along)
    for line in {v.line for v in axis.variants}:
        at = [v.at for v in axis.variants if v.line == line and v.at is not None]
        assert at == sorted(at)
    assert max(v.share for v in axis.variants) <= world_module.MOST


def test_the_page_has_a_place_and_pictures_for_every_axis() -> None:
    for axis in AXES:
        page = DOCS / ("attribution.md" if axis.key in ("masks", "propagation") else "ablations.md")
        text = page.read_text("utf-8")
        assert begin(command(axis)) in text and END in text.partition(begin(command(axis)))[2]
        assert page.with_name(f"{page.stem}-{axis.key}.png").exists()
        assert [r.name for r in rows_of(text, axis)] == [v.name for v in axis.variants]
    assert len({a.key for a in AXES}) == len(AXES)


def plain_iou(guesses: Sequence[Any], truths: Sequence[Any]) -> list[float]:
    out = []
    for c in range(len(CLASSES)):
        both = sum(int(((g == c) & (t == c)).sum()) for g, t in zip(guesses, truths, strict=True))
        union = sum(int(((g == c) | (t == c)).sum()) for g, t in zip(guesses, truths, strict=True))
        out.append(both / union if union else float("nan"))
    return out


@pytest.mark.parametrize(
    "variant",
    [
        Variant("usual"),
        pytest.param(
            Variant("online", ("k=3", "local_weight=0.5", "prototypes=all", "superpixels.algorithm=none")),
            marks=pytest.mark.slow,
        ),
        Variant("offline", (OWN,), ("threshold=0.6", "key=caption"), share=0.4),
        pytest.param(
            Variant(
                *("more", ("templates=simple", "superpixels.min_size=80"), ("templates=simple",)), share=2.0
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda v: v.name,
)
def test_measured_as_the_model_labels(world: World, models: Any, variant: Variant) -> None:
    n = {0.4: 2, 1.0: 5, 2.0: 10}[variant.share]
    online = parse_settings(variant.online, QUICK.segment)
    offline = parse_settings(variant.offline, QUICK.collect)
    # All of it anew: captions by themselves, in the same batches, since rounding depends on these.
    tasks = plan(trial.bank_captions(trial.bank_scenes(7, 10), 7), models.generator.tokenizer, 7)
    drawn = list(draw(tasks, models, QUICK.collect, [QUICK.collect.attribution]))[:n]
    pairs = pairs_of(drawn, models, offline)[0]
    model = FreeDA(replace(QUICK, segment=online), models.encoders, MemoryBank.of_pairs(pairs))
    scenes = trial.held_out(7, 2)
    guesses = [model.segment(s.image, list(CLASSES)).labels for s in scenes]
    iou, beside = world.measure(variant)
    np.testing.assert_array_equal(iou, plain_iou(guesses, [s.labels for s in scenes]))
    assert beside["Pairs"] == len(pairs) > 0 and beside["Captions"] == n
    assert ("Labelled perfectly" in beside) == (online.superpixels.algorithm != "none")
    regions = [s.max() + 1 for s in (model.encode(s.image).regions() for s in scenes)]
    assert beside.get("Regions a scene", 0.0) == np.mean(regions)
    labels, _ = world.label(variant, 1)
    np.testing.assert_array_equal(labels, guesses[1])


@pytest.mark.slow
def test_class_means(world: World, models: Any) -> None:
    pictures, described = world.pictures(5), trial.bank_scenes(7, 5)
    for source in ("masks", "whole", "judge", "true", "rendered-whole"):
        found = world.class_means(source)
        assert found.shape == (len(CLASSES), models.encoders.dense.dim)
        for c, word in enumerate(CLASSES):
            rows: list[Any] = []
            if source == "masks":
                pairs = pairs_of(pictures, models, QUICK.collect)[0]
                rows = [p.prototype for p in pairs if trial.CLASS_OF[p.noun] == word]
            elif source == "rendered-whole":
                seen = [s for s in described if (s.labels == c).any()]
                features = [models.encoders.dense.encode(trial.pixels([s.image]))[0] for s in seen]
                rows = [f.reshape(-1, f.shape[-1]).mean(0).numpy() for f in features]
            elif source == "whole":
                for p in pictures:
                    if any(trial.CLASS_OF[n.lemma] == word for n, _ in p.task.nouns):
                        rows.append(p.features.reshape(-1, p.features.shape[-1]).mean(0).numpy())
            else:
                named = {trial.CLASS_OF[n.lemma] for p in pictures for n, _ in p.task.nouns}
                assert np.isnan(found[c]).all() or word in named
                continue
            if rows:
                expected = np.mean(np.stack(rows).astype(np.float64), axis=0)
                np.testing.assert_allclose(found[c], expected, rtol=1e-3, atol=1e-4)
            else:
                assert np.isnan(found[c]).all()
    assert not np.allclose(world.class_means("judge"), world.class_means("whole"), equal_nan=True)
    np.testing.assert_array_equal(
        world.class_means("true"), trial.true_prototypes(models.encoders, described)
    )
    retrieved, means = (world.measure(Variant("x", source=s))[0] for s in ("bank", "masks"))
    assert not np.array_equal(retrieved, means, equal_nan=True)


def test_kept_pictures_are_the_drawn_ones(models: Any, tmp_path: Path, monkeypatch: Any) -> None:
    first = World(7, 5, 2, QUICK, models, tmp_path)
    drawn = first.pictures(5)
    assert [p.stem[-5:] for p in sorted(tmp_path.iterdir())] == ["00000", "00003"]
    monkeypatch.setattr(world_module, "draw", None)  # nothing is drawn again
    again = World(7, 5, 2, QUICK, models, tmp_path)
    for a, b in zip(drawn, again.pictures(5), strict=True):
        assert a.task == b.task
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_allclose(a.features, b.features, atol=1e-4)  # encoded anew
        np.testing.assert_allclose(a.seen, b.seen, atol=1e-4)
        way = QUICK.collect.attribution
        np.testing.assert_array_equal(a.maps[way], b.maps[way])
    with pytest.raises(TypeError):
        again.pictures(10)


@pytest.mark.slow
def test_a_rerun_makes_only_what_is_missing(tmp_path: Path, monkeypatch: Any) -> None:
    first = measure([SMALL], [1, 2], 4, 2, tmp_path, QUICK)
    assert [len(seeds) for seeds in first[0].rows.values()] == [2, 2, 2] and first[0].scenes is not None
    parts = sorted(tmp_path.rglob("small-*.json"))
    assert [p.parent.name for p in parts] == ["seed-1", "seed-2"]
    before = [p.read_bytes() for p in parts]
    asked = []
    original = World.measure

    def counted(self: World, variant: Variant) -> Any:
        asked.append((self.seed, variant.name))
        return original(self, variant)

    monkeypatch.setattr(World, "measure", counted)
    assert repr(measure([SMALL], [1, 2], 4, 2, tmp_path, QUICK)) == repr(first) and asked == []
    parts[1].unlink()
    assert repr(measure([SMALL], [1, 2], 4, 2, tmp_path, QUICK)) == repr(first)
    assert {seed for seed, _ in asked} == {2} and [p.read_bytes() for p in parts] == before
    asked.clear()
    parts[0].write_text("{damaged")
    other = replace(SMALL, variants=(*SMALL.variants[:2], Variant("1", ("k=1",))))
    found = measure([other], [1, 2], 4, 2, tmp_path, QUICK)
    assert len(asked) == 6 and repr(found[0].rows["24"]) == repr(first[0].rows["24"])


def test_what_cannot_be_run_here_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(charts, "AXES", (SMALL,))
    axis = replace(SMALL, variants=(Variant("24"), Variant("seeds", ("superpixels.algorithm=seeds",))))
    (found,) = measure([axis], [1], 3, 2, tmp_path, QUICK)
    assert "'.[seeds]'" in found.rows["seeds"][0]["error"]
    text = table(found)
    assert "| seeds | superpixel algorithm" in text
    assert [r.name for r in rows_of(f"{begin(command(axis))}\n{text}\n{END}", axis)] == ["24"]
    assert not list(tmp_path.rglob("small-*.json"))  # measured once the package is there


def test_runs_of_other_sizes_are_kept_apart(models: Any) -> None:
    other = replace(QUICK, segment=replace(QUICK.segment, k=7))
    asked = [(QUICK, 4, 2), (QUICK, 5, 2), (QUICK, 4, 3), (other, 4, 2), (PRESET, 4, 2)]
    folders = [folder_of(None, "x", preset, models.encoders, *sizes) for preset, *sizes in asked]
    assert len(set(folders)) == 5
    assert folders[0] == folder_of(None, "x", QUICK, models.encoders, 4, 2)


@pytest.mark.parametrize(
    "settings", [(), ("attribution.heads=max", "key=token"), ("refine=mean", "threshold_rule=otsu")]
)
def test_one_drawing_for_all_gives_the_rows_of_collecting(models: Any, settings: tuple[str, ...]) -> None:
    captions = trial.bank_captions(trial.bank_scenes(5, 3), 5)
    quick = replace(PRESET.collect, steps=3, batch_size=2)
    options = parse_settings(settings, quick)
    others = [parse_settings([f"attribution.blocks={b}"], quick).attribution for b in ("up", "all")]
    ways = list(dict.fromkeys([others[0], options.attribution, others[1]]))
    pictures = list(draw(plan(captions, models.generator.tokenizer, 5), models, quick, ways))
    found, masks = pairs_of(pictures, models, options)

    own = load_models(PRESET, options, "cpu")
    expected = make_shard(captions, own, options, seed=5).pairs
    assert [(p.caption_id, p.noun, p.seed) for p in found] == [
        (p.caption_id, p.noun, p.seed) for p in expected
    ]
    assert len(found) > 4 and sum(len(m) for m in masks) >= len(found)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.area == pytest.approx(theirs.area, abs=1e-3)
        np.testing.assert_allclose(mine.prototype, theirs.prototype, atol=2e-2, rtol=2e-2)
        np.testing.assert_allclose(mine.key, theirs.key, atol=2e-3)


def test_masks_are_measured_from_end_to_end(tmp_path: Path) -> None:
    changed = [(), ("threshold=0.5",), ("min_agreement=0.99",), ("attribution.heads=max",)]
    variants = tuple(Variant(" ".join(settings), offline=settings) for settings in changed)
    axis = replace(AXES[-1], variants=variants, usual="")
    (found,) = measure([axis], [3], 4, 2, tmp_path, QUICK)
    plain, higher, none, heads = ([found.miou(v.name)[0], found.rows[v.name][0]["beside"]] for v in variants)
    assert 0 < plain[0] < 1 and 0 < plain[1][MASKS] < 1 and plain[1]["Pairs"] > 4
    assert higher[1][MASKS] != plain[1][MASKS] != heads[1][MASKS] and 0 < plain[1]["judge"] < 1
    # No bank, no result, but the masks are the default's.
    assert none[1]["Pairs"] == 0 and np.isnan(none[0]) and none[1][MASKS] == plain[1][MASKS]
    path, _ = tmp_path.rglob("pictures-*.npz")  # three captions a file, with the maps of both ways
    with np.load(path) as kept:
        assert {name.partition("-")[2] for name in kept.files} == {"", "0", "1"}


def test_the_page_keeps_everything_but_the_table() -> None:
    page = f"before\n{begin('x')}\nold\n{END}\nafter\n"
    assert between_marks(page, "new", "x") == f"before\n{begin('x')}\nnew\n{END}\nafter\n"
    assert between_marks(between_marks(page, "new", "x"), "old", "x") == page
    for bad in ("no marks", END + begin("x"), begin("x")):
        with pytest.raises(InputError, match="no place for the table"):
            between_marks(bad, "new", "x")


def rows_with(**values: list[float]) -> dict[str, list[dict[str, Any]]]:
    """Variant -> what seeds gave, of which each has its mIoU."""
    return {
        name: [
            {
                "iou": [v if c in ("car", "sky") else float("nan") for c in CLASSES],
                "beside": {"Captions": 5.0, "Pairs": 9.6 + i},
            }
            for v in seeds
        ]
        for i, (name, seeds) in enumerate(values.items())
    }


def test_the_table() -> None:
    found = Findings(SMALL, rows_with(**{"24": [0.5, 0.7], "2": [0.63, 0.75], "slic": [0.25, 0.75]}))
    assert table(found).splitlines() == [
        "| `k` | mIoU | things | stuff | Difference (least to greatest) | Pairs |",
        "|---|---|---|---|---|---|",
        "| **24** | 0.600 | 0.600 | 0.600 | the preset's | 10 |",
        "| 2 | 0.690 | 0.690 | 0.690 | +0.090 (+0.050 to +0.130) | 11 |",
        "| slic | 0.500 | 0.500 | 0.500 | -0.100 (-0.250 to +0.050) | 12 |",
    ]
    read = rows_of(f"{begin(command(SMALL))}\n{table(found)}\n{END}", SMALL)
    assert [(r.name, r.values["mIoU"], r.values["Pairs"]) for r in read] == [
        *(("24", 0.6, 10), ("2", 0.69, 11), ("slic", 0.5, 12))
    ]
    assert [(r.low, r.high) for r in read] == [
        *((0.6, 0.6), (pytest.approx(0.65), pytest.approx(0.73)), (pytest.approx(0.35), pytest.approx(0.65)))
    ]
    assert rows_of(f"{begin(command(SMALL))}\n{END}", SMALL) == []
    one = Findings(SMALL, rows_with(**{"24": [0.5], "2": [0.75]}))
    assert "| 2 | 0.750 | 0.750 | 0.750 | +0.250 | 11 |" in table(one)
    masks = replace(SMALL, parts=False)
    assert table(replace(one, axis=masks)).startswith(
        "| `k` | mIoU | Difference (least to greatest) | Pairs |"
    )


@pytest.mark.parametrize("along", [False, True])
def test_the_page_keeps_its_words_and_has_a_chart(tmp_path: Path, monkeypatch: Any, along: bool) -> None:
    places = tuple(replace(v, at=float(v.name)) for v in SMALL.variants[:2])
    axis = replace(SMALL, variants=places, along="K", log=True) if along else SMALL
    monkeypatch.setattr(charts, "AXES", (axis,))
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{begin(command(axis))}\nold\n{END}\n\nafter\n")
    sheet = tmp_path / "parts" / "s.jpg"
    sheet.parent.mkdir()
    sheet.write_bytes(b"a sheet")
    found = Findings(axis, rows_with(**{"24": [0.5], "2": [0.75]}), sheet)
    write_page(page, [found], "Told.")
    text = page.read_text()
    block = f"before\n\n{begin(command(axis))}\nTold.\n\n![Small: mIoU](page-small.png)\n\n| `k` |"
    assert text.startswith(block)
    assert text.endswith(f"![Small: scenes](page-small-scenes.jpg)\n{END}\n\nafter\n")
    assert (tmp_path / "page-small-scenes.jpg").read_bytes() == b"a sheet"
    with Image.open(tmp_path / "page-small.png") as chart:
        assert chart.width == 960
    (tmp_path / "page-small.png").unlink()
    page.write_text("no marks")
    with pytest.raises(InputError, match="no place for the table"):
        write_page(page, [found], "Told.")
    assert page.read_text() == "no marks" and not (tmp_path / "page-small.png").exists()


def test_charts_put_values_in_their_places() -> None:
    def drawn(axis: Axis, *values: float) -> list[Any]:
        """What has dots: the points of each line, in the order they were drawn."""
        given = zip(axis.variants, values, strict=True)
        rows = [charts.Measured(variant.name, {"mIoU": x}, x, x) for variant, x in given]
        ax = Figure().add_subplot()
        charts.draw_rows(ax, replace(axis, usual=axis.variants[0].name), rows)
        return [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]

    assert drawn(SMALL, 0.25, 0.75, 0.5) == [[[0.25, 3]], [[0.75, 2], [0.5, 1]]]
    axis = replace(SMALL, variants=tuple(Variant(f"{n}", at=n, line="x") for n in (1, 4)), along="K")
    assert drawn(axis, 0.25, 0.75) == [[[1, 0.25], [4, 0.75]]]


def test_charts_say_what_they_need(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"matplotlib.*\[studies\]"):
        charts.draw_charts(tmp_path / "page.md", (DOCS / "ablations.md").read_text("utf-8"))


def test_the_command(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ablations, "AXES", (SMALL,))
    monkeypatch.setattr(charts, "AXES", (SMALL,))
    monkeypatch.setattr(ablations.measure, "__defaults__", (QUICK,))
    app = typer.Typer()
    app.command()(ablations.main)
    given = ["--captions", "3", "--scenes", "2", "--seeds", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0 and "## Small" in done.stdout and "held-out scenes, seed 0." in done.stdout
    assert CliRunner().invoke(app, [*given, "--only", "small"]).stdout == done.stdout
    assert CliRunner().invoke(app, [*given, "--only", "nothing"]).exit_code == 2
    page = tmp_path / "page.md"
    page.write_text(f"{begin(command(SMALL))}\n{END}\n")
    assert CliRunner().invoke(app, [*given, "--page", str(page)]).stdout == done.stdout
    assert "| **24** |" in page.read_text()
