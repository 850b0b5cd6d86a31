"""The job: figures that arithmetic says, runs that go on, parts that are whole, errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import freeda
from evaluation import benchmark_files as files
from evaluation.sets import IGNORE, Noise, Oracle, plain_iou
from forks import run_script
from freeda.errors import InputError, MachineError
from freeda.evaluation import subject
from freeda.evaluation.dataset import contents, find_origin
from freeda.evaluation.job import PART, evaluate
from freeda.evaluation.part import Part, Piece, RunFolder, digest_of, read_part, score_part, write_part
from freeda.evaluation.result import Evaluation, ImageRow
from freeda.lock import only_writer
from freeda.miniature.dataset import Scenes
from freeda.options import to_dict
from freeda.presets import PRESETS


def run(dataset: Any, out: Path, labeller: Any, **given: Any) -> Evaluation:
    return evaluate(dataset, out=out, labeller=labeller, device="cpu", report=False, **given)


def same(a: Evaluation, b: Evaluation) -> None:
    """The same figures to the last bit; only the clock and the memory may differ."""
    ours, theirs = a.counts.arrays(), b.counts.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])
    told = [
        [(r.index, r.name, repr(r.miou), repr(r.pixel_accuracy), r.pixels) for r in e.images] for e in (a, b)
    ]
    assert told[0] == told[1]


def test_the_truth_scores_one(tmp_path: Path) -> None:
    data = Noise()
    result = run(data, tmp_path, Oracle(data))
    assert result.miou == result.counts.pixel_accuracy() == result.counts.boundary_iou() == 1.0
    assert result.counts.frequency_weighted_iou() == 1.0
    assert {row.miou for row in result.images} == {row.pixel_accuracy for row in result.images} == {1.0}
    assert [row.index for row in result.images] == list(range(20)) and result.images[7].name == "noise-7"
    assert result.images[3].pixels == 15 * 17 and result.labels == ("cat", "dog", "tree")
    assert result.seconds == pytest.approx(sum(row.seconds for row in result.images))
    assert result.settings["labeller"] == "oracle" and result.settings["images"] == 20
    counted = sum(int((data.read_truth(i) != IGNORE).sum()) for i in range(20))
    assert int(result.counts.matrix.sum()) == counted


@pytest.mark.parametrize("seed", range(3))
def test_wrong_ones_score_what_arithmetic_says(tmp_path: Path, seed: int) -> None:
    data = Noise(11)
    rng = np.random.default_rng(seed)

    def shuffled(truth: np.ndarray) -> np.ndarray:
        return rng.permutation(truth.ravel() % 3).reshape(truth.shape)

    for name, change in (("constant", lambda t: np.full_like(t, 1)), ("shuffled", shuffled)):
        seen: list[tuple[np.ndarray, np.ndarray]] = []

        def keep(truth: np.ndarray, change: Any = change, seen: Any = seen) -> np.ndarray:
            seen.append((change(truth), truth))
            return seen[-1][0]

        result = run(data, tmp_path / name, Oracle(data, keep))
        expected = plain_iou(seen, 3)
        assert result.counts.per_class_iou().tolist() == pytest.approx(expected)
        assert result.miou == pytest.approx(sum(e for e in expected if e is not None) / 3)
        if name == "constant":
            share = np.mean([t == 1 for _, truth in seen for t in truth.ravel().tolist() if t != IGNORE])
            assert expected == pytest.approx([0, share, 0])
            assert result.counts.pixel_accuracy() == pytest.approx(share)


def test_a_rerun_makes_only_what_is_missing(tmp_path: Path) -> None:
    data, oracle = Noise(3 * PART - 2), Oracle(Noise(3 * PART - 2))
    first = run(data, tmp_path, oracle, limit=PART + 3)
    assert oracle.asked == PART + 3 == len(first.images)
    longer = run(data, tmp_path, oracle)  # the second part was cut short: made again, whole
    assert oracle.asked == PART + 3 + 2 * PART - 2
    made = [f"00000-{PART}.npz", "00001-3.npz", f"00001-{PART}.npz", f"00002-{PART - 2}.npz"]
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == made
    same(longer, run(data, tmp_path / "at once", Oracle(data)))
    asked, data.reads = oracle.asked, []
    again = run(data, tmp_path, oracle)
    assert oracle.asked == asked and data.reads == []
    same(longer, again)
    assert again.seconds == longer.seconds > 0  # those of the run that did the work
    shorter = run(data, tmp_path, oracle, limit=PART)
    assert oracle.asked == asked and [row.index for row in shorter.images] == list(range(PART))


def test_a_smaller_limit_takes_nothing_away(tmp_path: Path) -> None:
    data, oracle = Noise(2 * PART), Oracle(Noise(2 * PART), lambda truth: np.minimum(truth, 1))
    whole, asked = run(data, tmp_path, oracle), oracle.asked
    few = run(data, tmp_path, oracle, limit=PART + 3)
    assert [row.index for row in few.images] == list(range(PART + 3)) and few.settings["images"] == PART + 3
    same(few, run(data, tmp_path / "few", oracle, limit=PART + 3))
    asked = oracle.asked
    same(few, run(data, tmp_path, oracle, limit=PART + 3))
    same(whole, run(data, tmp_path, oracle))
    assert oracle.asked == asked, "what was done for more images is kept, and so is what was done for fewer"


def test_changed_files_are_told(tmp_path: Path) -> None:
    """Figures of other files are no figures of these; what was not measured yet may change."""
    place, rng = tmp_path / "mine", np.random.default_rng(0)
    for i in range(PART + 2):
        files.write_image(place / f"images/{i:02}.png")
        files.write_mask(place / f"masks/{i:02}.png", rng.integers(1, 3, files.SIZE))
    (place / "names.json").write_text('{"1": "cat", "2": "dog"}')

    def cats(image: Any) -> Any:
        return np.zeros(image.shape[:2], int)

    def again(**given: Any) -> Evaluation:
        return run("folder", tmp_path / "out", cats, data=place, **given)

    whole = (place / "masks/09.png").read_bytes()
    (place / "masks/09.png").write_bytes(b"no mask")
    with pytest.raises(InputError, match=r"masks.09\.png: this mask cannot be read"):
        again()
    first = again(limit=PART)
    files.write_mask(place / "masks/09.png", files.spread([1]))
    assert again().images[9].miou == 1.0
    (place / "masks/09.png").write_bytes(whole)
    files.write_image(place / "images/03.png").write_bytes((place / "images/03.png").read_bytes() + b"\0")
    for limit, name in ((None, "03"), (PART, "03"), (3, None)):
        if name is None:
            same(again(limit=limit), run("folder", tmp_path / "few", cats, data=place, limit=limit))
            continue
        with pytest.raises(InputError, match=f"out: image '{name}' or its mask has changed .*--no-resume"):
            again(limit=limit)
    files.write_image(place / "images/03.png")
    same(first, again(limit=PART))
    with pytest.raises(InputError, match="out: image '09' or its mask has changed since it was measured"):
        again()
    assert again(resume=False).images[9].miou < 1


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "other", "empty"])
def test_damaged_parts_are_made_again(tmp_path: Path, harm: str) -> None:
    data, oracle = Noise(), Oracle(Noise())
    first = run(data, tmp_path, oracle)
    path = tmp_path / "parts" / f"00001-{PART}.npz"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "other":
        path.write_bytes((tmp_path / "parts" / f"00000-{PART}.npz").read_bytes())
    else:
        middle = len(content) // 2
        flipped = (
            content[:middle] + bytes(255 - b for b in content[middle : middle + 40]) + content[middle + 40 :]
        )
        path.write_bytes({"cut": content[:-30], "flipped": flipped, "empty": b""}[harm])
    again = run(data, tmp_path, oracle)
    assert oracle.asked == 20 + PART
    same(first, again)


def test_the_peak_of_memory_is_that_of_all_parts(tmp_path: Path) -> None:
    data = Noise()
    assert run(data, tmp_path, Oracle(data)).peak_memory < 1 << 50
    folder = RunFolder(tmp_path, digest_of(json.loads((tmp_path / "run.json").read_text())["settings"]))
    first = Piece(0, range(PART), [""] * PART)
    part = folder.read(first)
    assert part is not None
    folder.write(first, replace(part, peak_memory=1 << 50))
    assert run(data, tmp_path, Oracle(data)).peak_memory == 1 << 50


def test_a_part_in_a_file(tmp_path: Path) -> None:
    data = Noise()
    part = score_part(Oracle(data, lambda t: np.full_like(t, 2)).many, data, range(3, 6))
    strange = Part(part.counts, (*part.images, ImageRow(6, "é\n", float("nan"), float("nan"), 0.5, 9)), 123)
    piece = Piece(1, range(3, 7), [""] * 4)
    write_part(tmp_path / "p.npz", strange, piece, "d")
    back = read_part(tmp_path / "p.npz", piece, "d")
    assert back is not None and repr(back.images) == repr(strange.images) and back.peak_memory == 123
    for name, array in part.counts.arrays().items():
        np.testing.assert_array_equal(array, back.counts.arrays()[name])
    for digest, indices in (("e", range(3, 7)), ("d", range(3, 6)), ("d", range(4, 8))):
        assert read_part(tmp_path / "p.npz", Piece(1, indices, [""] * len(indices)), digest) is None
    with pytest.raises(InputError, match="image 'noise-5' or its mask has changed"):
        read_part(tmp_path / "p.npz", replace(piece, files=["", "", "x", "y"]), "d")
    assert read_part(tmp_path / "none.npz", piece, "d") is None
    np.savez(tmp_path / "o.npz", header=np.array([1, 2]))
    assert read_part(tmp_path / "o.npz", piece, "d") is None


def test_images_without_a_pixel_that_counts(tmp_path: Path) -> None:
    class Blank(Noise):
        def read_truth(self, i: int) -> Any:
            return np.full_like(super().read_truth(i), IGNORE)

    result = run(Blank(3), tmp_path, lambda image: np.zeros(image.shape[:2], int))
    assert np.isnan(result.miou) and all(np.isnan(row.miou) for row in result.images)
    same(result, run(Blank(3), tmp_path, None or Oracle(Blank(3), name="<lambda>")))


@pytest.mark.parametrize("name", ["parts/own.npz", "worst.jpg", "report.json", "vocabulary.npz"])
def test_a_folder_that_is_no_run_s_keeps_its_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / name).write_text("somebody's")
    for resume in (True, False):
        with pytest.raises(InputError, match=f"{name}: no evaluation's"):
            RunFolder(tmp_path, "digest").begin({}, resume)
    assert (tmp_path / name).read_text() == "somebody's" and not (tmp_path / "run.json").exists()


def test_another_run_s_folder_is_refused(tmp_path: Path) -> None:
    data = Noise()
    run(data, tmp_path, Oracle(data))
    (tmp_path / "mine.txt").write_text("the user's own")
    with pytest.raises(InputError, match=r"labeller was 'oracle', now 'other'.*--no-resume") as error:
        run(data, tmp_path, Oracle(data, name="other"))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="labels was "):
        run(Noise(classes=("a", "b", "c")), tmp_path, Oracle(data))
    begun = Oracle(data, name="other")
    run(data, tmp_path, begun, resume=False, limit=4)
    assert begun.asked == 4 and len(list((tmp_path / "parts").iterdir())) == 1
    assert (tmp_path / "mine.txt").exists()
    made = json.loads((tmp_path / "run.json").read_text())
    others = [{"a": 1}, {**made, "version": 9}, {**made, "format": {}}, {**made, "settings": []}]
    for text in ("{", "[" * 100_000, *map(json.dumps, others)):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match=r"run\.json: damaged, or another version's: another --out, or"):
            run(data, tmp_path, begun)
    assert len(list((tmp_path / "parts").iterdir())) == 1
    run(data, tmp_path, begun, resume=False, limit=1)
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["labeller"] == "other"


def test_one_writer(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(InputError, match="another run is writing this evaluation"):
        run(Noise(), tmp_path, Oracle(Noise()))


def test_errors_name_the_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"noise-10\.jpg: not an image"):
        run(Noise(bad=10), tmp_path, Oracle(Noise()))
    assert len(list((tmp_path / "parts").iterdir())) == 1  # what came before it is kept

    class Odd(Noise):
        def read_truth(self, i: int) -> Any:
            return super().read_truth(i)[: 5 if i == 2 else None]

    with pytest.raises(InputError, match="noise-2: the image is 17 x 14 and its truth 17 x 5 pixels"):
        run(Odd(), tmp_path / "odd", lambda image: np.zeros(image.shape[:2], int))
    for number, (labels, says) in enumerate(
        [
            (lambda i: np.full(i.shape[:2], 3), "noise-0: prediction holds label 3"),
            (lambda i: np.zeros(i.shape[:2]), "noise-0: prediction has dtype float64"),
            (lambda i: np.zeros((2, 2), int), "noise-0: prediction has shape"),
            (
                lambda i: fail("DefaultCPUAllocator: can't allocate memory"),
                "noise-0: this image does not fit into memory",
            ),
        ]
    ):
        with pytest.raises(InputError, match=says):
            run(Noise(), tmp_path / str(number), labels)
    with pytest.raises(RuntimeError, match="of another kind"):
        run(Noise(), tmp_path / "r", lambda i: fail("of another kind"))
    with pytest.raises(MachineError, match=r"^CUDA error: an illegal memory access.*nothing more for this"):
        run(Noise(), tmp_path / "lost", lambda i: fail("CUDA error: an illegal memory access was"))


def fail(says: str) -> Any:
    raise RuntimeError(says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": 2}, "labeller belongs to this process"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_what_cannot_be(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        evaluate(Noise(), out=tmp_path, labeller=Oracle(Noise()), report=False, **{"device": "cpu", **given})
    if "limit" in given:
        with pytest.raises(InputError, match=says):  # in the same words for all data sets
            evaluate("miniature", out=tmp_path, **given)


@pytest.mark.slow
def test_workers_say_the_same(tmp_path: Path) -> None:
    """The bundled models and bank: two processes, one, and the same call by another name."""
    n = 2 * PART + 3
    # One thread each, and here too: sums of other numbers of threads are rounded otherwise.
    script = (
        "import torch; torch.set_num_threads(2); import sys, freeda; r = freeda.evaluate('miniature', "
        f"out=sys.argv[1], limit={n}, workers=2, device='cpu', report=False); print(r.miou)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "two")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = evaluate(Scenes(0, n), out=tmp_path / "one", device="cpu", report=False)
    finally:
        torch.set_num_threads(threads)
    two = freeda.evaluate("miniature", out=tmp_path / "two", limit=n, device="cpu", report=False)
    assert float(done.stdout) == two.miou
    same(one, two)
    assert two.peak_memory > 50e6 and 0.5 < one.miou < 1


def test_what_belongs_to_this_process_stays_here(tmp_path: Path, tiny_model: Any) -> None:
    for dataset, model, says in (
        (Scenes(), tiny_model, "model belongs to this process"),
        (Noise(), "miniature", "dataset belongs to this process"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(dataset, out=tmp_path / says[:5], model=model, workers=2, device="cpu", report=False)
        assert not (tmp_path / says[:5]).exists()


def test_a_worker_with_other_images_is_refused(tmp_path: Path) -> None:
    """Before any model is loaded: indices would mean other images there."""
    first = {"out": str(tmp_path), "digest": "d", "preset": to_dict(PRESETS["miniature"])}
    origin = {"opener": "freeda.miniature.dataset:Scenes", "arguments": {"seed": 1, "n": 3}}
    with pytest.raises(InputError, match="data set 'miniature' holds other images here"):
        subject.begin({**first, "origin": origin, "names": Scenes(0, 3).digest()})


def test_a_worker_with_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names alike, contents not: told before the first image of the part is labelled."""
    for name in ("load_encoders", "load_regions", "FreeDA"):
        monkeypatch.setattr(subject, name, lambda *given, **more: None)
    monkeypatch.setattr(subject.Vocabulary, "load", lambda path: None)
    zeros = SimpleNamespace(many=lambda images: (np.zeros(image.shape[:2], int) for image in images))
    monkeypatch.setattr(subject, "FreedaLabeller", lambda *given: zeros)
    origin = find_origin("folder", files.folder(tmp_path / "mine", [1, 2]))
    first = {
        **{"out": str(tmp_path), "digest": "d", "preset": to_dict(PRESETS["miniature"]), "device": "cpu"},
        **{"bank": None, "dtype": "float32", "origin": asdict(origin), "names": origin.open().digest()},
    }
    order: dict[str, Any] = {"number": 0, "images": [0, 1]}
    make = subject.begin(first)
    with pytest.raises(InputError, match=r"data set .folder. holds other images here: .*mine"):
        make({**order, "files": ["other"] * 2}, lambda note: None)
    assert not list(tmp_path.glob("parts/*"))
    told = {**order, "files": contents(origin.open(), [0, 1])}
    assert make(told, lambda note: None) == 0 and RunFolder(tmp_path, "d").read(Piece(**told)) is not None


def test_progress_tells_the_miou_of_all_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Noise()
    run(data, tmp_path, Oracle(data), progress=True, limit=12)
    assert "12 of 12 images" in (told := capsys.readouterr().out) and "mIoU 1.000 (12 images)" in told
    wrong = Oracle(data, lambda truth: np.zeros_like(truth))
    result = run(data, tmp_path, wrong, progress=True)
    assert f"mIoU {result.miou:.3f} (20 images)" in capsys.readouterr().out and result.miou < 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_runs_go_on(tmp_path: Path) -> None:
    told = run_script(Path(__file__).with_name("killing.py"), tmp_path, 1, 12)
    assert len(set(told["shards_at_kill"])) > 3
    whole = run(Noise(60), tmp_path / "undisturbed", Oracle(Noise(60)))
    for i in range(told["rounds"]):
        oracle = Oracle(Noise(60))
        same(whole, run(Noise(60), tmp_path / str(i), oracle))
        assert oracle.asked == 0 and not list((tmp_path / str(i)).rglob("*.tmp"))
