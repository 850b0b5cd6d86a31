"""PixArt and Sana: where words are among their tokens, and maps against what their projections give."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from torch.nn import functional as F

from commands import run
from freeda.bank import Bank
from freeda.collection.attention import AttentionCapture, watched_layers
from freeda.collection.generator import Generator, load_generator, uncaptured_parts
from freeda.collection.tokens import span_columns, token_offsets, whole
from freeda.errors import InputError, ModelError
from freeda.options import Attribution, CollectOptions
from freeda.presets import ModelSource, Preset
from hub import Repo, serve
from pipelines import APART, apart_pipeline, t5_pieces

TEXTS = ["  A red Cat and a zebra", "a dog", "İ cat on the SOFA, a boat with a tree and a house"]
WORDS = [["Cat", "zebra"], ["dog"], ["cat", "SOFA", "house"]]
OPTIONS = CollectOptions(size=128, steps=2, guidance=3.0)


@pytest.fixture(scope="module", params=APART)
def generator(request: pytest.FixtureRequest) -> Generator:
    return Generator(apart_pipeline(request.param))


def columns_of(generator: Generator, text: str, words: list[str]) -> list[list[int]]:
    offsets = token_offsets(generator.tokenizer, text)
    spans = [(text.index(word), text.index(word) + len(word)) for word in words]
    return [span_columns(offsets, [span]) for span in spans]


class Seen:
    """What a pipeline's parts were given and gave, by plain hooks."""

    def __init__(self, pipe: Any) -> None:
        self.ids: list[torch.Tensor] = []
        self.states: list[torch.Tensor] = []
        self.text: list[torch.Tensor] = []
        self.masks: list[torch.Tensor] = []
        self.q: dict[int, list[torch.Tensor]] = {}
        self.k: dict[int, list[torch.Tensor]] = {}
        self.blocks = [block.attn2 for block in pipe.transformer.transformer_blocks]
        self._hooks = [
            pipe.text_encoder.register_forward_hook(self._encoded, with_kwargs=True),
            pipe.transformer.register_forward_pre_hook(self._denoised, with_kwargs=True),
        ]
        for i, attn in enumerate(self.blocks):
            for store, layer in ((self.q, attn.to_q), (self.k, attn.to_k)):
                keep = store.setdefault(i, [])
                self._hooks.append(layer.register_forward_hook(lambda m, a, out, keep=keep: keep.append(out)))

    def _encoded(self, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        self.ids.append(args[0])
        self.states.append(out[0])

    def _denoised(self, module: Any, args: Any, kwargs: Any) -> None:
        self.text.append(kwargs["encoder_hidden_states"])
        self.masks.append(kwargs["encoder_attention_mask"])

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def maps(self, n: int, latent: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
        """(n, text, h, w): softmax(QK / sqrt d), one picture, head, step and block after the other."""
        heads = []
        for block, attn in enumerate(self.blocks):
            for head in range(attn.heads):
                total = torch.zeros(n, self.text[0].shape[1], grid[0] * grid[1])
                for step, (q, k) in enumerate(zip(self.q[block], self.k[block], strict=True)):
                    q, k = (q, k) if attn.norm_q is None else (attn.norm_q(q), attn.norm_k(k))
                    d = q.shape[-1] // attn.heads
                    for i in range(n):
                        row = len(q) - n + i  # what guides comes first
                        real = self.masks[step][row].bool()
                        mine = slice(head * d, head * d + d)
                        scores = q[row, :, mine] @ k[row, real][:, mine].T / math.sqrt(d)
                        e = (scores - scores.amax(1, keepdim=True)).exp()
                        total[i, real] += (e / e.sum(1, keepdim=True)).T
                up = F.interpolate(total.view(n, -1, *grid), latent, mode="bicubic")
                heads.append((up if grid != latent else total.view(n, -1, *grid)).clamp(min=0))
        return torch.stack(heads).mean(0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("width", [128, 192])
def test_words_and_maps(generator: Generator, guidance: float, width: int) -> None:
    """The tokens that are watched are the words' own, and their maps those of a plain sum."""
    pipe = generator.pipe
    columns = [columns_of(generator, text, words) for text, words in zip(TEXTS, WORDS, strict=True)]
    flat = [sorted({c for one in row for c in one}) for row in columns]
    with Seen(pipe) as seen:
        drawn = generator.draw(TEXTS, [1, 2, 3], flat, replace(OPTIONS, width=width, guidance=guidance))
    assert drawn.images.shape == (3, 128, width, 3) and len(seen.text) == 2
    for i, (row, words) in enumerate(zip(columns, WORDS, strict=True)):
        for found, word in zip(row, words, strict=True):
            pieces = ""
            for column in found:
                # What the denoiser is given there is what the encoder made of one of its tokens: which?
                states, given = seen.states[0][i], seen.text[0][len(seen.text[0]) - 3 + i, column]
                at = int((states - given).abs().sum(1).argmin())
                torch.testing.assert_close(states[at], given)
                pieces += pipe.tokenizer.convert_ids_to_tokens(int(seen.ids[0][i, at]))
            assert pieces.replace("▁", "") == word.lower(), (pieces, word)
    vae = pipe.vae_scale_factor
    latent = (128 // vae, width // vae)
    patch = pipe.transformer.config.patch_size
    expected = seen.maps(3, latent, (latent[0] // patch, latent[1] // patch))
    for i, row in enumerate(flat):
        assert drawn.maps[i].shape == (len(row), *latent)
        torch.testing.assert_close(drawn.maps[i], expected[i, row], atol=1e-5, rtol=1e-4)
    shares = expected.sum(1) if patch == 1 else None  # enlarging makes some values a little negative
    assert shares is None or torch.allclose(shares, torch.full_like(shares, 2.0), atol=1e-4)


def test_the_same_alone_and_watched(generator: Generator) -> None:
    """A picture and its maps do not depend on the batch; watching changes no bit."""
    wanted = [columns_of(generator, text, words)[0] for text, words in zip(TEXTS, WORDS, strict=True)]
    together = generator.draw(TEXTS, [1, 2, 3], wanted, OPTIONS)
    for i in range(3):
        alone = generator.draw(TEXTS[i : i + 1], [i + 1], wanted[i : i + 1], OPTIONS)
        torch.testing.assert_close(alone.maps[0], together.maps[i], atol=1e-4, rtol=1e-3)
        assert np.abs(alone.images[0].astype(int) - together.images[i]).max() <= 1
    plain = generator.pipe(
        TEXTS,
        height=128,
        width=128,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (1, 2, 3)],
        output_type="np",
        clean_caption=False,
        use_resolution_binning=False,
    ).images
    assert np.array_equal((plain * 255).round().astype(np.uint8), together.images)


def test_long_captions_are_cut_where_the_pipeline_cuts(generator: Generator) -> None:
    text = "a cat and " * 160 + "a dog"
    offsets = token_offsets(generator.tokenizer, text)
    assert len(offsets) == (120 if "Alpha" in type(generator.pipe).__name__ else 300)
    assert not whole(offsets, (len(text) - 3, len(text))) and whole(offsets, (2, 5))
    drawn = generator.draw([text], [0], [[max(i for i, o in enumerate(offsets) if o[1])]], OPTIONS)
    assert float(drawn.maps[0].sum()) > 0


def test_what_is_refused(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, family = generator.pipe, type(generator.pipe).__name__
    multiple = 32 if "Sana" in family else 16
    with pytest.raises(
        InputError, match=f"{family} draws sides that are multiples of {multiple} pixels, not 120"
    ):
        generator.draw(TEXTS[:1], [0], [[1]], replace(OPTIONS, size=120))
    if "Sana" in family:
        with pytest.raises(InputError, match="scheduler is 'euler', but a generator of flow matching"):
            generator.draw(TEXTS[:1], [0], [[1]], replace(OPTIONS, scheduler="euler"))
        with pytest.raises(ModelError, match=r"self-attention is linear, .* attribution.propagation=none"):
            AttentionCapture(pipe.transformer, [[1]], Attribution(propagation="self"))
    with pytest.raises(ModelError, match="has no cross-attention in its up blocks"):
        AttentionCapture(pipe.transformer, [[1]], Attribution(blocks="up"))
    # A library that no longer writes captions in lower case would give other tokens.
    monkeypatch.setattr(pipe, "_text_preprocessing", lambda text, clean_caption=False: list(text))
    with pytest.raises(ModelError, match=f"this {family} cuts captions into other tokens"):
        generator.draw(TEXTS[:1], [0], [[1]], OPTIONS)


def test_what_may_be_compiled(generator: Generator) -> None:
    """Whole blocks are not: they hold what is watched. Their self-attention and feed-forward are."""
    transformer = generator.pipe.transformer
    watched = watched_layers(transformer, "all")
    assert len(watched) == 2
    parts = set(uncaptured_parts(transformer, set(watched)))
    for block in transformer.transformer_blocks:
        assert {block.attn1, block.ff} <= parts and not {block, block.attn2} & parts


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    for kind in ("sigma", "sana"):
        apart_pipeline(kind).save_pretrained(tmp_path / kind)
        generator = load_generator(ModelSource(str(tmp_path / kind)), "cpu", dtype)
        assert generator.dtype == dtype
        narrow = dtype == torch.float16
        text = generator.pipe.text_encoder
        if kind == "sana":
            assert text.dtype == torch.bfloat16
        else:
            wo = text.encoder.block[0].layer[1].DenseReluDense.wo.weight
            assert wo.dtype == (torch.float32 if narrow else dtype)
        column = columns_of(generator, TEXTS[1], ["dog"])
        drawn = generator.draw(TEXTS[1:2], [0], column, OPTIONS)
        exact = load_generator(ModelSource(str(tmp_path / kind)), "cpu").draw(
            TEXTS[1:2], [0], column, OPTIONS
        )
        torch.testing.assert_close(drawn.maps[0], exact.maps[0], atol=0.1, rtol=0.2)


def save_as_published(folder: Path, kind: str) -> None:
    """As on the hub: T5's pieces without a tokenizer.json, the class that PixArt's transformer had then."""
    apart_pipeline(kind).save_pretrained(folder)
    if not kind.startswith("sana"):
        from transformers.utils import sentencepiece_model_pb2_new as protocol

        model = protocol.ModelProto()
        model.trainer_spec.model_type, model.trainer_spec.unk_id = 1, 2
        for piece, score in t5_pieces():
            model.pieces.add(piece=piece, score=score, type={"<unk>": 2, "<pad>": 3, "</s>": 3}.get(piece, 1))
        (folder / "tokenizer" / "tokenizer.json").unlink()
        (folder / "tokenizer" / "spiece.model").write_bytes(model.SerializeToString())
        for file, key in (("model_index.json", "transformer"), ("transformer/config.json", "_class_name")):
            told = json.loads((folder / file).read_text())
            told[key] = ["diffusers", "Transformer2DModel"] if key == "transformer" else "Transformer2DModel"
            (folder / file).write_text(json.dumps(told))
    (folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"nobody needs this")


@pytest.mark.parametrize("kind", ["alpha", "sigma", "sana"])
def test_collect_from_the_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_preset: Preset
) -> None:
    """A bank drawn by a hub id: from a fresh cache, then without a network; what the hub lacks is told."""
    if kind != "sana":
        pytest.importorskip("google.protobuf", reason="T5's pieces are a protocol buffer")
    name = {
        "alpha": "PixArt-alpha/PixArt-XL-2-512x512",
        "sigma": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    }.get(kind, "Efficient-Large-Model/Sana_600M_512px_diffusers")
    save_as_published(tmp_path / "repo", kind)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    preset = {"base": "vit-b", "clip": tiny_preset.clip.id, "dense": tiny_preset.dense.id}
    own = {"size": 128, "steps": 2, "batch_size": 2, "min_area": 0, "max_area": 1}
    size = {f"{part}_size": getattr(tiny_preset, f"{part}_size") for part in ("clip", "dense")}
    (tmp_path / "tiny.json").write_text(json.dumps({**preset, **size, "collect": own}))
    (tmp_path / "captions.txt").write_text("a cat on a sofa\na large red boat and a dog beside the water\n")
    given = ("collect", tmp_path / "captions.txt", "--model", tmp_path / "tiny.json", "--generator", name)
    given = (*given, "--device", "cpu", "--yes")
    with serve({f"models/{name}": Repo(tmp_path / "repo")}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
        if kind != "sana":
            monkeypatch.setattr("freeda.model_files.find_spec", lambda name: None)
            done = run(*given, "--out", tmp_path / "none")
            assert done.exit_code == 2 and "pip install sentencepiece protobuf" in done.stderr
            assert not [f for f in hub.fetched() if f.endswith("safetensors")], "told before gigabytes come"
            # The package itself is not needed: transformers' own copy of the protocol does.
            monkeypatch.setattr("freeda.model_files.find_spec", lambda name: name)
            monkeypatch.setattr("transformers.convert_slow_tokenizer.requires_backends", lambda *_: None)
        done = run(*given, "--out", tmp_path / "online")
        assert done.exit_code == 0, (done.output, done.exception)
        assert not [f for f in hub.fetched() if "fp16" in f]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    done = run(*given, "--out", tmp_path / "offline")
    assert done.exit_code == 0, (done.output, done.exception)
    banks = [Bank.open(tmp_path / at) for at in ("online", "offline")]
    assert {"cat", "sofa", "water"} <= set(banks[0].nouns)
    assert banks[0].meta["models"]["generator"]["id"] == name
    assert np.array_equal(np.asarray(banks[0].prototypes), np.asarray(banks[1].prototypes))


def test_other_pipelines_are_told_what_is_supported(tmp_path: Path, tiny_preset: Preset) -> None:
    apart_pipeline("sigma").save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "HunyuanDiTPipeline"}))
    with pytest.raises(
        ModelError, match=r"is of class HunyuanDiTPipeline, .* PixArtSigmaPipeline, SanaPipeline"
    ):
        load_generator(ModelSource(str(tmp_path)), "cpu")
    apart_pipeline("sigma").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="only Stable Diffusion takes one, not a PixArtSigmaPipeline"):
        load_generator(ModelSource(str(tmp_path)), "cpu", lora=ModelSource(str(tmp_path)))
