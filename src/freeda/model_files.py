"""Which files of a repository or folder a model is read from, and whether they are what they claim to be."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import first_line

Part = str
"""What a model is to a preset: "clip", "dense", "regions", "detector", "generator" or "lora"."""

PIPELINES = (
    *("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    *("PixArtAlphaPipeline", "PixArtSigmaPipeline", "SanaPipeline"),
)
"""What a generator's model_index.json may name."""

_TOKENIZER = (
    *("tokenizer.json", "vocab.json", "merges.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
SENTENCEPIECE = "spiece.model"
"""What transformers makes a tokenizer of where there is no tokenizer.json, if it has `sentencepiece`."""
# Folder of a pipeline -> the stem of its weights; "" where it has none.
_COMPONENTS = {
    "scheduler": "",
    "tokenizer": "",
    "tokenizer_2": "",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
REGION_MODELS = ("eomt", "eomt_dinov3", "mask2former", "oneformer", "sam2", "sam2_video")
"""What the `model_type` of a region model may be."""
_LORA = "pytorch_lora_weights.safetensors"
_SMALL = 16_000_000
"""Bytes up to which a cached file is compared with the digest that the hub gave it."""


def wanted(
    part: Part, names: Collection[str], index: Iterable[str] = (), chosen: str | None = None
) -> tuple[list[str], str]:
    """The files to read of those that there are, and what is missing ("" where nothing is).

    Weights in safetensors are preferred to the same in torch's own format (.bin), full precision to fp16.
    `index` are the folders that a pipeline's model_index.json names, where that can be read already; `chosen`
    is the file of a LoRA, where one was named.
    """
    if part == "lora":
        return _lora(names, chosen)
    if part != "generator":
        found, lacking = _one("", "model", names, tokenizer=part in ("clip", "detector"))
        beside = (*_PROCESSOR, *_TOKENIZER) if part == "regions" else ()
        return [*found, *(name for name in beside if name in names)], lacking
    if "model_index.json" not in names:
        return [], "model_index.json"
    found, lacking = ["model_index.json"], ""
    folders = {name.split("/")[0] for name in names} | set(index)
    for folder in [f for f in _COMPONENTS if f in folders or f in ("scheduler", "tokenizer", "text_encoder")]:
        if folder == "scheduler":
            files = ["scheduler/scheduler_config.json"]
            lacks = "" if files[0] in names else files[0]
        else:
            files, lacks = _one(f"{folder}/", _COMPONENTS[folder], names, folder.startswith("tokenizer"))
        found, lacking = found + [f for f in files if f in names], lacking or lacks
    for folder in ("transformer" if "transformer" in folders else "unet", "vae"):
        lacking = lacking or ("" if folder in folders else f"{folder}/config.json")
    return found, lacking


def here(folder: Path) -> list[str]:
    """The files below a folder, links that lead nowhere left out."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def index_of(folder: Path) -> list[str]:
    """The folders that a pipeline's model_index.json names; none where there is none to read."""
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        return [name for name, kind in index.items() if isinstance(kind, list) and kind[:1] != [None]]
    except (OSError, ValueError, AttributeError, RecursionError):
        return []


def how_to_read(part: Part, files: Iterable[str]) -> dict[str, Any]:
    """What a `from_pretrained` must be told to read these files and no others; nothing is ever unpickled.

    Torch's own format is read by transformers and diffusers with `weights_only=True`, which takes tensors
    and nothing else.
    """
    weights = [f for f in files if f.endswith((".safetensors", ".bin"))]
    if part == "lora":
        return {"use_safetensors": True, "weight_name": weights[0]}
    binary = [f for f in weights if f.endswith(".bin")]
    # A pipeline with both kinds of file: diffusers then takes safetensors wherever they are.
    how: dict[str, Any] = {
        "use_safetensors": True if not binary else False if len(binary) == len(weights) else None
    }
    if any(re.search(r"\.fp16[.-]", f) for f in weights):
        how["variant"] = "fp16"
    return how


def damage(folder: Path, files: Iterable[str]) -> str | None:
    """The first of these files that is not whole, as a line that says what to do; None where all are."""
    for name in files:
        path = folder / name
        if why := _damage(path):
            real = path.resolve()
            fetched = real.parent.name == "blobs"
            todo = f"delete {real} and run the same again" if fetched else f"{path} has to be copied anew"
            return f"{name} is damaged ({why}): {todo}"
    return None


def unfit(part: Part, folder: Path) -> str | None:
    """Why what a configuration describes is not such a model, told before its weights are fetched or read."""
    if part == "generator":
        name = _read(folder / "model_index.json").get("_class_name")
        if name not in PIPELINES:
            return f"is of class {name}, but must be one of {', '.join(PIPELINES)}"
        own = {path.name for path in (folder / "tokenizer").glob("*")}
        if SENTENCEPIECE in own and "tokenizer.json" not in own and find_spec("sentencepiece") is None:
            return "its tokenizer needs packages that are not here: pip install sentencepiece protobuf"
        return None
    if part == "lora":
        return None
    config = _read(folder / "config.json")
    kind = config.get("model_type")
    if part == "clip" and kind not in ("clip", "siglip", "siglip2"):
        return f"is a model of type {kind}, not a CLIP or SigLIP"
    if part == "regions" and kind not in REGION_MODELS:
        return f"is a model of type {kind}, not a region model ({', '.join(REGION_MODELS)})"
    if part == "detector" and kind not in ("sam3", "sam3_video"):
        return f"is a model of type {kind}, not a SAM 3"
    if part == "dense" and not {"hidden_size", "patch_size"} <= set(config):
        # Written out or not, both are there once the configuration's class has filled in its defaults.
        from transformers import AutoConfig

        found = AutoConfig.from_pretrained(folder)
        if not (hasattr(found, "hidden_size") and hasattr(found, "patch_size")):
            return f"is a model of type {kind}, which has no patch features, expected a DINOv2"
    return None


def _one(at: str, stem: str, names: Collection[str], tokenizer: bool) -> tuple[list[str], str]:
    found = [at + name for name in _TOKENIZER if tokenizer and at + name in names]
    vocabulary = {at + "vocab.json", at + "merges.txt"} <= set(names)
    if tokenizer and at + "tokenizer.json" not in names and at + SENTENCEPIECE in names:  # a T5's
        found.append(at + SENTENCEPIECE)
    elif tokenizer and not vocabulary and at + "tokenizer.json" not in names:
        lacking = at + ("merges.txt" if at + "vocab.json" in names else "tokenizer.json")
        return found, lacking
    if not stem:  # a pipeline's: only there is it told how long a text may be
        config = at + "tokenizer_config.json"
        return found, "" if config in found else config
    if at + "config.json" not in names:
        return found, at + "config.json"
    weights, lacking = _weights(at, stem, names)
    return [*found, at + "config.json", *weights], lacking


def _weights(at: str, stem: str, names: Collection[str]) -> tuple[list[str], str]:
    other = "pytorch_model" if stem == "model" else stem
    kinds = [
        *((stem, variant, ".safetensors") for variant in ("", ".fp16")),
        *((other, variant, ".bin") for variant in ("", ".fp16")),
    ]
    lacking = ""
    for name, variant, suffix in kinds:
        whole = f"{at}{name}{variant}{suffix}"
        if whole in names:
            return [whole], ""
        index = f"{at}{name}{suffix}.index{variant}.json"
        pieces = rf"{re.escape(at + name)}(\.fp16)?-(\d+)-of-(\d+){re.escape(suffix)}"
        shards = {f: m for f in names if (m := re.fullmatch(pieces, f)) and (m[1] or "") == variant}
        if index in names and shards:
            count = max(int(m[3]) for m in shards.values())
            if len(shards) == count:
                return [index, *sorted(shards)], ""
            lacking = lacking or f"{count - len(shards)} of the {count} files {at}{name}-*{suffix}"
    return [], lacking or f"{at}{stem}.safetensors"


def _lora(names: Collection[str], chosen: str | None) -> tuple[list[str], str]:
    if chosen is not None:
        return ([chosen], "") if chosen in names else ([], chosen)
    found = sorted(n for n in names if n.endswith(".safetensors") and "/" not in n)
    if len(found) <= 1:
        return found, "" if found else _LORA
    more = ", ..." if len(found) > 4 else ""
    return [], (
        f"a weight_name, for it holds {len(found)} LoRAs ({', '.join(found[:4])}{more}): say which in the "
        f'preset file: "lora": {{"id": ..., "weight_name": "{found[0]}"}}'
    )


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    return found if isinstance(found, dict) else {}


def _damage(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        if size == 0:
            return "it is empty"
        if size <= _SMALL and (why := _other_content(path)):
            return why
        if path.suffix == ".json" and not isinstance(json.loads(path.read_text("utf-8")), dict):
            return "not a JSON object"
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as opened:
                opened.keys()
    except Exception as error:  # safetensors has an error of its own, and the system many
        return first_line(error)
    return None


def _other_content(path: Path) -> str | None:
    """A file of the hub's cache is called by its digest: git's SHA-1 or, as a large file, SHA-256."""
    real = path.resolve()
    if real.parent.name != "blobs":
        return None
    data, name = real.read_bytes(), real.name
    if len(name) == 40:
        digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    else:
        digest = hashlib.sha256(data)
    fits = digest.hexdigest() == name or len(name) not in (40, 64)
    return None if fits else "its content is not what the hub sent"
