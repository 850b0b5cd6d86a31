"""References drawn for exactly the words that a bank lacks."""

from .growing import Grown, Plan, draw_plan, grow, models_with, plan_growth, seconds_a_picture, settle
from .layer import growth_options, layer_beside, open_layer, personal_layer, with_layer

__all__ = [
    "Grown",
    "Plan",
    "draw_plan",
    "grow",
    "growth_options",
    "layer_beside",
    "models_with",
    "open_layer",
    "personal_layer",
    "plan_growth",
    "seconds_a_picture",
    "settle",
    "with_layer",
]
