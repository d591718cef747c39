import gc
import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from geopretext.data.loader import Batch, TileLoader
from geopretext.data.sampling import crop_windows, epoch_order, hash_seeds
from geopretext.errors import BandError, ClassError, CorruptError, GridError, InputError

from .memory_tiles import MemoryTiles

ALL = dict.fromkeys(("optical", "sentinel1", "dynamic_world", "biome", "month"))


def loader(reader: MemoryTiles | None = None, **changes: object) -> TileLoader:
    settings = {"modalities": {"optical": None}, "statistics": None, "batch_size": 4, **changes}
    return TileLoader(reader or MemoryTiles(), **settings)  # type: ignore[arg-type]


def tiles(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.tiles.tolist() for batch in batches]


def same(one: Batch, other: Batch) -> bool:
    fields = all(
        torch.equal(a, b) for name in one.fields for a, b in zip(one.fields[name], other.fields[name], strict=True)
    )
    return fields and torch.equal(one.tiles, other.tiles) and torch.equal(one.seeds, other.seeds)


def reader_threads() -> int:
    return sum(thread.name.startswith("geopretext-reader") for thread in threading.enumerate())


def test_a_batch_agrees_with_the_modality_and_the_statistics() -> None:
    reader = MemoryTiles()
    statistics = reader.statistics
    assert statistics is not None
    (batch,) = loader(reader, modalities=ALL, statistics=statistics, batch_size=12, shuffle=False)
    assert list(batch.fields) == list(ALL)
    assert not np.isfinite(reader.arrays["sentinel1"]).all()  # left as it is
    levels = reader.coordinates.levels["optical"]
    for name, (values, valid) in batch.fields.items():
        modality = reader.modalities[name]
        expected, known = modality.decode(reader.arrays[name])
        if modality.kind.is_continuous:
            expected = expected.astype(np.float64)
            for tile in range(12):
                level = modality.levels[levels[tile]] if modality.levels else "all"
                mean, std = statistics.mean_std(modality, modality.band_names, level)
                trailing = (-1,) + (1,) * (expected.ndim - 2)
                expected[tile] = (expected[tile] - mean.reshape(trailing)) / std.reshape(trailing)
            expected[~known] = 0
        np.testing.assert_array_equal(valid.numpy(), known)
        np.testing.assert_allclose(values.numpy(), expected, atol=1e-4)
    assert batch.fields["sentinel1"].valid.any()
    assert not batch.fields["sentinel1"].valid.all()


def test_bands_are_picked_by_name_in_the_order_asked_for() -> None:
    (batch,) = loader(modalities={"optical": ("blue", "red")}, batch_size=12, shuffle=False, crop=5)
    red, blue = batch.fields["optical"].values[:, 1], batch.fields["optical"].values[:, 0]
    torch.testing.assert_close(blue - red, torch.full_like(red, 20_000))
    (vector,) = loader(modalities={"month": ("cos",)}, batch_size=12, shuffle=False)
    torch.testing.assert_close(
        vector.fields["month"].values[:, 0], torch.from_numpy(MemoryTiles().arrays["month"][:, 1])
    )


