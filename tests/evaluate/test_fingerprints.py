"""Signs of content differ when what is read differs, wherever it is read from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import InputError
from geopretext.evaluate.inputs import ImageInputs, TileInputs
from geopretext.predict.images import DIGITAL_NUMBER, ImageFiles

from .small_store import COUNT, make_encoder, write_store


def test_bytes_and_their_order_count_and_names_do_not(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    assert files_fingerprint([a, b]) == files_fingerprint([c, b])
    assert files_fingerprint([a, b]) != files_fingerprint([b, a])
    assert files_fingerprint([a]) != files_fingerprint([a, c])
    with pytest.raises(InputError, match="no such file"):
        files_fingerprint([tmp_path / "none"])
    assert joined_fingerprint(["ab", "c"]) != joined_fingerprint(["a", "bc"])


def test_a_store_is_known_by_what_was_committed(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr")
    same = write_store(tmp_path / "b.zarr")
    tiles = np.arange(20)
    sign = TileInputs(store).prepare(make_encoder(), tiles).fingerprint(tiles)
    assert sign == store.fingerprint(tiles) == same.fingerprint(tiles)
    assert len({sign, store.fingerprint(tiles[::-1]), store.fingerprint(tiles[:-1])}) == 3
    store.set_split(np.zeros(COUNT, np.int8))
    assert type(store).open(tmp_path / "a.zarr").fingerprint(tiles) == sign
    arrays = store.read(list(store.modalities), np.arange(COUNT))
    arrays["sentinel2"] = arrays["sentinel2"].copy()
    arrays["sentinel2"][3, 0, 5, 5] += 1
    modalities = list(store.modalities.values())
    with StoreWriter.create(tmp_path / "c.zarr", modalities, tile_size=store.tile_size) as writer:
        writer.append(TileBatch(same.coordinates, arrays))
    assert type(store).open(tmp_path / "c.zarr").fingerprint(tiles) != sign


def test_which_channel_of_a_file_is_which_band_counts(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    ways = [(("B4", "B3", "B2"), None), (("B2", "B3", "B4"), None), (("B4", "B3", "B2"), "reflectance")]
    opened = [ImageFiles.open([tmp_path / "a.png"], bands=bands, unit=unit) for bands, unit in ways]
    assert len({images.fingerprint(np.arange(1)) for images in opened}) == 3


class InMemory:
    """Images that know no sign of themselves, as a user's own."""

    where, bands, unit, dtype = "memory", ("B2", "B3", "B4"), DIGITAL_NUMBER, "uint8"
    height = width = 16

    def __init__(self) -> None:
        self.values = np.random.default_rng(0).integers(0, 255, (12, 3, 16, 16)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def read(self, samples: np.ndarray, bands: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        values = self.values[samples][:, [self.bands.index(name) for name in bands]]
        return values, np.ones(values.shape, np.bool_)


def test_of_other_sources_every_number_counts() -> None:
    images, samples = InMemory(), np.arange(12)
    feed = ImageInputs(images).prepare(make_encoder(), samples)
    sign = feed.fingerprint(samples)
    assert feed.fingerprint(samples) == sign != feed.fingerprint(samples[::-1])
    images.values[7, 2, 3, 3] += 1
    assert feed.fingerprint(samples) != sign
    assert replace(feed, notes={"x": 1}).fingerprint(samples[:5]) == feed.fingerprint(samples[:5])
