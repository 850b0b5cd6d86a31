"""Drawing captions with diffusers' Stable Diffusion, PixArt and Sana pipelines, words watched meanwhile."""

from __future__ import annotations

import hashlib
import inspect
import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError, ModelError, device_lost, first_line, out_of_memory
from ..options import CollectOptions
from ..options.checks import require
from ..precision import choose_device, drawing_dtype
from ..presets import ModelSource
from ..proof import check_tokenizer
from ..weights import load_weights, quiet
from .attention import AttentionCapture, watched_layers
from .tokens import PromptTokenizer, token_offsets

# Class named in a checkpoint's model_index.json -> what its from_pretrained is told to leave away.
FAMILIES: dict[str, dict[str, Any]] = {
    "StableDiffusionPipeline": {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    "StableDiffusionXLPipeline": {"add_watermarker": False},
    "PixArtAlphaPipeline": {},
    "PixArtSigmaPipeline": {},
    "SanaPipeline": {},
}
# What PixArt and Sana are told when they draw: the caption stays as it is, and the picture has the size asked
# for, not that of the nearest bin, resized and cropped, which maps would not fit.
_PLAINLY = {"clean_caption": False, "use_resolution_binning": False}

_PROBE = "a skateboarder's weathered signpost, 2 zebras"
_VARIANTS = 64  # shapes of one kind of block that are compiled before torch gives up on it; XL has over 20

# Option -> diffusers' class and what differs from the checkpoint's own scheduler settings.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "turbo": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "lightning": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
}


@dataclass(frozen=True)
class DrawnBatch:
    """Generated pictures with the attribution of the wanted text positions."""

    images: npt.NDArray[np.uint8]
    """(n, H, W, 3) RGB."""
    maps: list[torch.Tensor]
    """Per picture (wanted positions, h, w) float32 at the latent's size, see `AttentionCapture.maps`."""


def picture_seed(caption_id: str, seed: int = 0) -> int:
    """The seed of a caption's picture, 0 to 2**63 - 1, made of its id and the run's seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{caption_id}".encode()).digest()[:8], "big") >> 1


class Generator:
    """A loaded text-to-image pipeline."""

    def __init__(self, pipe: Any, device: torch.device | None = None, offload: str = "none") -> None:
        """Take a pipeline of one of `FAMILIES`; with `offload`, `device` is where it computes."""
        self.pipe = pipe
        self._device, self._offload = device or pipe.device, offload
        self._own_scheduler = pipe.scheduler
        self._scheduler = "default"
        self._compiled = False
        pipe.set_progress_bar_config(disable=True)
        self.tokenizer, self._told = _reading(pipe)
        """The tokenizer whose positions the columns are; XL's second one cuts a caption alike."""

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer."""
        return _denoiser(self.pipe)

    @property
    def dtype(self) -> torch.dtype:
        """What it draws in."""
        dtype: torch.dtype = self.denoiser.dtype
        return dtype

    def draw(
        self,
        captions: Sequence[str],
        seeds: Sequence[int],
        columns: Sequence[Sequence[int]],
        options: CollectOptions,
    ) -> DrawnBatch:
        """Draw one picture a caption, together; `columns[i]` are the text positions wanted for picture i.

        Noise comes from a CPU generator per caption, so that a picture is the same on every device and in
        every batch up to rounding. Raises ModelError if the pipeline yields NaN or cannot be watched,
        InputError if it refuses.
        """
        height, width = options.picture
        self._prepare(options)
        with _refusals():
            known = self._watching(captions, options)
        watch = AttentionCapture(self.denoiser, columns, options.attribution, **known)
        with watch as capture, self._read_alike(captions), _refusals():
            images = self.pipe(
                list(captions),
                height=height,
                width=width,
                num_inference_steps=options.steps,
                guidance_scale=options.guidance,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="np",
                **self._told,
            ).images
        if not np.isfinite(images).all():
            raise ModelError(
                f"the generator drew NaN for caption {captions[0]!r} or its batch: use dtype float32"
            )
        return DrawnBatch((images * 255).round().astype(np.uint8), capture.maps())

    def _watching(self, captions: Sequence[str], options: CollectOptions) -> dict[str, Any]:
        """What the capture has to know beyond the columns."""
        how, known = options.attribution, dict[str, Any]()
        if (how.from_step, how.to_step) != (0.0, 1.0):
            self.pipe.scheduler.set_timesteps(options.steps)
            known["calls"] = len(self.pipe.scheduler.timesteps)  # some schedulers take more than the steps
        if how.normalisation == "words":
            offsets = [token_offsets(self.tokenizer, caption) for caption in captions]
            known["words"] = [[i for i, (start, end) in enumerate(o) if end > start] for o in offsets]
        return known

    @contextmanager
    def _read_alike(self, captions: Sequence[str]) -> Iterator[None]:
        """Raise ModelError where the text encoder is given other tokens than words were found by."""
        given: list[torch.Tensor] = []

        def see(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given.append(args[0] if args else kwargs["input_ids"])

        hook = self.pipe.text_encoder.register_forward_pre_hook(see, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
        length = self.tokenizer.model_max_length
        how = {"padding": "max_length", "truncation": True, "max_length": length}
        ours = [list(self.tokenizer(caption, **how)["input_ids"]) for caption in captions]
        if not given or given[0].tolist() != ours:
            raise ModelError(
                f"this {type(self.pipe).__name__} cuts captions into other tokens than its tokenizer: words "
                "cannot be found"
            )

    def _prepare(self, options: CollectOptions) -> None:
        """Puts the pipeline into the state that the options ask for; costs nothing when it is in it."""
        if self._told:
            multiple = self.pipe.vae_scale_factor * self.denoiser.config.patch_size
            require(
                all(side % multiple == 0 for side in options.picture),
                f"{type(self.pipe).__name__} draws sides that are multiples of {multiple} pixels, not "
                f"{options.picture[0]} x {options.picture[1]}: set size",
            )
        own = self._own_scheduler
        flow = own.config.get("prediction_type") == "flow_prediction" or "FlowMatch" in type(own).__name__
        require(
            not flow or options.scheduler == "default",
            f"scheduler is {options.scheduler!r}, but a generator of flow matching takes its own: 'default'",
        )
        if options.offload != self._offload:
            self.pipe.remove_all_hooks()
            _place(self.pipe, self._device, options.offload)
            self._offload = options.offload
        if options.scheduler != self._scheduler:
            self.pipe.scheduler = self._own_scheduler
            if options.scheduler != "default":
                import diffusers

                kind, changes = SCHEDULERS[options.scheduler]
                with quiet():  # settings that the other scheduler does not know
                    self.pipe.scheduler = getattr(diffusers, kind).from_config(
                        self._own_scheduler.config, **changes
                    )
            self._scheduler = options.scheduler
        vae = self.pipe.vae
        for name, wanted in (("use_slicing", options.vae_slicing), ("use_tiling", options.vae_tiling)):
            if wanted and not hasattr(vae, name):
                raise InputError(f"{type(vae).__name__} knows no {name[4:]}: leave vae_{name[4:]} off")
            if hasattr(vae, name):
                setattr(vae, name, wanted)
        if options.compile and not self._compiled:
            compile_parts(self.pipe)
            self._compiled = True


@contextmanager
def _refusals() -> Iterator[None]:
    """diffusers answers sizes and step counts that it cannot do with ValueError."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the generator refuses: {first_line(error)}") from error