def test_all_maps_of_a_tile_share_one_window_and_tiles_have_windows_of_their_own() -> None:
    reader = MemoryTiles(count=40, size=16)
    reader.arrays["sentinel1"] = reader.arrays["optical"][:, [0] * 8].astype(np.float32) % 100 / 10 - 20
    (batch,) = loader(reader, modalities={"optical": None, "sentinel1": None}, batch_size=40, crop=7)
    optical = batch.fields["optical"].values[:, 0] - 1 - 100 * batch.tiles[:, None, None]
    corners = {(int(tile[0, 0]) // 10, int(tile[0, 0]) % 10) for tile in optical}
    assert batch.fields["optical"].values.shape == (40, 3, 7, 7)
    assert len(corners) > 15
    torch.testing.assert_close(
        batch.fields["sentinel1"].values[:, 0], (batch.fields["optical"].values[:, 0] % 100) / 10 - 20
    )


def test_windows_are_uniform_and_reach_every_place() -> None:
    windows = crop_windows(hash_seeds(0, np.arange(9000)), tile_size=10, crop=8)
    counts = np.bincount(windows[:, 0] * 3 + windows[:, 1], minlength=9)
    assert len(counts) == 9
    assert abs(counts - 1000).max() < 150
    assert (crop_windows(hash_seeds(np.arange(5)), tile_size=8, crop=8) == 0).all()


def test_the_centre_is_cropped_if_not_at_random() -> None:
    (batch,) = loader(batch_size=12, crop=4, random_crop=False, shuffle=False)
    assert batch.fields["optical"].values[0, 0, 0, 0] == 2 * 10 + 2 + 1


def test_order_crops_and_seeds_follow_from_seed_and_epoch() -> None:
    one, two = loader(crop=5, seed=3), loader(crop=5, seed=3)
    first = list(one)
    assert all(itertools.starmap(same, zip(first, two, strict=True)))
    second = list(one)  # the next epoch
    assert sorted(itertools.chain(*tiles(first))) == sorted(itertools.chain(*tiles(second)))
    assert tiles(first) != tiles(second)
    two.set_epoch(1)
    assert all(itertools.starmap(same, zip(second, two, strict=True)))
    assert tiles(loader(seed=4)) != tiles(first)


def test_seeds_are_a_function_of_seed_epoch_and_tile() -> None:
    by_tile = {}
    for batch in loader(batch_size=3, seed=5):
        by_tile |= dict(zip(batch.tiles.tolist(), batch.seeds.tolist(), strict=True))
    for batch in loader(batch_size=4, seed=5, shuffle=False, tiles=np.arange(8)):
        assert [by_tile[tile] for tile in batch.tiles.tolist()] == batch.seeds.tolist()


def test_seeds_are_those_of_splitmix64_on_any_machine() -> None:
    def mixed(*parts: int) -> int:
        state, mask = 0, 2**64 - 1
        for part in parts:
            state = ((state ^ (part & mask)) + 0x9E3779B97F4A7C15) & mask
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
            state ^= state >> 31
        return state >> 1

    assert mixed(0) == 16294208416658607535 >> 1  # the first output of SplitMix64 from state 0
    assert hash_seeds(7, -2, np.arange(50)).tolist() == [mixed(7, -2, tile) for tile in range(50)]
    assert epoch_order(np.arange(6), seed=1, epoch=2).tolist() == sorted(
        range(6), key=lambda tile: mixed(1, 1, 2, tile)
    )


@pytest.mark.parametrize(("world_size", "parts"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_global_batch_is_the_same_however_it_is_shared(world_size: int, parts: int) -> None:
    whole = tiles(loader(crop=5))
    ranks = [tiles(loader(crop=5, world_size=world_size, rank=rank, parts=parts)) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {len(whole) * parts}
    for number, batch in enumerate(whole):
        shares = [rank[number * parts + part] for part in range(parts) for rank in ranks]
        assert list(itertools.chain(*shares)) == batch


def test_the_last_tiles_are_left_out_or_come_in_a_short_batch() -> None:
    assert [len(batch) for batch in loader(batch_size=5)] == [5, 5]
    short = loader(batch_size=5, drop_last=False)
    assert [len(batch) for batch in short] == [5, 5, 2]
    assert len(short) == 3


@pytest.mark.parametrize("consumed", [0, 1, 3, 5, 6, 7, 12])
def test_resuming_gives_exactly_the_remaining_batches(consumed: int) -> None:
    def endless(source: TileLoader) -> Iterable[Batch]:
        while True:
            yield from source

    settings = {"batch_size": 4, "parts": 2, "crop": 5, "seed": 1}  # 6 batches an epoch
    expected = list(itertools.islice(endless(loader(**settings)), 20))
    interrupted = loader(**settings)
    for _ in itertools.islice(endless(interrupted), consumed):
        pass
    resumed = loader(**settings)
    resumed.load_state_dict(interrupted.state_dict())
    rest = itertools.islice(endless(resumed), 20 - consumed)
    assert all(itertools.starmap(same, zip(expected[consumed:], rest, strict=True)))


def test_a_new_iteration_begins_the_epoch_anew() -> None:
    source = loader()
    assert same(next(iter(source)), next(iter(source)))


def test_a_state_of_other_tiles_is_refused() -> None:
    state = loader().state_dict()
    with pytest.raises(InputError, match=r"state of the loader: batches was 3 and is now 2"):
        loader(batch_size=6).load_state_dict(state)
    with pytest.raises(InputError, match="seed was 0 and is now 9"):
        loader(seed=9).load_state_dict(state)


def test_reading_ahead_is_bounded() -> None:
    reader = MemoryTiles(count=40)
    iterator = iter(loader(reader, batch_size=2, prefetch=3))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(reader.reads) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(reader.reads) == 5  # one handed out, three waiting, one in hand
    iterator.close()  # type: ignore[attr-defined]


def test_vectors_are_read_once() -> None:
    reader = MemoryTiles()
    list(loader(reader, modalities={"month": None, "biome": None}))
    assert reader.reads == [] or all(len(read) == 4 for read in reader.reads)
    arrays = reader.arrays.pop("month")
    with pytest.raises(KeyError):
        loader(reader, modalities={"month": None})
    reader.arrays["month"] = arrays
    source = loader(reader, modalities={"month": None})
    del reader.arrays["month"]
    assert sum(len(batch) for batch in source) == 12


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_threads_end_with_their_iterator(how: str) -> None:
    assert reader_threads() == 0
    iterator = iter(loader(MemoryTiles(count=40), batch_size=2))
    next(iterator)
    assert reader_threads() > 0
    if how == "closed":
        iterator.close()  # type: ignore[attr-defined]
    else:
        del iterator
        gc.collect()
    assert reader_threads() == 0


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_awaited() -> None:
    class Broken(MemoryTiles):
        def read(self, names, tiles):  # type: ignore[no-untyped-def]
            if len(self.reads) == 2:
                raise CorruptError("checksum differs", where="c/3/0/0/0")
            return super().read(names, tiles)

    source = iter(loader(Broken(), shuffle=False))
    assert tiles(itertools.islice(source, 2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(CorruptError, match="c/3/0/0/0: checksum differs"):
        next(source)
    assert reader_threads() == 0


def test_an_unknown_class_code_names_modality_code_and_tile() -> None:
    reader = MemoryTiles()
    reader.arrays["dynamic_world"][7, 0, 3, 3] = 42
    with pytest.raises(ClassError, match=r"tile tile-007: code 42 is not a class of modality 'dynamic_world'") as error:
        list(loader(reader, modalities={"dynamic_world": None}))
    assert "missing" in error.value.hint
    reader.arrays["biome"][2] = 99
    with pytest.raises(ClassError, match=r"tile tile-002: code 99 is not a class of modality 'biome'"):
        loader(reader, modalities={"biome": None})


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"modalities": {"aster": None}}, InputError, r"no modality 'aster'\nhint: there are optical, sentinel1"),
        ({"modalities": {"optical": ("nir",)}}, BandError, r"modality 'optical': no band 'nir'"),
        (
            {"crop": 9},
            GridError,
            r"tiles of memory: a crop of 9 px does not fit tiles of 8 px\nhint: a crop of at most 8",
        ),
        ({"batch_size": 13}, InputError, r"12 tiles do not fill a batch of 13\nhint: a batch_size of at most 12"),
        ({"tiles": np.array([], int)}, InputError, r"0 tiles do not fill a batch of 4\nhint: choose a split"),
        ({"tiles": np.array([0, 12])}, InputError, r"a tile number is out of range 0 to 11"),
        (
            {"world_size": 3},
            InputError,
            r"batch_size 4 cannot be shared evenly by 1 parts of 3 .*\nhint: a multiple of 3",
        ),
        ({"world_size": 2, "rank": 2}, InputError, r"rank is 2 of 2 processes"),
        ({"world_size": 2, "drop_last": False}, InputError, r"cannot be shared evenly\nhint: drop_last=True"),
        ({"prefetch": 0}, InputError, r"prefetch is 0\nhint: at least 1"),
        ({"statistics": {}}, InputError, r"no statistics of modality 'optical'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        loader(**changes)


def test_a_level_without_statistics_is_refused_before_training_starts() -> None:
    scales = {"optical": {"L2A": ([0.0] * 3, [1.0] * 3), "all": ([0.0] * 3, [1.0] * 3)}}
    with pytest.raises(InputError, match=r"no statistics for level 'L1C', which 6 of the tiles have"):
        loader(statistics=scales)
    assert len(list(loader(statistics=scales, tiles=np.arange(1, 12, 2)))) == 1


def test_a_batch_says_where_and_when_its_tiles_were_seen():
    reader = MemoryTiles()
    reader.coordinates = replace(reader.coordinates, lat=np.where(np.arange(12) == 3, np.nan, np.linspace(-60, 70, 12)))
    loader = TileLoader(reader, modalities={"month": None}, statistics=None, batch_size=4, shuffle=False)
    batch = next(iter(loader))
    assert batch.acquisition.ground_sampling_distance == 10.0
    np.testing.assert_allclose(batch.acquisition.lat.values[:3], reader.coordinates.lat[:3], rtol=1e-6)
    assert batch.acquisition.lat.valid.tolist() == [True, True, True, False]
    assert batch.acquisition.lat.values[3] == 0
    wanted = (reader.coordinates.time[:4] - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    known = np.isfinite(wanted)
    assert batch.acquisition.day.valid.tolist() == known.tolist()
    np.testing.assert_allclose(batch.acquisition.day.values[known], wanted[known], rtol=1e-6)
