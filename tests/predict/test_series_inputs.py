"""Tiles that have time series are encoded with them: by all dates that are real, and never by padding."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import TileReader
from geopretext.errors import InputError
from geopretext.modality import PUBLISHED, Observed
from geopretext.nn.bundle import Encoder
from geopretext.nn.temporal_attention import Series
from geopretext.predict.chosen_inputs import given_bands, given_inputs, inputs_record
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.features import tile_features
from geopretext.predict.image_examples import image_vectors
from geopretext.predict.tile_embeddings import embed_tiles

from .omnisat_bundles import save_omnisat

MAPS = {"sentinel2": ("B2", "B8"), "sentinel1": ("asc_VV", "asc_VH")}
SERIES = {"sentinel2_series": ("B8", "B4", "B12"), "sentinel1_series": ("VV", "VH")}
COUNT, LONGEST = 8, {"sentinel2_series": 4, "sentinel1_series": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("series") / "tiles.zarr"
    write_synthetic_store(path, count=COUNT, tile_size=36, series=LONGEST, workers=1)
    return Store.open(path)


@pytest.fixture(scope="module")
def bundle(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_omnisat(tmp_path_factory.mktemp("bundles") / "omnisat", store, MAPS, SERIES, patch_size=8)


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> Encoder:
    return Encoder.from_pretrained(bundle)


class Changed:
    """A store of which some is otherwise."""

    def __init__(self, store: Store, *, without: tuple[str, ...] = (), **changed: Any) -> None:
        self._store, self._changed = store, changed
        self.modalities = {name: m for name, m in store.modalities.items() if name not in without}
        dates = {name: dates for name, (_, dates) in changed.items()}
        self.coordinates = replace(store.coordinates, series={**store.coordinates.series, **dates})

    def read(self, names: Any, tiles: Any) -> dict[str, Any]:
        found = self._store.read([name for name in names if name not in self._changed], tiles)
        return {**found, **{name: self._changed[name][0][tiles] for name in names if name in self._changed}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)


def changed(store: Store, **how: Any) -> TileReader:
    return Changed(store, **how)  # type: ignore[return-value]  # passes on what it does not have


def images_and_dates(store: Store, name: str) -> tuple[np.ndarray, np.ndarray]:
    return store.read([name], np.arange(COUNT))[name].copy(), store.coordinates.series[name].copy()


def padded(store: Store, name: str, *, number: float) -> tuple[np.ndarray, np.ndarray]:
    """As ``shorter``, with room for three more dates; all padding holds ``number``."""
    images, dates = shorter(store, name, 3, 2)
    more = np.full((COUNT, 3, *images.shape[2:]), number, images.dtype)
    images = np.concatenate([images, more], 1)
    dates = np.concatenate([dates, np.full((COUNT, 3), np.datetime64("NaT"))], 1)
    images[np.isnat(dates)] = number
    return images, dates


def shorter(store: Store, name: str, tile: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One tile has only its first dates."""
    images, dates = images_and_dates(store, name)
    images[tile, count:] = store.modalities[name].fill
    dates[tile, count:] = np.datetime64("NaT")
    return images, dates


