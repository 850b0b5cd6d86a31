"""Attribution maps of words: the cross-attention of a denoiser, added up while it draws (DAAM).

Source of the formula: Tang et al., "What the DAAM" (arXiv 2210.04885), in the behaviour of its reference
implementation: cross-attention of the down and up blocks, the mid block and maps at 1/8 of the latent side
left out, the conditional half of the guidance batch only, summed over time steps in float32.
Propagation: Wang et al., "Diffusion Model is Secretly a Training-free Open Vocabulary Semantic Segmenter"
(arXiv 2309.02773).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import ModelError
from ..options import Attribution

# What these compute is softmax(QK^T) V over the text alone, with the layer's own projections, each in its own
# way. Compared by exact type: what derives from one may compute something else.
_PLAIN = (
    *("AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor"),
    *("AttnProcessorNPU", "XLAFlashAttnProcessor2_0"),
)
_FUSED = "FusedAttnProcessor2_0"  # key and value come from one projection
_SANA = "SanaAttnProcessor2_0"  # normalises queries and keys, if at all, before it cuts them into heads
_KNOWN = {
    *(("diffusers.models.attention_processor", name) for name in (*_PLAIN, _FUSED)),
    ("diffusers.models.transformers.sana_transformer", _SANA),
}

LEVEL_WEIGHTS = (0.1, 0.1, 0.5, 0.3)
"""DiffSegmenter's weights of the levels 0 to 3: maps of 64, 32, 16 and 8 a side where the latent has 64."""
MOST_PLACES = 4096
"""Positions of the finest self-attention that is kept: 64 x 64, 67 MB of float32 a picture."""


