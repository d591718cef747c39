"""The examples of docs/scenes.md run."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from .scene_files import CRS, ORIGIN, smooth, write_raster

PAGE = Path(__file__).parents[2] / "docs" / "scenes.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "mosaic.tif", np.stack([smooth(300, 300, seed) for seed in range(4)]))
    place = {"y": ORIGIN[1] - 10 * np.arange(20), "x": ORIGIN[0] + 10 * np.arange(20)}
    times = np.array(["2021-05-01", "2021-05-11"], "datetime64[ns]")
    reference = xr.DataArray(0, attrs={"crs_wkt": rasterio.crs.CRS.from_string(CRS).to_wkt()})
    layer = (("t", "y", "x"), np.stack([smooth(20, 20, seed) for seed in range(2)]), {"grid_mapping": "crs"})
    cube = xr.Dataset({"S2-L2A-B02": layer, "S2-L2A-B08": layer}, {"t": times, **place, "crs": reference})
    cube.to_netcdf("cube.nc", engine="h5netcdf")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    known: dict[str, object] = {}
    for block in blocks:
        exec(block, known)
        assert known["values"].dtype == np.float32  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "EPSG:32632 300 300 declared\n"
    assert known["source"].open().bands == ("B2", "B3", "B4", "B8")  # type: ignore[attr-defined]
    assert len(blocks) == 2
