"""Pictures of samples and of maps."""

import base64
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from geopretext.errors import MissingLibraryError
from geopretext.evaluate.inputs import ImageInputs, TileInputs
from geopretext.evaluate.thumbnails import centre, class_color, class_picture, pictures, png, quantity_picture

from .small_store import write_store


class Bands:
    """Each band is bright in a row of its own."""

    def __init__(self, *names: str) -> None:
        self.bands = names

    def read(self, samples: np.ndarray, bands: list[str]) -> tuple[np.ndarray, np.ndarray]:
        values = np.zeros((len(samples), len(bands), 20, 20), np.float32)
        for row, name in enumerate(bands):
            values[:, row, self.bands.index(name)] = 1000
        valid = np.ones_like(values, bool)
        valid[:, :, 19] = False
        return values, valid


def test_true_colour_is_red_green_blue() -> None:
    picture = pictures(ImageInputs(Bands("B2", "B8", "B3", "B4")), np.array([0, 1]))
    assert picture.shape == (2, 20, 20, 3)
    assert picture[1, 3, 0].tolist() == [1, 0, 0]  # B4
    assert picture[1, 2, 0].tolist() == [0, 1, 0]  # B3
    assert picture[1, 0, 0].tolist() == [0, 0, 1]  # B2
    assert picture[1, 19, 0].tolist() == [0.5, 0.5, 0.5]  # not observed


def test_without_those_bands_the_first_ones_are_shown() -> None:
    three = pictures(ImageInputs(Bands("VV", "VH", "slope", "height")), np.array([0]))
    assert three[0, 1, 0].tolist() == [0, 1, 0]
    one = pictures(ImageInputs(Bands("VV", "VH")), np.array([0]))
    assert one[0, 0, 0].tolist() == [1, 1, 1]


def test_tiles_are_shown_in_true_colour(tmp_path: Path) -> None:
    store = write_store(tmp_path / "tiles.zarr")
    picture = pictures(TileInputs(store), np.array([5, 2]))
    stored = store.read(["sentinel2"], np.array([2]))["sentinel2"][0].astype(float)  # B2, B3, B4
    assert picture.shape == (2, 16, 16, 3)
    for band, colour in enumerate((2, 1, 0)):
        assert np.corrcoef(stored[band].ravel(), picture[1, ..., colour].ravel())[0, 1] > 0.9


def test_inputs_of_ones_own_are_not_guessed_at() -> None:
    assert pictures(SimpleNamespace(), np.array([0])) is None


def test_a_picture_without_contrast_or_pixels_is_drawn() -> None:
    flat = Bands("B4", "B3", "B2")
    flat.read = lambda samples, bands: (np.full((1, 3, 4, 4), 7.0), np.zeros((1, 3, 4, 4), bool))
    assert (pictures(ImageInputs(flat), np.array([0])) == 0.5).all()


def test_a_png_holds_the_pixels() -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow writes pictures")
    picture = np.random.default_rng(0).random((5, 8, 3))
    data = png(picture, 8)
    with image.open(io.BytesIO(base64.b64decode(data.removeprefix("data:image/png;base64,")))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), np.round(picture * 255))
    small = png(picture, 4)
    with image.open(io.BytesIO(base64.b64decode(small.split(",")[1]))) as opened:
        assert opened.size == (4, 2)


def test_a_missing_pillow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingLibraryError, match="PIL is not installed") as caught:
        png(np.zeros((2, 2, 3)), 2)
    assert caught.value.hint == 'pip install "geopretext[report]"'


def test_classes_have_colours_of_their_own() -> None:
    colours = [class_color(number) for number in range(36)]
    assert len(set(colours)) == 36
    picture = class_picture(np.array([[0, 35]]), np.array([[True, False]]), 36)
    assert [round(255 * part) for part in picture[0, 0, :3]] == [int(colours[0][n : n + 2], 16) for n in (1, 3, 5)]
    assert picture[0, :, 3].tolist() == [1, 0]


def test_quantities_go_from_dark_to_bright() -> None:
    picture = quantity_picture(np.array([[-9.0, 0, 0.5, 1, 9]]), np.ones((1, 5), bool), 0, 1)
    brightness = picture[0, :, :3].sum(1)
    assert brightness[0] == brightness[1] < brightness[2] < brightness[3] == brightness[4]


def test_the_centre_is_what_an_encoder_sees() -> None:
    picture = np.arange(7 * 9 * 3).reshape(7, 9, 3)
    np.testing.assert_array_equal(centre(picture, 3, 4), picture[2:5, 2:6])
