"""Label maps as pictures: palettes, overlays with a legend, exports, pages."""

from .export import area_shares, write_image
from .overlay import label_map_image, overlay
from .palette import palette, to_hex
from .tiles import (
    Row,
    Section,
    Tile,
    draw_regions,
    heat_map,
    lay_page,
    mask_picture,
    tint,
    write_page,
)

__all__ = [
    "Row",
    "Section",
    "Tile",
    "area_shares",
    "draw_regions",
    "heat_map",
    "label_map_image",
    "lay_page",
    "mask_picture",
    "overlay",
    "palette",
    "tint",
    "to_hex",
    "write_image",
    "write_page",
]