def standardised(encoder: Encoder, store: TileReader, name: str, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the middle 32 x 32 pixels of an input at one tile, and where they were observed; by hand."""
    wanted, scales, _ = encoder.alone(name)
    stored = store.modalities[name]
    values, valid = (part[0] for part in stored.decode(store.read([name], np.array([tile]))[name]))
    rows = list(stored.band_indices(wanted.band_names))
    levels = store.coordinates.levels.get(name)
    level = "all" if levels is None else stored.levels[levels[tile]]
    mean, std = (np.asarray(part, np.float64)[:, None, None] for part in scales[level])
    values, valid = (part[..., rows, 2:34, 2:34] for part in (values, valid))
    return np.where(valid, (values - mean) / std, 0).astype(np.float32), valid


def by_hand(encoder: Encoder, store: TileReader, tile: int) -> np.ndarray:
    """Features of one tile, from nothing but its real dates."""
    image = np.concatenate([standardised(encoder, store, name, tile)[0] for name in MAPS])
    series = {}
    for name in SERIES:
        values, valid = (torch.from_numpy(part) for part in standardised(encoder, store, name, tile))
        dates = store.coordinates.series[name][tile]
        real = torch.from_numpy(~np.isnat(dates))
        days = torch.from_numpy(dates[~np.isnat(dates)].astype("datetime64[D]").astype(np.float32))[None]
        images = Observed(values[real][None], valid[real][None])
        series[name] = Series(images, Observed(days, torch.ones_like(days, dtype=torch.bool)))
    with torch.inference_mode():
        vectors: np.ndarray = encoder.features(torch.from_numpy(image)[None], series=series)[0].numpy()
    return vectors


def close(one: np.ndarray, other: np.ndarray) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_features_are_those_of_the_encoder_called_by_hand(store: Store, encoder: Encoder) -> None:
    reader = changed(store, sentinel2_series=shorter(store, "sentinel2_series", 3, 2))
    found = tile_features(encoder, reader)
    close(found, np.stack([by_hand(encoder, reader, tile) for tile in range(COUNT)]))
    assert np.isfinite(found).all()


def test_a_tile_has_the_features_of_its_own_series(store: Store, encoder: Encoder) -> None:
    images, dates = images_and_dates(store, "sentinel2_series")
    images[3] = images[3][::-1]
    before = tile_features(encoder, store)
    after = tile_features(encoder, changed(store, sentinel2_series=(images, dates)))
    others = np.arange(COUNT) != 3
    close(after[others], before[others])
    assert np.abs(after[3] - before[3]).max() > 1e-3
    images, dates = images_and_dates(store, "sentinel1_series")
    later = np.where(np.isnat(dates), dates, dates + np.timedelta64(60, "D"))
    moved = tile_features(encoder, changed(store, sentinel1_series=(images, later)))
    assert (np.abs(moved - before).max(1) > 1e-4).all()


@pytest.mark.parametrize("number", [0, 5000])
def test_padding_changes_nothing(store: Store, encoder: Encoder, number: int) -> None:
    """Neither how much there is of it, nor what it holds."""
    name = "sentinel2_series"
    found = tile_features(encoder, changed(store, **{name: padded(store, name, number=number)}))
    close(found, tile_features(encoder, changed(store, **{name: shorter(store, name, 3, 2)})))


def test_a_tile_alone_has_the_features_that_it_has_among_others(store: Store, encoder: Encoder) -> None:
    reader = changed(store, sentinel2_series=shorter(store, "sentinel2_series", 5, 1))
    everything = tile_features(encoder, reader)
    for batch_size in (1, 30):
        close(tile_features(encoder, reader, batch_size=batch_size), everything)
    close(tile_features(encoder, reader, np.array([5, 0])), everything[[5, 0]])


def test_a_tile_without_dates_has_no_series(store: Store, encoder: Encoder) -> None:
    gone = {name: shorter(store, name, 2, 0) for name in SERIES}
    found = tile_features(encoder, changed(store, **gone))
    close(found[2], tile_features(encoder.given(list(MAPS)), store)[2])


def test_tiles_without_series_are_encoded_by_their_maps_and_it_is_said(store: Store, encoder: Encoder) -> None:
    reader = changed(store, without=tuple(SERIES))
    maps = tile_features(encoder.given(list(MAPS)), store)
    close(tile_features(encoder, reader), maps)
    assert np.abs(tile_features(encoder, store) - maps).max() > 1e-3
    record = inputs_record(given_inputs(encoder, reader.modalities))
    assert record == {"inputs": {"used": list(MAPS), "absent": list(SERIES)}}
    whole = inputs_record(given_inputs(encoder, store.modalities))
    assert whole == {"inputs": {"used": [*MAPS, *SERIES], "absent": []}}


def test_an_encoder_of_series_alone_wants_series(store: Store, encoder: Encoder, tmp_path: Path) -> None:
    alone = encoder.given(["sentinel2_series"])
    assert alone.absent == ("sentinel2", "sentinel1", "sentinel1_series")
    found = tile_features(alone, store)
    assert found.shape == (COUNT, 32)
    assert len(np.unique(found.round(4), axis=0)) == COUNT
    alone.save_pretrained(tmp_path / "alone")
    close(tile_features(Encoder.from_pretrained(tmp_path / "alone"), store), found)
    with pytest.raises(InputError, match="no modality 'sentinel2_series', which the encoder reads"):
        tile_features(alone, changed(store, without=tuple(SERIES)))
    with pytest.raises(InputError, match="sees time series only"):
        given_bands(alone, ["B2", "B8"])
    with pytest.raises(InputError, match="time series only"):
        alone(torch.zeros(1, 0, 32, 32))


def test_scenes_are_of_one_date(encoder: Encoder) -> None:
    given = given_bands(encoder, ["B2", "B8"])
    record = inputs_record(given)["inputs"]
    assert (record["used"], set(record["absent"])) == (["sentinel2"], {"sentinel1", *SERIES})
    source = EmbeddingSource(encoder, inputs=tuple(given.input_names))
    assert not source.encoder().series


def test_another_network_is_not_given_series(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="knows no series 'biome'"):
        encoder(torch.zeros(1, 4, 32, 32), {"biome": next(iter(series_of(encoder).values()))})


def series_of(encoder: Encoder) -> dict[str, Series]:
    values = torch.zeros(1, 1, 3, 32, 32)
    seen = torch.ones(1, 1, dtype=torch.bool)
    return {"sentinel2_series": Series(Observed(values, values == 0), Observed(seen.float(), seen))}


def test_what_a_store_calls_a_series_must_be_one(store: Store, encoder: Encoder) -> None:
    reader = changed(store)
    reader.modalities["sentinel2_series"] = replace(PUBLISHED["sentinel2"], name="sentinel2_series")  # type: ignore[index]
    with pytest.raises(InputError, match="is a continuous map, and the encoder takes a continuous series"):
        tile_features(encoder, reader)


def without_section(bundle: Path, folder: Path, *, statistics: bool) -> Encoder:
    """As bundles were before series were described."""
    shutil.copytree(bundle, folder)
    config = json.loads((folder / "config.json").read_text())
    assert [one["input"]["name"] for one in config.pop("series")] == list(SERIES)
    (folder / "config.json").write_text(json.dumps(config))
    if not statistics:
        (folder / "statistics.json").unlink()
    return Encoder.from_pretrained(folder)


def test_older_bundles_open(store: Store, encoder: Encoder, bundle: Path, tmp_path: Path) -> None:
    old = without_section(bundle, tmp_path / "old", statistics=True)
    np.testing.assert_array_equal(tile_features(old, store), tile_features(encoder, store))
    unknown = without_section(bundle, tmp_path / "unknown", statistics=False)
    assert unknown.absent == tuple(SERIES)
    given = given_inputs(unknown, store.modalities)
    assert inputs_record(given)["inputs"] == {"used": list(MAPS), "absent": list(SERIES)}
    close(tile_features(unknown, store), tile_features(encoder.given(list(MAPS)), store))


def test_tables_say_that_series_were_used(store: Store, bundle: Path, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(bundle)
    embed_tiles(encoder, store, tmp_path / "all.parquet")
    embed_tiles(encoder.given(["sentinel2"]), store, tmp_path / "map.parquet")
    table = EmbeddingTable.open(tmp_path / "all.parquet")
    assert table.facts["inputs"] == {"used": [*MAPS, *SERIES], "absent": []}
    close(table.vectors(), tile_features(encoder, store))
    other = EmbeddingTable.open(tmp_path / "map.parquet")
    assert other.facts["inputs"] == {"used": ["sentinel2"], "absent": ["sentinel1", *SERIES]}
    assert other.facts["encoder"] != table.facts["encoder"]
    with pytest.raises(InputError, match="was made from time series"):
        image_vectors(table, encoder, [])
