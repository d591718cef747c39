"""Promises about the package as a whole: what importing it costs, and how its errors read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import geopretext.errors as errors

CORE = (
    "geopretext.nn.convnextv2",
    "geopretext.nn.bundle",
    "geopretext.pretext.mp_mae",
    "geopretext.data.loader",
    "geopretext.data.store",
    "geopretext.train.module",
    "geopretext.train.run",
)


def loaded_modules(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_cheap() -> None:
    loaded = loaded_modules("import geopretext, geopretext.apps.cli, geopretext.train.recipe")
    assert not loaded & {"torch", "lightning", "rasterio", "tensorstore", "pandas", "xarray", "matplotlib"}


def test_training_core_needs_no_geospatial_library() -> None:
    geospatial = ("rasterio", "geopandas", "pyproj", "xarray", "h5py", "sklearn", "shapely")
    absent = f"sys.modules.update({{name: None for name in {geospatial!r}}})"
    imports = "; ".join(f"import {module}" for module in CORE)
    assert "torch" in loaded_modules(f"{absent}; {imports}")


def test_loading_a_network_starts_no_compiler() -> None:
    statement = "import geopretext.predict.reconstruct, geopretext.nn.autoencoder"
    unwanted = "[name for name in ('torch._dynamo', 'lightning', 'sympy') if name in sys.modules]"
    assert "torch" in loaded_modules(f"{statement}; found = {unwanted}; assert not found, found")


def test_error_says_what_where_and_what_next() -> None:
    error = errors.BandError("no band 'B08'", where="scene.tif", hint="it has B8A, B8")
    assert str(error) == "scene.tif: no band 'B08'\nhint: it has B8A, B8"
    assert isinstance(error, ValueError)


def test_missing_library_names_its_install_line() -> None:
    with pytest.raises(
        ImportError, match=r'rasterio is not installed.*read GeoTIFFs\nhint: pip install "geopretext\[geo\]"'
    ):
        raise errors.MissingLibraryError("rasterio", extra="geo", purpose="read GeoTIFFs")


def test_requirements_pin_versions_and_name_no_index_or_path() -> None:
    lines = (Path(__file__).parents[1] / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) > 50
    assert not [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]
