"""A hub on this machine: enough of the protocol for the hub's own client to fetch banks and models from."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

REPO, COMMIT = "someone/some-bank", "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository: its files, and the one commit that it has."""

    folder: Path
    commit: str = COMMIT
    refuses: tuple[int, str] | None = None
    """Status and error code that every request for it gets instead of an answer."""
    moved: str = ""
    """The name that it has now."""

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


@dataclass
class Hub:
    """What it holds ("datasets/NAME", "models/NAME"), what was asked of it, what it answers instead."""

    repos: dict[str, Repo]
    asked: list[str] = field(default_factory=list)
    status: int = 200
    address: str = ""

    def files(self) -> list[str]:
        return next(iter(self.repos.values())).files()

    def fetched(self) -> list[str]:
        """The files whose content was sent, as NAME/FILE."""
        return [re.sub(r"/resolve/[^/]+", "", a[4:]) for a in self.asked if re.match("GET .*/resolve/", a)]


@contextmanager
def serve(held: Path | dict[str, Repo]) -> Iterator[Hub]:
    """Serve repositories, or a folder as the data set REPO, until the block ends."""
    hub = Hub({f"datasets/{REPO}": Repo(held)} if isinstance(held, Path) else held)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if hub.status != 200:
                return self.answer(hub.status, b"{}")
            found = re.fullmatch(
                r"/(?:(api)/(\w+)/|(datasets)/)?([\w.-]+/[\w.-]+)(?:/(\w+))?(?:/(.*))?", path
            )
            if found is None:
                return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            api, kind, data, name, verb, rest = found.groups()
            repo = hub.repos.get(f"{kind or data or 'models'}/{name}")
            if repo is None:
                return self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            if repo.moved:
                return self.answer(307, b"", {"Location": self.path.replace(name, repo.moved)})
            if repo.refuses is not None:
                status, code = repo.refuses
                return self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
            revision, _, file = (rest or "main").partition("/")
            if revision not in ("main", repo.commit):
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if not api:
                return self.send_file(repo, file)
            files = repo.files()
            sizes = {f: (repo.folder / f).stat().st_size for f in files}
            if verb == "tree":
                tree = [{"type": "file", "path": f, "size": sizes[f], "oid": "0" * 40} for f in files]
                return self.answer(200, json.dumps(tree).encode())
            listed = [{"rfilename": f, "size": sizes[f]} for f in files]
            told = {"id": name, "sha": repo.commit, "siblings": listed, "private": False, "tags": []}
            return self.answer(200, json.dumps(told).encode())

        def send_file(self, repo: Repo, file: str) -> None:
            if file not in repo.files():
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
            data = (repo.folder / file).read_bytes()
            tag = hashlib.sha256(data).hexdigest()
            return self.answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": repo.commit})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


VOCABULARY = Path(__file__).resolve().parents[2] / "shared" / "hub" / "tokenizer"
"""CLIP's real one, where it is at hand."""
CLIP_B, CLIP_L = "openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14"
DINO_B, DINO_L = "facebook/dinov2-base", "facebook/dinov2-large"
LCM = "latent-consistency/lcm-lora-sdv1-5"
SD = "stable-diffusion-v1-5/stable-diffusion-v1-5"
JUNK = ("README.md", "flax_model.msgpack", "tf_model.h5", "preprocessor_config.json")


