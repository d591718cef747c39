"""The chunks of a tile store by the codec libraries alone: what no reader of the store can be faster than."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs import blosc, zstd

from geopretext.data.zarr_format import ArrayFormat, map_format

_CHECKSUM_BYTES = 4
_ABSENT = 1 << 63


class Chunks:
    """The compressed chunks of some map modalities, in memory.

    Args:
        folder: of the store.
        formats: the arrays, by modality.
        tiles: in the store.
    """

    def __init__(self, folder: Path, formats: Mapping[str, ArrayFormat], tiles: int) -> None:
        blosc.use_threads = False  # each thread here decompresses chunks of its own
        self._formats = formats
        self.files = [
            folder / fmt.key(file) for fmt in formats.values() for file in range(-(-tiles // fmt.tiles_per_file))
        ]
        self._chunks = {name: _read_chunks(folder, fmt, tiles) for name, fmt in formats.items()}
        self._decode = {name: _decoder(folder / fmt.name) for name, fmt in formats.items()}

    @property
    def compressed_bytes(self) -> dict[str, float]:
        """Mean size of a chunk, by modality."""
        return {name: sum(map(len, chunks)) / len(chunks) for name, chunks in self._chunks.items()}

    @property
    def raw_bytes(self) -> int:
        """Decompressed numbers of a tile, all modalities together."""
        return sum(int(np.prod(fmt.inner_shape)) * np.dtype(fmt.dtype).itemsize for fmt in self._formats.values())

    def decompress(self, tiles: npt.NDArray[np.int64], *, threads: int, batch_size: int | None = None) -> None:
        """Decompress the chunks of some tiles, in the order given.

        Args:
            tiles: their numbers.
            threads: that share them.
            batch_size: tiles whose numbers are kept side by side, as a loader needs them; None: each tile's numbers
                take the place of the last one's.
        """
        size = batch_size or threads * 64
        arrays = [
            {n: np.empty((size if batch_size else 1, *f.inner_shape), f.dtype) for n, f in self._formats.items()}
            for _ in range(1 if batch_size else threads)
        ]

        def work(job: tuple[int, npt.NDArray[np.int64]]) -> None:
            number, share = job
            for position, tile in enumerate(share.tolist()):
                for name, chunks in self._chunks.items():
                    target = arrays[0][name][position * threads + number] if batch_size else arrays[number][name][0]
                    self._decode[name](chunks[tile], target)

        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(tiles), size):
                batch = tiles[start : start + size]
                list(pool.map(work, enumerate(batch[number::threads] for number in range(threads))))

    def read_files(self) -> int:
        """Read every file whole, one after the other; how many bytes that is."""
        return sum(len(path.read_bytes()) for path in self.files)


def maps_of(modalities: Iterable[Any], *, tile_size: int, shard_size: int) -> dict[str, ArrayFormat]:
    """The arrays of those modalities that are maps, by name."""
    return {m.name: map_format(m, tile_size=tile_size, shard_size=shard_size) for m in modalities if m.kind.is_map}


def _read_chunks(folder: Path, fmt: ArrayFormat, tiles: int) -> list[bytes]:
    chunks: list[bytes] = []
    for file in range(-(-tiles // fmt.tiles_per_file)):
        data = (folder / fmt.key(file)).read_bytes()
        index = np.frombuffer(data[:-_CHECKSUM_BYTES][-16 * fmt.tiles_per_file :], "<u8").reshape(-1, 2)
        chunks += [
            data[offset : offset + size - _CHECKSUM_BYTES] for offset, size in index.tolist() if offset < _ABSENT
        ]
    return chunks


def _decoder(array: Path) -> Any:
    """The function that decompresses a chunk of an array into memory."""
    (sharding,) = json.loads((array / "zarr.json").read_text(encoding="utf-8"))["codecs"]
    names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    return blosc.decompress if "blosc" in names else zstd.decompress
