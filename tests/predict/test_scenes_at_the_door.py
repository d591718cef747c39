"""Scenes of files meet the door of an encoder: what fits gets in, what does not is refused with a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rasterio.transform import Affine

from geopretext.errors import BandError, GeopretextError, InputError, UnitError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.door_report import door_lines
from geopretext.predict.open_scene import open_scene
from geopretext.predict.scene_door import DoorOptions, open_scene_door
from geopretext.predict.windows import Windows

from .scene_files import smooth, transform, write_product, write_raster

UNIT = "reflectance x 10000"
BANDS = ("B2", "B8A", "B1")
VALUES = np.stack([smooth(120, 120, seed) for seed in range(3)])


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, modality="sentinel2"))
    scales = {"all": ((500.0, 600.0, 700.0), (100.0, 200.0, 300.0)), "L2A": ((1000.0,) * 3, (10.0,) * 3)}
    return Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=scales)


def test_a_product_gets_in_by_the_statistics_of_its_level(tmp_path: Path, encoder: Encoder) -> None:
    safe, bands = write_product(tmp_path)
    door = open_scene_door(open_scene(safe), encoder)
    assert (door.record["level"], door.record["statistics"]) == ("L2A", "bundle")
    assert door.record["scene"]["offsets_undone"]["B2"] == -1000
    windows = Windows.of(120, 120, patch=8, cell=8, size=56, margin=8, ramp=8)
    values, seen = door.read(windows, [0])
    side = windows.down.extent
    expected = (bands["B02"][:side, :side].astype(np.float32) - 1000 - 1000) / 10
    np.testing.assert_allclose(values[0, 0].numpy()[seen[0].numpy()], expected[seen[0].numpy()], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "names", "unit", "error", "says"),
    [
        (np.zeros_like(VALUES), BANDS, UNIT, InputError, "nothing was observed anywhere in it"),
        (VALUES.astype(np.float32) / 10000, BANDS, UNIT, UnitError, "they look like reflectance from 0 to 1"),
        (VALUES, BANDS, "reflectance", UnitError, "they look scaled"),
        (VALUES, ("B2", "B8A", "B3"), UNIT, BandError, "the encoder wants band B1, which the images lack"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path,
    encoder: Encoder,
    values: Any,
    names: tuple[str, ...],
    unit: str,
    error: type[GeopretextError],
    says: str,
) -> None:
    scene = open_scene(write_raster(tmp_path / "a.tif", values, names), unit=unit)
    with pytest.raises(error, match=says):
        open_scene_door(scene, encoder)


@pytest.mark.parametrize(
    ("unit", "dtype", "dark"),
    [("reflectance x 10000 + 1000", np.uint16, 990), ("reflectance", np.float32, -0.001), (UNIT, np.float32, -5)],
)
def test_what_is_dark_was_observed(
    tmp_path: Path, encoder: Encoder, unit: str, dtype: type[np.generic], dark: float
) -> None:
    stored = {"reflectance": VALUES / 10000, UNIT: VALUES}.get(unit, VALUES + 1000.0).astype(dtype)
    stored[:, :50, :50] = dark
    stored[:, 60:70] = 0
    door = open_scene_door(open_scene(write_raster(tmp_path / "a.tif", stored, BANDS), unit=unit), encoder)
    windows = Windows.of(120, 120, patch=8, cell=8, size=120, margin=8, ramp=8)
    values, seen = door.read(windows, [0])
    assert seen[0, :50, :50].all()
    assert not seen[0, 60:70].any(), "a 0 in the file is no data"
    np.testing.assert_allclose(values[0, 0, :50, :50], (1 - 500) / 100, rtol=1e-5)
    np.testing.assert_allclose(values[0, 0, 80:], (VALUES[0, 80:] - 500.0) / 100, rtol=1e-4, atol=1e-4)


def test_a_level_is_one_that_the_encoder_knows(tmp_path: Path, encoder: Encoder) -> None:
    path = write_raster(tmp_path / "a.tif", VALUES, BANDS)
    scene = open_scene(path, unit=UNIT)
    assert open_scene_door(scene, encoder, DoorOptions(level="l2a")).door.scale[0][0] == 1000
    for wrong in ("L9Z", "L1C"):
        with pytest.raises(InputError, match=f"is of level '{wrong}'; the encoder knows L2A"):
            open_scene_door(scene, encoder, DoorOptions(level=wrong))
        with pytest.raises(InputError, match=f"is of level '{wrong}'"):
            open_scene_door(open_scene(path, unit=UNIT, level=wrong), encoder)
    own = open_scene_door(scene, encoder, DoorOptions(level="L1C", statistics="dataset"))
    assert own.record["statistics"] == "dataset"


def test_the_level_is_said_and_missed(tmp_path: Path, encoder: Encoder) -> None:
    scene = open_scene(write_raster(tmp_path / "a.tif", VALUES, BANDS), unit=UNIT)
    scales = {**encoder.statistics, "L1C": ((900.0,) * 3, (10.0,) * 3)}
    both = Encoder(encoder.network, encoder.modality, statistics=scales)
    said = door_lines(open_scene_door(scene, both, DoorOptions(level="L1C")).record)
    assert any(line.endswith("of the bundle, level L1C") for line in said)
    assert not any("level is not known" in line for line in said)
    missed = door_lines(open_scene_door(scene, both).record)
    assert any(line.endswith("of the bundle, all levels") for line in missed)
    assert any("warning: the scene's level is not known" in line for line in missed)
    assert not any("level is not known" in line for line in door_lines(open_scene_door(scene, encoder).record))


def test_both_sides_of_a_pixel_are_compared(tmp_path: Path, encoder: Encoder) -> None:
    unknown = open_scene_door(open_scene(write_raster(tmp_path / "a.tif", VALUES, BANDS), unit=UNIT), encoder)
    assert "pixel size was not checked: that of the encoder is not known" in door_lines(unknown.record)
    of_ten = Encoder(encoder.network, encoder.modality, statistics=encoder.statistics, ground_sampling_distance=10.0)
    corner = transform(10)
    for width, height in ((10, 10), (5, 20)):
        place = Affine(width, 0, corner.c, 0, -height, corner.f)
        scene = open_scene(write_raster(tmp_path / "b.tif", VALUES, BANDS, transform=place), unit=UNIT)
        door = open_scene_door(scene, of_ten)
        sides = door.record["pixel_sizes"]["scene"]
        np.testing.assert_allclose(sides, (width, height), rtol=2e-3)
        assert any("has pixels of" in line for line in door_lines(door.record)) is (width != 10)
        assert door.closed()(scene).record == door.record
