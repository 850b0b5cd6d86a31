"""The online stage: an image and class names to a label map."""

from ..show.explanation import Explanation
from .result import Segmentation
from .scene import Scene, encode_scene
from .stream import Outcome
from .vocabulary import Vocabulary, WordEmbedder, build_vocabulary

__all__ = [
    "Explanation",
    "Outcome",
    "Scene",
    "Segmentation",
    "Vocabulary",
    "WordEmbedder",
    "build_vocabulary",
    "encode_scene",
]
