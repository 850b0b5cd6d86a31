"""Tiny region models of random weights, saved as their repositories have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

KINDS = ("eomt", "eomt_dinov3", "mask2former", "oneformer", "sam2", "sam2_video")
_VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "num_blocks": 1, "patch_size": 8}
_LABELS = {"id2label": {0: "thing", 1: "stuff"}, "label2id": {"thing": 0, "stuff": 1}, "num_queries": 6}
_SWIN = {
    **{"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2]},
    **{"window_size": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"]},
}
_DECODER = {
    **{"hidden_dim": 32, "encoder_feedforward_dim": 16, "encoder_layers": 1, "decoder_layers": 2},
    **{"num_attention_heads": 2, "dim_feedforward": 16},
}
_SAM = {
    "vision_config": {
        "backbone_config": {
            **{"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64]},
            **{"blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64]},
            **{"num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 2, 2]},
            "global_attention_blocks": [3],
        },
        **{"backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 16},
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "prompt_encoder_config": {"hidden_size": 16, "image_size": 64, "mask_input_channels": 4},
    "mask_decoder_config": {
        **{"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    },
}
_VIDEO = {
    **{"memory_attention_hidden_size": 16, "memory_attention_num_layers": 1, "image_size": 64},
    **{"memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [4, 4]},
    **{"memory_encoder_hidden_size": 16, "memory_encoder_output_channels": 8},
    **{"mask_downsampler_embed_dim": 16, "memory_fuser_embed_dim": 16, "memory_fuser_intermediate_dim": 16},
}


def make(kind: str) -> Any:
    import transformers as t

    if kind == "eomt":
        config = t.EomtConfig(**_VIT, **_LABELS, image_size=64, num_register_tokens=0, num_upscale_blocks=1)
        return t.EomtForUniversalSegmentation(config)
    if kind == "eomt_dinov3":
        more = {"intermediate_size": 48, "num_register_tokens": 2, "num_upscale_blocks": 1}
        return t.EomtDinov3ForUniversalSegmentation(
            t.EomtDinov3Config(**_VIT, **_LABELS, image_size=64, **more)
        )
    if kind == "mask2former":
        sizes = {"feature_size": 32, "mask_feature_size": 32}
        config = t.Mask2FormerConfig(backbone_config=t.SwinConfig(**_SWIN), **_LABELS, **_DECODER, **sizes)
        return t.Mask2FormerForUniversalSegmentation(config)
    if kind == "oneformer":
        text = {"text_encoder_width": 64, "text_encoder_num_layers": 1, "text_encoder_vocab_size": 99}
        sizes = {"conv_dim": 32, "mask_dim": 32, "query_dec_layers": 1, "task_seq_len": 20}
        # As published: the part that reads texts in training is in the file, and the configuration says so.
        config = t.OneFormerConfig(
            backbone_config=t.SwinConfig(**_SWIN), **_LABELS, **_DECODER, **sizes, **text, is_training=True
        )
        return t.OneFormerForUniversalSegmentation(config)
    if kind == "sam2":
        return t.Sam2Model(t.Sam2Config(**_SAM))
    return t.Sam2VideoModel(t.Sam2VideoConfig(**_SAM, **_VIDEO))


def save_region_model(folder: Path, kind: str, tokenizer: Any, **settings: Any) -> Path:
    """A model whose masks differ and are sure; `settings` are its preprocessor_config.json, if any."""
    torch.manual_seed(3)
    model = make(kind)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
        if "output_hypernetworks_mlps" in name and name.endswith("proj_out.weight"):
            weight.data *= 100  # no pixel in doubt
        if name.endswith(("class_predictor.bias", "class_embed.bias")):
            weight.data[-1] = -5.0  # there is an object
        if "iou_prediction_head.proj_out" in name:
            torch.nn.init.normal_(weight, 2.5 if weight.ndim == 1 else 0.0, 0.5)  # some good, some not
    model.save_pretrained(folder)
    if kind == "oneformer":
        tokenizer.save_pretrained(folder)
    if settings:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
