"""Scenes of files meet the door of an encoder: what fits gets in, what does not is refused with a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.errors import BandError, GeopretextError, InputError, UnitError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.open_scene import open_scene
from geopretext.predict.scene_door import open_scene_door
from geopretext.predict.windows import Windows

from .scene_files import smooth, write_product, write_raster

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
