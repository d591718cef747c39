"""Whether maps lie on each other: injected shifts are found, unrelated tiles are not judged."""

import numpy as np
import pytest

from geopretext.data.registration import (
    COMMON,
    SYSTEMATIC,
    RegistrationCheck,
    Shift,
    correlate,
    edges,
    highest,
)
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import TileBatch
from geopretext.modality import PUBLISHED

SIZE, MARGIN = 64, 4


@pytest.fixture(scope="module")
def places() -> TileBatch:
    """Larger than a tile, so that shifted tiles can be cut from them."""
    earth = SyntheticEarth(5, tile_size=SIZE + 2 * MARGIN)
    return earth.tiles(earth.places(40))


def cut(places: TileBatch, name: str, down: int = 0, right: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a modality whose content lies so far down and right of where it should be."""
    rows, columns = slice(MARGIN - down, MARGIN - down + SIZE), slice(MARGIN - right, MARGIN - right + SIZE)
    modality = PUBLISHED[name]
    return edges(modality, *modality.decode(places.arrays[name][:, :, rows, columns]))


@pytest.mark.parametrize("name", ["sentinel1", "esa_worldcover", "dynamic_world", "canopy_height_eth"])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, -2), (4, 3)])
def test_a_shift_of_all_tiles_is_found(places: TileBatch, name: str, down: int, right: int) -> None:
    check = RegistrationCheck("sentinel2", name)
    check.add(np.arange(len(places)), cut(places, "sentinel2"), cut(places, name, down, right))
    found = check.finish()
    assert found.shift is not None
    assert found.shift.down == pytest.approx(down, abs=0.15)
    assert found.shift.right == pytest.approx(right, abs=0.15)
    assert found.is_shifted == (max(abs(down), abs(right)) > SYSTEMATIC)
    assert found.misplaced == []
    assert len(found.judged) >= 0.25 * found.tiles


def test_half_a_pixel_is_found(places: TileBatch) -> None:
    """The usual mistake: corners of pixels taken for their centres."""
    name = "sentinel1"
    right, further = (places.arrays[name][:, :, MARGIN:-MARGIN, MARGIN - d : MARGIN - d + SIZE] for d in (0, 1))
    modality = PUBLISHED[name]
    moved = edges(modality, *modality.decode((right + further) / 2))
    check = RegistrationCheck("sentinel2", name)
    check.add(np.arange(len(places)), cut(places, "sentinel2"), moved)
    found = check.finish()
    assert found.shift is not None
    assert found.shift.right == pytest.approx(0.5, abs=0.1)
    assert found.is_shifted


def test_single_tiles_that_lie_elsewhere_are_named(places: TileBatch) -> None:
    shifted = cut(places, "esa_worldcover", 4, 0)
    placed = cut(places, "esa_worldcover")
    elsewhere = np.arange(len(places)) % 5 == 0
    mixed = tuple(np.where(elsewhere[:, None, None], a, b) for a, b in zip(shifted, placed, strict=True))
    check = RegistrationCheck("sentinel2", "esa_worldcover")
    check.add(np.arange(len(places)), cut(places, "sentinel2"), mixed)
    found = check.finish()
    assert not found.is_shifted
    named = {tile for tile, _ in found.misplaced}
    assert named == set(np.flatnonzero(elsewhere)) & set(found.judged.tolist())
    assert len(named) >= 3


def test_tiles_of_other_places_are_not_judged(places: TileBatch) -> None:
    """Any two pictures have a highest point of correlation somewhere; it must not count."""
    reference, judged = cut(places, "sentinel2"), 0
    for name in ("sentinel1", "esa_worldcover", "canopy_height_eth"):
        other = cut(places, name)
        for places_apart in (3, 8, 17):
            check = RegistrationCheck("sentinel2", name)
            check.add(np.arange(len(places)), reference, tuple(np.roll(side, places_apart, axis=0) for side in other))
            found = check.finish()
            assert found.shift is None
            assert found.peak < COMMON - 2
            judged += len(found.judged)
    assert judged <= 2  # of 360


def test_what_was_not_observed_says_nothing() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(1, 1, SIZE, SIZE)).astype(np.float32)
    whole = np.ones((1, 1, SIZE, SIZE), np.bool_)
    half = whole.copy()
    half[..., : SIZE // 2] = False
    modality = PUBLISHED["sentinel1"].select(["asc_VV"])
    _, known = correlate(edges(modality, values, whole), edges(modality, values, half))
    assert not known.any()
    _, known = correlate(edges(modality, values, whole), edges(modality, np.zeros_like(values), whole))
    assert not known.any()


def test_the_peak_is_found_between_pixels() -> None:
    rows, columns = np.mgrid[-8:9, -8:9]
    surface = 20 - (rows - 1.3) ** 2 - (columns + 2.4) ** 2
    shift, peak, _ = highest(surface.astype(np.float32))
    assert shift.down == pytest.approx(1.3)
    assert shift.right == pytest.approx(-2.4)
    assert peak == pytest.approx(20, abs=0.3)
    assert str(shift) == "1.3 px south, 2.4 px west"
    assert Shift(-3.0, 4.0).pixels == 5.0
