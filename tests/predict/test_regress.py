"""Maps of quantities by windows are those of one pass, in their unit."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("pyproj")

import rasterio

from geopretext.errors import InputError
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.regress import NODATA, regress
from geopretext.predict.scene_outputs import parts_folder
from geopretext.predict.scene_run import RunOptions
from geopretext.predict.summaries import QUANTILES

from .small_heads import CLASSES, HEIGHTS, UTM, make_scene, one_pass, smaller, write_bundle

OPTIONS = RunOptions(window=224)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"), HEIGHTS)


@pytest.fixture(scope="module")
def scene() -> ArrayScene:
    return make_scene(288, 232)


@pytest.fixture(scope="module")
def whole(bundle: Path, scene: ArrayScene) -> np.ndarray:
    """Of one pass, in units (H, W, 2)."""
    return one_pass(bundle, scene) * np.array(HEIGHTS.std) + np.array(HEIGHTS.mean)


def test_the_map_is_that_of_one_pass_in_its_unit(
    bundle: Path, scene: ArrayScene, whole: np.ndarray, tmp_path: Path
) -> None:
    result = regress(bundle, scene, tmp_path / "map.tif", options=OPTIONS)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert (file.descriptions, file.units, file.dtypes) == (HEIGHTS.names, ("m", "years"), ("float32",) * 2)
        assert np.isnan(file.nodata)
        assert file.crs.to_epsg() == 32632
        assert tuple(file.transform)[:6] == UTM.transform
        assert file.tags()["unit"] == "m, years"
        values = file.read().transpose(1, 2, 0)
    valid = scene.valid
    assert valid is not None
    assert np.isnan(values[~valid]).all()
    difference = np.abs(values[valid] - whole[valid]) / np.array(HEIGHTS.std)
    assert difference.max() < 1e-3
    assert (whole[valid] < 0).any(), "without numbers below 0 nobody sees clipping"
    for place, each in enumerate(result.quantities):
        found = values[valid][:, place]
        assert (each.name, each.unit, each.pixels) == (HEIGHTS.names[place], ("m", "years")[place], valid.sum())
        assert each.quantiles == pytest.approx(np.quantile(found, QUANTILES), rel=1e-5)
        assert (each.least, each.most) == pytest.approx((found.min(), found.max()))
    assert not parts_folder(tmp_path / "map.tif").exists()


def test_whole_numbers_are_steps_of_the_quantity(
    bundle: Path, scene: ArrayScene, whole: np.ndarray, tmp_path: Path
) -> None:
    result = regress(bundle, scene, tmp_path / "map.tif", step=0.1, options=OPTIONS)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert (file.dtypes, file.nodata, file.scales) == (("int16",) * 2, NODATA, (0.1,) * 2)
        numbers = file.read().transpose(1, 2, 0)
    valid = scene.valid
    assert valid is not None
    assert (numbers[~valid] == NODATA).all()
    np.testing.assert_allclose(numbers[valid] * 0.1, whole[valid], atol=0.05 + 9e-3)
    assert result.beyond == 0


def test_what_has_no_room_is_missing_and_counted(
    bundle: Path, scene: ArrayScene, whole: np.ndarray, tmp_path: Path
) -> None:
    step = 1e-3
    result = regress(bundle, scene, tmp_path / "map.tif", step=step, options=OPTIONS)
    with rasterio.open(tmp_path / "map.tif") as file:
        numbers = file.read().transpose(1, 2, 0)
    valid = scene.valid
    assert valid is not None
    lost = (numbers == NODATA) & valid[..., None]
    assert result.beyond == lost.sum() > 0
    assert np.abs(whole[lost]).min() > 32_767 * step - 0.01
    assert np.abs(whole[valid[..., None] & ~lost]).max() < 32_767 * step + 0.01


def test_one_unit_is_for_all_quantities_unless_there_are_as_many(tmp_path: Path) -> None:
    labels = smaller(HEIGHTS, 1)
    folder = write_bundle(tmp_path / "bundle", labels)
    (only,) = regress(folder, make_scene(64, 64), tmp_path / "map.tif").quantities
    assert only.unit == "m, years"


def test_heads_for_classes_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", CLASSES)
    with pytest.raises(InputError, match=r"(?s)for segmentation, not for dense regression.*geopretext segment"):
        regress(folder, make_scene(), tmp_path / "map.tif")


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_a_step_is_above_zero(bundle: Path, step: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a step of"):
        regress(bundle, make_scene(), tmp_path / "map.tif", step=step)
