"""A GeoTIFF that was opened in the page gives GeoJSON that lies on the map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app import files
from freeda.app.engine import Engine, Knobs, samples
from freeda.options import EXPORTS


@pytest.fixture
def engine(model: Any) -> Engine:
    return Engine(model)


def geojson(engine: Engine, path: Path, out: Path) -> Any:
    opened = engine.open("me", path, "Field one.tif")
    result = engine.label("me", "sunset, water, tree", Knobs()).result
    assert result is not None
    opacities = np.ones(len(result.names), np.float32)
    written = files.write_result(opened, result, "geojson", out, result.palette, opacities)
    assert written.name == "Field-one.geojson"
    return json.loads(written.read_text("utf-8")), result


def test_it_keeps_its_georeference(engine: Engine, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    image, place = samples()[0].image[:200, :300], Affine(0.5, 0.0, 400_000.0, 0.0, -0.5, 5_600_000.0)
    path = tmp_path / "sent.bin"  # known by its bytes
    shape = {"driver": "GTiff", "height": 200, "width": 300, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **shape, crs="EPSG:32633", transform=place) as file:
        file.write(np.moveaxis(image, -1, 0))
    told, result = geojson(engine, path, tmp_path / "out")
    assert told["units"] == "map" and told["crs"]["properties"]["name"].endswith("EPSG::32633")
    shapes = [(one["geometry"], one["properties"]["label"]) for one in told["features"]]
    drawn = rasterize(shapes, out_shape=(200, 300), transform=place, fill=255, dtype="uint8")
    np.testing.assert_array_equal(drawn, result.labels)
    path.unlink()  # as files go after half an hour: the place was remembered
    opacities = np.ones(3, np.float32)
    again = files.write_result(engine.opened("me"), result, "geojson", tmp_path, result.palette, opacities)
    assert json.loads(again.read_text("utf-8")) == told and str(tmp_path) not in str(result.file)


def test_pictures_without_one_are_in_pixels(engine: Engine, tmp_path: Path) -> None:
    for name in ("plain.tif", "plain.png"):
        Image.fromarray(samples()[0].image).save(tmp_path / name)
        told, result = geojson(engine, tmp_path / name, tmp_path / f"out-{name}")
        assert told["units"] == "pixels" and "crs" not in told and result.source == "Field one.tif"


def test_only_tiffs_reach_the_reader_of_maps(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL also reads texts that name other files: what a visitor sends must not be taken for one."""
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    Image.fromarray(samples()[0].image).save(tmp_path / "x.jpg", comment=b'<VRTDataset rasterXSize="1">')
    monkeypatch.setattr(rasterio, "open", lambda *_: pytest.fail("a JPEG was given to rasterio"))
    assert geojson(engine, tmp_path / "x.jpg", tmp_path / "out")[0]["units"] == "pixels"


def test_every_export_is_offered() -> None:
    assert set(files.KINDS) == set(EXPORTS)
