"""Files of one picture and of a workspace: what they hold, what they are called, progress and cancel."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app.exporting import KINDS, unique_stems
from freeda.app.limits import Limits
from freeda.app.photographs import safe_stem, samples
from freeda.options import EXPORTS
from freeda.segment import Segmentation

from .conftest import Visitor, running, to_png


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_export_is_offered(visitor: Visitor) -> None:
    assert set(KINDS) == set(EXPORTS)
    assert visitor.ask("GET", "/api/info")["exports"] == KINDS


def test_one_picture_in_its_own_colours(visitor: Visitor, tmp_path: Path) -> None:
    picture = visitor.first()
    state = visitor.state()
    visitor.words(state["words"], colours={"tree": "#00ff00"})
    visitor.correct(picture, kind="box", box=[0, 0, 100, 100], exact=True, word="owl", teach=False)
    labels = visitor.map(picture)[1]
    answer = visitor.export(kind="labels", picture=picture)
    assert 'filename="scene-1.labels.png"' in answer.headers["content-disposition"]
    file = Image.open(io.BytesIO(answer.content))
    np.testing.assert_array_equal(np.asarray(file), labels)
    assert file.getpalette()[6:9] == [0, 255, 0]
    overlay = np.asarray(Image.open(io.BytesIO(visitor.export(kind="overlay", picture=picture).content)))
    assert overlay.shape[0] >= 512
    files = unpacked(visitor.export(kind="coco-panoptic", picture=picture).content)
    assert sorted(files) == ["scene-1.panoptic.json", "scene-1.panoptic.png"]
    (tmp_path / "x.npz").write_bytes(visitor.export(kind="npz", picture=picture).content)
    kept = Segmentation.load_npz(tmp_path / "x.npz")
    np.testing.assert_array_equal(kept.labels, labels)
    assert kept.names[-1] == "owl"


def test_a_whole_workspace(visitor: Visitor) -> None:
    visitor.send(*(one.image for one in samples()[1:3]), name="../../etc/pass wd.png")
    state = visitor.idle()
    files = unpacked(visitor.export(kind="labelme").content)
    told = {name.partition(".")[0]: data for name, data in files.items() if name.endswith(".json")}
    assert sorted(told) == ["pass-wd", "pass-wd-2", "scene-1"]
    assert all(json.loads(data)["shapes"] for data in told.values())
    nothing = visitor.ask("POST", f"{visitor.at}/exports", {"kind": "svg", "accepted_only": True}, 409)
    assert nothing == {"detail": "no picture is accepted yet"}
    visitor.accept(state["pictures"][0]["id"])
    assert len(unpacked(visitor.export(kind="svg", accepted_only=True).content)) == 1
    wrong = visitor.ask("POST", f"{visitor.at}/exports", {"kind": "../x"}, 400)
    assert "choose one of overlay, labels" in wrong["detail"]
    visitor.ask("GET", f"{visitor.at}/exports/0", status=404)


def test_progress_and_cancel(visitor: Visitor) -> None:
    visitor.send(*(one.image for one in samples()))
    visitor.idle()
    jobs = [visitor.ask("POST", f"{visitor.at}/exports", {"kind": "svg"}, 202)["job"] for _ in range(3)]
    told = visitor.client.get(f"{visitor.at}/exports/{jobs[-1]}")
    assert told.status_code in (200, 202)
    if told.status_code == 202:
        assert told.json()["of"] == 7 and 0 <= told.json()["done"] <= 7
    visitor.ask("DELETE", f"{visitor.at}/exports/{jobs[-1]}")
    visitor.ask("GET", f"{visitor.at}/exports/{jobs[-1]}", status=404)
    visitor.idle()
    assert visitor.client.get(f"{visitor.at}/exports/{jobs[0]}").status_code == 200
    other = Visitor(visitor.client, visitor.studio)
    other.ask("GET", f"{other.at}/exports/{jobs[0]}", status=404)  # somebody else's
    assert not (visitor.studio.place / f"export-{jobs[-1]}").exists()


def test_old_files_make_room(model: Any) -> None:
    with running(model, Limits(folder_megabytes=1)) as found:
        visitor = Visitor(*found, sample=0)
        visitor.idle()
        for _ in range(3):  # each of about half a megabyte
            visitor.export(kind="npz", picture=visitor.first())
        kept = list(visitor.studio.place.glob("export-*/files/*.npz"))
        size = sum(path.stat().st_size for path in kept)
        assert 1 <= len(kept) <= 3 and (size <= 1_000_000 or len(kept) == 1)


def test_large_photographs_are_reduced_and_exported_whole(model: Any) -> None:
    image = samples()[0].image
    with running(model, Limits(working_megapixels=1)) as found:
        visitor = Visitor(*found)
        visitor.words("sunset, water, tree, house")
        visitor.send(np.repeat(np.repeat(image, 4, 0), 4, 1))
        picture = visitor.first()
        row = visitor.state()["pictures"][0]
        assert (row["width"], row["height"]) == (2048, 2048)
        told = visitor.labels(picture)
        assert (told["width"], told["height"]) == (1000, 1000)
        visitor.correct(picture, kind="box", box=[0, 0, 1024, 2048], exact=True, word="owl", teach=False)
        labels = visitor.map(picture)[1]
        assert (labels[:, :500] == 4).all() and not (labels[:, 500:] == 4).any()
        whole = np.asarray(Image.open(io.BytesIO(visitor.export(kind="labels", picture=picture).content)))
        assert whole.shape == (2048, 2048)
        assert (whole[:, :1024] == 4).all() and not (whole[:, 1024:] == 4).any()


def test_a_map_knows_where_it_lies(visitor: Visitor, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    image, place = samples()[0].image[:200, :300], Affine(0.5, 0.0, 400_000.0, 0.0, -0.5, 5_600_000.0)
    shape = {"driver": "GTiff", "height": 200, "width": 300, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "x", "w", **shape, crs="EPSG:32633", transform=place) as file:
        file.write(np.moveaxis(image, -1, 0))
    visitor.send((tmp_path / "x").read_bytes(), name="Field one.tif")
    visitor.send(image, name="plain.tif")
    visitor.words("sunset, water, tree")
    ids = {one["name"]: one["id"] for one in visitor.idle()["pictures"]}
    answer = visitor.export(kind="geojson", picture=ids["Field one.tif"])
    assert 'filename="Field-one.geojson"' in answer.headers["content-disposition"]
    told = answer.json()
    assert told["units"] == "map" and told["crs"]["properties"]["name"].endswith("EPSG::32633")
    shapes = [(one["geometry"], one["properties"]["label"]) for one in told["features"]]
    drawn = rasterize(shapes, out_shape=(200, 300), transform=place, fill=255, dtype="uint8")
    np.testing.assert_array_equal(drawn, visitor.map(ids["Field one.tif"])[1])
    assert visitor.export(kind="geojson", picture=ids["plain.tif"]).json()["units"] == "pixels"


def test_only_tiffs_reach_the_reader_of_maps(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL also reads texts that name other files: what a visitor sends must not be taken for one."""
    rasterio = pytest.importorskip("rasterio", reason="georeferences need rasterio (the extra geo)")
    monkeypatch.setattr(rasterio, "open", lambda *_: pytest.fail("a JPEG was given to rasterio"))
    out = io.BytesIO()
    Image.fromarray(samples()[0].image).save(out, "JPEG", comment=b'<VRTDataset rasterXSize="1">')
    visitor.send(out.getvalue(), name="x.vrt")
    assert [one["state"] for one in visitor.idle()["pictures"]] == ["labelled", "labelled"]


def test_file_names_are_plain() -> None:
    assert safe_stem("../../etc/pass wd.png") == "pass-wd"
    assert safe_stem("Föhn <b>.jpg") == "F-hn-b"
    assert safe_stem("...") == "photograph" and len(safe_stem("x" * 500)) == 60
    assert unique_stems(["a.png", "A.jpg", "b.png", "a-2.png", "a.gif"]) == ["a", "A-2", "b", "a-2-2", "a-3"]


def test_names_cannot_break_a_header(visitor: Visitor) -> None:
    visitor.send(to_png(samples()[1].image), name='a"\r\nx: y\u202e.png')
    picture = next(one for one in visitor.idle()["pictures"] if one["name"] != "scene-1.png")
    assert "\n" not in picture["name"] and "\u202e" not in picture["name"]
    answer = visitor.export(kind="svg", picture=picture["id"])
    assert answer.headers["content-disposition"].count('"') == 2 and "x" not in answer.headers
