"""The way that real photographs take: hub ids of the presets, a fresh cache, a hub that is there or gone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import close_session, constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

import freeda
from commands import refused, run
from freeda.bank import Bank
from freeda.cli import app
from freeda.collection.generator import load_generator
from freeda.encoders import load_clip, load_dense, load_encoders
from freeda.errors import InputError, ModelError
from freeda.hub import in_bytes
from freeda.presets import PRESETS, ModelSource
from freeda.proof import check_tokenizer
from hub import CLIP_B, CLIP_L, DINO_B, DINO_L, JUNK, SD, Hub, Repo, model_repos, serve


@dataclass
class World:
    """A hub, and a cache of this test's own."""

    hub: Hub
    cache: Path
    patch: pytest.MonkeyPatch

    def offline(self, by_word: bool = False) -> None:
        """No hub answers any more, or asking it is forbidden."""
        if by_word:
            self.patch.setattr(constants, "HF_HUB_OFFLINE", True)
        else:
            point_to(self.patch, "http://127.0.0.1:9")

    @contextmanager
    def without_hub(self) -> Iterator[None]:
        self.offline()
        yield
        point_to(self.patch, self.hub.address)

    def cached(self, source: ModelSource) -> list[Path]:
        """The files of a model in the cache."""
        repo = self.cache / f"models--{source.id.replace('/', '--')}"
        return sorted(p for p in repo.rglob("snapshots/**/*") if p.is_symlink())


def point_to(patch: pytest.MonkeyPatch, address: str) -> None:
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> dict[str, Repo]:
    return model_repos(tmp_path_factory.mktemp("hub"), tiny_tokenizer)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command as at a terminal whose user types that answer."""

    def answer(said: str, *given: Any) -> Any:
        monkeypatch.setattr("freeda.cli.options.on_terminal", lambda: True)
        runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
        return runner.invoke(app, [str(a) for a in given], input=f"{said}\n")

    return answer


@pytest.fixture
def world(repositories: dict[str, Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "freeda-cache"))
    with serve({name: replace(repo) for name, repo in repositories.items()}) as hub:
        point_to(monkeypatch, hub.address)
        yield World(hub, tmp_path / "hub-cache", monkeypatch)


@pytest.mark.parametrize("name", ["vit-b", "vit-l"])
def test_encoders_online_then_offline(world: World, name: str) -> None:
    """Words differ, only needed files are fetched, and nothing is asked of a hub again."""
    preset = PRESETS[name]
    online = load_encoders(preset, "cpu")
    keys = online.clip.encode_text(["a photo of a cat", "a photo of a sofa", "a photo of the sky"])
    keys = torch.nn.functional.normalize(keys, dim=-1)
    assert float((keys @ keys.T - torch.eye(3)).max()) < 0.9999
    fetched = world.hub.fetched()
    assert not [f for f in fetched if Path(f).name in JUNK]
    assert sorted(
        Path(f).suffix for f in fetched if "clip" in f and Path(f).suffix in (".bin", ".safetensors")
    ) == [".bin" if name == "vit-b" else ".safetensors"]
    assert online.identity["clip"]["commit"] == world.hub.repos[f"models/{preset.clip.id}"].commit
    world.hub.asked.clear()
    for by_word in (False, True):
        world.offline(by_word)
        again = load_encoders(preset, "cpu")
        assert again.identity == online.identity
        assert torch.equal(again.clip.encode_text(["a cat"]), online.clip.encode_text(["a cat"]))
    assert world.hub.asked == []


def test_a_first_photograph_needs_encoders_alone(world: World, folder: Path, tmp_path: Path) -> None:
    photo = folder / "images" / "photo.png"
    given = ("segment", photo, "--classes", "cat, sofa", "--model", "vit-b", "--device", "cpu", "--yes")
    done = run(*given, "--out", tmp_path / "a")
    assert done.exit_code == 0 and "(method no-bank)" in done.output, (done.output, done.exception)
    assert {"/".join(f.split("/")[1:3]) for f in world.hub.fetched()} == {
        source.id for source in (PRESETS["vit-b"].clip, PRESETS["vit-b"].dense)
    }
    options = json.loads((tmp_path / "a" / "photo.json").read_text())["options"]
    assert options["method"] == "no-bank" and options["dense_clip"]["attention"] == "regions"
    world.offline(True)
    world.hub.asked.clear()
    assert run(*given, "--out", tmp_path / "b").exit_code == 0 and world.hub.asked == []
    labels = [(tmp_path / name / "photo.labels.png").read_bytes() for name in "ab"]
    assert labels[0] == labels[1]


CAPTIONS = "a cat on a sofa\na dog beside a tree\n"
DRAW = ("--steps", 1, "--set", "size=128", "--set", "min_area=0", "--set", "max_area=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions, a photograph, and the same with a mask."""
    place = tmp_path_factory.mktemp("mine")
    (place / "captions.txt").write_text(CAPTIONS)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for part in ("images", "masks"):
        (place / part).mkdir()
    Image.fromarray(pixels).save(place / "images" / "photo.png")
    Image.fromarray(np.kron([[1, 2]], np.ones((60, 45))).astype(np.uint8)).save(place / "masks" / "photo.png")
    (place / "names.json").write_text(json.dumps({"1": "cat", "2": "tree"}))
    return place


