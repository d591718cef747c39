"""Size and speed of codecs and shard sizes on the tiles of a store, through TensorStore as the store itself is read."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from geopretext.data.tiles import TileReader
from geopretext.data.zarr_format import ArrayFormat, map_format
from measuring import Timing, take_turns

SHARD_SIZES = (64, 256, 1024)


@dataclass(frozen=True)
class CodecFigures:
    """One modality, codec and shard size."""

    modality: str
    codec: str
    shard_size: int
    bytes_a_tile: float
    written: float
    """tiles a second"""
    read: float
    """tiles a second, at random, in batches of 256"""


def codecs_for(itemsize: int) -> dict[str, dict[str, Any]]:
    """Codecs worth trying, by the name that the table gives them."""

    def zstd(level: int) -> dict[str, Any]:
        return {"name": "zstd", "configuration": {"level": level, "checksum": False}}

    def blosc(cname: str, level: int, shuffle: str) -> dict[str, Any]:
        return {
            "name": "blosc",
            "configuration": {
                "cname": cname,
                "clevel": level,
                "shuffle": shuffle,
                "typesize": itemsize,
                "blocksize": 0,
            },
        }

    choices = {"zstd 1": zstd(1), "zstd 3": zstd(3), "blosc lz4 5 bitshuffle": blosc("lz4", 5, "bitshuffle")}
    if itemsize > 1:
        choices["blosc lz4 5 shuffle"] = blosc("lz4", 5, "shuffle")
        choices["blosc zstd 1 bitshuffle"] = blosc("zstd", 1, "bitshuffle")
        for level in (1, 2, 3):
            choices[f"blosc zstd {level} shuffle"] = blosc("zstd", level, "shuffle")
    return choices


def measure_codecs(reader: TileReader, names: list[str], *, tiles: int, rounds: int) -> Iterator[CodecFigures]:
    """Every codec at 256 tiles a shard; then the store's own codec at other shard sizes."""
    order = np.random.default_rng(0).permutation(tiles)
    for name in names:
        data = reader.read([name], np.arange(tiles))[name]
        modality = reader.modalities[name]
        fmt = map_format(modality, tile_size=reader.tile_size, shard_size=256)
        cases = {(label, 256): _with_codec(fmt, codec) for label, codec in codecs_for(data.itemsize).items()}
        own = _own_codec(fmt)
        label = next((label for label, codec in codecs_for(data.itemsize).items() if codec == own), "own")
        for size in SHARD_SIZES:
            other = map_format(modality, tile_size=reader.tile_size, shard_size=size)
            cases[label, size] = other.metadata(tiles)
        yield from _measure(name, data, cases, order, rounds)


def _measure(
    name: str,
    data: npt.NDArray[Any],
    cases: dict[tuple[str, int], dict[str, Any]],
    order: npt.NDArray[np.int64],
    rounds: int,
) -> Iterator[CodecFigures]:
    with tempfile.TemporaryDirectory() as folder:
        arrays, sizes, written = {}, {}, {}
        for number, (case, metadata) in enumerate(cases.items()):
            place = Path(folder, str(number))
            began = time.perf_counter()
            arrays[case] = _open({**metadata, "shape": list(data.shape)}, place)
            arrays[case].write(data).result()
            written[case] = len(data) / (time.perf_counter() - began)
            sizes[case] = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / len(data)

        def reading(array: Any) -> Any:
            def read() -> None:
                for start in range(0, len(order), 256):
                    array[order[start : start + 256]].read().result()

            return read

        timings = take_turns({str(case): reading(array) for case, array in arrays.items()}, rounds=rounds)
        for case in cases:
            timing: Timing = timings[str(case)]
            yield CodecFigures(name, *case, sizes[case], written[case], timing.rate(len(order)))


def _with_codec(fmt: ArrayFormat, codec: dict[str, Any]) -> dict[str, Any]:
    metadata = fmt.metadata(1)
    codecs = metadata["codecs"][0]["configuration"]["codecs"]
    codecs[1] = codec
    return metadata


def _own_codec(fmt: ArrayFormat) -> dict[str, Any]:
    codec: dict[str, Any] = fmt.metadata(1)["codecs"][0]["configuration"]["codecs"][1]
    return codec


def _open(metadata: dict[str, Any], place: Path) -> Any:
    plain = {key: value for key, value in metadata.items() if key != "storage_transformers"}
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{place}/"}, "metadata": plain}
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    return ts.open({**spec, "store_data_equal_to_fill_value": True}, context=context, create=True).result()
