"""How a store lies on disk: the Zarr v3 arrays, their names, dimensions, codecs and attributes.

::

    NAME.zarr/
      zarr.json                  group attributes, all array metadata inline, checksums: replacing it is the commit
      sentinel2/c/K/0/0/0        map: one file a shard of ``shard_size`` tiles, one compressed chunk a tile
      sentinel2_series/c/K/0/0/0/0
                                 series: one file a shard too, one compressed chunk a tile with all its dates
      era5/c/K/0                 vector: one chunk a file of about 16,000 tiles, read whole into memory
      lat/c/K, time/c/K ...      coordinates over ``tile``, in files of as many tiles
      sentinel2_series_time/c/K/0
                                 dates of the images of each tile, a coordinate like the others
      split/c/0                  one file for the first 4 million tiles, so that re-splitting is atomic
      sentinel2_band/c/0         band names, the xarray index of the dimension of the same name
      shards/KKKKK-NNNNN.json    size and checksum of each file that the commit of shard K wrote, with N tiles in it
      statistics.json, tiles.parquet
      places.parquet             of a store that was built: what has become of every place

Dimensions are ``tile``, ``y``, ``x`` and for each modality a band dimension of its own (``sentinel2_band``), and for
each series a dimension of its dates (``sentinel2_series_date``), since the arrays of one xarray dataset cannot disagree
about the size of a dimension. A store says once how many dates a series has at most: a tile of fewer is padded with
dates of NaT and images of the missing number, which compress to next to nothing. A modality whose name is a
coordinate's (``lat``, ``lon``, ``biome``, ``ecoregion``) lies in the array ``NAME_vector`` (or ``NAME_map``). Arrays
hold the modality's stored numbers; what is missing is said by the attribute ``no_data`` and not by CF's
``_FillValue``, so that xarray keeps integer dtypes.

Codecs were chosen by measuring real Sentinel-2, Sentinel-1, elevation and land cover at 64 px (size, and MB/s of one
core): wider integers as byte-shuffled zstd (Sentinel-2: ratio 2.7, reads 870, where plain zstd has 2.2 and 920), floats
as bit-shuffled lz4 (Sentinel-1: 2.8 and 1,700; plain zstd 2.1 and 610), one-byte numbers as plain zstd (blosc would be
three times slower on chunks that small). Each chunk ends in its CRC-32C.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd

from geopretext.data.tiles import SPLITS
from geopretext.errors import CorruptError, InputError
from geopretext.modality import Modality

FORMAT = "geopretext tiles"
FORMAT_VERSION = 1
ROOT = "zarr.json"
STATISTICS = "statistics.json"
PARQUET = "tiles.parquet"
PLACES = "places.parquet"
LEDGERS = "shards"
MAX_MODALITIES = 32

_TABLE_TILES = 16_384
_SPLIT_TILES = 4_194_304
_ZSTD_LEVEL = 3
_STRING = "string"
_NO_TIME = int(np.iinfo(np.int64).min)  # NaT, to numpy and to xarray


@dataclass(frozen=True, eq=False)
class ArrayFormat:
    """One array of the store, whatever number of tiles it holds."""

    name: str
    """key below the root"""
    dtype: str
    """Zarr v3 data type: numpy's name, or ``string``"""
    dimensions: tuple[str, ...]
    """the first is ``tile``, but for band names"""
    inner_shape: tuple[int, ...]
    """shape of one tile's entry"""
    tiles_per_file: int
    """tiles in one file (for band names: bands)"""
    fill: float | int | str
    """what Zarr readers see where no tile was written"""
    chunk_a_tile: bool = False
    """each tile is a chunk of its own within the file, so that tiles are read at random"""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_string(self) -> bool:
        """Strings are encoded here, since TensorStore has no string type."""
        return self.dtype == _STRING

    def key(self, file: int) -> str:
        """The key of the file that holds tiles ``file * tiles_per_file`` and following."""
        return "/".join((self.name, "c", str(file), *("0" for _ in self.inner_shape)))

    def empty(self) -> npt.NDArray[Any]:
        """A file's worth of entries, all fill."""
        dtype = np.dtypes.StringDType() if self.is_string else np.dtype(self.dtype)
        return np.full((self.tiles_per_file, *self.inner_shape), self.fill, dtype)

    def metadata(self, count: int) -> dict[str, Any]:
        """The array's ``zarr.json`` for ``count`` tiles."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [count, *self.inner_shape],
            "data_type": self.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.tiles_per_file, *self.inner_shape]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "NaN" if isinstance(self.fill, float) and math.isnan(self.fill) else self.fill,
            "codecs": self._codecs(),
            "attributes": dict(self.attributes),
            "dimension_names": list(self.dimensions),
            "storage_transformers": [],
        }

    def _codecs(self) -> list[dict[str, Any]]:
        if self.is_string:
            zstd = {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": True}}
            return [{"name": "vlen-utf8", "configuration": {}}, zstd]
        size = np.dtype(self.dtype).itemsize
        to_bytes = {"name": "bytes", "configuration": {"endian": "little"}} if size > 1 else {"name": "bytes"}
        codecs = [to_bytes, _compressor(self.dtype, size), {"name": "crc32c"}]
        if not self.chunk_a_tile:
            return codecs
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        return [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *self.inner_shape],
                    "codecs": codecs,
                    "index_codecs": index,
                    "index_location": "end",
                },
            }
        ]


def _compressor(dtype: str, size: int) -> dict[str, Any]:
    if size == 1:
        return {"name": "zstd", "configuration": {"level": _ZSTD_LEVEL, "checksum": False}}
    floating = dtype.startswith("float")
    return {
        "name": "blosc",
        "configuration": {
            "cname": "lz4" if floating else "zstd",
            "clevel": 5 if floating else 2,
            "shuffle": "bitshuffle" if floating else "shuffle",
            "typesize": size,
            "blocksize": 0,
        },
    }


def map_format(modality: Modality, *, tile_size: int, shard_size: int) -> ArrayFormat:
    """The array of a map modality: (tile, band, y, x), a chunk a tile."""
    name = array_name(modality)
    return ArrayFormat(
        name=name,
        dtype=modality.dtype,
        dimensions=("tile", f"{name}_band", "y", "x"),
        inner_shape=(len(modality.bands), tile_size, tile_size),
        tiles_per_file=shard_size,
        fill=stored_fill(modality),
        chunk_a_tile=True,
        attributes=_modality_attributes(modality),
    )


def series_format(modality: Modality, *, dates: int, tile_size: int, shard_size: int) -> ArrayFormat:
    """The array of a series: (tile, date, band, y, x), a chunk a tile with all its ``dates``."""
    image = map_format(modality, tile_size=tile_size, shard_size=shard_size)
    tile, *rest = image.dimensions
    return replace(image, dimensions=(tile, f"{image.name}_date", *rest), inner_shape=(dates, *image.inner_shape))


def dates_format(modality: Modality, *, dates: int, shard_size: int) -> ArrayFormat:
    """The coordinate array of the dates of a series: (tile, date)."""
    name = array_name(modality)
    return ArrayFormat(
        name=dates_array(modality),
        dtype="int64",
        dimensions=("tile", f"{name}_date"),
        inner_shape=(dates,),
        tiles_per_file=_file_of(_TABLE_TILES, shard_size),
        fill=_NO_TIME,
        attributes={
            "long_name": f"dates of the images of {modality.name}, UTC",
            "units": "days since 1970-01-01",
            "calendar": "proleptic_gregorian",
        },
    )


def vector_format(modality: Modality, *, shard_size: int) -> ArrayFormat:
    """The array of a vector modality: (tile, band)."""
    name = array_name(modality)
    return ArrayFormat(
        name=name,
        dtype=modality.dtype,
        dimensions=("tile", f"{name}_band"),
        inner_shape=(len(modality.bands),),
        tiles_per_file=_file_of(_TABLE_TILES, shard_size),
        fill=stored_fill(modality),
        attributes=_modality_attributes(modality),
    )


def band_format(modality: Modality) -> ArrayFormat:
    """The coordinate array that names the bands of a modality."""
    name = f"{array_name(modality)}_band"
    return ArrayFormat(name, _STRING, (name,), (), len(modality.bands), "", attributes={"long_name": "band"})


def coordinate_formats(modalities: Iterable[Modality], *, shard_size: int) -> dict[str, ArrayFormat]:
    """The arrays over ``tile`` that are no modality, by name."""
    tiles = _file_of(_TABLE_TILES, shard_size)
    modalities = list(modalities)

    def over_tile(name: str, dtype: str, fill: float | int | str, **attributes: Any) -> ArrayFormat:
        return ArrayFormat(name, dtype, ("tile",), (), tiles, fill, attributes=attributes)

    number = "number of MMEarth (RESOLVE Ecoregions 2017), -1 if unknown"
    since = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
    formats = [
        over_tile("tile_id", _STRING, "", long_name="unique name of the tile"),
        over_tile("lat", "float64", math.nan, units="degrees_north", standard_name="latitude"),
        over_tile("lon", "float64", math.nan, units="degrees_east", standard_name="longitude"),
        over_tile("crs", "int32", 0, long_name="EPSG code of the tile's grid, 0 if unknown"),
        ArrayFormat(
            "transform",
            "float64",
            ("tile", "transform_term"),
            (6,),
            tiles,
            math.nan,
            attributes={"long_name": "a b c d e f of x = a col + b row + c, y = d col + e row + f"},
        ),
        over_tile("time", "int64", _NO_TIME, long_name="reference date, UTC", **since),
        over_tile("biome", "int16", -1, long_name=f"biome, {number}"),
        over_tile("ecoregion", "int16", -1, long_name=f"ecoregion, {number}"),
        ArrayFormat(
            "split", "int8", ("tile",), (), _file_of(_SPLIT_TILES, shard_size), -1, attributes=_flags(("none", *SPLITS))
        ),
        over_tile(
            "present",
            "uint32",
            0,
            long_name="bit set of the modalities that have any valid value at the tile",
            flag_masks=[1 << bit for bit in range(len(modalities))],
            flag_meanings=" ".join(modality.name for modality in modalities),
        ),
        over_tile("source_items", _STRING, "", long_name="JSON: what each modality was made of"),
    ]
    formats += [
        over_tile(level_array(modality), "int8", -1, **_flags(("unknown", *modality.levels)))
        for modality in modalities
        if modality.levels
    ]
    return {f.name: f for f in formats}


_COORDINATES = ("tile_id", "lat", "lon", "crs", "transform", "time", "biome", "ecoregion", "split", "present")
_RESERVED = (*_COORDINATES, "source_items", "tile", "y", "x", "transform_term", LEDGERS)


def array_name(modality: Modality) -> str:
    """The array that holds a modality: its name, with ``_vector``, ``_map`` or ``_series`` if a coordinate has it."""
    if modality.name not in _RESERVED:
        return modality.name
    kind = modality.kind
    return f"{modality.name}_{'map' if kind.is_map else 'series' if kind.is_series else 'vector'}"


def dates_array(modality: Modality) -> str:
    """The coordinate array that holds the dates of a series."""
    return f"{array_name(modality)}_time"


def level_array(modality: Modality) -> str:
    """The coordinate array that holds the processing level of a modality at each tile."""
    return f"{modality.name}_level"


def stored_fill(modality: Modality) -> float | int:
    """What is stored where nothing was observed: the modality's fill, or 0 if it cannot be missing at all."""
    if modality.dtype != "float32" and not modality.missing:
        return 0
    return modality.fill if modality.dtype == "float32" else int(modality.fill)