def walk(name: str, mine: Path, out: Path, commands: Sequence[str]) -> dict[str, Any]:
    """Those commands by a preset's own name, each from nothing but the cache; what they found."""
    on = ("--model", name, "--device", "cpu")
    photo, found = mine / "images" / "photo.png", dict[str, Any]()

    def go(command: str, *given: Any) -> None:
        if command in commands:
            done = run(*command.split(), *given)
            assert done.exit_code == 0, (command, done.output, done.exception)

    go("collect", mine / "captions.txt", "--out", out / "bank", *on, *DRAW)
    bank = ("--bank", out / "bank")
    found["keys"] = np.asarray(Bank.open(out / "bank").keys, np.float32)
    found["models"] = Bank.open(out / "bank").meta["models"]
    go("segment", photo, "--classes", "cat, sofa, tree", *bank, "--out", out / "labels", "--no-grow", *on)
    lenient = ("size=128", "min_area=0", "max_area=1")
    draw = [part for setting in ("lcm", *lenient) for part in ("--draw", setting)]
    words = ("--classes", "cat, dog", "--images-per-word", 1)
    go("segment --yes --grow", photo, *words, *draw, "--out", out / "grown", *on)
    go(
        "bank grow --yes",
        "tree",
        "--images-per-word",
        1,
        *(p for s in (*lenient, "steps=1") for p in ("--set", s)),
        *on,
    )
    go("evaluate", "folder", "--data", mine, *bank, "--out", out / "figures", *on)
    go("bank coverage", "--classes", "cat, dog", *bank, *on)
    go("bank search", out / "bank", "cat", "--device", "cpu")
    go("bank add-images", mine, "--out", out / "references", *on)
    if "segment --yes --grow" in commands:
        layers = sorted((out.parent / "freeda-cache").glob("grown/*/bank.json"))
        found["grown"] = np.concatenate([np.asarray(Bank.open(file.parent).prototypes) for file in layers])
    if "segment" in commands:
        found["labels"] = np.asarray(Image.open(out / "labels" / "photo.labels.png"))
    if "app" in commands:
        from freeda.app.server import serve as serve_page

        serve_page(freeda.load(name, out / "bank", "cpu"), port=None).close()
    return found


ALL = (
    *("collect", "segment", "segment --yes --grow", "bank grow --yes", "evaluate"),
    *("bank coverage", "bank search", "bank add-images", "app"),
)


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("vit-b", ("collect", "segment", "segment --yes --grow", "bank search", "bank add-images")),
        pytest.param(
            *("vit-l", ("collect", "bank grow --yes", "evaluate", "bank coverage", "app")),
            marks=pytest.mark.slow,
        ),
        pytest.param("vit-b", ALL, marks=pytest.mark.slow),
        pytest.param("vit-l", ALL, marks=pytest.mark.slow),
    ],
)
def test_every_command_online_then_offline(
    world: World, folder: Path, tmp_path: Path, name: str, commands: Sequence[str]
) -> None:
    if "app" in commands:
        pytest.importorskip("fastapi", reason="the web page needs FastAPI")
    online = walk(name, folder, tmp_path / "online", commands)
    alike = online["keys"] @ online["keys"].T
    assert (alike - np.eye(len(alike))).max() < 0.9999, "distinct words have distinct keys"
    assert not [f for f in world.hub.fetched() if Path(f).name in JUNK or "safety" in f or "non_ema" in f]
    for part in ("clip", "dense", "generator"):
        source = getattr(PRESETS[name], part)
        assert online["models"][part]["commit"] == world.hub.repos[f"models/{source.id}"].commit
    shutil.rmtree(tmp_path / "freeda-cache", ignore_errors=True)  # what was grown online
    world.offline()
    offline = walk(name, folder, tmp_path / "offline", commands)
    for what, value in online.items():
        np.testing.assert_array_equal(offline[what], value)


