"""The region model of the small world: an EoMT that cuts a picture into its things, ground and backdrop.

It is the one model of the world that sees masks, those of training scenes, and it learns no class: what
labels regions learns none either. It begins as the dense encoder, with queries joined for its last layers.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import Dinov2Model, EomtConfig, EomtForUniversalSegmentation

from freeda.miniature.scenes import HELD_OUT, SIZE, TRAIN, render
from freeda.presets import IMAGENET_MEAN, IMAGENET_STD

from .common import Draws, Recipe, augment, batch_of, fit, kept, random_view, view
from .data import Run

RECIPE = Recipe(steps=4000, batch=16, rate=1e-3, average=0.997)
SCENES = 8000
QUERIES, JOINED = 12, 2
"""Masks proposed a picture (scenes have at most five regions), and layers that see them."""


def make_model(dense: Dinov2Model) -> EomtForUniversalSegmentation:
    """An EoMT with the dense encoder's weights; queries, mask head and upscaling are new."""
    torch.manual_seed(5)
    own = dense.config
    model = EomtForUniversalSegmentation(
        EomtConfig(
            hidden_size=own.hidden_size,
            num_hidden_layers=own.num_hidden_layers,
            num_attention_heads=own.num_attention_heads,
            hidden_act=own.hidden_act,
            mlp_ratio=own.mlp_ratio,
            image_size=own.image_size,
            patch_size=own.patch_size,
            num_queries=QUERIES,
            num_blocks=JOINED,
            num_register_tokens=0,
            num_upscale_blocks=2,
            train_num_points=2048,
            id2label={0: "region"},
            label2id={"region": 0},
        )
    )
    given, named = dense.state_dict(), {}
    for name, value in given.items():
        name = name.removeprefix("encoder.").replace("layer.", "layers.")
        named[name.replace("attention.o_proj", "attention.out_proj")] = value
    place = named.pop("embeddings.position_embeddings")
    named["embeddings.position_embeddings.weight"] = place[0, 1:]
    named["embeddings.cls_token"] = named["embeddings.cls_token"] + place[:, :1]
    named.pop("embeddings.mask_token", None)
    _, unknown = model.load_state_dict(named, strict=False)
    if unknown:
        raise ValueError(f"the dense encoder has {unknown[0]}, for which an EoMT has no place")
    model.attn_mask_probs.zero_()  # queries look everywhere, as a trained EoMT's do
    return model


def _scene(i: int) -> NDArray[np.uint8]:
    scene = render(TRAIN, i)
    return np.dstack([scene.image, scene.labels])


def scenes(path: Path) -> NDArray[np.uint8]:
    """(N, 128, 128, 4): the first training scenes, colours and labels, rendered once."""

    def make() -> NDArray[np.uint8]:
        with ProcessPoolExecutor() as pool:
            return np.stack(list(pool.map(_scene, range(SCENES), chunksize=100)))

    return kept(path, make)


def masks_of(labels: Tensor) -> Tensor:
    """(M, H, W) float: a mask for each label of a map (H, W) that covers at least twelve pixels."""
    values, counts = labels.unique(return_counts=True)
    return (labels == values[counts >= 12][:, None, None]).float()


def train(run: Run, out: Path) -> None:
    """Trains the region model and writes it to `out` (transformers' folder format)."""
    device, recipe = run.device, RECIPE.paced(run.pace)
    seen = scenes(run.state / "masks.npy")
    images, labels = seen[..., :3], seen[..., 3]
    dense = Dinov2Model.from_pretrained(run.results["dense"], dtype=torch.float32)
    model = make_model(dense).to(device)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def loss(draws: Draws) -> Tensor:
        torch.manual_seed(int(draws.numpy.integers(2**31)))  # for the points that transformers' loss samples
        chosen = draws.numpy.choice(len(images), recipe.batch, replace=False)
        theta = random_view(draws, recipe.batch, crop=0.4)
        x = augment(batch_of(images, chosen, device), draws, colour=0.35, blur=0.15, theta=theta)
        maps = view(torch.from_numpy(labels[chosen]).to(device)[:, None].float(), theta, "nearest")[:, 0]
        masks = [masks_of(one) for one in maps]
        model.eval()  # nothing drops out; in training mode each joined layer would propose
        found: Tensor = model(
            pixel_values=(x - mean) / std,
            mask_labels=masks,
            class_labels=[torch.zeros(len(one), dtype=torch.long, device=device) for one in masks],
        ).loss
        return found

    held = [render(HELD_OUT, 10_000 + i) for i in range(60)]

    def probe() -> str:
        """Mean IoU of the best proposal with each true region: a measurement, never a training signal."""
        x = torch.from_numpy(np.stack([s.image for s in held])).permute(0, 3, 1, 2).float().to(device) / 255
        seen = model(pixel_values=(x - mean) / std)
        up = F.interpolate(seen.masks_queries_logits, (SIZE, SIZE), mode="bilinear") > 0
        scores = seen.class_queries_logits.softmax(-1)[..., 0]
        best, sure = [], []
        for scene, masks, score in zip(held, up, scores, strict=True):
            found = masks[score >= 0.5]
            sure.append(len(found))
            for truth in masks_of(torch.from_numpy(scene.labels).to(device)).bool():
                union = (found | truth).flatten(1).sum(1)
                best.append(((found & truth).flatten(1).sum(1) / union).max().item() if len(found) else 0.0)
        return f"best mask's mean IoU {np.mean(best):.3f}  masks a picture {np.mean(sure):.2f}"

    fit("masks", model, recipe, loss, run.state, probe)
    model.half().save_pretrained(out)