def _flags(meanings: tuple[str, ...]) -> dict[str, Any]:
    """CF flag attributes of codes -1, 0, 1 ..."""
    return {"flag_values": list(range(-1, len(meanings) - 1)), "flag_meanings": " ".join(meanings)}


def _modality_attributes(modality: Modality) -> dict[str, Any]:
    units = [band.unit for band in modality.bands]
    return {
        "long_name": modality.title or modality.name,
        "modality": modality.to_dict(),
        "bands": list(modality.band_names),
        "unit": units[0] if len(set(units)) == 1 else units,
        "no_data": list(modality.missing),
    }


def _file_of(tiles: int, shard_size: int) -> int:
    """Whole shards that make about as many tiles."""
    return shard_size * max(1, tiles // shard_size)


def open_array(metadata: Mapping[str, Any], kvstore: Mapping[str, Any], context: ts.Context) -> Any:
    """A TensorStore array of known metadata; a missing file is an error there and not a tile of fill values."""
    plain = {key: value for key, value in metadata.items() if key != "storage_transformers"}
    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": dict(kvstore),
            "metadata": plain,
            "store_data_equal_to_fill_value": True,
            "fill_missing_data_reads": False,
        },
        context=context,
        open=True,
        assume_metadata=True,
    ).result()


def encode_files(contents: Mapping[ArrayFormat, npt.NDArray[Any]]) -> dict[ArrayFormat, bytes]:
    """The bytes of one file of each array; entries are those of its first tiles."""
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    encoded, pending = {}, []
    for number, (fmt, values) in enumerate(contents.items()):
        if fmt.is_string:
            encoded[fmt] = _encode_strings(values, fmt.tiles_per_file)
            continue
        place = {"driver": "memory", "path": f"{number}/"}
        array = open_array(fmt.metadata(len(values)), place, context)
        pending.append((fmt, place, array.write(np.ascontiguousarray(values))))
    for fmt, place, written in pending:
        written.result()
        keys = ts.KvStore.open(place, context=context).result()
        encoded[fmt] = bytes(keys.read(fmt.key(0).removeprefix(f"{fmt.name}/")).result().value)
    return {fmt: encoded[fmt] for fmt in contents}


