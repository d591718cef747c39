"""Every modality of a whole scene: on which grid, in which numbers, and the same however it is computed."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from torch import Tensor

from geopretext.data.statistics import Statistics, StatisticsAccumulator
from geopretext.data.synthetic import SyntheticEarth
from geopretext.errors import BandError, BundleError, CorruptError, GridError, InputError, StoreError, UnitError
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.modality_maps import ModalityMaps
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_drawing import draw_scene
from geopretext.predict.scene_reconstruction import SceneReconstruction, reconstruct_scene
from geopretext.predict.scene_run import RunOptions
from geopretext.predict.scene_truth import TruthFile, compare
from geopretext.predict.xarray_scene import scene_of_xarray

DOCS = Path(__file__).parents[2] / "docs"
BANDS = ("B4", "B3", "B2", "B8")
TARGETS = ("sentinel2", "sentinel1", "era5", "dynamic_world", "month", "lat", "biome", "elements")
CLOUD = (slice(40, 60), slice(5, 30))
UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))


def _statistics(earth: SyntheticEarth) -> Statistics:
    total = StatisticsAccumulator()
    batch = earth.tiles(earth.places(12))
    for name in TARGETS:
        total.update(earth.modalities[name], batch.arrays[name], batch.coordinates.levels.get(name))
    return total.finish(tiles=12, split="all")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    earth = SyntheticEarth(3, tile_size=32)
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    targets = {name: earth.modalities[name] for name in TARGETS}
    targets["sentinel2"] = targets["sentinel2"].select(("B8", "B4"))
    network = MaskedAutoencoder(
        EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32),
        AutoencoderSettings(decoder_dim=16, standardise_patches=("sentinel2",)),
        inputs=[earth.modalities["sentinel2"].select(BANDS)],
        targets=targets,
    )
    save_bundle(folder, network, statistics=_statistics(earth).to_dict(), recipe={}, metrics={})
    return folder


@pytest.fixture(scope="module")
def scene() -> ArrayScene:
    """90 x 70 pixels of the synthetic Earth, partly under a cloud."""
    earth = SyntheticEarth(3, tile_size=96)
    batch = earth.tiles(earth.places(1, start=4))
    modality = earth.modalities["sentinel2"]
    rows = list(modality.band_indices(BANDS))
    values = batch.arrays["sentinel2"][0][rows, :90, :70].clip(1, 20000).astype(np.float32)
    valid = np.ones((90, 70), bool)
    valid[CLOUD] = False
    time = np.datetime64("2019-07-04T10:00:00")
    return ArrayScene(values, BANDS, "reflectance x 10000", UTM, valid, "L2A", time, where="here.tif")


@pytest.fixture(scope="module")
def found(bundle: Path, scene: ArrayScene, tmp_path_factory: pytest.TempPathFactory) -> SceneReconstruction:
    return reconstruct_scene(bundle, scene, tmp_path_factory.mktemp("found") / "new", confidence=True)


def content(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        numbers: np.ndarray = file.read()
    return numbers


def test_maps_lie_where_the_scene_lies(found: SceneReconstruction) -> None:
    assert list(found.maps) == ["sentinel2", "sentinel1", "dynamic_world"]
    for name, each in found.maps.items():
        with rasterio.open(each.path) as file:
            assert (file.height, file.width) == (90, 70)
            assert file.crs == "EPSG:32632"
            assert tuple(file.transform)[:6] == UTM.transform
            assert file.descriptions == each.modality.band_names, name
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert "nothing of it was observed" in file.tags()["NOTE"]
    with rasterio.open(found.maps["sentinel1"].path) as file:
        assert set(file.units) == {"dB"}
        assert file.dtypes[0] == "float32"


def test_a_network_that_copies_its_input_gives_it_back(
    bundle: Path, scene: ArrayScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(maps: ModalityMaps, x: Tensor) -> Tensor:
        everything = x.new_zeros(len(x), maps.width, *x.shape[2:])
        everything[:, maps.channels["sentinel2"]] = x[:, [3, 0]]
        return everything

    monkeypatch.setattr(ModalityMaps, "__call__", copy)
    found = reconstruct_scene(bundle, scene, tmp_path)
    copied = content(found.maps["sentinel2"].path)
    assert scene.valid is not None
    truth = scene.values[[3, 0]]
    # parts are kept as float16: 11 bits of numbers in standard deviations
    np.testing.assert_allclose(copied[:, scene.valid], truth[:, scene.valid], rtol=2e-3, atol=2)
    assert np.isnan(copied[:, ~scene.valid]).all()
    assert np.isnan(content(found.maps["sentinel1"].path)[:, ~scene.valid]).all()
    # zeros are means
    with rasterio.open(found.maps["sentinel1"].path) as file:
        band = file.read(file.descriptions.index("asc_VV") + 1)
    mean = _statistics(SyntheticEarth(3, tile_size=32)).modalities["sentinel1"].bands["all"]["asc_VV"].mean
    np.testing.assert_allclose(band[scene.valid], mean, rtol=1e-4)


def test_classes_have_the_codes_names_and_colours_of_their_modality(
    bundle: Path, scene: ArrayScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_brightness(maps: ModalityMaps, x: Tensor) -> Tensor:
        everything = x.new_zeros(len(x), maps.width, *x.shape[2:])
        place = maps.channels["dynamic_world"]
        bright = (x[:, 0] > 0).float()
        everything[:, place.start + 1] = 0.75 * bright + 0.125 * (1 - bright)
        everything[:, place.start + 6] = 0.25 * bright + 0.875 * (1 - bright)
        return everything

    monkeypatch.setattr(ModalityMaps, "__call__", by_brightness)
    found = reconstruct_scene(bundle, scene, tmp_path, confidence=True).maps["dynamic_world"]
    modality = found.modality
    codes = content(found.path)[0]
    assert scene.valid is not None
    assert set(np.unique(codes)) == {0, modality.classes[1].code, modality.classes[6].code}
    np.testing.assert_array_equal(codes == 0, ~scene.valid)
    assert found.confidence is not None
    with rasterio.open(found.path) as file, rasterio.open(found.confidence) as certainty:
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        colours = file.colormap(1)
        percent = certainty.read(1)
        assert certainty.nodata == 255
    for label in modality.classes:
        assert bytes(colours[label.code][:3]).hex() == label.color.removeprefix("#")
    assert set(np.unique(percent[scene.valid])) <= {75, 87, 88}
    np.testing.assert_array_equal(percent == 255, ~scene.valid)
    names = [each.text for each in ElementTree.parse(f"{found.path}.aux.xml").iter("Category")]
    assert names[modality.classes[6].code] == "built"


def test_answers_for_the_place_come_with_what_is_known(found: SceneReconstruction) -> None:
    assert list(found.vectors) == ["era5", "month", "lat", "biome", "elements"]
    month, latitude = found.vectors["month"], found.vectors["lat"]
    np.testing.assert_allclose(month.truth.values, [np.sin(2 * np.pi * 7 / 12), np.cos(2 * np.pi * 7 / 12)], atol=1e-6)
    degrees = np.rad2deg(np.arctan2(*latitude.truth.values))
    assert abs(degrees - 45.15) < 0.01  # 5,000 km north along the central meridian of zone 32
    assert not found.vectors["era5"].truth.valid.any()
    np.testing.assert_allclose(found.vectors["biome"].values.sum(), 1, rtol=1e-5)
    assert ((found.vectors["elements"].values > 0) & (found.vectors["elements"].values < 1)).all()


def test_answers_for_the_place_are_means_over_windows(found: SceneReconstruction, bundle: Path) -> None:
    era5 = found.vectors["era5"]
    assert era5.windows > 1
    kelvin = np.array([band.unit == "K" for band in era5.modality.bands])
    assert (abs(era5.values[kelvin] - 285) < 60).all()  # an untrained head answers about 0, the mean
    assert (era5.spread > 0).all()
    assert (era5.spread[kelvin] < 10).all()


def test_the_record_says_it_all_in_plain_types(found: SceneReconstruction) -> None:
    folder = found.maps["sentinel1"].path.parent
    written = json.loads((folder / "reconstruction.json").read_text())
    assert written == json.loads(json.dumps(found.record))
    assert written["maps"]["sentinel2"]["brightness"] == "of the input"
    assert written["maps"]["dynamic_world"]["patches_predicted"] == "from others only"
    assert written["maps"]["dynamic_world"]["confidence"] == "dynamic_world_confidence.tif"
    assert abs(written["vectors"]["lat"]["bands"]["sin"]["true"] - np.sin(np.deg2rad(45.15))) < 1e-3
    assert len(written["vectors"]["biome"]["likeliest"]) == 5
    assert written["input"]["level"] == "L2A"
    assert not (folder / ".parts").exists()


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    found: SceneReconstruction, bundle: Path, scene: ArrayScene, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    def watch(done: int, total: int) -> None:
        seen.append(done)

    with pytest.raises(KeyboardInterrupt):
        reconstruct_scene(bundle, scene, tmp_path, progress=stop)
    assert not (tmp_path / "sentinel1.tif").exists()
    seen: list[int] = []
    resumed = reconstruct_scene(bundle, scene, tmp_path, progress=watch)
    assert seen[0] > 0
    for name, each in found.maps.items():
        np.testing.assert_array_equal(content(resumed.maps[name].path), content(each.path))


def test_an_array_of_xarray_is_a_scene(
    found: SceneReconstruction, bundle: Path, scene: ArrayScene, tmp_path: Path
) -> None:
    x, y = 500_005 + 10 * np.arange(70), 4_999_995 - 10 * np.arange(90)
    values = np.where(scene.valid, scene.values, np.nan)
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(BANDS), "y": y, "x": x})
    cube.attrs["crs"] = "EPSG:32632"
    same = scene_of_xarray(cube, unit=scene.unit, level="L2A")
    result = reconstruct_scene(bundle, same, tmp_path)
    for name, each in found.maps.items():
        np.testing.assert_array_equal(content(result.maps[name].path), content(each.path))


@pytest.mark.slow
def test_processes_agree(found: SceneReconstruction, bundle: Path, scene: ArrayScene, tmp_path: Path) -> None:
    several = reconstruct_scene(bundle, scene, tmp_path, options=RunOptions(workers=2))
    for name, each in found.maps.items():
        np.testing.assert_array_equal(content(several.maps[name].path), content(each.path))
    np.testing.assert_array_equal(several.vectors["era5"].values, found.vectors["era5"].values)


def test_bands_that_were_never_observed_are_left_out(bundle: Path, found: SceneReconstruction) -> None:
    known = _statistics(SyntheticEarth(3, tile_size=32)).modalities["sentinel1"].bands["all"]
    never = [name for name, band in known.items() if not band.count]
    assert set(never).isdisjoint(found.maps["sentinel1"].modality.band_names)
    assert len(never) + len(found.maps["sentinel1"].modality.bands) == 8
    assert any(name in what for what in found.left_out for name in never) == bool(never)


def test_the_picture_is_as_tall_as_the_scene_wants(
    found: SceneReconstruction, bundle: Path, scene: ArrayScene, tmp_path: Path
) -> None:
    draw_scene(found, tmp_path / "tall.png", dpi=50)
    wide = replace(scene, values=scene.values[:, :32], valid=None)
    draw_scene(reconstruct_scene(bundle, wide, tmp_path / "wide"), tmp_path / "wide.png", dpi=50)
    heights = []
    for name in ("tall.png", "wide.png"):
        with rasterio.open(tmp_path / name) as picture:
            heights.append(picture.height)
    assert heights[1] < heights[0]


def real_product(path: Path, values: np.ndarray, **profile: object) -> Path:
    options = {"crs": "EPSG:32632", "transform": rasterio.Affine(*UTM.transform), **profile}
    scale = options.pop("scale", 1)
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, **options
    ) as file:
        file.write(values)
        file.scales = [scale] * count
    return path


def test_what_is_read_is_not_written_over(bundle: Path, scene: ArrayScene, tmp_path: Path) -> None:
    path = real_product(tmp_path / "sentinel2.tif", np.rint(scene.values).astype(np.float32))
    source = SceneSource(str(path), bands=scene.bands, unit="reflectance x 10000", level=scene.level)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"sentinel2\.tif: is read from and would be written to"):
        reconstruct_scene(bundle, source, tmp_path)
    (tmp_path / "out").mkdir()
    radar = real_product(tmp_path / "out" / "sentinel1.tif", np.zeros((1, 90, 70), np.float32))
    with pytest.raises(InputError, match=r"sentinel1\.tif: is read from and would be written to"):
        reconstruct_scene(bundle, scene, tmp_path / "out", truth={"sentinel1": TruthFile(radar, ("asc_VV",))})
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"sentinel2.tif", "out"}


def test_there_must_be_room_for_the_maps(
    bundle: Path, scene: ArrayScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=90 * 70 * 60)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(StoreError, match="takes up to"):
        reconstruct_scene(bundle, scene, tmp_path / "out")


def test_predictions_are_held_against_real_products(
    found: SceneReconstruction, bundle: Path, scene: ArrayScene, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    radar = random.normal(-12, 4, (2, 90, 70))
    radar[0, :10] = np.nan
    predicted = content(found.maps["dynamic_world"].path)
    cover = np.where(random.uniform(size=predicted.shape) < 0.3, 7, predicted).astype(np.uint8)
    truth = {
        "sentinel1": TruthFile(real_product(tmp_path / "s1.tif", radar), ("desc_VV", "asc_VH")),
        "dynamic_world": TruthFile(real_product(tmp_path / "cover.tif", cover, nodata=0), ("landcover",)),
    }
    result = reconstruct_scene(bundle, scene, tmp_path / "out", truth=truth)
    assert scene.valid is not None
    with rasterio.open(result.maps["sentinel1"].path) as file:
        ours = [file.read(file.descriptions.index(name) + 1) for name in ("asc_VH", "desc_VV")]
    compared = result.compared["sentinel1"]
    assert compared.modality.band_names == ("asc_VH", "desc_VV")  # in the order of the modality, not of the file
    for row, (mine, real) in enumerate(zip(ours, (radar[1], radar[0]), strict=True)):
        both = scene.valid & np.isfinite(real)
        p, t = mine[both].astype(np.float64), real[both]
        assert compared.pixels[row] == both.sum()
        np.testing.assert_allclose(compared.correlation[row], np.corrcoef(p, t)[0, 1], atol=1e-6)
        np.testing.assert_allclose(compared.rmse[row], np.sqrt(np.mean((p - t) ** 2)), rtol=1e-5)
        np.testing.assert_allclose(compared.bias[row], np.mean(p - t), rtol=1e-5)
    right = (cover == predicted)[0][scene.valid].mean()
    np.testing.assert_allclose(result.compared["dynamic_world"].accuracy, right)
    assert result.record["compared"]["sentinel1"]["bands"]["asc_VH"]["pixels"] == scene.valid.sum()
    draw_scene(result, tmp_path / "with.png", dpi=40)
    draw_scene(replace(result, compared={}), tmp_path / "without.png", dpi=40)
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_classes_that_nobody_knows_are_counted_and_not_compared(
    found: SceneReconstruction, tmp_path: Path, dtype: str
) -> None:
    cover = found.maps["dynamic_world"]
    predicted = content(cover.path)
    real = predicted.astype(dtype)
    real[0, :20] = 77
    real[0, 20:25] = 7.5 if dtype == "float32" else 66
    both = predicted[0] != rasterio.open(cover.path).nodata
    profile = {"nodata": np.nan} if dtype == "float32" else {}
    truth = TruthFile(real_product(tmp_path / "cover.tif", real, **profile), ("landcover",))
    compared = compare(cover, truth)
    assert compared.accuracy == 1
    assert compared.unknown == both[:25].sum()
    assert compared.pixels == (both[25:].sum(),)
    assert compared.to_dict()["pixels_of_unknown_class"] == compared.unknown


def test_a_damaged_product_is_named(found: SceneReconstruction, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 90, 70)).astype(np.float32)
    path = real_product(tmp_path / "s1.tif", noise, compress="deflate")
    damaged = bytearray(path.read_bytes())
    damaged[3000:15000] = bytes(12000)
    path.write_bytes(damaged)
    with pytest.raises(CorruptError, match="cannot be decoded"):
        compare(found.maps["sentinel1"], TruthFile(path, ("asc_VV",)))


@pytest.mark.parametrize(("height", "width"), [(16, 21_000), (9_000, 8)])
def test_the_picture_of_a_narrow_scene(found: SceneReconstruction, tmp_path: Path, height: int, width: int) -> None:
    scene = ArrayScene(np.ones((4, height, width), np.float32), BANDS, "reflectance x 10000", UTM, where="strip.tif")
    cover = np.ones((1, height, width), np.uint8)
    narrow = replace(found.maps["dynamic_world"], path=real_product(tmp_path / "cover.tif", cover, nodata=0))
    draw_scene(replace(found, scene=scene, maps={"dynamic_world": narrow}), tmp_path / "picture.png", dpi=40)
    assert (tmp_path / "picture.png").exists()


def test_a_real_product_without_a_common_pixel_says_nothing(bundle: Path, scene: ArrayScene, tmp_path: Path) -> None:
    truth = {
        "sentinel1": TruthFile(
            real_product(tmp_path / "s1.tif", np.full((1, 90, 70), np.nan, np.float32)), ("asc_VV",)
        ),
        "dynamic_world": TruthFile(
            real_product(tmp_path / "cover.tif", np.zeros((1, 90, 70), np.uint8)), ("landcover",)
        ),
    }
    result = reconstruct_scene(bundle, scene, tmp_path / "out", truth=truth)
    nothing = {"pixels": 0, "correlation": None, "rmse": None, "bias": None}
    assert result.record["compared"]["sentinel1"]["bands"] == {"asc_VV": nothing}
    assert result.record["compared"]["dynamic_world"]["accuracy"] is None
    draw_scene(result, tmp_path / "picture.png", dpi=40)


@pytest.mark.parametrize(
    ("name", "bands", "profile", "error", "message"),
    [
        ("canopy", (), {}, InputError, "predicts no map 'canopy'"),
        ("sentinel1", (), {}, BandError, "none of its bands is one of 'sentinel1'"),
        ("sentinel1", ("asc_VV", "asc_VH"), {}, BandError, "2 names for 1 bands"),
        ("sentinel1", ("asc_VV",), {"scale": 0.01}, UnitError, "'asc_VV' have scale 0.01 and offset 0"),
        ("sentinel1", ("asc_VV",), {"crs": "EPSG:32633"}, GridError, "not lie on the grid"),
        ("sentinel1", ("asc_VV",), {"transform": rasterio.Affine(10, 0, 500_001, 0, -10, 5e6)}, GridError, "grid"),
    ],
)
def test_products_that_cannot_be_compared_are_refused_at_once(
    bundle: Path,
    scene: ArrayScene,
    tmp_path: Path,
    name: str,
    bands: tuple[str, ...],
    profile: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    truth = TruthFile(real_product(tmp_path / "real.tif", np.zeros((1, 90, 70), np.float32), **profile), bands)
    with pytest.raises(error, match=message):
        reconstruct_scene(bundle, scene, tmp_path / "out", truth={name: truth})
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_products_are_refused(bundle: Path, scene: ArrayScene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        reconstruct_scene(bundle, scene, tmp_path, truth={"sentinel1": TruthFile(tmp_path / "no.tif")})
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(CorruptError, match="cannot be read as a raster"):
        reconstruct_scene(bundle, scene, tmp_path, truth={"sentinel1": TruthFile(tmp_path / "text.tif")})


@pytest.mark.parametrize(
    ("cut", "error", "message"),
    [
        (lambda scene: replace(scene, bands=("B4", "B3", "B2", "B7")), InputError, "B8"),
        (lambda scene: replace(scene, values=scene.values[:, :6], valid=None), GridError, "smaller than a patch"),
        (lambda scene: replace(scene, values=scene.values[:, :8, :8], valid=None), GridError, "window of one patch"),
        (lambda scene: replace(scene, valid=np.zeros((90, 70), bool)), InputError, "nothing was observed"),
    ],
)
def test_scenes_of_which_nothing_can_be_said(
    bundle: Path,
    scene: ArrayScene,
    tmp_path: Path,
    cut: Callable[[ArrayScene], ArrayScene],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        reconstruct_scene(bundle, cut(scene), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tif"))


def test_bundles_and_folders_that_cannot_be_used(bundle: Path, scene: ArrayScene, tmp_path: Path) -> None:
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path / "encoder")
    with pytest.raises(BundleError, match="holds an encoder only"):
        reconstruct_scene(tmp_path / "encoder", scene, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        reconstruct_scene(bundle, scene, tmp_path / "file")


def test_the_example_in_the_documentation_runs(
    bundle: Path, scene: ArrayScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "reconstruction.md").read_text("utf-8"), re.DOTALL)
    shutil.copytree(bundle, tmp_path / "runs/first/bundle")
    real_product(tmp_path / "scene.tif", scene.values.astype(np.uint16), nodata=0)
    with rasterio.open(tmp_path / "scene.tif", "r+") as file:
        file.descriptions, file.units = scene.bands, [scene.unit] * len(scene.bands)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    code = code.replace("canopy_height_eth", "sentinel1")  # which this bundle predicts
    exec(code, names)
    assert (tmp_path / "reconstruction" / "sentinel1.tif").exists()