def load_generator(
    source: ModelSource,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    lora: ModelSource | None = None,
    offload: str = "none",
) -> Generator:
    """Load a pipeline from the hub or a local folder; no safety checker, safetensors only.

    Its model_index.json tells the class, which must be one of `FAMILIES`. A LoRA is merged into the weights,
    so that it costs no time (needs `peft`). `dtype` is as `precision.drawing_dtype` takes it, `offload` the
    option of that name. Raises ModelError, one line, when something cannot be had.
    """
    with quiet():
        import diffusers
        from diffusers.utils import logging as messages

    on = choose_device(device)
    kind = drawing_dtype(dtype, on)
    messages.disable_progress_bar()

    def load(place: str, **keywords: Any) -> Any:
        name = diffusers.DiffusionPipeline.load_config(place)["_class_name"]
        pipe = getattr(diffusers, name).from_pretrained(place, **FAMILIES[name], **keywords)
        # Columns are found by the first tokenizer's offsets; XL's second has to cut captions alike.
        check_tokenizer(pipe.tokenizer, pipe.text_encoder.config)
        offsets = token_offsets(_reading(pipe)[0], _PROBE)
        second = getattr(pipe, "tokenizer_2", None)
        if second is not None and token_offsets(second, _PROBE) != offsets:
            raise ModelError("its two tokenizers cut a caption differently: words cannot be found")
        return pipe

    pipe = load_weights(source, "generator", "generator", load)
    if lora is not None:
        merge_lora(pipe, lora)
    with quiet():
        pipe = pipe.to(dtype=kind)
        _widen(pipe, kind)
        _place(pipe, on, offload)
    for part in (_denoiser(pipe), *_text_encoders(pipe), pipe.vae):
        part.eval().requires_grad_(False)
    return Generator(pipe, on, offload)


def _reading(pipe: Any) -> tuple[Any, dict[str, Any]]:
    """The tokenizer, as the pipeline gives it captions, and what the pipeline is told when it draws."""
    if not hasattr(pipe, "transformer"):
        return pipe.tokenizer, {}
    known = inspect.signature(type(pipe).__call__).parameters
    names = ("max_sequence_length", "complex_human_instruction")
    own = {name: known[name].default for name in names if name in known}
    before = "\n".join(own.get("complex_human_instruction") or ())
    return PromptTokenizer(pipe.tokenizer, own["max_sequence_length"], before), _PLAINLY | own


def _denoiser(pipe: Any) -> Any:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