def load_part(name: str, part: str) -> None:
    preset = PRESETS[name]
    if part == "generator":
        load_generator(preset.generator, "cpu")
    elif part == "clip":
        load_clip(preset, "cpu")
    else:
        load_dense(preset, "cpu")


PARTS = pytest.mark.parametrize("part", ["clip", "dense", pytest.param("generator", marks=pytest.mark.slow)])


@PARTS
def test_every_cached_file_may_be_gone(world: World, part: str) -> None:
    """Offline the rest is a whole model, or one line tells what it lacks; online it is fetched again."""
    preset = PRESETS["vit-b"]
    load_part("vit-b", part)
    keys = load_clip(preset, "cpu").encode_text(["cat", "sofa"]) if part == "clip" else None
    lost = set()
    for file in world.cached(getattr(preset, part)):
        aside, content = file.parent / "aside", file.readlink()
        file.rename(aside)
        with world.without_hub():
            try:
                load_part("vit-b", part)
            except ModelError as error:
                lost.add(file.name)
                assert re.search("lacks|reached", str(error)) and "\n" not in str(error), (file, error)
        if file.name in lost:
            load_part("vit-b", part)
            assert file.readlink() == content
        else:
            assert keys is None or torch.equal(load_clip(preset, "cpu").encode_text(["cat", "sofa"]), keys)
            aside.rename(file)
        aside.unlink(missing_ok=True)
    wants = {"clip": "config.json", "dense": "model.safetensors", "generator": "scheduler_config.json"}
    assert wants[part] in lost


@PARTS
def test_a_damaged_cache_is_told_with_the_file_to_delete(world: World, part: str) -> None:
    load_part("vit-b", part)
    for file in world.cached(getattr(PRESETS["vit-b"], part)):
        blob, whole = file.resolve(), file.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2]):
            blob.write_bytes(damaged)
            with pytest.raises(ModelError, match=re.escape(f"{file.name} is damaged")) as caught:
                load_part("vit-b", part)
            assert "\n" not in str(caught.value) and f"delete {blob} and run" in str(caught.value)
        blob.unlink()  # as it was told to
        load_part("vit-b", part)
        assert not file.exists() or file.read_bytes() == whole  # the rest may do without it


@pytest.mark.parametrize(
    ("refuses", "says"),
    [
        ((403, "GatedRepo"), "it is gated: accept its terms at .*/facebook/dinov2-base and set HF_TOKEN"),
        ((401, "RepoNotFound"), "no such repository: it was renamed or withdrawn, or it is private"),
        ((401, "Invalid credentials in Authorization header"), r"refuses the token \(HF_TOKEN"),
        ((403, "Access to this resource is disabled."), "has disabled it"),
        ((429, "TooMany"), "too many requests"),
        ((503, "Down"), "answered 503 .*: try later"),
    ],
)
def test_what_the_hub_refuses(world: World, refuses: tuple[int, str], says: str) -> None:
    world.hub.repos[f"models/{DINO_B}"].refuses = refuses
    with pytest.raises(
        ModelError, match=f"dense encoder: {DINO_B} is not in the local cache, and .*{says}"
    ) as told:
        load_dense(PRESETS["vit-b"], "cpu")
    assert "\n" not in str(told.value)


