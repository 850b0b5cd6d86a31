"""Label maps as pictures: palettes, overlays with a legend, exports, pages."""

from .export import area_shares, write_image
from .overlay import label_map_image, overlay
from .palette import palette, to_hex
from .sheet import Row, Section, Tile, lay_page, write_page
from .tiles import draw_regions, heat_map, mask_picture, tint

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
