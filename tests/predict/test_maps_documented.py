"""The examples of docs/maps.md run, and give what they say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("xarray")

import rasterio
import xarray as xr

from geopretext.nn.bundle import Encoder

from .small_heads import BANDS, CLASSES, UTM, make_scene, write_bundle

PAGE = Path(__file__).parents[2] / "docs" / "maps.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Encoder.from_pretrained(write_bundle(tmp_path / "head", CLASSES)).save_pretrained(tmp_path / "runs/first/bundle")
    scene = make_scene(64, 64, hole=False)
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint16", "nodata": 0}
    with rasterio.open("scene.tif", "w", **profile, crs=UTM.crs, transform=rasterio.Affine(*UTM.transform)) as file:
        file.write(scene.values)
        file.descriptions = BANDS
    a, _, c, _, e, f = UTM.transform
    place = {"y": f + e * (np.arange(64) + 0.5), "x": c + a * (np.arange(64) + 0.5)}
    layers = {name: (("y", "x"), layer) for name, layer in zip(BANDS, scene.values, strict=True)}
    cube = xr.Dataset(layers, {**place, "spatial_ref": ((), 0, {"crs_wkt": UTM.crs})})
    reading, of_cube, writing = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

    known: dict[str, Any] = {"cube": cube}
    exec(of_cube, known)
    expected = known["features"].to_numpy().transpose(2, 0, 1)
    for dtype, allowed in (("float16", 2e-3), ("int8", 0.1)):
        # processes cannot import what is executed from a page
        exec(writing.replace("workers=4", "workers=1").replace("float16", dtype), known)
        exec(reading, known)
        assert np.abs(known["features"] - expected).max() < allowed * expected.std((1, 2)).max()
        np.testing.assert_allclose(known["vector"], known["features"][:, 3, 5], rtol=1e-6)
