"""The sdist and the wheel hold what they should and nothing else; installed read-only, the wheel works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOOK = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
NOT_IN_SDIST = {".dockerignore", ".gitignore", ".ci/run"}
BY_SETUPTOOLS = ("PKG-INFO", "setup.cfg", "src/freeda.egg-info/")
LEFTOVERS = (  # what a place of work has lying about
    *(".git/HEAD", ".venv/bin/python", "build/lib/x.py", "demo/page.png", ".hypothesis/x"),
    *("src/freeda/__pycache__/x.pyc", "src/freeda/.mypy_cache/x", "tests/__pycache__/x.pyc"),
    *("tests/cli/.pytest_cache/x", "docs/.ipynb_checkpoints/a.ipynb", "docs/.DS_Store"),
)


def listed(*what: str) -> set[str]:
    """Files of the checkout that git lists and that are there."""
    if shutil.which("git") is None:
        return set()
    git = ["git", "-C", str(ROOT), "ls-files", "-z", *what]
    names = subprocess.run(git, capture_output=True, text=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def files() -> set[str]:
    """What belongs to the project, new modules that git does not know yet among it."""
    known = listed()
    if "pyproject.toml" not in known:
        pytest.skip("not a checkout: git tells what belongs to the project")
    return known | listed("-o", "--exclude-standard", "src", "tests", "docs", "benchmarks")


@pytest.fixture(scope="module")
def built(files: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel made of what is in it, as `python -m build` makes both."""
    pytest.importorskip("setuptools", "77", reason="builds by setuptools 77 or newer")
    work, dist = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("dist")
    for name in (*files, *LEFTOVERS):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copyfile(ROOT / name, work / name) if name in files else (work / name).write_text("left"))
    build("build_sdist", work, dist)
    (sdist,) = dist.iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    build("build_wheel", work / "unpacked" / sdist.name.removesuffix(".tar.gz"), dist)
    return dist


def build(hook: str, place: Path, into: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HOOK, hook, into], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_sdist_holds_the_source_and_nothing_else(files: set[str], built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {name for name in names if not name.startswith(BY_SETUPTOOLS)} == files - NOT_IN_SDIST


def test_the_wheel_holds_the_package_and_nothing_else(files: set[str], built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (about,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert names == {name.removeprefix("src/") for name in files if name.startswith("src/")}
    data = (
        "py.typed",
        "collection/word_lists.toml",
        "app/assets/index.html",
        "evaluation/names/voc.txt",
        "miniature/weights/bank/bank.json",
    )
    for name in data:
        assert f"freeda/{name}" in names
    assert "Provides-Extra: app" in about and "License-Expression: Apache-2.0" in about


def test_what_is_said_of_installing_can_work() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pages = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
    sources = {path: path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")}
    table = re.findall(r"^\| `(\w+)` \|", pages[ROOT / "docs" / "install.md"], re.M)
    assert set(table) == set(project["optional-dependencies"])
    asked = {name for text in sources.values() for name in re.findall(r"\bextra\(['\"](\w+)['\"]\)", text)}
    assert asked and asked <= set(table)
    by_name = re.compile(r"pip install (?:-\S+ )*['\"]?freeda(?!\S* @ )")  # as if an index had it
    for path, text in {**pages, **sources}.items():
        for line in filter(by_name.search, text.splitlines()):
            assert "find nothing" in line, f"{path}: {line}"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheel as pip installs it, in a folder that nobody may write to."""
    pytest.importorskip("pip")
    place = tmp_path_factory.mktemp("installed") / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place]
    subprocess.run([*pip, next(built.glob("*.whl"))], check=True)
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    for path in place.rglob("*.*"):
        if path.is_file():
            path.chmod(0o444)
    for path in folders:
        path.chmod(0o555)
    yield place
    for path in folders:
        path.chmod(0o755)


def freeda(installed: Path, folder: Path, *arguments: str) -> str:
    """Run the installed command in a folder; the package is as it was, also where root may write to it."""
    unset = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "FREEDA_CACHE", "XDG_CACHE_HOME")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"PYTHONPATH": str(installed), "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    before = state(installed)
    ask = [sys.executable, "-c", "import freeda; print(freeda.__file__)"]
    where = subprocess.run(ask, env=env, cwd=folder, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).is_relative_to(installed)
    command = [sys.executable, installed / "bin" / "freeda", *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert state(installed) == before
    return done.stdout


def state(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in (place, *place.rglob("*"))}


def test_it_runs_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    bank = installed / "freeda" / "miniature" / "weights" / "bank"
    assert "whole" in freeda(installed, tmp_path, "bank", "verify", str(bank))


@pytest.mark.slow
def test_the_demo_runs_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    assert "mIoU" in freeda(installed, tmp_path, "demo", "--captions", "12", "--scenes", "2")
    assert (tmp_path / "demo" / "page.png").is_file()
