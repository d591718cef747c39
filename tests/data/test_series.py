"""Time series of images: written, read, thinned, cropped and standardised."""

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet

from geopretext.data.dataset import TileDataset
from geopretext.data.loader import Batch, TileLoader
from geopretext.data.sampling import choose_dates, crop_windows, hash_seeds
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_root import StoreRoot, default_shard_size
from geopretext.data.survey import survey_tiles
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import CorruptError, GridError, InputError, StoreError
from geopretext.modality import MMEARTH, PUBLISHED

from . import store_tiles
from .interruption import Killed, digests, killed_after, make_lock_stale
from .series_tiles import LONGEST, MODALITIES, OPTICAL, RADAR, count_of, make_series_tiles
from .store_tiles import SIZE

COUNT = 23
SHARD = 5


def create(path: Path, shard_size: int = SHARD) -> StoreWriter:
    return StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=shard_size, dates=LONGEST)


def write(path: Path, *, resume: bool = False, count: int = COUNT) -> None:
    with StoreWriter.resume(path) if resume else create(path) as writer:
        for start in range(writer.committed, count, 4):
            writer.append(make_series_tiles(start, min(start + 4, count)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "tiles.zarr"
    write(path)
    return path


@pytest.fixture(scope="module")
def store(written: Path) -> Store:
    return Store.open(written)


def check_readable(path: Path, committed: int) -> None:
    store = Store.open(path)
    assert len(store) == committed
    assert store.verify() == []
    if not committed:
        return
    wanted = make_series_tiles(0, committed)
    for name, array in store.read(store.modalities, np.arange(committed)).items():
        np.testing.assert_array_equal(array, wanted.arrays[name], err_msg=name)
    for name, dates in wanted.coordinates.series.items():
        np.testing.assert_array_equal(store.coordinates.series[name], dates)


def test_tiles_of_no_to_all_dates_come_back(written: Path, store: Store) -> None:
    assert {count_of(OPTICAL, number) for number in range(COUNT)} == set(range(7))
    check_readable(written, COUNT)
    tiles = np.array([22, 0, 7, 7])
    wanted = make_series_tiles(0, COUNT).arrays[RADAR.name][tiles]
    np.testing.assert_array_equal(store.read([RADAR.name], tiles)[RADAR.name], wanted)
    at = list(store.modalities).index(OPTICAL.name)
    there = [count_of(OPTICAL, number) > 0 for number in range(COUNT)]
    assert (store.present >> at & 1).astype(bool).tolist() == there
    with pytest.raises(InputError, match="no tile 23"):
        store.read([RADAR.name], np.array([COUNT]))


@pytest.mark.parametrize("seed", range(6))
def test_any_numbers_of_dates_and_any_batches_round_trip(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    longest, count = int(random.integers(1, 9)), int(random.integers(1, 20))
    counts = random.integers(0, longest + 1, count)
    numbers = random.integers(1, 9000, (count, longest, 3, SIZE, SIZE)).astype(np.uint16)
    dates = np.datetime64("2019-06-01") + np.sort(random.integers(0, 400, (count, longest)), axis=1)
    padding = np.arange(longest) >= counts[:, None]
    dates[padding], numbers[padding] = np.datetime64("NaT"), 0
    plain = store_tiles.make_tiles(0, count, ()).coordinates
    size = int(random.integers(1, 7))
    with StoreWriter.create(
        tmp_path / "s", [OPTICAL], tile_size=SIZE, shard_size=size, dates={OPTICAL.name: longest}
    ) as writer:
        start = 0
        while start < count:
            part = slice(start, start + int(random.integers(1, 8)))
            some = int(counts[part].max())  # no longer than these tiles need, none included
            at = replace(plain.take(part), levels={}, series={OPTICAL.name: dates[part, :some]})
            writer.append(TileBatch(at, {OPTICAL.name: numbers[part, :some]}))
            start = min(part.stop, count)
    store = Store.open(tmp_path / "s")
    np.testing.assert_array_equal(store.read([OPTICAL.name], np.arange(count))[OPTICAL.name], numbers)
    np.testing.assert_array_equal(store.coordinates.series[OPTICAL.name], dates)
    assert store.verify() == []


def test_padding_takes_next_to_no_room(tmp_path: Path) -> None:
    sizes = {}
    for longest in (6, 60):
        path = tmp_path / f"{longest}.zarr"
        with StoreWriter.create(
            path, MODALITIES, tile_size=SIZE, shard_size=32, dates={**LONGEST, OPTICAL.name: longest}
        ) as writer:
            writer.append(make_series_tiles(0, COUNT))
        sizes[longest] = (path / OPTICAL.name / "c/0/0/0/0/0").stat().st_size
    assert sizes[60] < 1.1 * sizes[6]


def test_a_series_that_a_batch_lacks_is_missing_and_has_no_dates(tmp_path: Path) -> None:
    with create(tmp_path / "s") as writer:
        whole = make_series_tiles(0, 3)
        at = replace(whole.coordinates, series={RADAR.name: whole.coordinates.series[RADAR.name]})
        writer.append(TileBatch(at, {name: raw for name, raw in whole.arrays.items() if name != OPTICAL.name}))
    store = Store.open(tmp_path / "s")
    assert not store.read([OPTICAL.name], np.arange(3))[OPTICAL.name].any()
    assert np.isnat(store.coordinates.series[OPTICAL.name]).all()


def test_killed_anywhere_the_store_is_whole_shards_and_resumes_to_the_same_bytes(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digests(written)
    kills = 0
    for keys in range(30, 400, 61):
        path, survived = tmp_path / f"{keys}.zarr", False
        with killed_after(keys, monkeypatch, seed=keys):
            try:
                write(path)
                survived = True
            except Killed:
                kills += 1
        if survived:
            break
        make_lock_stale(path)
        try:
            check_readable(path, len(Store.open(path)))
        except StoreError:
            write(path)
        else:
            write(path, resume=True)
        assert digests(path) == whole, f"killed after {keys} keys"
    assert survived
    assert kills >= 2


def test_a_damaged_file_of_a_series_is_named(tmp_path: Path) -> None:
    write(tmp_path / "s")
    file = tmp_path / "s" / OPTICAL.name / "c/1/0/0/0/0"
    damaged = bytearray(file.read_bytes())
    damaged[200:260] = bytes(60)
    file.write_bytes(bytes(damaged))
    store = Store.open(tmp_path / "s")
    with pytest.raises(CorruptError, match=f"{OPTICAL.name}/c/1/0/0/0/0"):
        store.read([OPTICAL.name], np.arange(5, 10))
    assert [line.split(":")[0] for line in store.verify()] == [f"{OPTICAL.name}/c/1/0/0/0/0"]


def test_opens_in_xarray_with_a_dimension_of_dates_for_each_series(written: Path) -> None:
    xarray = pytest.importorskip("xarray")
    wanted = make_series_tiles(0, COUNT)
    with xarray.open_zarr(written) as dataset:
        assert dataset[OPTICAL.name].dims == ("tile", f"{OPTICAL.name}_date", f"{OPTICAL.name}_band", "y", "x")
        assert dataset[OPTICAL.name].dtype == np.uint16
        dates = dataset.coords[f"{RADAR.name}_time"]
        assert dates.dims == ("tile", f"{RADAR.name}_date")
        np.testing.assert_array_equal(dates.values.astype("datetime64[D]"), wanted.coordinates.series[RADAR.name])
        red = dataset[OPTICAL.name].sel({f"{OPTICAL.name}_band": "B8"})
        summer = red.where(dataset[f"{OPTICAL.name}_time"].dt.month == 7)
        chosen = (wanted.coordinates.series[OPTICAL.name].astype("datetime64[M]").astype(int) % 12) == 6
        assert np.isfinite(summer.values).any(axis=(2, 3)).tolist() == chosen.tolist()


def test_a_store_without_series_is_laid_out_as_before() -> None:
    root = StoreRoot({m.name: m for m in store_tiles.MODALITIES}, tile_size=SIZE, shard_size=SHARD)
    before_there_were_series = "e50f30e9db96d25a5ef71c69844e50bc20115176fdc7ce9bf63697e556c366de"
    assert sha256(root.to_bytes()).hexdigest() == before_there_were_series


def refused(batch: TileBatch, tmp_path: Path) -> None:
    with create(tmp_path / "s") as writer:
        writer.append(batch)


def test_dates_and_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    batch = make_series_tiles(0, 4)
    dates = batch.coordinates.series[OPTICAL.name]

    def dated(changed: np.ndarray) -> Coordinates:
        return replace(batch.coordinates, series={**batch.coordinates.series, OPTICAL.name: changed})

    with pytest.raises(InputError, match="do not ascend"):
        dated(np.array([["2020-02-01", "2020-01-01"]] * 4, "datetime64[D]"))
    with pytest.raises(InputError, match="before a date"):
        dated(np.array([["NaT", "2020-01-01"]] * 4, "datetime64[D]"))
    with pytest.raises(InputError, match=r"datetime64\[s\] of shape \(4, 6\), not datetime64\[D\]"):
        dated(dates.astype("datetime64[s]"))
    with pytest.raises(GridError, match=r"shape \(4, 6, 3, 8, 8\), wanted \(4, 2, 3, 8, 8\) .tiles, dates, bands"):
        refused(TileBatch(dated(dates[:, :2]), batch.arrays), tmp_path / "a")
    with pytest.raises(InputError, match="has values where it has no date"):
        refused(TileBatch(dated(np.full_like(dates, "NaT")), batch.arrays), tmp_path / "b")
    with pytest.raises(InputError, match="has no dates"):
        refused(TileBatch(replace(batch.coordinates, series={}), batch.arrays), tmp_path / "c")
    with pytest.raises(InputError, match="has dates and no images"):
        refused(TileBatch(batch.coordinates, {}), tmp_path / "d")
    long = np.repeat(dates[:, :1], 7, axis=1)
    arrays = {**batch.arrays, OPTICAL.name: np.repeat(batch.arrays[OPTICAL.name][:, :1], 7, axis=1)}
    with pytest.raises(InputError, match="has 7 dates, and here it has 6 at most"):
        refused(TileBatch(dated(long), arrays), tmp_path / "e")
    with pytest.raises(InputError, match="say of each series how many dates"):
        StoreWriter.create(tmp_path / "f", MODALITIES, tile_size=SIZE, dates={OPTICAL.name: 3})


def test_coordinates_of_other_lengths_are_padded_when_they_are_joined() -> None:
    plain = replace(store_tiles.make_tiles(0, 1, ()).coordinates, levels={})
    day = np.array([["2020-03-01"]], "datetime64[D]")
    parts = [
        replace(plain, series={OPTICAL.name: np.concatenate([day, day + 7], axis=1)}),
        replace(plain, series={RADAR.name: day + 1}),
        replace(plain, series={OPTICAL.name: day, RADAR.name: day + 2}),
    ]
    joined = Coordinates.concatenate(parts).series
    assert joined[OPTICAL.name].astype(str).tolist() == [
        ["2020-03-01", "2020-03-08"], ["NaT", "NaT"], ["2020-03-01", "NaT"],
    ]  # fmt: skip
    assert joined[RADAR.name].astype(str).tolist() == [["NaT"], ["2020-03-02"], ["2020-03-03"]]
    assert Coordinates.concatenate(parts).take(np.array([2])).series[RADAR.name].astype(str).tolist() == [
        ["2020-03-03"]
    ]


def loader(store: Store, **changes: object) -> TileLoader:
    names = {OPTICAL.name: None, RADAR.name: None, "sentinel2": ("B8",)}
    settings = {"modalities": names, "statistics": None, "batch_size": COUNT, "shuffle": False, **changes}
    return TileLoader(store, **settings)  # type: ignore[arg-type]


def one(batches: TileLoader) -> Batch:
    return next(iter(batches))


def test_a_batch_holds_values_and_dates_and_padding_is_not_valid(store: Store) -> None:
    batch, wanted = one(loader(store)), make_series_tiles(0, COUNT)
    for modality in (OPTICAL, RADAR):
        values, valid = batch.fields[modality.name]
        assert values.shape == (COUNT, LONGEST[modality.name], len(modality.bands), SIZE, SIZE)
        assert values.dtype == torch.float32
        expected, known = modality.decode(wanted.arrays[modality.name])
        np.testing.assert_array_equal(values.numpy(), expected)
        np.testing.assert_array_equal(valid.numpy(), known)
        days, dated = batch.acquisition.series[modality.name]
        dates = wanted.coordinates.series[modality.name]
        np.testing.assert_array_equal(dated.numpy(), ~np.isnat(dates))
        np.testing.assert_array_equal(days[dated].numpy(), dates[~np.isnat(dates)].astype(np.int64))
        assert not days[~dated].any()
        assert not valid[~dated].any()
        assert not values[~dated].any()


def test_series_are_standardised_with_the_statistics_of_each_tiles_level(store: Store) -> None:
    statistics = compute_statistics(store, np.arange(COUNT))
    batch, wanted = one(loader(store, statistics=statistics)), make_series_tiles(0, COUNT)
    raw, levels = wanted.arrays[OPTICAL.name].astype(np.float64), wanted.coordinates.levels[OPTICAL.name]
    known = ~np.isnat(wanted.coordinates.series[OPTICAL.name])
    for level, name in enumerate(OPTICAL.levels):
        images = raw[levels == level][known[levels == level]]  # (N, C, H, W), counted by hand
        mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
        found = statistics.modalities[OPTICAL.name].bands[name]
        np.testing.assert_allclose([found[band].mean for band in OPTICAL.band_names], mean)
        np.testing.assert_allclose([found[band].std for band in OPTICAL.band_names], std)
        expected = (images - mean[:, None, None]) / std[:, None, None]
        values = batch.fields[OPTICAL.name].values.numpy()[levels == level][known[levels == level]]
        np.testing.assert_allclose(values, expected, atol=1e-4)
    assert statistics.modalities[OPTICAL.name].missing == 0  # padding is not counted


def test_images_share_the_window_of_the_maps(tmp_path: Path) -> None:
    batch = make_series_tiles(0, COUNT)
    plane = batch.arrays["sentinel2"][:, OPTICAL_BAND := PUBLISHED["sentinel2"].band_names.index("B8")]
    known = ~np.isnat(batch.coordinates.series[OPTICAL.name])
    batch.arrays[OPTICAL.name][:] = np.where(known[:, :, None, None, None], plane[:, None, None], 0)
    with create(tmp_path / "s") as writer:
        writer.append(batch)
    found = one(loader(Store.open(tmp_path / "s"), crop=5, seed=3))
    image, (series, valid) = found.fields["sentinel2"], found.fields[OPTICAL.name]
    windows = crop_windows(found.seeds.numpy(), tile_size=SIZE, crop=5)
    assert len(np.unique(windows, axis=0)) > 4
    expected = image.values[:, None].expand_as(series)
    torch.testing.assert_close(series[valid], expected[valid], rtol=0, atol=0)
    assert valid.any()
    y, x = windows[1]
    np.testing.assert_array_equal(image.values[1, 0], batch.arrays["sentinel2"][1, OPTICAL_BAND, y : y + 5, x : x + 5])


def test_thinned_series_are_images_of_the_tile_in_their_order(store: Store) -> None:
    whole, few = one(loader(store)), one(loader(store, dates=3))
    for modality in (OPTICAL, RADAR):
        values, days = few.fields[modality.name].values, few.acquisition.series[modality.name]
        assert values.shape[1] == days.values.shape[1] == 3
        for tile in range(COUNT):
            count = count_of(modality, tile)
            assert days.valid[tile].sum() == min(count, 3)
            every = whole.acquisition.series[modality.name].values[tile, :count].tolist()
            kept = days.values[tile, : min(count, 3)].tolist()
            assert kept == sorted(kept)
            for day, image in zip(kept, values[tile], strict=False):
                same_day = whole.fields[modality.name].values[tile, :count][torch.tensor(every) == day]
                assert any(torch.equal(image, other) for other in same_day)
            assert not values[tile, min(count, 3) :].any()
    assert one(loader(store, dates=99)).fields[OPTICAL.name].values.shape[1] == LONGEST[OPTICAL.name]
    with pytest.raises(InputError, match="dates is 0"):
        loader(store, dates=0)


def test_every_set_of_dates_is_equally_likely_and_padding_comes_last() -> None:
    dates = np.full((20_000, 5), np.datetime64("NaT", "D"))
    dates[:, :4] = np.datetime64("2020-01-01") + np.arange(4)
    chosen = choose_dates(hash_seeds(np.arange(20_000)), dates, most=2)
    sets, counts = np.unique(chosen, axis=0, return_counts=True)
    assert sets.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert abs(counts / 20_000 - 1 / 6).max() < 0.01  # four standard deviations
    dates[:, 1:] = np.datetime64("NaT")
    assert (choose_dates(np.arange(20_000), dates, most=3)[:, 0] == 0).all()


def test_batches_do_not_depend_on_ranks_or_parts_and_resume(store: Store) -> None:
    settings = {"batch_size": 8, "shuffle": True, "dates": 2, "crop": 6, "seed": 5}
    whole = list(loader(store, **settings))
    shared = [list(loader(store, **settings, rank=rank, world_size=2, parts=2)) for rank in range(2)]
    for number, batch in enumerate(whole):
        pieces = [shared[rank][2 * number + part] for part in range(2) for rank in range(2)]
        for name in (OPTICAL.name, RADAR.name):
            for at in range(2):
                joined = torch.cat([piece.fields[name][at] for piece in pieces])
                assert torch.equal(joined, batch.fields[name][at])
                days = torch.cat([piece.acquisition.series[name][at] for piece in pieces])
                assert torch.equal(days, batch.acquisition.series[name][at])
    halted = loader(store, **settings)
    one(halted)
    resumed = loader(store, **settings)
    resumed.load_state_dict(halted.state_dict())
    assert torch.equal(one(resumed).fields[OPTICAL.name].values, whole[1].fields[OPTICAL.name].values)
    batches = loader(store, **{**settings, "batch_size": COUNT, "shuffle": False})
    first, second = one(batches), next(iter(batches))
    assert not torch.equal(first.acquisition.series[RADAR.name].values, second.acquisition.series[RADAR.name].values)


def test_whole_batches_and_blocks_agree(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU treats them, and as a CPU does."""
    statistics = compute_statistics(store)
    by_block = one(loader(store, statistics=statistics, crop=6, seed=2))
    batches = loader(store, statistics=statistics, crop=6, seed=2)
    for source in batches._sources.values():
        monkeypatch.setattr(source, "_blockwise", None)
    whole = one(batches)
    for name in (OPTICAL.name, RADAR.name):
        assert torch.equal(by_block.fields[name].values, whole.fields[name].values)
        assert torch.equal(by_block.fields[name].valid, whole.fields[name].valid)


def test_one_tile_at_a_time(store: Store) -> None:
    dataset = TileDataset(store, {OPTICAL.name: ("B12",), "sentinel2": None}, crop=4, dates=3)
    batch = one(loader(store, modalities={OPTICAL.name: ("B12",)}, crop=4, random_crop=False))
    number = next(tile for tile in range(COUNT) if count_of(OPTICAL, tile) == 2)
    sample = dataset[number]
    assert sample[OPTICAL.name].values.shape == (3, 1, 4, 4)
    assert torch.equal(sample[OPTICAL.name].values[:2], batch.fields[OPTICAL.name].values[number, :2])
    days = batch.acquisition.series[OPTICAL.name]
    assert sample[f"{OPTICAL.name}_days"].valid.tolist() == [True, True, False]
    assert torch.equal(sample[f"{OPTICAL.name}_days"].values[:2], days.values[number, :2])
    torchgeo = TileDataset(store, {OPTICAL.name: None}, keys="torchgeo")[number]
    assert torchgeo["image"].shape == (LONGEST[OPTICAL.name], 3, SIZE, SIZE)
    assert torchgeo["image_days"].shape == torchgeo["image_days_valid"].shape == (LONGEST[OPTICAL.name],)


def test_what_a_reader_gives_a_writer_takes(store: Store, written: Path, tmp_path: Path) -> None:
    with create(tmp_path / "copy.zarr") as writer:
        for tiles in np.array_split(np.arange(COUNT), 3):
            writer.append(TileBatch(store.coordinates.take(tiles), store.read(store.modalities, tiles)))
    assert digests(tmp_path / "copy.zarr") == digests(written)


def test_a_survey_counts_dates_and_not_padding(store: Store, tmp_path: Path) -> None:
    survey = survey_tiles(store, np.arange(COUNT))
    assert survey.coverage[OPTICAL.name].absent == sum(count_of(OPTICAL, n) == 0 for n in range(COUNT)) / COUNT
    dates = store.coordinates.series[OPTICAL.name]
    # Tiles without a date lack everything, all others nothing.
    lost = np.isnat(dates).all(axis=1).mean()
    np.testing.assert_allclose(list(survey.coverage[OPTICAL.name].missing.values()), lost)
    seen = sum(
        histogram.counts.sum() for level in survey.histograms[RADAR.name].values() for histogram in level.values()
    )
    assert seen == pytest.approx((~np.isnat(store.coordinates.series[RADAR.name])).sum() * 2 * SIZE**2, rel=0.02)


def test_odd_series_are_suspects(tmp_path: Path) -> None:
    batch = make_series_tiles(0, COUNT)
    optical, dates = batch.arrays[OPTICAL.name], batch.coordinates.series[OPTICAL.name]
    full = [tile for tile in range(COUNT) if count_of(OPTICAL, tile) == 3]
    optical[full[0], :3, 1] = 1234  # one number in all images
    optical[full[1]], dates[full[1]] = optical[full[2]], dates[full[2]]
    optical[full[3], 0, 2] = 40_000  # a third of the images of a band
    with create(tmp_path / "s") as writer:
        writer.append(batch)
    found = {
        (suspect.tile, str(suspect.suspicion), suspect.band)
        for suspect in survey_tiles(Store.open(tmp_path / "s"), np.arange(COUNT)).suspects
        if suspect.modality == OPTICAL.name
    }
    assert (full[0], "constant", "B8") in found
    assert (max(full[1:3]), "duplicate", "") in found
    assert (full[3], "implausible values", "B12") in found
    assert len(found) == 3


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "series.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    assert [f"# {line}" in example for line in printed] == [True, True]
    assert Store.open("series.zarr").verify() == []
    table = parquet.read_table("series.zarr/tiles.parquet")
    assert table["sentinel2_series_images"].to_pylist() == [3, 1]


def test_shards_are_smaller_for_longer_series() -> None:
    optical = {OPTICAL.name: replace(OPTICAL, bands=PUBLISHED["sentinel2_series"].bands)}
    assert default_shard_size(MMEARTH, tile_size=64, dates={}) == 256
    sizes = [default_shard_size(optical, tile_size=64, dates={OPTICAL.name: count}) for count in (1, 24, 70, 10_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 256
    assert sizes[-1] == 1
    assert all(size * count * 12 * 64 * 64 * 2 <= 2**29 for size, count in zip(sizes[:3], (1, 24, 70), strict=True))
