"""Image files and their door: bands by name, units, statistics, sizes; every refusal says what, where, what next."""

import sys
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import BandError, CorruptError, GridError, InputError, MissingLibraryError, UnitError
from geopretext.modality import PUBLISHED, Modality
from geopretext.nn.official_input import RGB
from geopretext.predict.image_door import ImageDoor
from geopretext.predict.images import DIGITAL_NUMBER, UNSTATED, ImageFiles

pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
rasterio = pytest.importorskip("rasterio", reason="rasterio writes the GeoTIFFs")

BGR = PUBLISHED["sentinel2"].select(("B2", "B3", "B4"))
GRID = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
SCALES = {"all": ((500.0, 600.0, 700.0), (100.0, 200.0, 300.0)), "L2A": ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))}


def picture(path: Path, *, red: int = 200, green: int = 100, blue: int = 50, size: int = 16) -> Path:
    values = np.zeros((size, size, 3), np.uint8)
    values[..., 0], values[..., 1], values[..., 2] = red, green, blue
    pillow.fromarray(values).save(path)
    return path


def geotiff(path: Path, values: np.ndarray, *, bands: tuple[str, ...] = (), nodata: float | None = None) -> Path:
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **profile, nodata=nodata, transform=GRID, crs="EPSG:32632") as dataset:
        dataset.write(values)
        if bands:
            dataset.descriptions = bands
    return path


def reflectance(*bands: float, size: int = 16) -> np.ndarray:
    return np.broadcast_to(np.array(bands).reshape(-1, 1, 1), (len(bands), size, size)).copy()


def open_door(images: ImageFiles, modality: Modality = BGR, **settings: object) -> ImageDoor:
    return ImageDoor.open(images, modality, SCALES, patch_size=8, **settings)


def first_block(door: ImageDoor) -> tuple[np.ndarray, np.ndarray]:
    values, valid = next(door.blocks())
    return values.numpy(), valid.numpy()


def test_a_colour_picture_has_red_green_blue_and_is_read_in_the_encoders_order(tmp_path: Path) -> None:
    images = ImageFiles.open([picture(tmp_path / "a.png")])
    assert images.bands == ("B4", "B3", "B2")
    assert images.unit == DIGITAL_NUMBER
    values, valid = first_block(open_door(images))
    np.testing.assert_array_equal(values[0, :, 0, 0], [50, 100, 200])
    assert valid.all()


