"""Windows of a scene: weights that add up to one, and maps that show no sign of having been put together."""

from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from geopretext.errors import GridError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.door_report import door_lines
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_door import DoorOptions, SceneDoor, open_scene_door
from geopretext.predict.scene_maps import compute_strips, join_strips
from geopretext.predict.windows import Axis, Windows

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
BANDS = ("B2", "B3", "B4")


class Values:
    """A network that says what it sees."""

    cell = 1
    width = len(BANDS)

    def __call__(self, x: Tensor) -> Tensor:
        return x


def _encoder() -> Encoder:
    settings = EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=16)
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    return Encoder(ConvNeXtV2(settings), PUBLISHED["sentinel2"].select(BANDS), statistics=statistics).eval()


def _scene(height: int, width: int) -> ArrayScene:
    values = np.random.default_rng(0).integers(1, 3000, (3, height, width)).astype(np.uint16)
    return ArrayScene(values, BANDS, "reflectance x 10000", UTM, level="L2A")


def _door(height: int, width: int) -> SceneDoor:
    return open_scene_door(_scene(height, width), _encoder())


@pytest.mark.parametrize("length", [5, 16, 17, 64, 100, 333])
@pytest.mark.parametrize(("margin", "ramp"), [(0, 0), (8, 0), (0, 16), (8, 8)])
@pytest.mark.parametrize("cell", [1, 8])
def test_weights_of_windows_add_up_to_one_in_every_cell(length: int, margin: int, ramp: int, cell: int) -> None:
    axis = Axis(length, 8, cell, 48, margin, ramp)
    total = np.zeros(axis.padded // cell)
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert start % 8 == 0
        total[start // cell :][: len(weight)] += weight
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_results_near_inner_edges_count_nothing() -> None:
    axis = Axis(200, 8, 1, 64, 16, 0)
    first, second, *_ = axis.weights
    assert first[:16].min() == 1
    assert first[-16:].max() == 0
    assert second[:16].max() == 0


def test_windows_without_a_middle_are_refused() -> None:
    with pytest.raises(InputError, match="nothing between"):
        Axis(200, 8, 8, 32, 16, 0)


@pytest.mark.parametrize(("height", "width"), [(100, 77), (13, 200), (48, 48)])
def test_windows_put_together_are_the_scene(height: int, width: int) -> None:
    door = _door(height, width)
    windows = Windows.of(height, width, patch=8, cell=1, size=48, margin=8, ramp=8)
    strips = compute_strips(door, Values(), windows, range(len(windows.down.starts)), batch=2)
    found = list(join_strips(strips, windows))
    assert [rows.start for rows in found] == list(np.cumsum([0, *(len(rows.values) for rows in found)])[:-1])
    values = np.concatenate([rows.values for rows in found])
    expected = (door.scene.read(slice(0, height), slice(0, width), BANDS)[0] - 1000) / 500
    np.testing.assert_allclose(values, expected.transpose(1, 2, 0), atol=1e-5)
    np.testing.assert_allclose(np.concatenate([rows.seen for rows in found]), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("crs", "pixel", "unlike"),
    [("EPSG:32632", 10.0, False), ("EPSG:32632", 20.0, True), ("EPSG:4326", 9e-5, False), ("EPSG:4326", 3e-4, True)],
)
def test_pixels_of_another_size_are_said_and_refused_if_strict(crs: str, pixel: float, unlike: bool) -> None:
    encoder = _encoder()
    encoder.ground_sampling_distance = 10.0
    start = (500_000.0, 5_000.0) if crs == "EPSG:32632" else (9.0, 1.0)
    place = Georeference(crs, (pixel, 0.0, start[0], 0.0, -pixel, start[1]))
    scene = replace(_scene(40, 40), georeference=place)
    lines = door_lines(open_scene_door(scene, encoder).record)
    assert any("trained on pixels of 10 m" in line for line in lines) is unlike
    if unlike:
        with pytest.raises(GridError, match="trained on pixels of 10 m"):
            open_scene_door(scene, encoder, DoorOptions(strict=True))
    encoder.ground_sampling_distance = None
    assert not any("trained on pixels" in line for line in door_lines(open_scene_door(scene, encoder).record))


def test_a_scene_of_nothing_is_refused() -> None:
    scene = ArrayScene(np.full((3, 40, 40), np.nan, np.float32), BANDS, "reflectance x 10000", UTM)
    with pytest.raises(InputError, match="nothing was observed"):
        open_scene_door(scene, _encoder())
