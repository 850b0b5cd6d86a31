"""The job: figures that arithmetic says, runs that go on, parts that are whole, errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import freeda
from evaluate.sets import IGNORE, Noise, Oracle, plain_iou
from forks import run_script
from freeda.errors import InputError
from freeda.evaluate import worker
from freeda.evaluate.evaluation import Evaluation, ImageRow
from freeda.evaluate.job import PART, evaluate
from freeda.evaluate.part import Part, read_part, score_part, write_part
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
    assert int(result.counts.confusion.matrix.sum()) == counted


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
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == ["00000.npz", "00001.npz", "00002.npz"]
    same(longer, run(data, tmp_path / "at once", Oracle(data)))
    asked, data.reads = oracle.asked, []
    again = run(data, tmp_path, oracle)
    assert oracle.asked == asked and data.reads == []
    same(longer, again)
    assert again.seconds == longer.seconds > 0  # those of the run that did the work
    shorter = run(data, tmp_path, oracle, limit=PART)
    assert oracle.asked == asked and [row.index for row in shorter.images] == list(range(PART))


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "other", "empty"])
def test_damaged_parts_are_made_again(tmp_path: Path, harm: str) -> None:
    data, oracle = Noise(), Oracle(Noise())
    first = run(data, tmp_path, oracle)
    path = tmp_path / "parts" / "00001.npz"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "other":
        path.write_bytes((tmp_path / "parts" / "00000.npz").read_bytes())
    else:
        middle = len(content) // 2
        flipped = (
            content[:middle] + bytes(255 - b for b in content[middle : middle + 40]) + content[middle + 40 :]
        )
        path.write_bytes({"cut": content[:-30], "flipped": flipped, "empty": b""}[harm])
    again = run(data, tmp_path, oracle)
    assert oracle.asked == 20 + PART
    same(first, again)


def test_a_part_in_a_file(tmp_path: Path) -> None:
    data = Noise()
    part = score_part(Oracle(data, lambda t: np.full_like(t, 2)), data, range(3, 6))
    strange = Part(part.counts, (*part.images, ImageRow(6, "é\n", float("nan"), float("nan"), 0.5, 9)), 123)
    write_part(tmp_path / "p.npz", strange, "d")
    back = read_part(tmp_path / "p.npz", "d", [3, 4, 5, 6])
    assert back is not None and repr(back.images) == repr(strange.images) and back.peak_memory == 123
    for name, array in part.counts.arrays().items():
        np.testing.assert_array_equal(array, back.counts.arrays()[name])
    for digest, indices in (("e", [3, 4, 5, 6]), ("d", [3, 4, 5]), ("d", [4, 5, 6, 7])):
        assert read_part(tmp_path / "p.npz", digest, indices) is None
    assert read_part(tmp_path / "none.npz", "d", [3]) is None
    np.savez(tmp_path / "o.npz", header=np.array([1, 2]))
    assert read_part(tmp_path / "o.npz", "d", [3]) is None


def test_images_without_a_pixel_that_counts(tmp_path: Path) -> None:
    class Blank(Noise):
        def read_truth(self, i: int) -> Any:
            return np.full_like(super().read_truth(i), IGNORE)

    result = run(Blank(3), tmp_path, lambda image: np.zeros(image.shape[:2], int))
    assert np.isnan(result.miou) and all(np.isnan(row.miou) for row in result.images)
    same(result, run(Blank(3), tmp_path, None or Oracle(Blank(3), name="<lambda>")))


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
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json: damaged"):
        run(data, tmp_path, begun)
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
            (lambda i: no_memory(), "noise-0: this image does not fit into memory"),
        ]
    ):
        with pytest.raises(InputError, match=says):
            run(Noise(), tmp_path / str(number), labels)
    with pytest.raises(RuntimeError, match="of another kind"):
        run(Noise(), tmp_path / "r", lambda i: (_ for _ in ()).throw(RuntimeError("of another kind")))


def no_memory() -> Any:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


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


def test_workers_say_the_same(tmp_path: Path) -> None:
    """The bundled models and bank: two processes, one, and the same call by another name."""
    n = 2 * PART + 3
    # One thread each, and here too: sums of other numbers of threads are rounded otherwise.
    script = (
        "import torch; torch.set_num_threads(2); import sys, freeda; r = freeda.evaluate('miniature', "
        f"out=sys.argv[1], limit={n}, workers=2, device='cpu', report=False); print(r.miou)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "two")], capture_output=True, text=True, timeout=250
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
        worker.begin({**first, "origin": origin, "names": Scenes(0, 3).digest()})


def test_progress_tells_the_miou_of_all_that_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Noise()
    run(data, tmp_path, Oracle(data), progress=True, limit=12)
    assert "12 of 12 images" in (told := capsys.readouterr().out) and "mIoU 1.000 (12 images)" in told
    wrong = Oracle(data, lambda truth: np.zeros_like(truth))
    result = run(data, tmp_path, wrong, progress=True)
    assert f"mIoU {result.miou:.3f} (20 images)" in capsys.readouterr().out and result.miou < 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_runs_go_on(tmp_path: Path) -> None:
    told = run_script(Path(__file__).with_name("killing.py"), tmp_path, 1, 12)
    assert len(set(told["shards_at_kill"])) > 3
    whole = run(Noise(60), tmp_path / "undisturbed", Oracle(Noise(60)))
    for i in range(told["rounds"]):
        oracle = Oracle(Noise(60))
        same(whole, run(Noise(60), tmp_path / str(i), oracle))
        assert oracle.asked == 0 and not list((tmp_path / str(i)).rglob("*.tmp"))
