"""The reference bank: pairs of a textual key and a visual prototype, on disk and searchable."""

from .bank import Bank
from .format import Pair

__all__ = ["Bank", "Pair"]
