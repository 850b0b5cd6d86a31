"""Which files paths, folders and patterns name."""

from __future__ import annotations

from pathlib import Path

import pytest

from freeda.errors import InputError
from freeda.sources import find_images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        "a.labels.png",
        "a.overlay.jpg",
        "a.panoptic.png",
        "a.explain-12-340.png",
        "a.json",
        "deep/c.webp",
        "deep/er/d.tiff",
        ".git/e.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(found: list[Path], root: Path) -> list[str]:
    return [str(p.relative_to(root)) for p in found]


def test_a_folder(tree: Path) -> None:
    assert names(find_images(tree), tree) == ["a.PNG", "b.jpg"]
    assert names(find_images(str(tree), recursive=True), tree) == [
        "a.PNG",
        "b.jpg",
        "deep/c.webp",
        "deep/er/d.tiff",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg"]),
        ("*.*", ["a.PNG", "b.jpg"]),
        ("*.txt", ["notes.txt"]),
        ("**/*.t*", ["deep/er/d.tiff"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("deep/*", ["deep/c.webp"]),
    ],
)
def test_patterns(tree: Path, pattern: str, expected: list[str]) -> None:
    assert names(find_images(tree / pattern), tree) == expected


def test_files_are_taken_as_they_are_and_once(tree: Path) -> None:
    given = [tree / "notes.txt", tree / "deep/../b.jpg", tree / "a.labels.png", tree, tree / "*.jpg"]
    assert names(find_images(given), tree) == ["notes.txt", "deep/../b.jpg", "a.labels.png", "a.PNG"]


def test_links_are_followed_and_count_by_name(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Folders of links, as DVC, git-annex or one's own hands make them: nothing is dropped."""
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "store").mkdir()
    (other / "store" / "0af3").write_bytes(b"x")
    for name in ("link.jpg", "again.jpg"):
        (tree / name).symlink_to(other / "store" / "0af3")
    (other / "city").mkdir()
    (other / "city" / "f.png").write_bytes(b"x")
    for name in ("aachen", "bonn"):
        (tree / "deep" / name).symlink_to(other / "city", target_is_directory=True)
    found = names(find_images(tree, recursive=True), tree)
    assert found[:4] == ["a.PNG", "again.jpg", "b.jpg", "deep/aachen/f.png"]
    assert found[4:] == ["deep/bonn/f.png", "deep/c.webp", "deep/er/d.tiff", "link.jpg"]


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "cat[1].jpg").write_bytes(b"x")
    assert find_images(tmp_path / "cat[1].jpg") == [tmp_path / "cat[1].jpg"]


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "deep" / "again").symlink_to(tree)
    (tree / "deep" / "er" / "up").symlink_to("..")
    assert len(find_images(tree, recursive=True)) == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("no.jpg", r"no\.jpg: no such file"),
        (
            "https://example.org/a.jpg?b=1",
            r"^https://example\.org/a\.jpg\?b=1: an address, nothing of this machine",
        ),
        ("no*.jpg", "no image file fits"),
        ("empty", "holds no images"),
        ([], "no images were given"),
        ([3], "a int names no image file"),
        ("x" * 5000 + ".jpg", "cannot be read"),
    ],
)
def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: object, says: str) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        find_images(given)  # type: ignore[arg-type]