def model_repos(folder: Path, tokenizer: Any) -> dict[str, Repo]:
    """The repositories that the presets name, as published but for their widths: random weights.

    What is as published: names of files, of tensors where those differ from today's, the end token that old
    configurations claim, CLIP ViT-B's weights in torch's own format alone, and much that nobody needs.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    text = _text_config(tokenizer)
    vision = {**_SMALL, "image_size": 224, "patch_size": 56}
    for name in (CLIP_B, CLIP_L):
        at = folder / name
        _tokenizer_files(at, tokenizer, whole=True)
        config = CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=24, initializer_factor=20.0
        )
        weights = CLIPModel(config).state_dict()
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        _write_config(at, config, {"text_config": text, "vision_config": vision})
        if name == CLIP_L:
            save_file(
                {k: v.contiguous() for k, v in weights.items()}, at / "model.safetensors", {"format": "pt"}
            )
        torch.save(weights, at / "pytorch_model.bin")
        for junk in JUNK:
            (at / junk).write_bytes(b"nobody needs this")
    for name in (DINO_B, DINO_L):
        at = folder / name
        at.mkdir(parents=True)
        dino = Dinov2Config(**{**_SMALL, "image_size": 518, "patch_size": 14, "initializer_range": 0.3})
        _write_config(at, dino, {})
        weights = {}
        for key, value in Dinov2Model(dino).state_dict().items():
            for now, then in _DINO_NAMES.items():
                key = key.replace(now, then)
            weights[key] = value.contiguous()
        save_file(weights, at / "model.safetensors", {"format": "pt"})
        for junk in (*JUNK[:1], "pytorch_model.bin"):
            (at / junk).write_bytes(b"nobody needs this")
    _lora(folder / LCM, _pipeline(folder / SD, text, tokenizer))
    # A file on the hub is known by its commit; each repository has one of its own.
    return {
        f"models/{name}": Repo(folder / name, hashlib.sha1(name.encode()).hexdigest())
        for name in (CLIP_B, CLIP_L, DINO_B, DINO_L, SD, LCM)
    }


_SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_DINO_NAMES = {
    f"attention.{now}": f"attention.{then}"
    for now, then in (
        ("q_proj", "attention.query"),
        ("k_proj", "attention.key"),
        ("v_proj", "attention.value"),
        ("o_proj", "output.dense"),
    )
}


def _text_config(tokenizer: Any) -> dict[str, Any]:
    """As in old repositories, whose end token is 2 whatever it is."""
    size = 49_408 if VOCABULARY.is_dir() else len(tokenizer)
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    return {**_SMALL, "vocab_size": size, "max_position_embeddings": 77, **ends}


def _tokenizer_files(at: Path, tokenizer: Any, whole: bool) -> None:
    """CLIP's real files, or the small tokenizer's in the same form; `whole`: with tokenizer.json."""
    at.mkdir(parents=True, exist_ok=True)
    if VOCABULARY.is_dir():
        for file in VOCABULARY.iterdir():
            if whole or file.name != "tokenizer.json":
                shutil.copy(file, at / file.name)
        return
    tokenizer.save_pretrained(at)


def _write_config(at: Path, config: Any, parts: dict[str, Any]) -> None:
    (at / "config.json").write_text(json.dumps({**config.to_diff_dict(), **parts}))


def _lora(at: Path, unet: Any) -> None:
    """A LoRA of rank 2 of the queries and keys of a UNet."""
    import torch
    from safetensors.torch import save_file

    at.mkdir(parents=True)
    found = {
        f"unet.{name}.lora.{part}.weight": 0.3 * torch.randn(shape)
        for name, layer in unet.named_modules()
        if name.rsplit(".", 1)[-1] in ("to_q", "to_k")
        for part, shape in (("down", (2, layer.in_features)), ("up", (layer.out_features, 2)))
    }
    save_file(found, at / "pytorch_lora_weights.safetensors")


def _pipeline(at: Path, text: dict[str, Any], tokenizer: Any) -> Any:
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=64,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(4,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, skip_prk_steps=True
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(at)
    if VOCABULARY.is_dir():
        shutil.rmtree(at / "tokenizer")
        _tokenizer_files(at / "tokenizer", tokenizer, whole=False)
    index = json.loads((at / "model_index.json").read_text("utf-8"))
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "requires_safety_checker": True,
    }
    if VOCABULARY.is_dir():
        index["tokenizer"] = ["transformers", "CLIPTokenizer"]
    (at / "model_index.json").write_text(json.dumps(index))
    for junk in ("safety_checker/config.json", "safety_checker/model.safetensors", "v1-5-pruned.ckpt"):
        (at / junk).parent.mkdir(exist_ok=True)
        (at / junk).write_bytes(b"nobody needs this")
    for part in ("unet", "vae"):
        for kind in ("bin", "fp16.safetensors", "non_ema.safetensors"):
            (at / part / f"diffusion_pytorch_model.{kind}").write_bytes(b"nobody needs this")
    return unet
