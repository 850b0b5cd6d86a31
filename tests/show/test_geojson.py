"""GeoJSON keeps a GeoTIFF's place on the map; whatever cannot be kept is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from export_readers import read_geojson
from freeda.errors import InputError
from freeda.show import palette
from freeda.show.exports import Labelled, write_exports
from freeda.source_file import source_file

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIZE = (24, 30)
LABELS = np.random.default_rng(0).integers(0, 3, (6, 10)).repeat(4, 0).repeat(3, 1)
NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 4_649_776)
PLACES = {
    "north up": NORTH_UP,
    "south up": Affine(0.5, 0, 500_000, 0, 0.5, 4_649_776),
    "turned": Affine(0.25, 0.5, 1024, 0.5, -0.25, 2048),
    "degrees": Affine(2**-10, 0, 11.0, 0, -(2**-10), 46.0),
}


def geotiff(path: Path, transform: Any, crs: Any, size: tuple[int, int] = SIZE, **more: Any) -> str:
    pixels = np.random.default_rng(1).integers(0, 256, (3, *size), dtype=np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size[1],
        height=size[0],
        count=3,
        dtype="uint8",
        transform=transform,
        crs=crs,
        **more,
    ) as file:
        file.write(pixels)
    return str(path)


def export(source: str | None, folder: Path, labels: Any = LABELS) -> Path:
    file = None if source is None else source_file(source, labels.shape)
    picture = Labelled(labels, ["a", "b", "c"], palette(3), None, file, folder, "p")
    return write_exports(picture, ["geojson"])["geojson"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "crs, name",
    [
        ("EPSG:32633", "urn:ogc:def:crs:EPSG::32633"),
        ("EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84"),
        (None, None),
    ],
)
def test_the_place_is_kept(place: str, crs: Any, name: str | None, tmp_path: Path) -> None:
    source = geotiff(tmp_path / "p.tif", PLACES[place], crs)
    plane, record = read_geojson(export(source, tmp_path), SIZE, PLACES[place])
    np.testing.assert_array_equal(plane, LABELS)
    assert record["units"] == "map"
    assert record.get("crs", {}).get("properties", {}).get("name") == name
    if name is not None:  # and the name means what the file said
        known = rasterio.crs.CRS.from_user_input(name)
        assert known == rasterio.crs.CRS.from_user_input("OGC:CRS84" if "CRS84" in name else crs)


def test_a_system_of_nobody_s_register(tmp_path: Path) -> None:
    own = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +x_0=1 +y_0=2 +datum=WGS84 +units=m")
    record = json.loads(export(geotiff(tmp_path / "p.tif", NORTH_UP, own), tmp_path).read_text("utf-8"))
    found = rasterio.crs.CRS.from_user_input(record["crs"]["properties"]["name"])
    assert found.to_dict()["lat_0"] == 12 and found.to_dict()["proj"] == "laea"


def test_plain_photographs_are_in_pixels(tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "p.png")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "q.tif")
    for source in (None, "gone.jpg", str(tmp_path / "p.png"), str(tmp_path / "q.tif")):
        plane, record = read_geojson(export(source, tmp_path), SIZE)
        np.testing.assert_array_equal(plane, LABELS)
        assert record["units"] == "pixels" and "crs" not in record


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    source = geotiff(tmp_path / "other.tif", NORTH_UP, "EPSG:32633", (12, 30))
    with pytest.raises(InputError, match=r"30 x 12 pixels as stored, but 30 x 24 were labelled"):
        export(source, tmp_path)
    points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 30), (24, 0), (24, 30))]
    source = geotiff(tmp_path / "points.tif", None, "EPSG:4326", gcps=points)
    with pytest.raises(InputError, match="control points"):
        export(source, tmp_path)
    source = geotiff(tmp_path / "nowhere.tif", None, "EPSG:32633")  # a system, but no place in it
    with pytest.raises(InputError, match="or not at all"):
        export(source, tmp_path)
    assert not list(tmp_path.glob("*.geojson"))


def test_a_turned_file_is_refused(tmp_path: Path) -> None:
    import tifffile

    place = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0,) * 3 + (5.0, 6.0, 0.0), True)]
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for turn in (1, 3):
        extra = [*place, (274, "H", 1, turn, True)]
        tifffile.imwrite(tmp_path / "t.tif", pixels, photometric="rgb", extratags=extra, metadata=None)
        if turn == 1:
            assert json.loads(export(str(tmp_path / "t.tif"), tmp_path).read_text())["units"] == "map"
        else:
            with pytest.raises(InputError, match="stored turned"):
                export(str(tmp_path / "t.tif"), tmp_path)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = geotiff(tmp_path / "p.tif", NORTH_UP, "EPSG:32633")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "q.tif")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "q.jpg")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(InputError, match=r"freeda\[geo\]"):
        export(source, tmp_path)
    (tmp_path / "w.jgw").write_text("0.5\n0\n0\n-0.5\n500000.25\n4649775.75\n")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "w.jpg")
    with pytest.raises(InputError, match=r"w\.jpg: its place on the map needs rasterio"):
        export(str(tmp_path / "w.jpg"), tmp_path)
    for plain in ("q.tif", "q.jpg"):
        assert json.loads(export(str(tmp_path / plain), tmp_path).read_text("utf-8"))["units"] == "pixels"


@pytest.mark.parametrize(("name", "world"), [("p.png", "p.pgw"), ("P.PNG", "P.PGW"), ("p.png", "p.wld")])
def test_a_world_file_counts(tmp_path: Path, name: str, world: str) -> None:
    Image.new("RGB", SIZE[::-1]).save(tmp_path / name, "PNG")
    # Scale, turns and the centre of the first pixel, one a line (ESRI's world file).
    (tmp_path / world).write_text("0.5\n0\n0\n-0.5\n500000.25\n4649775.75\n")
    plane, record = read_geojson(export(str(tmp_path / name), tmp_path), SIZE, NORTH_UP)
    np.testing.assert_array_equal(plane, LABELS)
    assert record["units"] == "map" and "crs" not in record


@pytest.mark.parametrize(("name", "world"), [("p.png", "abc\n"), ("p.tga", "1\n0\n0\n-1\n0\n0\n")])
def test_a_world_file_is_not_lost_without_a_word(tmp_path: Path, name: str, world: str) -> None:
    """Nor where it is damaged, or beside a kind of picture whose place nothing here reads."""
    Image.new("RGB", SIZE[::-1]).save(tmp_path / name)
    (tmp_path / "p.wld").write_text(world)
    with pytest.raises(InputError, match=r"p\.wld: gives this picture no place on a map"):
        export(str(tmp_path / name), tmp_path)


def test_a_picture_without_a_suffix(tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "scan", "PNG")
    assert json.loads(export(str(tmp_path / "scan"), tmp_path).read_text("utf-8"))["units"] == "pixels"


def test_a_text_that_names_another_file_is_not_followed(tmp_path: Path) -> None:
    """GDAL reads such texts whatever their suffix; here they are no map, even beside a world file."""
    geotiff(tmp_path / "secret.tif", NORTH_UP, "EPSG:32633")
    vrt = '<VRTDataset rasterXSize="30" rasterYSize="24"><SRS>EPSG:32633</SRS></VRTDataset>'
    (tmp_path / "p.jpg").write_text(vrt)
    (tmp_path / "p.jgw").write_text("1\n0\n0\n-1\n0\n0\n")
    with pytest.raises(InputError, match=r"p\.jgw: gives this picture no place on a map"):
        export(str(tmp_path / "p.jpg"), tmp_path)
