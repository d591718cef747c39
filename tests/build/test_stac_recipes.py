"""The recipes for STAC catalogues and local files: they load, every source opens, and archives can be swapped."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

from geopretext.build.archives import open_sources
from geopretext.build.places import Places
from geopretext.build.recipe import build_recipe_names, load_build_recipe
from geopretext.build.stac import StacSource
from geopretext.build.tiles import TileMaker
from geopretext.modality import PRETEXT

from .stac_items import item, outline, sloping, write_cog, write_items

SIZE = 96
# rasterio silences this warning of its own in a way that is not safe in threads


@pytest.mark.parametrize("name", ["mmearth-stac", "mmearth-stac-series", "local"])
def test_every_source_of_a_recipe_opens_without_a_network(name: str) -> None:
    assert name in build_recipe_names()
    recipe = load_build_recipe(name)
    assert recipe.plain["notes"]
    sources = open_sources(recipe)
    assert set(sources) == {key for key, entry in recipe.modalities.items() if entry.archives}
    for key, opened in sources.items():
        for source in opened:
            assert pickle.loads(pickle.dumps(source)).modality == recipe.modalities[key].modality


def test_of_mmearth_s_modalities_only_dynamic_world_is_replaced() -> None:
    there = set(load_build_recipe("mmearth-stac").modalities)
    assert {modality.name for modality in PRETEXT} - there == {"dynamic_world"}
    assert there - {modality.name for modality in PRETEXT} == {"sentinel2_scl", "io_land_cover"}


def test_one_key_moves_a_modality_to_another_archive() -> None:
    moved = {f"modalities.{name}.from": "earth-search" for name in ("sentinel2", "sentinel2_scl", "aster")}
    recipe = load_build_recipe("mmearth-stac", moved)
    here, there = open_sources(load_build_recipe("mmearth-stac")), open_sources(recipe)
    for name in ("sentinel2", "sentinel2_scl", "aster"):
        [before], [after] = here[name], there[name]
        assert isinstance(before, StacSource)
        assert isinstance(after, StacSource)
        assert "earth-search" in after.options.catalogue.url
        assert after.options.layer.bands.keys() == before.options.layer.bands.keys()
        assert after.modality == before.modality
    [sentinel2] = there["sentinel2"]
    assert isinstance(sentinel2, StacSource)
    assert sentinel2.options.layer.collection == "sentinel-2-c1-l2a"
    assert sentinel2.options.layer.bands["B8A"].asset == "nir08"


def test_local_files_become_a_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    crs, corner = 32633, Affine(10, 0, 500_000, 0, -10, 5_000_000)
    here = outline(crs=crs, transform=corner, height=SIZE, width=SIZE)
    recipe = load_build_recipe("local", {"modalities.era5": None})
    assets = recipe.modalities["sentinel2"].options["bands"]
    bands = sorted(assets.values())

    def cog(name: str, base: float, dtype: str) -> str:
        numbers = sloping(SIZE, SIZE, base=base)[None].astype(dtype)
        return str(write_cog(tmp_path / name, numbers, crs=crs, transform=corner, block=128).relative_to(tmp_path))

    images = {band: cog(f"s2/{band}.tif", 1000 + 50 * number, "uint16") for number, band in enumerate(bands)}
    radar = {"vv": cog("s1/vv.tif", -2000, "int16"), "vh": cog("s1/vh.tif", -2500, "int16")}
    scaled = {key: {"href": href, "raster:bands": [{"scale": 0.01}]} for key, href in radar.items()}
    write_items(
        tmp_path / "items.json",
        [
            item("s2", collection="sentinel-2-l2a", assets=images, footprint=here, proj__epsg=crs, eo__cloud_cover=3),
            item("s1", collection="sentinel-1", assets=scaled, footprint=here, sat__orbit_state="ascending"),
        ],
    )
    cog("maps/dem.tif", 100, "float32")
    one = np.array([-1], np.int16)
    places = Places(np.array(["a"]), np.array([here.centroid.y]), np.array([here.centroid.x]), one, one)
    scaling = {"modalities.era5": None, "modalities.sentinel1.item_scale": "apply"}
    made = TileMaker(load_build_recipe("local", scaling)).make(places)
    assert [outcome.detail for outcome in made.outcomes] == [""]
    assert made.batch is not None
    arrays = made.batch.arrays
    margin = (SIZE - 64) // 2
    inner = slice(margin, margin + 64)
    expected = sloping(SIZE, SIZE, base=0)[inner, inner]
    for number in range(len(bands)):
        base = 1000 + 50 * bands.index(assets[recipe.modalities["sentinel2"].modality.band_names[number]])
        np.testing.assert_array_equal(arrays["sentinel2"][0, number], expected + base)
    np.testing.assert_array_equal(arrays["aster"][0, 0], expected + 100)
    np.testing.assert_allclose(arrays["sentinel1"][0, 0], (expected - 2000) / 100, atol=1e-5)
    assert np.isnan(arrays["sentinel1"][0, 2:]).all()
    record = json.loads(made.batch.coordinates.source_items[0])
    assert record["sentinel1"][0]["group"] == "asc"
    assert record["esa_worldcover"][0]["missing"]
