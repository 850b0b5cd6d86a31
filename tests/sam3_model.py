"""A tiny SAM 3 of random weights, saved as its repository has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}
_TRACKER = {
    "vision_config": {
        "backbone_config": {
            **{"model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 48},
            **{"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "window_size": 2},
            **{"global_attn_indexes": [0], "pretrain_image_size": 28},
        },
        **{"fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]},
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 56, "mask_input_channels": 4},
    "mask_decoder_config": {
        **{"hidden_size": 32, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    },
    **{"memory_attention_hidden_size": 32, "memory_attention_num_layers": 1, "image_size": 56},
    **{"memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [4, 4]},
    **{"memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8},
    **{"mask_downsampler_embed_dim": 16, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 16},
}


def config_of(tokenizer: Any) -> Any:
    """56 pixels a side in patches of 14, masks of 16 x 16, five queries."""
    from transformers import Sam3Config

    text = {
        **{"model_type": "clip_text_model", "vocab_size": len(tokenizer), "hidden_size": 24},
        **{"intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"max_position_embeddings": 32, "hidden_act": "gelu", "eos_token_id": tokenizer.eos_token_id},
        **{"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id},
    }
    return Sam3Config(
        vision_config=_TRACKER["vision_config"],
        text_config=text,
        geometry_encoder_config=_SMALL,
        detr_encoder_config=_SMALL,
        detr_decoder_config={**_SMALL, "num_layers": 2, "num_queries": 5},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )


def save_sam3(folder: Path, tokenizer: Any, video: bool = False) -> Path:
    """With `video` as facebook/sam3 has it: one file of weights for pictures and video."""
    import transformers as t

    torch.manual_seed(5)
    config = config_of(tokenizer)
    if video:
        model: Any = t.Sam3VideoModel(t.Sam3VideoConfig(detector_config=config, tracker_config=_TRACKER))
    else:
        model = t.Sam3Model(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