class AttentionCapture:
    """Watches a denoiser while its pipeline draws a batch, without touching what it computes.

    `columns[i]` holds the text positions wanted for picture i of the batch. Only those columns are kept, so
    memory grows with the number of wanted words, not with the text's length or the number of steps:

        with AttentionCapture(pipe.unet, [[5, 6], [3]]) as capture:
            pipe(["a ...", "two ..."], generator=...)
        maps = capture.maps()          # maps[i]: (len(columns[i]), h, w)

    Hooks read queries and keys as the pipeline's own attention makes them; its processors stay in their
    places, and the pictures are the same to the last bit. Hooks go on leaving, after an exception too. One
    instance serves one batch. Propagation keeps 4 P^2 bytes a picture, P <= `MOST_PLACES` being the positions
    of the self-attention, and three times as much of one picture while it adds a head.

    Args:
        denoiser: the UNet of any Stable Diffusion 1.x, 2.x or XL pipeline, PixArt's or Sana's transformer.
        columns: per picture, the wanted text positions; may be empty.
        options: which attention is added up, and how; None takes DAAM's.
        calls: how often the denoiser will be called; needed only where not all steps count.
        words: per picture, the text positions of all its words; needed only for normalisation "words".

    Raises ModelError where the denoiser has no cross-attention that counts, or one whose processor computes
    something else than attention to the text.
    """

    def __init__(
        self,
        denoiser: Any,
        columns: Sequence[Sequence[int]],
        options: Attribution | None = None,
        *,
        calls: int | None = None,
        words: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if not columns:
            raise ValueError("columns must name at least one picture")
        self._options = options = options or Attribution()
        if calls is None and (options.from_step, options.to_step) != (0.0, 1.0):
            raise ValueError("not all steps count: say in `calls` how many there will be")
        if options.normalisation == "words" and (words is None or len(words) != len(columns)):
            raise ValueError("normalisation 'words' needs the positions of every picture's words")
        self._denoiser = denoiser
        self._columns = [list(c) for c in columns]
        self._words = [list(w) for w in words or ()] if options.normalisation == "words" else []
        self._chosen = None if calls is None else options.counted(calls)
        self._layers = watched_layers(denoiser, options.blocks)
        self._spreading = options.propagation == "self"
        self._selves = watched_layers(denoiser, options.blocks, "attn1") if self._spreading else []
        self._spread = torch.zeros(0, 0, 0)
        self._spreads = 0
        self._hooks: list[Any] = []
        self._calls = 0
        self._batch = 0
        self._latent: tuple[int, int] = (0, 0)
        self._sums: dict[int, torch.Tensor] = {}
        self._tables: dict[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor | None]] = {}

    def __enter__(self) -> AttentionCapture:
        try:
            self._hooks.append(self._denoiser.register_forward_pre_hook(self._see_sample, with_kwargs=True))
            for index, attn in enumerate(self._layers):
                self._hooks += self._watch(index, attn)
            for attn in self._selves:
                self._hooks += self._watch(None, attn)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._tables.clear()

    @torch.no_grad()
    def maps(self) -> list[torch.Tensor]:
        """Return per picture its columns' maps: (len(columns[i]), h, w) float32 >= 0 at the latent's size.

        Each is the mean over layers and heads of that head's attention, up-sampled bicubically
        (align_corners=False) to the latent's size and clamped at 0; summed over time steps, not normalised.
        (The options `heads` and `normalisation` change what is averaged, `propagation` what becomes of it.)
        Raises ModelError if nothing was captured (the pipeline did not run, or has no such layer).
        """
        if not self._sums:
            raise ModelError(
                "no cross-attention was captured: the pipeline did not run its denoiser, or every map that "
                f"it has is left out (attribution.left_out {list(self._options.left_out)})"
            )
        if self._spreading and not self._spreads:
            raise ModelError(
                f"no self-attention of at most {MOST_PLACES} places was captured: set "
                "attribution.propagation=none, or a smaller size"
            )
        size = _level(self._spread.shape[-1], self._latent)[0] if self._spreading else self._latent
        levels: dict[int, tuple[Any, int]] = {}  # by level if these are kept apart, else all in one
        for acc in self._sums.values():
            n, h, positions, c = acc.shape
            shape, halvings = _level(positions, self._latent)
            level = acc.permute(0, 3, 1, 2).reshape(n * c, h, *shape)
            if shape != size:  # else nothing would change
                level = F.interpolate(level, size, mode="bicubic", align_corners=False)
            level = level.clamp(min=0)
            if self._options.normalisation == "head":
                level = level / _positive(level.amax((-2, -1), keepdim=True))
            if self._options.heads == "max":
                level, h = level.amax(1, keepdim=True), 1
            total, weight = levels.get(halvings if self._spreading else 0, (0, 0))
            total = total + level.sum(1).reshape(n, c, *size)
            levels[halvings if self._spreading else 0] = total, weight + h
        if self._spreading:
            levels[0] = self._spread_out({at: total / h for at, (total, h) in levels.items()}), 1
        total, weight = levels[0]
        return [total[i, : len(c)] / weight for i, c in enumerate(self._columns)]

    def _spread_out(self, levels: dict[int, torch.Tensor]) -> torch.Tensor:
        """Levels' maps (n, columns, h, w), mixed, times the self-attention; at the latent's size."""
        weights = {at: LEVEL_WEIGHTS[at] for at in levels if at < len(LEVEL_WEIGHTS)}
        if not weights:
            raise ModelError(f"all maps are beyond level {len(LEVEL_WEIGHTS) - 1}: nothing to propagate")
        mixed: Any = 0
        for at, weight in weights.items():
            low, high = levels[at].amin((-2, -1), keepdim=True), levels[at].amax((-2, -1), keepdim=True)
            mixed = mixed + weight / sum(weights.values()) * (levels[at] - low) / _positive(high - low)
        # A place gets what it attends to.
        out = (mixed.flatten(2) / self._spreads @ self._spread.transpose(1, 2)).reshape(mixed.shape)
        return F.interpolate(out, self._latent, mode="bicubic", align_corners=False).clamp(min=0)

    def _see_sample(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every call of the denoiser: the batch and latent size, which only its input tells."""
        sample = args[0] if args else kwargs["sample" if "sample" in kwargs else "hidden_states"]
        n = len(self._columns)
        # diffusers puts the unconditional half first; without guidance there is one row per picture.
        if sample.shape[0] not in (n, 2 * n):
            raise ModelError(
                f"the denoiser was given {sample.shape[0]} latents for {n} captions: expected {n} "
                f"without guidance or {2 * n} with it"
            )
        self._batch = sample.shape[0]
        self._latent = (sample.shape[-2], sample.shape[-1])
        self._calls += 1
        if self._chosen is not None and self._calls > len(self._chosen):
            raise ModelError(
                f"the denoiser was called more often than the {len(self._chosen)} times expected"
            )

    def _watch(self, index: int | None, attn: Any) -> Iterable[Any]:
        """Hook a layer and its projections, whatever they are (a LoRA wraps them); the hooks' handles.

        `index` is the layer's place among those that attend to the text, None for self-attention.
        """
        fused = type(attn.processor).__name__ == _FUSED
        seen: dict[str, Any] = {}

        def begin(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen.clear()
            # Without a text the block attends to itself at this place.
            seen["text"] = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
            seen["mask"] = args[2] if len(args) > 2 else kwargs.get("attention_mask")

        def see_query(module: Any, args: tuple[Any, ...], out: torch.Tensor) -> None:
            seen["query"] = out

        def see_key(module: Any, args: tuple[Any, ...], out: torch.Tensor) -> None:
            seen["key"] = out.chunk(2, -1)[0] if fused else out

        def end(module: Any, args: tuple[Any, ...], out: Any) -> None:
            call = dict(seen)
            seen.clear()  # nothing outlives the call
            if (call["text"] is None) != (index is None):
                return
            if "query" not in call or "key" not in call:
                raise ModelError("an attention layer did not project its query and key: it cannot be watched")
            if index is None:
                self._add_self(attn, call["query"], call["key"])
            else:
                self._add(index, attn, call["query"], call["key"], call["mask"])

        # Sana normalises before it cuts into heads, so that the norm's output is what is compared.
        query = attn.to_q if attn.norm_q is None else attn.norm_q
        key = attn.to_k if attn.norm_k is None else attn.norm_k
        yield attn.register_forward_pre_hook(begin, with_kwargs=True)
        yield query.register_forward_hook(see_query)
        yield (attn.to_kv if fused else key).register_forward_hook(see_key)
        yield attn.register_forward_hook(end)

    @torch.no_grad()
    def _add(
        self, index: int, attn: Any, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None
    ) -> None:
        """Add one layer's attention of one time step.

        `query` (batch, positions, heads x d) and `key` (batch, text, heads x d) as projected, `mask` as it
        was given to the attention.
        """
        if self._chosen is not None and not self._chosen[self._calls - 1]:
            return
        n, text = len(self._columns), key.shape[1]
        if query.shape[0] != self._batch or key.shape[0] != self._batch:
            raise ModelError(
                "the denoiser's attention batch does not match its latents: this pipeline cannot be watched"
            )
        if _level(query.shape[1], self._latent)[1] in self._options.left_out:
            return
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, text, self._batch)
            mask = mask.view(self._batch, attn.heads, -1, text)[-n:].float()
        # In float32 whatever the model's precision: half precision has too few digits for a long sum.
        query, key = (x[-n:].float().unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key))
        kept = self._attend(query, key, attn.scale, mask)
        if self._options.normalisation == "step":
            kept = kept / _positive(kept.amax(2, keepdim=True))
        if index in self._sums:
            self._sums[index] += kept
        else:
            self._sums[index] = kept.clone()  # a running sum of its own, never a view

    @torch.no_grad()
    def _add_self(self, attn: Any, query: torch.Tensor, key: torch.Tensor) -> None:
        """Add one layer's self-attention of one time step, if none finer was seen."""
        places, kept = query.shape[1], self._spread.shape[-1]
        counts = self._chosen is None or self._chosen[self._calls - 1]
        if not counts or not kept <= places <= MOST_PLACES:
            return
        n = len(self._columns)
        if places > kept:
            self._spread, self._spreads = torch.zeros(n, places, places, device=query.device), 0
        for i in range(n):
            heads = (x[i - n].float().unflatten(-1, (attn.heads, -1)).transpose(0, 1) for x in (query, key))
            for one, other in zip(*heads, strict=True):  # one by one: all together are large
                self._spread[i] += (one @ other.T * attn.scale).softmax(-1)
        self._spreads += attn.heads

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, scale: float, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """softmax(QK^T * scale) over all text positions, the wanted columns: (n, heads, positions, width).

        Attention gives softmax(QK^T) V. Where V is 1 at one text position and 0 elsewhere, that is a column
        of the softmax: the library's fast attention yields the wanted columns alone, and the full
        (heads, positions, text) never exists.
        """
        pick, only = self._table(key)
        if only is not None:
            mask = only if mask is None else mask + only
        found = [
            F.scaled_dot_product_attention(
                query, key, part.expand(-1, query.shape[1], -1, -1), attn_mask=mask, scale=scale
            )
            for part in pick.split(query.shape[-1], -1)  # fast kernels want values as wide as the queries
        ]
        whole = found[0] if len(found) == 1 else torch.cat(found, -1)
        return whole[..., : max(1, *map(len, self._columns))]

    def _table(self, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What picks the columns and, if wanted, what hides all but words; made once a shape.

        (n, 1, text, width), 1 where row `t` is the column wanted at that place, `width` a multiple of the
        key's; (n, 1, 1, text), 0 or -inf.
        """
        text, side = key.shape[-2:]
        name = (text, side, key.device)
        if name not in self._tables:
            n, width = len(self._columns), max(1, *map(len, self._columns))
            most = max((p for row in (*self._columns, *self._words) for p in row), default=0)
            if most >= text:
                raise ModelError(f"text position {most} was asked for, but the text has {text}")
            pick = torch.zeros(n, 1, text, math.ceil(width / side) * side)
            for i, row in enumerate(self._columns):
                pick[i, 0, row, list(range(len(row)))] = 1
            only = torch.full((n, 1, 1, text), -math.inf) if self._words else None
            for i, row in enumerate(self._words):
                assert only is not None
                only[i, 0, 0, row or slice(None)] = 0  # a caption without words hides nothing
            self._tables[name] = pick.to(key.device), None if only is None else only.to(key.device)
        return self._tables[name]


def watched_layers(denoiser: Any, blocks: str, name: str = "attn2") -> list[Any]:
    """Return the modules of that name in those blocks, in order; ModelError where one cannot be watched."""
    kind, what = type(denoiser).__name__, "cross-attention" if name == "attn2" else "self-attention"
    if hasattr(denoiser, "transformer_blocks"):  # all of one resolution and kind
        chosen = list(denoiser.transformer_blocks) if blocks in ("down-up", "all") else []
    else:
        chosen = [
            *(denoiser.down_blocks if blocks != "up" else ()),
            *(denoiser.up_blocks if blocks != "down" else ()),
            *([denoiser.mid_block] if blocks == "all" and denoiser.mid_block is not None else ()),
        ]
    found = [
        module
        for block in chosen
        for path, module in block.named_modules()
        if path.rsplit(".", 1)[-1] == name and hasattr(module, "processor")
    ]
    if not found:
        where = {"down-up": "down and up blocks", "all": "blocks"}.get(blocks, f"{blocks} blocks")
        raise ModelError(f"{kind} has no {what} in its {where}: words cannot be found")
    for attn in found:
        processor = type(attn.processor)
        if "Linear" in processor.__name__:
            raise ModelError(
                f"{kind}'s {what} is linear, without a softmax to propagate by: set "
                "attribution.propagation=none"
            )
        if (processor.__module__, processor.__name__) not in _KNOWN:
            raise ModelError(
                f"the denoiser's attention processor {processor.__name__} may attend to more than the text: "
                "words cannot be found; unload what set it (an IP adapter, say) or call its "
                "set_default_attn_processor()"
            )
        normal = attn.norm_q is None and attn.norm_k is None
        if not normal and processor.__name__ != _SANA:
            raise ModelError(
                "the denoiser normalises its queries or keys after projecting them, which no Stable "
                "Diffusion does: words cannot be found"
            )
        if name == "attn1" and processor.__name__ == _FUSED:
            raise ModelError("fused self-attention cannot be watched: call unfuse_qkv_projections()")
    watched = set(found)
    for module in denoiser.modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
        if compiled and not watched.isdisjoint(module.modules()):
            raise ModelError(
                f"{type(module).__name__} was compiled as a whole, so that its attention cannot be watched: "
                "leave it as it is and set the option compile, which compiles all parts but those watched"
            )
    return found


def _positive(x: torch.Tensor) -> torch.Tensor:
    """`x`, where it is too small to divide by replaced by the smallest number that is not."""
    return x.clamp(min=torch.finfo(torch.float32).tiny)


def _level(positions: int, latent: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """(height, width) of a layer with that many positions, and how often the latent was halved for it."""
    height, width = latent
    for halvings in range(16):
        if height * width == positions:
            return (height, width), halvings
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    raise ModelError(
        f"an attention layer has {positions} positions, which no halving of a {latent} latent gives"
    )