def _encode_strings(values: npt.NDArray[Any], length: int) -> bytes:
    padded = np.full(length, "", object)
    padded[: len(values)] = values.tolist()
    return bytes(Zstd(level=_ZSTD_LEVEL, checksum=True).encode(VLenUTF8().encode(padded)))


def decode_strings(data: bytes, *, where: str) -> npt.NDArray[Any]:
    """The entries of one file of strings.

    Raises:
        CorruptError: the bytes are not what ``encode_files`` wrote.
    """
    try:
        return np.asarray(VLenUTF8().decode(Zstd().decode(data)))
    except (RuntimeError, ValueError) as error:
        raise CorruptError(f"cannot be decoded: {error}", where=where, hint="copy the file from its source") from error


def checksum(data: bytes) -> str:
    """64-bit BLAKE2b of some bytes, in hexadecimal."""
    return blake2b(data, digest_size=8).hexdigest()


def ledger_key(shard: int, tiles: int) -> str:
    """The key of the list of files that the commit of ``shard`` with ``tiles`` tiles in it wrote."""
    return f"{LEDGERS}/{shard:05d}-{tiles:05d}.json"


def to_json(content: Any) -> bytes:
    """Plain JSON.

    Raises:
        InputError: something in it is no plain type, or not finite.
    """
    try:
        return json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot be written as JSON: {error}", hint="use plain, finite types only") from error