def test_a_palette_picture_is_read_as_its_colours(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    pillow.open(path).convert("P").save(path)
    values, _ = first_block(open_door(ImageFiles.open([path])))
    np.testing.assert_allclose(values[0, :, 0, 0], [50, 100, 200], atol=30)


def test_transparent_pixels_are_missing(tmp_path: Path) -> None:
    values = np.full((16, 16, 4), 80, np.uint8)
    values[:3, :, 3] = 0
    pillow.fromarray(values).save(tmp_path / "a.png")
    seen, valid = first_block(open_door(ImageFiles.open([tmp_path / "a.png"])))
    assert not valid[0, :, :3].any()
    assert (seen[0, :, :3] == 0).all()
    assert valid[0, :, 3:].all()


def test_pictures_are_standardised_by_their_training_images_which_is_on_record(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", red=10 * n, green=100 + n, blue=7) for n in range(4)]
    door = open_door(ImageFiles.open(paths), training=np.array([0, 2]))
    assert door.record["statistics"] == "dataset"
    assert door.record["unit"] == DIGITAL_NUMBER
    assert door.record["unit_of_encoder"] == "reflectance x 10000"
    assert door.record["bands"] == ["B2", "B3", "B4"]
    np.testing.assert_allclose(door.record["mean"], [7, 101, 10])
    np.testing.assert_allclose(door.record["std"], [0, 1, 10], atol=1e-5)
    standardised = door.normaliser(next(door.blocks(np.array([3])))).values
    np.testing.assert_allclose(standardised[0, :, 0, 0], [0, 2, 2], atol=1e-5)


def test_statistics_of_many_blocks_are_those_of_all_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    stack = generator.integers(1, 255, (5, 16, 16, 3), dtype=np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path, values in zip(paths, stack, strict=True):
        pillow.fromarray(values).save(path)
    monkeypatch.setattr("geopretext.predict.image_door._BLOCK", 2)
    record = open_door(ImageFiles.open(paths)).record
    np.testing.assert_allclose(record["mean"], stack.mean((0, 1, 2))[::-1], rtol=1e-6)
    np.testing.assert_allclose(record["std"], stack.std((0, 1, 2))[::-1], rtol=1e-6)


def test_the_bundles_statistics_are_refused_for_pictures(tmp_path: Path) -> None:
    images = ImageFiles.open([picture(tmp_path / "a.jpg")])
    with pytest.raises(UnitError, match=r"digital number 0\.\.255.*reflectance x 10000") as caught:
        open_door(images, statistics="bundle")
    assert caught.value.where == str(tmp_path)
    assert "--statistics dataset" in caught.value.hint


def test_a_geotiff_in_the_bundles_unit_is_standardised_by_the_bundle(tmp_path: Path) -> None:
    values = reflectance(400, 600, 800, 1000).astype(np.uint16)
    values[:, :2] = 0
    path = geotiff(tmp_path / "a.tif", values, bands=("B02", "B03", "B04", "B08"))
    images = ImageFiles.open([path], unit="reflectance x 10000")
    assert images.bands == ("B2", "B3", "B4", "B8")
    door = open_door(images)
    assert door.record["statistics"] == "bundle"
    block = next(door.blocks())
    assert not block.valid[0, :, :2].any()  # 0 is Sentinel-2's no data
    standardised = door.normaliser(block).values
    np.testing.assert_allclose(standardised[0, :, 5, 5], [-1, 0, 1 / 3], atol=1e-6)
    assert (standardised[0, :, :2] == 0).all()


def test_reflectance_from_0_to_1_is_converted_exactly(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(0.04, 0.06, 0.08).astype(np.float32), bands=("B2", "B3", "B4"))
    door = open_door(ImageFiles.open([path], unit="reflectance"))
    assert door.record["statistics"] == "bundle"
    values, _ = first_block(door)
    np.testing.assert_allclose(values[0, :, 0, 0], [400, 600, 800], rtol=1e-6)


def test_a_bundle_without_statistics_leaves_images_to_their_own(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(400, 600, 800).astype(np.uint16), bands=("B2", "B3", "B4"))
    images = ImageFiles.open([path], unit="reflectance x 10000")
    assert ImageDoor.open(images, BGR, {}, patch_size=8).record["statistics"] == "dataset"
    with pytest.raises(InputError, match="the bundle has no statistics for level 'all'; it has none"):
        ImageDoor.open(images, BGR, {}, patch_size=8, statistics="bundle")


def test_pictures_are_standardised_by_the_statistics_of_imagenet_weights(tmp_path: Path) -> None:
    images = ImageFiles.open([picture(tmp_path / "a.png", red=255, green=0, blue=51)], bands=("R", "G", "B"))
    scales = {"all": ((0.5, 0.4, 0.3), (0.5, 0.2, 0.1))}
    door = ImageDoor.open(images, RGB, scales, patch_size=8)
    assert door.record["statistics"] == "bundle"
    standardised = door.normaliser(next(door.blocks())).values
    np.testing.assert_allclose(standardised[0, :, 0, 0], [1, -2, -1], atol=1e-6)


def test_the_level_chooses_the_bundles_statistics(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(400, 600, 800).astype(np.uint16), bands=("B2", "B3", "B4"))
    images = ImageFiles.open([path], unit="reflectance x 10000")
    assert open_door(images, level="L2A").record["mean"] == [1, 2, 3]
    with pytest.raises(InputError, match="no statistics for level 'L1C'; it has all, L2A") as caught:
        open_door(images, level="L1C")
    assert "--level" in caught.value.hint


def test_the_nodata_number_of_a_geotiff_is_missing(tmp_path: Path) -> None:
    values = reflectance(5, 6, 7).astype(np.int16)
    values[:, :, 4] = -99
    path = geotiff(tmp_path / "a.tif", values, bands=("B2", "B3", "B4"), nodata=-99)
    door = open_door(ImageFiles.open([path]))
    assert door.images.unit == UNSTATED
    assert door.record["statistics"] == "dataset"
    np.testing.assert_allclose(door.record["mean"], [5, 6, 7])
    _, valid = first_block(door)
    assert not valid[..., 4].any()
    assert valid[..., 5:].all()


def test_a_unit_that_the_numbers_contradict_is_refused(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(400, 600, 800).astype(np.uint16), bands=("B2", "B3", "B4"))
    with pytest.raises(UnitError, match="'B2' cannot be in 'reflectance'") as caught:
        open_door(ImageFiles.open([path], unit="reflectance"))
    assert "--unit" in caught.value.hint


def test_bands_that_the_images_lack_are_named(tmp_path: Path) -> None:
    images = ImageFiles.open([picture(tmp_path / "a.png")])
    with pytest.raises(BandError, match="band B8, B11, which the images lack; they have B4, B3, B2") as caught:
        open_door(images, PUBLISHED["sentinel2"].select(("B3", "B8", "B11")))
    assert caught.value.where == str(tmp_path)
    assert "encoder.bands: [B3]" in caught.value.hint


def test_a_geotiff_without_band_names_needs_them(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(4, 6, 8, 9).astype(np.uint16))
    with pytest.raises(BandError, match="does not name its 4 bands") as caught:
        ImageFiles.open([path])
    assert caught.value.where == str(path)
    assert "--bands" in caught.value.hint
    assert ImageFiles.open([path], bands=("B02", "B8A", "B4", "B8")).bands == ("B2", "B8A", "B4", "B8")
    with pytest.raises(BandError, match="has 4 bands, but 2 are declared"):
        ImageFiles.open([path], bands=("B2", "B3"))
    with pytest.raises(BandError, match="band names repeat"):
        ImageFiles.open([path], bands=("B2", "B3", "B3", "B4"))


def test_a_greyscale_picture_needs_the_name_of_its_band(tmp_path: Path) -> None:
    pillow.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(BandError, match="does not name its 1 bands"):
        ImageFiles.open([tmp_path / "a.png"])
    values, _ = first_block(
        open_door(ImageFiles.open([tmp_path / "a.png"], bands=["B3"]), PUBLISHED["sentinel2"].select(("B3",)))
    )
    assert values.shape == (1, 1, 16, 16)


def test_an_eight_bit_colour_geotiff_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 16, "width": 16, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", **profile, transform=GRID) as dataset:
        dataset.write(reflectance(200, 100, 50).astype(np.uint8))
    images = ImageFiles.open([path])
    assert (images.bands, images.unit) == (("B4", "B3", "B2"), DIGITAL_NUMBER)


def test_a_geotiff_without_georeference_is_read_without_a_warning(tmp_path: Path) -> None:
    pillow.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(tmp_path / "a.tif")
    values, _ = first_block(open_door(ImageFiles.open([tmp_path / "a.tif"])))
    assert (values == 9).all()


def test_images_are_cut_to_whole_patches_around_their_centre(tmp_path: Path) -> None:
    values = np.zeros((20, 20, 3), np.uint8)
    values[2:18, 2:18] = 77
    pillow.fromarray(values).save(tmp_path / "a.png")
    door = open_door(ImageFiles.open([tmp_path / "a.png"]))
    assert door.record["image_size"] == [20, 20]
    assert door.record["centre_crop"] == [16, 16]
    values, _ = first_block(door)
    assert values.shape == (1, 3, 16, 16)
    assert (values == 77).all()


def test_images_smaller_than_a_patch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"6 x 6 pixels are smaller than a patch of 8") as caught:
        open_door(ImageFiles.open([picture(tmp_path / "a.png", size=6)]))
    assert caught.value.where == str(tmp_path)
    assert "resample" in caught.value.hint


def test_mixed_sizes_are_refused_by_name(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png", size=24)]
    with pytest.raises(GridError, match=r"is 24 x 24 pixels, but .*a\.png is 16 x 16") as caught:
        open_door(ImageFiles.open(paths))
    assert caught.value.where == str(paths[1])
    assert "one size" in caught.value.hint


def test_mixed_numbers_of_bands_are_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "b.png"
    pillow.fromarray(np.full((16, 16), 9, np.uint8)).save(other)
    with pytest.raises(BandError, match=r"has 1 bands, but .*a\.png has 3") as caught:
        open_door(ImageFiles.open([picture(tmp_path / "a.png"), other]))
    assert caught.value.where == str(other)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("kept", [0, 10, 0.6])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float) -> None:
    good, bad = picture(tmp_path / f"a{suffix}", size=64), tmp_path / f"b{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    pillow.fromarray(noise).save(bad)
    content = bad.read_bytes()
    bad.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(CorruptError, match="cannot be decoded") as caught:
        open_door(ImageFiles.open([good, bad]))
    assert caught.value.where == str(bad)
    assert "fetch the file again" in caught.value.hint


def test_a_png_with_a_broken_chunk_is_named(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptError) as caught:
        ImageFiles.open([path])
    assert caught.value.where == str(path)


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(InputError, match="is no image that is read here") as caught:
        ImageFiles.open([tmp_path / "a.txt"])
    assert ".png" in caught.value.hint
    with pytest.raises(InputError, match="no images"):
        ImageFiles.open([])
    with pytest.raises(InputError, match="no such file"):
        ImageFiles.open([tmp_path / "b.png"])
    with pytest.raises(InputError, match="no such file"):
        ImageFiles.open([tmp_path / "b.tif"])


@pytest.mark.parametrize(
    ("library", "suffix", "extra"), [("PIL", ".png", "geopretext[report]"), ("rasterio", ".tif", "geopretext[geo]")]
)
def test_a_missing_library_names_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, suffix: str, extra: str
) -> None:
    path = picture(tmp_path / f"a{suffix}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match="is not installed") as caught:
        ImageFiles.open([path])
    assert extra in caught.value.hint


def test_a_substitute_and_a_filled_band_reach_the_encoder_and_the_record(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(400, 600, 800).astype(np.uint16), bands=("B2", "B3", "B8A"))
    images = ImageFiles.open([path], unit="reflectance x 10000")
    wanted = PUBLISHED["sentinel2"].select(("B1", "B2", "B9", "B10"))
    scales = {"all": ((100.0,) * 4, (10.0,) * 4)}
    door = ImageDoor.open(images, wanted, scales, patch_size=8, substitutes={"B1": "B2", "B9": "B8A"}, fill=("B10",))
    values, valid = first_block(door)
    np.testing.assert_array_equal(values[0, :, 0, 0], [400, 400, 800, 0])
    np.testing.assert_array_equal(valid[0, :, 0, 0], [True, True, True, False])
    np.testing.assert_array_equal(door.normaliser(next(door.blocks())).values[0, :, 0, 0], [30, 30, 70, 0])
    assert door.record["substituted"] == {"B1": "B2", "B9": "B8A"}
    assert door.record["filled"] == ["B10"]
    assert door.record["unused"] == ["B3"]


def test_the_offset_can_be_declared_as_a_unit(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", reflectance(1400, 1600, 1800).astype(np.uint16), bands=("B2", "B3", "B4"))
    door = open_door(ImageFiles.open([path], unit="reflectance x 10000 + 1000"))
    np.testing.assert_array_equal(first_block(door)[0][0, :, 0, 0], [400, 600, 800])
    assert door.record["statistics"] == "bundle"
