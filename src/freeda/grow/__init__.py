"""References drawn for exactly the words that a bank lacks."""

from ..collection.shard import with_generator as models_with
from .growing import Grown, Plan, draw_plan, grow, plan_growth, seconds_a_picture, settle
from .layer import (
    growth_options,
    layer_beside,
    layers_with,
    open_layer,
    personal_layer,
    related_layers,
    tidy,
    with_layer,
)

__all__ = [
    "Grown",
    "Plan",
    "draw_plan",
    "grow",
    "growth_options",
    "layer_beside",
    "layers_with",
    "models_with",
    "open_layer",
    "personal_layer",
    "plan_growth",
    "related_layers",
    "seconds_a_picture",
    "settle",
    "tidy",
    "with_layer",
]
