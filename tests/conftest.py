"""Options and fixtures for all tests.

The fixtures are tiny models with random weights, saved by `save_pretrained` and read back by the package's
own loading code.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may wait for a network
if "FREEDA_CACHE" not in os.environ:  # nor leave anything in the user's own folder
    os.environ["FREEDA_CACHE"] = tempfile.mkdtemp(prefix="freeda-tests-")
    atexit.register(shutil.rmtree, os.environ["FREEDA_CACHE"], ignore_errors=True)

# A shell's background job ignores Ctrl-C, and so would every command that a test starts and then interrupts.
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    and threading.current_thread() is threading.main_thread()
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

from freeda.options import CollectOptions, SegmentOptions, Superpixels
from freeda.presets import ModelSource, Preset

for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):  # what a command prints is no terminal's
    os.environ.pop(name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_configure(config: pytest.Config) -> None:
    """Every run tries the same examples, at any speed; with `--slow`, new ones."""
    shared = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # no test changes what it is given
    settings.register_profile(
        "freeda", derandomize=not config.getoption("--slow"), deadline=None, suppress_health_check=shared
    )
    settings.load_profile("freeda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


CORPUS = (
    "itap of a cat. a bad photo of a red stop sign. a origami dog. a photo of the large wooden table. "
    "a tree in a video game. art of the house. a photo of the small car under the blue sky on green grass. "
    "two people ride horses along the sandy beach while a boat sails on the water in front of mountains."
)
MAX_TOKENS = 32


def word_tokenizer() -> Any:
    """A byte-level BPE tokenizer of CLIP's kind: lower case, word ends marked, start and end tokens.

    Its merges spell the words of `CORPUS` from left to right. None are trained: a trainer numbers letters and
    breaks ties in another order in every process, and each run of the tests would see models of its own.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    first, last, end = "<|startoftext|>", "<|endoftext|>", "</w>"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = {}  # a dict keeps the order in which they were met
    for word in CORPUS.replace(".", "").split():
        left, *rest = [*word[:-1], word[-1] + end]
        for right in rest:
            merges[left, right] = left + right
            left += right
    # Single letters that end a word are tokens of their own, or the last letter of a rare word is unknown.
    tokens = dict.fromkeys([first, last, *letters, *(letter + end for letter in letters), *merges.values()])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges), end_of_word_suffix=end, unk_token=last))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pieces = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (last, vocabulary[last]), (first, vocabulary[first]), trim_offsets=False, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=first,
        eos_token=last,
        pad_token=last,
        unk_token=last,
        model_max_length=MAX_TOKENS,
    )


def text_config(tokenizer: Any) -> dict[str, Any]:
    """A small CLIP text model. The end token must not be 2: transformers then pools by a legacy rule."""
    end = tokenizer.eos_token_id
    if end == 2:
        raise AssertionError("the end token's id is 2, which transformers treats as an old, broken config")
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end,
        "pad_token_id": tokenizer.pad_token_id,
    }


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Each test draws the same numbers from torch, whichever tests ran before it in its process."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return word_tokenizer()


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A CLIP folder with its tokenizer: 32 px, patches of 8, joint space of 20."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = CLIPConfig(
        text_config=text_config(tiny_tokenizer),
        vision_config=vision,
        projection_dim=20,
        initializer_factor=20.0,
    )  # spread out, or every text looks alike
    CLIPModel(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 folder: 28 px, patches of 7 (a 4 x 4 grid), features of 24."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dense")
    torch.manual_seed(2)
    config = Dinov2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=7,
        initializer_range=0.3,
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A StableDiffusionPipeline folder: 128 px pictures, 16 x 16 latents, 32 text positions."""
    import torch
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("generator")
    torch.manual_seed(3)
    text = CLIPTextModel(CLIPTextConfig(**text_config(tiny_tokenizer)))
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tiny_tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_preset(tiny_clip: Path, tiny_dense: Path, tiny_generator: Path) -> Preset:
    """All of the above as a preset: 48 px windows at stride 24, two denoising steps."""
    return Preset(
        name="tiny",
        clip=ModelSource(str(tiny_clip)),
        dense=ModelSource(str(tiny_dense)),
        generator=ModelSource(str(tiny_generator)),
        clip_size=32,
        dense_size=28,
        segment=SegmentOptions(
            k=5,
            short_side=48,
            long_side=512,
            window=48,
            stride=24,
            superpixels=Superpixels(scale=20.0, sigma=0.5, min_size=5),
        ),
        collect=CollectOptions(size=128, steps=2, guidance=2.0, batch_size=2, shard_size=3),
    )


@pytest.fixture(scope="session")
def tiny_encoders(tiny_preset: Preset) -> Any:
    from freeda.encoders import load_encoders

    return load_encoders(tiny_preset, device="cpu")


NOUNS = ("cat", "dog", "tree", "table", "sky", "grass", "car", "house", "boat", "water")


@pytest.fixture(scope="session")
def tiny_bank(tmp_path_factory: pytest.TempPathFactory, tiny_encoders: Any, tiny_preset: Preset) -> Path:
    """A bank directory of 40 pairs: true keys of ten nouns, four random prototypes each."""
    import numpy as np

    from freeda.bank.format import Pair, caption_digest, shard_name, write_shard
    from freeda.bank.manifest import finish_bank

    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(4)
    keys = tiny_encoders.clip.encode_text([f"a photo of a {noun}." for noun in NOUNS]).numpy()
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    captions = [(str(i), f"a photo of a {NOUNS[i % len(NOUNS)]}") for i in range(40)]
    pairs = [
        Pair(
            caption_id=name,
            caption=text,
            noun=NOUNS[int(name) % len(NOUNS)],
            spans=((13, len(text)),),
            seed=int(name),
            key=keys[int(name) % len(NOUNS)].astype(np.float16),
            prototype=rng.normal(size=tiny_encoders.dense.dim).astype(np.float16),
            area=0.3,
            contrast=0.4,
            agreement=0.2,
        )
        for name, text in captions
    ]
    for index in range(2):
        chunk = slice(20 * index, 20 * index + 20)
        info = {
            "settings": {},
            "digest": caption_digest(captions[chunk]),
            "captions": 20,
            "pictures": 20,
            "rejected": {},
            "failed": [],
        }
        write_shard(folder / shard_name(index), pairs[chunk], info)
    finish_bank(folder, 2, {"preset": tiny_preset.name, "models": tiny_encoders.identity, "seed": 0})
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_preset: Preset, tiny_encoders: Any, tiny_bank: Path) -> Any:
    """A `FreeDA` of the tiny models and the tiny bank."""
    from freeda.bank import Bank
    from freeda.model import FreeDA

    return FreeDA(tiny_preset, tiny_encoders, Bank.open(tiny_bank))
