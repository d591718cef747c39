"""Series of the synthetic Earth: the planet's own images, on days on which it was seen, that tell crops apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.data.convert import convert
from geopretext.data.store import Store
from geopretext.data.synthetic import SyntheticEarth, write_synthetic_store
from geopretext.data.synthetic.farmland import CALENDARS
from geopretext.data.synthetic.series import series_days, series_orbits
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.errors import InputError
from geopretext.modality import BIOMES, PUBLISHED

OPTICAL, RADAR = "sentinel2_series", "sentinel1_series"
SIZE, DATES = 16, 6
EARTH = SyntheticEarth(0, tile_size=SIZE, series={OPTICAL: DATES, RADAR: DATES})
S2 = list(PUBLISHED["sentinel2"].band_indices(PUBLISHED[OPTICAL].band_names))


@pytest.fixture(scope="module")
def batch() -> TileBatch:
    return EARTH.tiles(EARTH.places(40))


def reach(where: Coordinates, name: str) -> np.ndarray:
    """Days from the reference, NaN for padding."""
    days = (where.series[name] - where.time.astype("datetime64[D]")[:, None]).astype(float)
    return np.where(np.isnat(where.series[name]), np.nan, days)


def test_series_are_there_only_if_they_were_asked_for(batch: TileBatch) -> None:
    plain = SyntheticEarth(0, tile_size=SIZE)
    assert not any(modality.kind.is_series for modality in plain.modalities.values())
    assert {OPTICAL, RADAR} < set(EARTH.modalities)
    batch.check(EARTH.modalities, SIZE)
    without = plain.tiles(plain.places(40))
    assert without.coordinates.series == {}
    for name, array in without.arrays.items():
        assert np.array_equal(array, batch.arrays[name], equal_nan=array.dtype.kind == "f"), name


def test_every_image_is_what_a_tile_of_that_day_shows(batch: TileBatch) -> None:
    plain, where = SyntheticEarth(0, tile_size=SIZE), batch.coordinates
    orbits = series_orbits(0, where)
    for date in range(DATES):
        for name in (OPTICAL, RADAR):
            there = np.flatnonzero(~np.isnat(where.series[name][:, date]))
            then = replace(where.take(there), time=where.series[name][there, date].astype("datetime64[s]"), series={})
            tiles = plain.tiles(then).arrays
            for number, tile in enumerate(there):
                image = batch.arrays[name][tile, date]
                if name == OPTICAL:
                    assert np.array_equal(image, tiles["sentinel2"][number, S2])
                else:  # asc VV, VH or desc VV, VH
                    pair = tiles["sentinel1"][number, 4 * orbits[tile] : 4 * orbits[tile] + 2]
                    assert np.array_equal(image, pair, equal_nan=True)
                    assert np.isfinite(image).any()


def test_the_reference_image_is_one_of_the_series(batch: TileBatch) -> None:
    where = batch.coordinates
    assert np.array_equal(where.levels[OPTICAL], where.levels["sentinel2"])
    assert ((reach(where, OPTICAL) == 0).sum(axis=1) == 1).all()
    tile, date = np.nonzero(reach(where, OPTICAL) == 0)
    assert np.array_equal(batch.arrays[OPTICAL][tile, date], batch.arrays["sentinel2"][:, S2])


def test_dates_are_those_of_passes_of_a_year_spread_over_it(batch: TileBatch) -> None:
    for name, every in ((OPTICAL, 5), (RADAR, 6)):
        days = reach(batch.coordinates, name)
        there = np.isfinite(days)
        assert (days[there] % every == 0).all()
        assert np.abs(days[there]).max() <= 182
        assert (np.diff(days, axis=1)[there[:, 1:]] > 0).all()
        assert (there[:, :-1] >= there[:, 1:]).all()
        assert not batch.arrays[name][~there].any() or np.isnan(batch.arrays[name][~there]).all()
    full = np.isfinite(reach(batch.coordinates, OPTICAL)).all(axis=1)
    assert full.mean() > 0.8
    span = np.ptp(reach(batch.coordinates, OPTICAL)[full], axis=1)
    assert np.median(span) > 300


def test_skies_are_overcast_where_and_when_it_rains() -> None:
    where = EARTH.places(150)
    days = series_days(OPTICAL, 0, where, SIZE, 73)
    seen = (~np.isnat(days)).sum(axis=1)
    assert 0.3 < seen.mean() / 73 < 0.6
    dry = where.biome == BIOMES.index("Deserts & Xeric Shrublands")
    wet = where.biome == BIOMES.index("Tropical & Subtropical Moist Broadleaf Forests")
    assert seen[dry].mean() > 1.6 * seen[wet].mean()


def test_in_the_dark_of_winter_nothing_is_seen() -> None:
    where = EARTH.places(150)
    north = where.take(np.flatnonzero(where.lat > 60))
    assert len(north) > 5
    days = series_days(OPTICAL, 0, north, SIZE, 73)
    is_other = days != north.time.astype("datetime64[D]")[:, None]
    months = (days.astype("datetime64[M]").astype(int) % 12 + 1)[is_other & ~np.isnat(days)]
    assert not (months == 12).any()
    assert (months == 6).any()


def test_a_tile_does_not_depend_on_the_others(batch: TileBatch) -> None:
    alone = EARTH.tiles(EARTH.places(1, start=7))
    for name in (OPTICAL, RADAR):
        assert np.array_equal(alone.coordinates.series[name], batch.coordinates.series[name][7:8])
        assert np.array_equal(alone.arrays[name], batch.arrays[name][7:8], equal_nan=True)


@pytest.mark.slow
def test_a_year_tells_crop_calendars_apart_better_than_an_image() -> None:
    """Nearest class means of the vegetation index, of the reference alone and of the whole series."""
    earth = SyntheticEarth(3, tile_size=24, series={OPTICAL: 12})
    tiles = earth.tiles(earth.places(400))
    calendar = tiles.arrays["crop_calendar"][:, 0]
    red, infrared = (PUBLISHED[OPTICAL].band_names.index(name) for name in ("B4", "B8"))
    values, valid = PUBLISHED[OPTICAL].decode(tiles.arrays[OPTICAL])
    index = (values[:, :, infrared] - values[:, :, red]) / np.maximum(values[:, :, infrared] + values[:, :, red], 1)
    days = (tiles.coordinates.series[OPTICAL].astype("datetime64[D]") - np.datetime64("2016-01-01")).astype(float)
    south = np.where(tiles.coordinates.lat < 0, 0.5, 0.0)[:, None]
    part = (days / 365.25 + south) % 1.0
    weight = np.cos(2 * np.pi * (part[:, None, :] - np.arange(6)[None, :, None] / 6)).clip(0) ** 2
    mean = np.where(valid[:, :, red], index, 0).mean(axis=(2, 3))
    there = ~np.isnat(tiles.coordinates.series[OPTICAL]) & valid[:, :, red].any(axis=(2, 3))
    course = (weight * there[:, None] * mean[:, None]).sum(2) / np.maximum((weight * there[:, None]).sum(2), 1e-3)
    reference = mean[reach(tiles.coordinates, OPTICAL) == 0][:, None]
    crops = calendar > 0
    assert CALENDARS[0] == "no crops"
    assert score(course[crops], calendar[crops]) > score(reference[crops], calendar[crops]) + 0.1


def score(features: np.ndarray, classes: np.ndarray) -> float:
    """Balanced accuracy on every other tile of the nearest mean of the rest."""
    even = np.arange(len(classes)) % 2 == 0
    names = np.unique(classes)
    means = np.stack([features[even & (classes == name)].mean(axis=0) for name in names])
    guess = names[((features[~even, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    return float(np.mean([(guess == name)[classes[~even] == name].mean() for name in names]))


def test_a_store_of_series_is_written_resumed_and_read_back(tmp_path: Path, batch: TileBatch) -> None:
    series = {OPTICAL: DATES, RADAR: DATES}
    write_synthetic_store(tmp_path / "s.zarr", count=6, tile_size=SIZE, series=series, workers=1, shard_size=4)
    store = Store.open(tmp_path / "s.zarr")
    assert store.attributes["recipe"]["series"] == series
    tiles = store.read([OPTICAL, RADAR], np.arange(6))
    for name in (OPTICAL, RADAR):
        assert np.array_equal(tiles[name], batch.arrays[name][:6], equal_nan=True)
        assert np.array_equal(store.coordinates.series[name], batch.coordinates.series[name][:6])
    write_synthetic_store(tmp_path / "plain.zarr", count=6, tile_size=SIZE, workers=1, shard_size=4)
    plain = Store.open(tmp_path / "plain.zarr")
    assert "series" not in plain.attributes["recipe"]
    assert "dates" not in plain.attributes
    for file in (tmp_path / "plain.zarr" / "sentinel2").rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            assert file.read_bytes() == (tmp_path / "s.zarr" / file.relative_to(tmp_path / "plain.zarr")).read_bytes()


def test_convert_makes_series_of_the_planet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geopretext.data.writer.default_shard_size", lambda *_: 1)  # as if series were very long
    report = convert("synthetic", tmp_path / "s.zarr", count=2, series={RADAR: 2})
    assert RADAR in report.modalities
    assert OPTICAL not in report.modalities
    store = Store.open(tmp_path / "s.zarr")
    assert store.coordinates.series[RADAR].shape == (2, 2)
    assert store.shard_size == 1


def test_only_the_planet_is_asked_for_series(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are those of the synthetic Earth"):
        convert(tmp_path, tmp_path / "s.zarr", series={RADAR: 2})


@pytest.mark.parametrize("series", [{"sentinel3_series": 4}, {OPTICAL: 0}])
def test_series_that_cannot_be_are_refused(series: dict[str, int]) -> None:
    with pytest.raises(InputError, match="images of the series"):
        SyntheticEarth(0, series=series)