def _widen(pipe: Any, kind: torch.dtype) -> None:
    """Undo float16 where its range is too small, as the models' own pages do: T5's `wo`, Sana's encoders."""
    if kind != torch.float16 or not hasattr(pipe, "transformer"):
        return
    if type(pipe).__name__ == "SanaPipeline":
        pipe.text_encoder.to(torch.bfloat16)
        pipe.vae.to(torch.bfloat16)
    for name, module in pipe.text_encoder.named_modules():
        if name.rsplit(".", 1)[-1] in (pipe.text_encoder._keep_in_fp32_modules or ()):
            module.float()


def _place(pipe: Any, device: torch.device, offload: str) -> None:
    """Put the weights on the device, or have them brought there while they are at work."""
    if offload == "none" or device.type == "cpu":
        pipe.to(device)
    elif find_spec("accelerate") is None:
        raise InputError(f"offload '{offload}' needs the package accelerate: pip install accelerate")
    else:
        getattr(pipe, f"enable_{offload}_cpu_offload")(device=device)


def merge_lora(pipe: Any, lora: ModelSource) -> None:
    """Add a LoRA to the weights of a pipeline in main memory.

    Raises ModelError, one line that names it, for a folder with several, for one of another family, and for
    one that changes nothing; where `peft` is not installed; and as `load_weights`.
    """
    if not hasattr(pipe, "unet"):
        raise ModelError(f"LoRA: {lora.id}: only Stable Diffusion takes one, not a {type(pipe).__name__}")
    if find_spec("peft") is None:
        raise ModelError(f"LoRA: {lora.id} needs the package peft: pip install peft")
    before = _digests(pipe)
    load_weights(lora, "lora", "LoRA", partial(_load_lora, pipe))
    with quiet():
        pipe.fuse_lora()
        pipe.unload_lora_weights()  # what was merged stays
    if _digests(pipe) == before:
        raise ModelError(f"LoRA: {lora.id}: changes no weight of this generator: was it trained at all?")


def _load_lora(pipe: Any, place: str, **given: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    misfit = f"is no LoRA of this generator, a {type(pipe).__name__}"
    logging.getLogger("diffusers").setLevel(logging.CRITICAL)  # `load_weights` puts it back
    try:
        state, _ = pipe.lora_state_dict(place, unet_config=pipe.unet.config, **given)
        pipe.load_lora_weights(place, **given)
    except (RuntimeError, ValueError) as error:
        if out_of_memory(error) or device_lost(error):
            raise  # nothing about the LoRA
        sizes = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        raise ModelError(f"{misfit} ({(sizes or [first_line(error)])[0][:200]})") from error
    wanted = {key[: key.rindex("lora")] for key in state if "lora" in key}
    found = sum(isinstance(module, BaseTunerLayer) for part in _lora_parts(pipe) for module in part.modules())
    if found < len(wanted):  # what has no place is passed over in silence
        raise ModelError(f"{misfit} ({len(wanted) - found} of its {len(wanted)} layers have no place)")


def _text_encoders(pipe: Any) -> list[Any]:
    named = (getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2"))
    return [part for part in named if part is not None]


def _lora_parts(pipe: Any) -> list[Any]:
    return [pipe.unet, *_text_encoders(pipe)]


def _digests(pipe: Any) -> list[int]:
    """A checksum of every tensor that a LoRA may change."""
    return [
        zlib.crc32(tensor.detach().reshape(-1).view(torch.uint8).numpy())
        for part in _lora_parts(pipe)
        for tensor in part.state_dict().values()
    ]


def compile_parts(pipe: Any) -> None:
    """Compile, in place, every block of the denoiser that holds no cross-attention, and the VAE's decoder.

    Compiled code ignores hooks that come later, so the layers watched and what surrounds them stay as they
    are; convolutions, self-attention and feed-forward, where nearly all the time goes, are compiled. That
    happens when they first run, and again for another batch size. Raises InputError, one line, where this
    machine cannot compile.
    """
    _prove_compiler(pipe._execution_device)  # where weights are brought, if they are kept elsewhere
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # its older name
    setattr(config, limit, max(_VARIANTS, getattr(config, limit)))
    for part in uncaptured_parts(_denoiser(pipe), set(watched_layers(_denoiser(pipe), "all"))):
        part.compile()
    pipe.vae.decoder.compile()


def uncaptured_parts(module: torch.nn.Module, watched: set[Any]) -> Iterator[torch.nn.Module]:
    """The largest blocks inside a module that hold none of the watched ones and consist of several layers."""
    for child in module.children():
        if child in watched:
            continue
        lists = isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict))  # never called themselves
        if lists or not watched.isdisjoint(child.modules()):
            yield from uncaptured_parts(child, watched)
        elif any(True for _ in child.children()):
            yield child


def _prove_compiler(device: torch.device) -> None:
    """Compile something small: whether it works depends on compilers, drivers and the Python version."""
    try:
        with quiet():
            torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch's back ends raise all kinds
        raise InputError(
            f"torch.compile does not work here ({first_line(error)}): leave the option compile off"
        ) from error