def test_where_there_is_no_hub(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    close_session()
    with pytest.raises(ModelError, match=r"the proxy \(HTTP_PROXY\)|cannot be reached"):
        load_dense(PRESETS["vit-b"], "cpu")
    monkeypatch.delenv("HTTP_PROXY")
    close_session()
    with (
        world.without_hub(),
        pytest.raises(ModelError, match=r"http://127.0.0.1:9 cannot be reached .*network"),
    ):
        load_dense(PRESETS["vit-b"], "cpu")


def test_a_renamed_repository_is_followed(world: World) -> None:
    world.hub.repos["models/facebook/dinov2-small"] = world.hub.repos[f"models/{DINO_B}"]
    world.hub.repos[f"models/{DINO_B}"] = Repo(Path(), moved="facebook/dinov2-small")
    load_dense(PRESETS["vit-b"], "cpu")


def test_revisions(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A preset's own commit is taken where the hub has it, else told; a user's is taken or nothing is."""
    preset = PRESETS["vit-b"]
    load_dense(preset, "cpu")
    assert f"lacks commit {preset.dense.known[:12]}, so main is taken" in capsys.readouterr().err
    shutil.rmtree(world.cache)
    world.hub.repos[f"models/{DINO_B}"].commit = preset.dense.known
    load_dense(preset, "cpu")
    assert "so main is taken" not in capsys.readouterr().err
    assert [p.name for p in world.cache.glob("*/snapshots/*")] == [preset.dense.known]
    with pytest.raises(ModelError, match=r"dinov2-base at revision v9 .*not that revision"):
        load_dense(replace(preset, dense=ModelSource(DINO_B, "v9")), "cpu")


def test_another_commit_than_the_bank_s_is_told(world: World, folder: Path, tmp_path: Path) -> None:
    walk("vit-b", folder, tmp_path, ("collect",))
    shutil.rmtree(world.cache)
    repo = world.hub.repos[f"models/{CLIP_B}"]
    was, repo.commit = repo.commit, "f" * 40
    more = ("--limit", 2, "--model", "vit-b", "--device", "cpu")
    done = run("bank", "search", tmp_path / "bank", "cat", *more[4:])
    assert done.exit_code == 0, done.output
    assert f"CLIP {CLIP_B} at commit {was[:7]}, now fffffff: its rows may not fit" in done.stderr
    again = run("collect", folder / "captions.txt", "--out", tmp_path / "bank", *more, *DRAW)
    assert again.exit_code == 0, again.output


def test_a_terminal_is_asked_first(world: World, folder: Path, tmp_path: Path, terminal: Any) -> None:
    given = ("collect", folder / "captions.txt", "--out", tmp_path / "bank", "--model", "vit-l", *DRAW)
    at = world.hub.repos[f"models/{DINO_L}"].folder
    size = sum((at / name).stat().st_size for name in ("config.json", "model.safetensors"))
    done = terminal("n", *given)
    assert done.exit_code == 2 and "nothing was fetched" in done.stderr
    assert world.hub.fetched() == [] and not world.cache.exists() and not (tmp_path / "bank").exists()
    assert re.search(rf"{DINO_L} +{re.escape(in_bytes(size))} +Apache-2.0", done.stderr), done.stderr
    assert f"from {world.hub.address} into {world.cache}" in done.stderr and "GB are free" in done.stderr
    assert terminal("y", *given).exit_code == 0
    assert "to fetch" not in terminal("n", *given).stderr


def test_a_full_disk_is_told_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freeda.hub.free_bytes", lambda _: 1000)
    with pytest.raises(InputError, match="kB are to be fetched, but 1 kB are free there: make room"):
        load_dense(PRESETS["vit-b"], "cpu")
    assert world.hub.fetched() == []


def test_what_cannot_work_fetches_nothing(world: World, folder: Path) -> None:
    photo, published = folder / "images" / "photo.png", ("--set", "method=freeda")
    given = ("segment", photo, "--classes", "cat", *published)
    refused(run(*given, "--model", "vit-b", "--device", "cpu"), "bank")
    assert world.hub.asked == []


def local(repositories: dict[str, Repo], name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repositories[f"models/{name}"].folder, tmp_path / name))


def test_a_folder_of_half_precision_alone(repositories: dict[str, Repo], tmp_path: Path) -> None:
    dense, pipe = local(repositories, DINO_B, tmp_path), local(repositories, SD, tmp_path)
    for folder in (dense, pipe / "unet", pipe / "vae", pipe / "text_encoder"):
        for file in folder.glob("*.safetensors"):
            if "." not in file.stem:
                file.rename(file.with_suffix(".fp16.safetensors"))
    load_dense(replace(PRESETS["vit-b"], dense=ModelSource(str(dense))), "cpu")
    load_generator(ModelSource(str(pipe)), "cpu")


def test_weights_in_pieces(repositories: dict[str, Repo], tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = local(repositories, DINO_B, tmp_path)
    whole = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").unlink()
    whole.save_pretrained(folder, max_shard_size="30KB")
    preset = replace(PRESETS["vit-b"], dense=ModelSource(str(folder)))
    load_dense(preset, "cpu")
    pieces = sorted(folder.glob("*.safetensors"))
    assert len(pieces) > 2
    pieces[1].unlink()
    with pytest.raises(ModelError, match=rf"lacks 1 of the {len(pieces)} files model-\*.safetensors"):
        load_dense(preset, "cpu")


def test_a_file_of_code_is_never_run(repositories: dict[str, Repo], tmp_path: Path) -> None:
    folder = local(repositories, DINO_B, tmp_path)
    (folder / "model.safetensors").unlink()

    class Run:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Run()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"its .bin file holds something else than tensors, or is damaged"):
        load_dense(replace(PRESETS["vit-b"], dense=ModelSource(str(folder))), "cpu")
    assert not (tmp_path / "ran").exists()


def test_models_that_are_not_what_they_claim(repositories: dict[str, Repo], tmp_path: Path) -> None:
    """A tokenizer of two tokens, or of another model's; weights whose output is always the same."""
    clip = local(repositories, CLIP_L, tmp_path)
    preset = replace(PRESETS["vit-l"], clip=ModelSource(str(clip)))
    config = json.loads((clip / "config.json").read_text())
    for change, says in (
        ({"vocab_size": 10**5}, "reads 100,000 tokens, but its tokenizer makes"),
        ({"eos_token_id": 7}, "reads a text at token 7, but its tokenizer ends one with"),
    ):
        other = {"model_type": "clip_text_model", **config["text_config"], **change}
        with pytest.raises(ModelError, match=says):
            check_tokenizer(AutoTokenizer.from_pretrained(clip), SimpleNamespace(**other))
    weights = load_file(clip / "model.safetensors")
    for name, what in (
        ("text_projection.weight", "CLIP's text model"),
        ("vision_model.post_layernorm.weight", "CLIP's image model"),
    ):
        save_file(
            {**weights, name: torch.zeros_like(weights[name])}, clip / "model.safetensors", {"format": "pt"}
        )
        with pytest.raises(ModelError, match=f"{what} gives the same whatever it is shown"):
            load_clip(preset, "cpu")


def doctor(*given: Any) -> tuple[int, dict[str, Any]]:
    done = run("doctor", "--json", "--device", "cpu", *given)
    return done.exit_code, json.loads(done.stdout)


def test_the_doctor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is here and what is to be fetched, by the listing; exit 1 where a model cannot run, and why."""
    code, told = doctor("--model", "vit-b")
    assert code == 0 and told["network"]["reachable"] and told["network"]["token"] == "none"
    models = told["presets"]["vit-b"]["models"]
    at = world.hub.repos[f"models/{DINO_B}"].folder
    size = sum((at / name).stat().st_size for name in ("config.json", "model.safetensors"))
    assert (models["dense"]["here"], models["dense"]["to fetch"]) == (0, size)
    assert world.hub.fetched() == []
    load_dense(PRESETS["vit-b"], "cpu")
    assert doctor()[1]["presets"]["vit-b"]["models"]["dense"]["here"] == size
    with monkeypatch.context() as less:
        less.setattr("freeda.doctor._main_memory", lambda: {"total": 10**8, "free": 10**8})
        code, told = doctor("--model", "vit-b")
        assert code == 1 and "GB of memory" in told["cannot run"][0]
    world.hub.repos[f"models/{CLIP_B}"].refuses = (403, "GatedRepo")
    code, told = doctor("--model", "vit-b")
    assert code == 1 and "it is gated" in told["cannot run"][0]
    world.offline()
    code, told = doctor("--model", "vit-b")
    assert code == 1 and "cannot be reached" in told["network"]["said"]
    assert doctor("--model", "miniature")[0] == 0
    plain = run("doctor", "--model", "vit-b", "--device", "cpu")
    assert plain.exit_code == 1 and "vit-b cannot run here: CLIP: openai/clip" in plain.stdout
