"""Real imagery as scenes: rasters of TerraMind, a chip of L1C, BigEarthNet's three resolutions, a WorldCereal cube."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from geopretext.errors import BandError, GridError, UnitError
from geopretext.predict.open_scene import open_scene

L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
UNIT = "reflectance x 10000"


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_terramind_scenes_are_read_once_bands_and_unit_are_declared(test_data: Path, level: str) -> None:
    bands = [band for band in L1C if (band, level) != ("B10", "L2A")]
    for path in sorted((test_data / "terramind" / "examples" / f"S2{level}").glob("*.tif")):
        with pytest.raises(BandError, match=f"does not name its {len(bands)} bands"):
            open_scene(path)
        with pytest.raises(UnitError, match="does not say what its numbers are"):
            open_scene(path, bands=bands)
        scene = open_scene(path, bands=bands, unit=UNIT, level=level)
        with rasterio.open(path) as file:
            numbers = file.read(bands.index("B8A") + 1)
            assert rasterio.crs.CRS.from_string(scene.georeference.crs) == file.crs
            assert scene.georeference.transform == tuple(file.transform)[:6]
        values, valid = scene.read(slice(100, 224), slice(0, 56), ["B8A"])
        np.testing.assert_array_equal(values[0], np.maximum(numbers[100:, :56], 1) * valid[0])
        assert valid.mean() > 0.99


def test_an_l1c_chip_is_read(test_data: Path) -> None:
    scene = open_scene(test_data / "s2_l1c_T60HWB" / "20201002T221611_T60HWB.tif", bands=L1C, unit=UNIT, level="L1C")
    values, valid = scene.read(slice(0, 264), slice(0, 264), ["B10", "B8"])
    assert valid.all()
    assert np.median(values[0]) < 100, "B10 is dark: the offset is not in it"
    assert scene.georeference.crs == "EPSG:32760"


def test_bigearthnet_patches_of_three_resolutions_are_one_scene(test_data: Path) -> None:
    for folder in sorted((test_data / "bigearthnet_v1_tiny" / "S2").iterdir()):
        scene = open_scene(folder, unit=UNIT)
        assert set(scene.bands) == set(L1C) - {"B10"}
        assert (scene.height, scene.width, scene.level) == (120, 120, "L2A")
        assert scene.time is not None
        values, valid = scene.read(slice(0, 120), slice(0, 120), scene.bands)
        assert valid.all()
        for name, side in (("B2", 1), ("B11", 2), ("B1", 6)):
            stem = f"{folder.name}_B{name[1:].zfill(2)}.tif"
            with rasterio.open(folder / stem) as file:
                native = file.read(1).astype(np.float64)
            found = values[scene.bands.index(name)]
            blocks = found.reshape(120 // side, side, 120 // side, side).mean((1, 3))
            # bilinear smooths: means of blocks keep the band's mean, and follow it closely
            assert abs(blocks.mean() - native.mean()) < 0.01 * native.mean() + 1
            assert np.corrcoef(blocks.ravel(), native.ravel())[0, 1] > 0.95


def test_a_worldcereal_cube_is_read_by_date(test_data: Path) -> None:
    path = test_data / "worldcereal" / "worldcereal_preprocessed_inputs.nc"
    scene = open_scene(path, unit=UNIT, level="L2A", date="2021-05-01")
    assert scene.bands == ("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B11", "B12")
    assert scene.georeference.crs == "EPSG:32631"
    values, valid = scene.read(slice(0, 100), slice(0, 100), ["B8", "B4"])
    with xr.open_dataset(path, mask_and_scale=False) as cube:
        numbers = cube["S2-L2A-B08"].sel(t="2021-05-01").to_numpy().astype(np.uint16)
        assert float(cube.x[0]) == scene.georeference.transform[2] + 5
        assert float(cube.y[0]) == scene.georeference.transform[5] - 5
    np.testing.assert_array_equal(values[0][valid[0]], numbers[valid[0]])
    vegetation = (values[0] - values[1])[valid.all(0)] / (values[0] + values[1])[valid.all(0)]
    assert 0.1 < np.median(vegetation) < 0.95


def test_worldcereal_time_series_mask_their_clouds(test_data: Path) -> None:
    (path,) = (test_data / "worldcereal" / "training_samples").glob("00002806639B424A_S2_L2A_20m_*.nc")
    with xr.open_dataset(path, mask_and_scale=False) as cube:
        dates, classes = cube["timestamp"].to_numpy(), cube["SCL"].to_numpy()
    clear = [np.isin(image, (0, 1, 3, 8, 9, 10)).mean() for image in classes]
    for number in (int(np.argmin(clear)), int(np.argmax(clear))):
        scene = open_scene(path, date=str(dates[number].astype("datetime64[s]")))
        assert scene.unit == UNIT, "by its scale_factor"
        _, valid = scene.read(slice(0, scene.height), slice(0, scene.width), scene.bands)
        assert abs((1 - valid[0].mean()) - clear[number]) < 0.01


def test_radar_named_badly_and_pictures_without_a_place_are_refused(test_data: Path) -> None:
    radar = next((test_data / "terramind" / "examples" / "S1RTC").glob("*.tif"))
    with pytest.raises(BandError, match="band names repeat: bands, bands"):
        open_scene(radar, unit="dB")
    assert open_scene(radar, bands=["asc_VV", "asc_VH"], unit="dB").dtype == "float64"
    picture = next((test_data / "eurosat_rgb" / "2750" / "Forest").glob("*.jpg"))
    with pytest.raises(GridError, match="it has no CRS"):
        open_scene(picture)
    assert open_scene(picture, allow_no_crs=True).bands == ("B4", "B3", "B2")
