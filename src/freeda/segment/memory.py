"""What a photograph may cost in memory: the bound that the online stage keeps, as a formula."""

from __future__ import annotations

import torch

from ..options import SegmentOptions
from .matching import CHUNK, TABLE
from .stream import AHEAD
from .upsample import STRIP as LABELS_AT_A_TIME
from .window_encoding import MAX_THREADS
from .windows import sliding_boxes, working_size


def memory_bound(
    height: int, width: int, options: SegmentOptions, dense_dim: int, grid: int, classes: int, batch_size: int
) -> int:
    """Bytes that encoding and labelling an image (height, width) may take at once, at most.

    Not counted: the models' weights and activations, which depend on `batch_size` and never on the image; the
    bank; optional refinement. `dense_dim` and `grid` are those of the dense encoder, `classes` the rows of
    scores. With h x w the working size, N windows of s pixels in all, each pixel in at most m of them:

        10 height width         photograph, labels, one strip of either being made
        3 h w                   the working image
        N (4 s + 20 g g D)      per window its map of atoms and its features, at most 5 g g of D numbers
        40 N s + 110 m h w      weights: a pixel that no grid point samples blends 4 patches in each window
        (350 t + 16 (t + 2 b) + 100) s   superpixels of t threads, waiting maps, a batch of b crops
        8 classes 5 g g N       local scores of all features
        4 TABLE + 24 CHUNK + 64 STRIP    kept scores (the table), what is computed at a time, one strip

    The weights' terms are the worst case; in photographs most pixels share their region's one weight.
    """
    h, w = working_size(height, width, options)
    boxes = sliding_boxes(h, w, options.window, options.stride)
    s = max((b.y2 - b.y1) * (b.x2 - b.x1) for b in boxes)
    m = 1 if options.window is None else (-(-options.window // options.stride) + 1) ** 2
    n, features = len(boxes), 5 * grid * grid
    t = min(torch.get_num_threads(), MAX_THREADS)
    return (
        10 * height * width
        + 3 * h * w
        + n * (4 * s + 4 * features * dense_dim)
        + 40 * n * s
        + 110 * min(m, n) * h * w
        + (350 * t + 16 * (t + 2 * batch_size) + 100) * s
        + 8 * classes * features * n
        + 4 * min(TABLE, h * w * classes)
        + 24 * CHUNK
        + 64 * min(LABELS_AT_A_TIME, height * width)
    )


def stream_bound(
    height: int,
    width: int,
    options: SegmentOptions,
    dense_dim: int,
    grid: int,
    classes: int,
    batch_size: int,
    beside: bool = False,
) -> int:
    """Bytes that `FreeDA.segment_many` may take at once, at most, for photographs of one size.

    Beside the one that is labelled (`memory_bound`), those are held whose windows fill a batch, one that is
    read ahead and the caller's last; with `beside`, on an accelerator, those of one more batch, `AHEAD` that
    are read and one that is written. Each is its pixels twice (read, then converted), its working image and
    its windows' features.
    """
    h, w = working_size(height, width, options)
    boxes = sliding_boxes(h, w, options.window, options.stride)
    s = max((b.y2 - b.y1) * (b.x2 - b.x1) for b in boxes)
    batches = 2 if beside else 1
    others = batches * -(-batch_size // len(boxes)) + 2 + beside * AHEAD
    each = 16 * height * width + 3 * h * w + len(boxes) * (44 * s + 20 * grid * grid * dense_dim)
    one = memory_bound(height, width, options, dense_dim, grid, classes, batch_size)
    return one + others * each
