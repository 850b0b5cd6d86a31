"""Rules of the house that no single module can keep alone: what imports what, what is never loaded, sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import freeda

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "freeda"
MODULES = sorted(SOURCE.rglob("*.py"))

# Imports run downwards: a room imports from rooms below its own storey, and from itself.
STOREYS = (
    ("errors", "profile"),
    ("options", "identity", "files", "progress", "model_files", "proof"),
    ("lock", "source_file"),
    ("sources",),
    ("images",),
    ("presets", "remote"),
    ("hub",),
    ("weights", "precision", "pooling", "reattend", "show"),
    ("image_text", "sam3", "bank", "engines"),
    ("encoders",),
    ("segment",),
    ("region_models", "model_words"),
    ("collection", "model"),
    ("references",),
    ("grow", "evaluation", "doctor"),
    ("miniature",),
    ("demo", "app"),
    ("cli",),
    ("__init__", "__main__"),
)
STOREY = {room: i for i, rooms in enumerate(STOREYS) for room in rooms}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import of freeda in a file, wherever in it the import stands."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (
                resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module or ""
            )
            # `from . import x` and `from freeda import x` may name modules as well as things in them.
            found = [f"{base}.{alias.name}" for alias in node.names] if base == "freeda" else [base]
        else:
            continue
        for module in found:
            if module.split(".")[0] == "freeda":
                yield node.lineno, module


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_downwards(path: Path) -> None:
    own = room_of(module_name(path))
    assert own in STOREY, f"{own} has no storey: give it one in {Path(__file__).name}"
    if own == "__init__":
        return
    for line, module in own_imports(path):
        other = room_of(module)
        if other == own or other not in STOREY:
            continue
        assert STOREY[other] < STOREY[own], f"{path.name}:{line} imports {module}, which is not below {own}"


def test_no_circles() -> None:
    """Within a room, too, and in types alone, no module imports one that leads back to it."""
    known = {module_name(path): path for path in MODULES}
    leads = {
        name: {
            module
            for _, module in own_imports(path)
            if module in known and not f"{name}.".startswith(f"{module}.")
        }
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for other in sorted(leads[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in known:
        visit(name, ())


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_pickle(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            bad = {n.split(".")[0] for n in names} & {
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
                "joblib",
                "shelve",
            }
            assert not bad, f"{path.name}:{node.lineno} imports {bad.pop()}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save"), f"{path.name}:{node.lineno} calls {called}"
            if called in ("np.load", "numpy.load"):
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given.get("allow_pickle") == "False", (
                    f"{path.name}:{node.lineno}: say allow_pickle=False"
                )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize(
    "command", ["import freeda", "import freeda.cli, freeda.show, freeda.presets, freeda.evaluation"]
)
def test_importing_loads_nothing_heavy(command: str) -> None:
    heavy = {"torch", "transformers", "diffusers", "faiss"}
    script = f"import sys; {command}; print({heavy} & set(sys.modules) or '')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_exists() -> None:
    for name in getattr(freeda, "__all__", []):
        assert getattr(freeda, name) is not None
