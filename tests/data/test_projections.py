"""pyproj and rasterio keep their own PROJ, whatever xarray loads. In a process of its own: a library is loaded once."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("cfgrib") is None or find_spec("xarray") is None, reason="xarray or cfgrib is not installed"
)
NAMED = "import pyproj; print(pyproj.CRS.from_epsg(32631).name)"


def ran(tmp_path: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text("\n".join(lines))
    return subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("cube")
    path = tmp_path / "cube.nc"
    done = ran(
        tmp_path,
        "import numpy, xarray",
        "cube = xarray.Dataset({'B2': (('y', 'x'), numpy.ones((4, 4)))})",
        f"cube.to_netcdf({str(path)!r}, engine='h5netcdf')",
    )
    assert done.returncode == 0, done.stderr
    return path


def test_projections_work_after_xarray_has_opened_a_file(cube: Path, tmp_path: Path) -> None:
    settle = "from geopretext.data.projections import settle_projections; settle_projections()"
    done = ran(tmp_path, settle, f"import xarray; xarray.open_dataset({str(cube)!r})", NAMED)
    assert (done.returncode, done.stdout.strip()) == (0, "WGS 84 / UTM zone 31N"), done.stderr


@pytest.mark.parametrize(
    "settle",
    [
        "from geopretext.data.projections import settle_projections; settle_projections()",
        "import geopretext.data.cube_file",
    ],
)
def test_too_late_is_said(cube: Path, tmp_path: Path, settle: str) -> None:
    late = ran(tmp_path, f"import xarray; xarray.open_dataset({str(cube)!r})", NAMED)
    if late.returncode == 0:
        pytest.skip("this cfgrib leaves others their PROJ")
    done = ran(tmp_path, f"import xarray; xarray.open_dataset({str(cube)!r})", settle)
    assert "MissingLibraryError" in done.stderr
    assert "import rasterio and pyproj before xarray opens a file" in done.stderr


def test_a_cube_that_is_opened_after_the_import_is_embedded_where_it_lies(cube: Path, tmp_path: Path) -> None:
    lines = ["import xarray", "import geopretext.predict", f"xarray.open_dataset({str(cube)!r})", NAMED]
    done = ran(tmp_path, *lines)
    assert (done.returncode, done.stdout.strip()) == (0, "WGS 84 / UTM zone 31N"), done.stderr
