"""How good a label map is."""

from .metric import Confusion

__all__ = ["Confusion"]
