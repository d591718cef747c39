"""Suspects: what is put into tiles is found at these tiles, and nothing is said about the rest."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from geopretext.data.survey import Survey, survey_tiles
from geopretext.data.suspects import Suspicion
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import Array, Coordinates, TileBatch
from geopretext.modality import Modality

COUNT, SIZE = 64, 64

Arrays = dict[str, Array]


class Tiles:
    """A reader over arrays that a test has changed."""

    path, tile_size, statistics = "memory", SIZE, None

    def __init__(self, coordinates: Coordinates, arrays: Mapping[str, Array], modalities: Mapping[str, Modality]):
        self.coordinates, self.arrays, self.modalities = coordinates, arrays, modalities
        self.most_at_once = 0

    def __len__(self) -> int:
        return len(self.coordinates)

    def read(self, names: list[str], tiles: np.ndarray) -> Arrays:
        self.most_at_once = max(self.most_at_once, len(tiles))
        return {name: self.arrays[name][tiles] for name in names}


@pytest.fixture(scope="module")
def earth() -> SyntheticEarth:
    return SyntheticEarth(11, tile_size=SIZE)


@pytest.fixture(scope="module")
def batch(earth: SyntheticEarth) -> TileBatch:
    return earth.tiles(earth.places(COUNT))


@pytest.fixture
def look(earth: SyntheticEarth, batch: TileBatch) -> Callable[[Callable[[Arrays], None]], Survey]:
    def survey(change: Callable[[Arrays], None]) -> Survey:
        arrays = {name: array.copy() for name, array in batch.arrays.items()}
        change(arrays)
        return survey_tiles(Tiles(batch.coordinates, arrays, earth.modalities), np.arange(COUNT))

    return survey


def found(survey: Survey, suspicion: Suspicion) -> set[tuple[int, str, str]]:
    return {(s.tile, s.modality, s.band) for s in survey.suspects if s.suspicion is suspicion}


Look = Callable[[Callable[[Arrays], None]], Survey]


def untouched(arrays: Arrays) -> None:
    """Change nothing."""


def test_an_untouched_planet_is_hardly_suspected(look: Look) -> None:
    suspicions = look(untouched).suspicions
    natural = {Suspicion.CLOUDY, Suspicion.MISSING}
    assert {kind: count for kind, count in suspicions.items() if kind not in natural} == {}
    assert suspicions.get(Suspicion.MISSING, 0) <= COUNT // 20


def test_constant_bands(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["sentinel2"][7, 3] = 1234
        arrays["sentinel1"][9, 0] = -11.5
        arrays["canopy_height_eth"][12, 0] = 0  # a desert has no trees

    assert found(look(change), Suspicion.CONSTANT) == {(7, "sentinel2", "B4"), (9, "sentinel1", "asc_VV")}


def test_a_quantity_may_be_constant_where_all_is_of_one_class(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["aster"][[3, 4], 0] = 372
        for name in ("esa_worldcover", "dynamic_world"):
            arrays[name][3] = arrays[name].max()  # a lake
            arrays[name][4, :, : SIZE // 2] = np.unique(arrays[name])[1]

    assert found(look(change), Suspicion.CONSTANT) == {(4, "aster", "elevation")}


def test_what_nearly_all_tiles_have(look: Look, batch: TileBatch) -> None:
    whole, bands = (int(np.flatnonzero(batch.coordinates.levels["sentinel2"] == level)[3]) for level in (0, 1))

    def change(arrays: Arrays) -> None:
        arrays["sentinel2"][whole] = 0
        arrays["sentinel2"][bands, [0, 4]] = 0
        arrays["dynamic_world"][: COUNT // 2] = 0  # missing at half of all tiles: no surprise

    missing = found(look(change), Suspicion.MISSING)
    assert {(whole, "sentinel2", ""), (bands, "sentinel2", "B1 B5")} <= missing
    assert not {one for one in missing if one[1] == "dynamic_world"}


def test_implausible_numbers(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["sentinel1"][8, 1, :20] = 900.0
        arrays["aster"][10, 0, :30] = 20_000
        arrays["era5"][11, 2] = 15.0  # degrees Celsius
        arrays["sentinel1"][13, 1, 0, :5] = 900.0  # a few pixels are nothing

    survey = look(change)
    assert found(survey, Suspicion.IMPLAUSIBLE) == {
        (8, "sentinel1", "asc_VH"),
        (10, "aster", "elevation"),
        (11, "era5", "prev_month_max_temp"),
    }
    (words,) = (s.detail for s in survey.suspects if s.tile == 11 and s.suspicion is Suspicion.IMPLAUSIBLE)
    assert words == "100% of the numbers (15 to 15 K) are outside 170 to 350"


def test_an_offset_that_was_left_in(look: Look) -> None:
    carriers = np.arange(0, COUNT, 4)

    def change(arrays: Arrays) -> None:
        seen = arrays["sentinel2"][carriers] > 0
        arrays["sentinel2"][carriers] += np.where(seen, 1000, 0).astype(np.uint16)

    named = {tile for tile, _, _ in found(look(change), Suspicion.OFFSET)}
    assert named <= set(carriers.tolist())
    assert len(named) >= 0.8 * len(carriers)


def test_tiles_that_lie_elsewhere(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["esa_worldcover"][::8] = np.roll(arrays["esa_worldcover"][::8], 5, axis=2)

    named = {tile for tile, name, _ in found(look(change), Suspicion.MISREGISTERED) if name == "esa_worldcover"}
    assert named <= set(range(0, COUNT, 8))
    assert len(named) >= 3


def test_the_same_image_twice(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["sentinel2"][[20, 40]] = arrays["sentinel2"][2]
        arrays["sentinel2"][[30, 31]] = 0  # nothing is no duplicate of nothing
        arrays["esa_worldcover"][:] = arrays["esa_worldcover"][0]  # one class everywhere can be

    survey = look(change)
    assert found(survey, Suspicion.DUPLICATE) == {(20, "sentinel2", ""), (40, "sentinel2", "")}
    assert {s.value for s in survey.suspects if s.suspicion is Suspicion.DUPLICATE} == {2.0}


def test_clouds_by_the_scene_classification(look: Look) -> None:
    def change(arrays: Arrays) -> None:
        arrays["sentinel2_scl"][:] = 4
        arrays["sentinel2_scl"][14, :, :40] = 9
        arrays["sentinel2_scl"][15, :, :40] = 3  # shadow
        arrays["sentinel2"][14] += 1000  # too cloudy to tell

    survey = look(change)
    assert found(survey, Suspicion.CLOUDY) == {(14, "sentinel2_scl", "")}
    assert not found(survey, Suspicion.OFFSET)


def test_suspects_do_not_depend_on_how_tiles_are_read(
    earth: SyntheticEarth, batch: TileBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {name: array.copy() for name, array in batch.arrays.items()}
    arrays["sentinel2"][50] = arrays["sentinel2"][3]
    reader = Tiles(batch.coordinates, arrays, earth.modalities)
    whole = survey_tiles(reader, np.arange(COUNT))
    monkeypatch.setattr("geopretext.data.survey._PIXELS_AT_ONCE", 5 * SIZE * SIZE)
    reader.most_at_once = 0
    seen: list[tuple[int, int]] = []
    parts = survey_tiles(reader, np.arange(COUNT)[::-1], progress=lambda done, total: seen.append((done, total)))
    assert parts.suspects == whole.suspects
    assert reader.most_at_once == 5
    assert seen[-1] == (COUNT, COUNT)
    for name, coverage in whole.coverage.items():
        assert parts.coverage[name].missing == pytest.approx(dict(coverage.missing))


def test_small_tiles_and_no_tiles(earth: SyntheticEarth, batch: TileBatch) -> None:
    small = SyntheticEarth(1, tile_size=16)
    tiles = small.tiles(small.places(4))
    reader = Tiles(tiles.coordinates, tiles.arrays, small.modalities)
    reader.tile_size = 16
    assert survey_tiles(reader, np.arange(4)).registration == ()
    nothing = survey_tiles(Tiles(batch.coordinates, batch.arrays, earth.modalities), np.arange(0))
    assert (nothing.coverage, nothing.suspects, nothing.histograms) == ({}, (), {})


def test_coverage_histograms_and_classes_are_those_of_the_arrays(look: Look, batch: TileBatch) -> None:
    survey = look(untouched)
    radar = batch.arrays["sentinel1"]
    assert list(survey.coverage["sentinel1"].missing.values()) == pytest.approx(
        (~np.isfinite(radar)).mean(axis=(0, 2, 3)).tolist()
    )
    absent = ~np.isfinite(radar).reshape(COUNT, -1).any(axis=1)
    assert survey.coverage["sentinel1"].absent == absent.mean()
    codes, counts = np.unique(batch.arrays["esa_worldcover"], return_counts=True)
    assert survey.classes["esa_worldcover"] == dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert list(survey.classes["esa_worldcover"].values()) == sorted(counts.tolist(), reverse=True)
    levels = survey.histograms["sentinel2"]
    for code, level in enumerate(("L1C", "L2A")):
        at = batch.coordinates.levels["sentinel2"] == code
        red = batch.arrays["sentinel2"][at, 3]
        histogram = levels[level]["B4"]
        inside = red[(red > histogram.low) & (red < histogram.high) & (red > 0)]
        assert histogram.counts.sum() == inside.size >= 0.985 * (red > 0).sum()
