"""What a run needs from a data set besides its labels: names, digest, words, a check before the start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import benchmark_files as files
from evaluation.sets import Noise
from freeda.errors import InputError
from freeda.evaluation.dataset import DataSet, FileDataSet, check_dataset, contents, open_dataset
from freeda.evaluation.table import DATASETS

MAKERS: dict[str, Callable[[Path, list[int]], Path]] = {
    "voc20": files.voc,
    "voc21": files.voc,
    "context59": files.context,
    "context60": files.context,
    "stuff171": files.coco,
    "object": files.coco,
    "cityscapes19": files.cityscapes,
    "ade150": files.ade,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_benchmark_opens_and_passes(name: str, tmp_path: Path) -> None:
    dataset: DataSet = open_dataset(name, MAKERS[name](tmp_path, [1, 7]))
    known = DATASETS[name]
    assert (dataset.name, dataset.classes, dataset.background) == (name, known.classes, known.background)
    assert dataset.changes == known.changes
    assert len(dataset) == 2 and len({dataset.sample_name(i) for i in range(2)}) == 2
    image, truth = dataset.read_image(0), dataset.read_truth(0)
    assert image.shape == (*files.SIZE, 3) and image.dtype == truth.dtype == np.uint8
    check_dataset(dataset)


def test_digest_tells_data_sets_apart(tmp_path: Path) -> None:
    root = files.voc(tmp_path / "a", [1])
    digest = open_dataset("voc20", root).digest()
    assert digest == open_dataset("voc20", files.voc(tmp_path / "b", [1])).digest()  # wherever it lies
    more = open_dataset("voc20", files.voc(tmp_path / "c", [1]))
    assert digest == more.digest()
    assert digest != open_dataset("voc21", root).digest()
    (tmp_path / "words.txt").write_text("\n".join(["plane", *DATASETS["voc20"].classes[1:]]))
    other = open_dataset("voc20", root, classes=tmp_path / "words.txt")
    assert digest != other.digest()
    assert other.found.legend == f"{tmp_path / 'words.txt'}: plane for aeroplane"
    (tmp_path / "words.txt").write_text("\n".join(["plane=aircraft", *DATASETS["voc20"].classes[1:]]))
    with pytest.raises(InputError, match=r"words\.txt: has synonyms"):
        open_dataset("voc20", root, classes=tmp_path / "words.txt")
    files.write_list(root / "ImageSets" / "Segmentation" / "val.txt", ("b_2",))
    assert digest != open_dataset("voc20", root).digest()


def test_contents_tell_files_apart(tmp_path: Path) -> None:
    dataset = open_dataset("voc20", files.voc(tmp_path / "a", [1]))
    told = contents(dataset, [0, 1])
    assert told == contents(
        open_dataset("voc20", files.voc(tmp_path / "b", [1])), [0, 1]
    )  # wherever they lie
    assert contents(dataset, [1]) == told[1:] and contents(dataset, []) == []
    for i, path in ((1, dataset.sample(1).mask), (0, dataset.sample(0).image)):
        before, seen = path.read_bytes(), {told[i]}
        for content in (before[:-9] + bytes([before[-9] ^ 1]) + before[-8:], before + b"\0", b""):
            path.write_bytes(content)  # the first is of the same size
            seen.add(contents(dataset, [0, 1])[i])
            assert contents(dataset, [1 - i]) == [told[1 - i]]
        path.unlink()
        assert len({*seen, contents(dataset, [i])[0]}) == 5
        path.write_bytes(before)
    assert contents(dataset, [0, 1]) == told and contents(Noise(), [0, 1]) == ["", ""]


def test_other_words_for_the_classes(tmp_path: Path) -> None:
    root = files.voc(tmp_path, [1, 20])
    words = [f"word {i}" for i in range(20)]
    path = tmp_path / "words.txt"
    path.write_text("# our own\n" + "\n\n".join(words) + "\n")
    dataset = open_dataset("voc20", root, classes=path)
    assert dataset.classes == tuple(words)
    assert dataset.read_truth(0)[0, :2].tolist() == [0, 19]  # labels keep their numbers
    path.write_text("\n".join(words[:19]))
    with pytest.raises(InputError, match=r"words\.txt: names 19 classes, but 20 are needed, one a line"):
        open_dataset("voc20", root, classes=path)
    path.write_text("\n".join([*words[:19], "Word 0"]))
    with pytest.raises(InputError, match=r"words\.txt: class name 'Word 0' is given twice"):
        open_dataset("voc20", root, classes=path)
    with pytest.raises(InputError, match=r"none\.txt: there is no such list of classes"):
        open_dataset("voc20", root, classes=tmp_path / "none.txt")


def test_progress_and_chosen_images(tmp_path: Path) -> None:
    dataset = open_dataset("voc20", files.voc(tmp_path, [1]))
    dataset.sample(1).mask.write_bytes(b"nothing")
    told: list[tuple[int, int]] = []
    check_dataset(dataset, lambda *args: told.append(args), indices=[0])  # --limit 1 needs no more
    assert told == [(1, 1)]
    with pytest.raises(InputError, match=r"b_2\.png: this mask cannot be read"):
        check_dataset(dataset)


def test_data_sets_of_ones_own_are_checked_by_name(tmp_path: Path) -> None:
    class Own:
        """Made of nothing: whatever follows the protocol is a data set."""

        name, classes, background, changes = "own", ("cat",), False, {}

        def __len__(self) -> int:
            return 2

        def sample_name(self, i: int) -> str:
            return "same"

        def read_image(self, i: int) -> np.ndarray:
            raise AssertionError("only files are read")

        read_truth = read_image

        def digest(self) -> str:
            return ""

    with pytest.raises(InputError, match="own: two images are called same"):
        check_dataset(Own())


def test_no_images_at_all(tmp_path: Path) -> None:
    dataset = open_dataset("voc20", files.voc(tmp_path, [1]))
    empty = replace(dataset, found=replace(dataset.found, samples=()))
    with pytest.raises(InputError, match="voc20: this data set has no images"):
        check_dataset(empty)


def test_photographs_that_lie_on_their_side(tmp_path: Path) -> None:
    """Sizes are compared upright, as images are read."""
    dataset = open_dataset("voc20", files.voc(tmp_path, [1]))
    height, width = files.SIZE
    turned = Image.new("RGB", (height, width))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(dataset.sample(0).image, exif=exif)
    check_dataset(dataset)
    assert dataset.read_image(0).shape[:2] == dataset.read_truth(0).shape


def test_the_room_loads_no_torch() -> None:
    """Benchmarks are found and checked without it."""
    script = (
        "import sys, freeda.evaluation.dataset as d\n"
        "try: d.open_dataset('voc20', '/nowhere')\n"
        "except ValueError as error: print(error)\n"
        "print({'torch', 'transformers', 'scipy.io'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "there is no such folder" in done.stdout and done.stdout.endswith("light\n")


def test_it_is_a_plain_value(tmp_path: Path) -> None:
    dataset = open_dataset("voc20", files.voc(tmp_path, [1]))
    assert isinstance(dataset, FileDataSet) and dataset.split == "val"
    with pytest.raises(AttributeError):
        dataset.name = "other"  # type: ignore[misc]


def test_hidden_files_are_left_aside(tmp_path: Path) -> None:
    """macOS puts "._NAME" beside every file that it copies to a foreign disk."""
    root = files.ade(tmp_path, [1])
    for path in [p for p in root.rglob("*") if p.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"resource fork")
    dataset = open_dataset("ade150", root)
    assert [dataset.sample_name(i) for i in range(len(dataset))] == list(files.NAMES)
    check_dataset(dataset)


def test_a_split_s_own_names_file_wins(tmp_path: Path) -> None:
    files.folder(tmp_path / "val", [1, 2], '{"1": "bird", "2": "fish"}')
    (tmp_path / "names.json").write_text('{"1": "cat", "2": "dog"}')
    assert open_dataset("folder", tmp_path, "val").classes == ("bird", "fish")
    (tmp_path / "val" / "names.json").unlink()
    assert open_dataset("folder", tmp_path, "val").classes == ("cat", "dog")
