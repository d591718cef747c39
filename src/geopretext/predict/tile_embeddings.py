"""One vector a tile of a store, as a table (``predict.embedding_file``).

Vectors are computed a group of rows at a time and kept beside the table until it is whole: a run that was killed goes
on where it stopped. ::

    from geopretext.data.store import Store
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.tile_embeddings import embed_tiles

    embed_tiles(Encoder.from_pretrained("runs/first/bundle"), Store.open("tiles.zarr"), "embeddings.parquet")
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geopretext.data.fingerprint import Fingerprinted, joined_fingerprint
from geopretext.data.geoparquet import footprints
from geopretext.data.local_file import whole_file
from geopretext.data.store import Store
from geopretext.data.tiles import Array, TileReader
from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_series import series_to_plain
from geopretext.nn.families import settings_to_plain
from geopretext.predict.chosen_inputs import given_inputs, inputs_record
from geopretext.predict.embedding_file import GROUP, EmbeddingRows, Precision, write_embeddings
from geopretext.predict.features import Progress, tile_features

_OFFICIAL_METRES = 10.0  # a pixel of official MMEarth files, which do not say it


def embed_tiles(
    encoder: Encoder,
    reader: TileReader,
    out: str | Path,
    *,
    tiles: npt.NDArray[np.int64] | None = None,
    pooling: str = "stages",
    batch_size: int = 256,
    dtype: Precision = "float32",
    progress: Progress | None = None,
) -> None:
    """Write a table of one row a tile.

    Args:
        encoder: on the device where it is to run.
        reader: where the tiles are.
        out: the file, ``.parquet``; what it held stays until the new one is whole.
        tiles: their numbers, in the order of the rows; None: all.
        pooling: how a grid of features becomes one vector, see ``geopretext.nn.settings.POOLINGS``.
        batch_size: tiles at a time.
        dtype: of the vectors in the file.
        progress: told how far it is.

    Raises:
        InputError: ``out`` is a folder, there are no tiles, the reader lacks the encoder's modality or a tile, or the
            bundle has no statistics for a level.
        BandError: the reader lacks a band.
        UnitError: a band is in another unit.
        GridError: tiles are smaller than a patch.
        CorruptError: tiles on disk are damaged.
    """
    numbers = np.arange(len(reader)) if tiles is None else np.asarray(tiles, np.int64)
    if not len(numbers):
        raise InputError("has no tiles to embed", where=reader.path)
    if numbers.min() < 0 or numbers.max() >= len(reader):
        beyond = numbers[(numbers < 0) | (numbers >= len(reader))][0]
        raise InputError(f"there is no tile {beyond}", where=reader.path, hint=f"its tiles are 0 to {len(reader) - 1}")
    path = Path(out)
    if path.is_dir():
        raise InputError("is a folder", where=str(path), hint="name a file")
    encoder = given_inputs(encoder, reader.modalities, where=reader.path)
    facts = embedding_facts(encoder, pooling=pooling, source=reader.path)
    parts = _Parts(path, joined_fingerprint([json.dumps(facts), _sign(reader, numbers)]))

    def rows() -> Iterator[EmbeddingRows]:
        for start in range(0, len(numbers), GROUP):
            some = numbers[start : start + GROUP]
            vectors = parts.find(start, (len(some), encoder.settings.pooled_width(pooling)))
            if vectors is None:
                vectors = tile_features(
                    encoder,
                    reader,
                    some,
                    pooling=pooling,
                    batch_size=batch_size,
                    progress=_after(progress, start, len(numbers)),
                )
                parts.keep(start, vectors)
            elif progress is not None:
                progress(start + len(some), len(numbers))
            coordinates = reader.coordinates.take(some)
            metres = float(reader.attributes["ground_sampling_distance"]) if isinstance(reader, Store) else None
            rings = footprints(
                coordinates,
                tile_size=reader.tile_size,
                ground_sampling_distance=metres or _OFFICIAL_METRES,
            )
            yield EmbeddingRows(some, coordinates, rings, vectors)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_embeddings(path, rows(), width=encoder.settings.pooled_width(pooling), dtype=dtype, facts=facts)
    parts.discard()


def embedding_facts(encoder: Encoder, *, pooling: str | None, source: str) -> dict[str, Any]:
    """What a table says about what made its vectors, in plain types.

    Args:
        encoder: that made them.
        pooling: of the cells of a tile; None: each row is a cell.
        source: store or scene.
    """
    return {
        "encoder": encoder_fingerprint(encoder),
        "network": settings_to_plain(encoder.settings),
        **inputs_record(encoder),
        "bands": list(encoder.bands),
        "unit": encoder.unit,
        "pooling": pooling,
        "source": source,
    }


def encoder_fingerprint(encoder: Encoder) -> str:
    """Sign of what an encoder does to images: architecture, weights, bands and statistics."""
    content = hashlib.sha256()
    described: list[Any] = [settings_to_plain(encoder.settings), encoder.modality.to_dict(), encoder.statistics]
    if encoder.series:
        described.append(series_to_plain(encoder.series))
    content.update(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(encoder.network.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        content.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        content.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _sign(reader: TileReader, numbers: npt.NDArray[np.int64]) -> str:
    if isinstance(reader, Fingerprinted):
        return reader.fingerprint(numbers)
    return joined_fingerprint([reader.path, numbers.astype("<i8").tobytes().hex()])


def _after(progress: Progress | None, start: int, total: int) -> Progress | None:
    """Progress of a part as progress of the whole."""
    if progress is None:
        return None
    return lambda done, _: progress(start + done, total)


class _Parts:
    """Vectors of the groups that are done, in a hidden folder beside the table.

    Args:
        table: the file that they are for.
        key: of everything that they follow from; parts of another key are deleted.
    """

    def __init__(self, table: Path, key: str) -> None:
        self._folder = table.parent / f".{table.name}.parts"
        self._key = key[:20]
        if self._folder.exists():
            for old in self._folder.iterdir():
                if not old.name.startswith(self._key):
                    old.unlink()

    def _path(self, start: int) -> Path:
        return self._folder / f"{self._key}-{start}.npy"

    def find(self, start: int, shape: tuple[int, int]) -> Array | None:
        """Vectors of the group that begins with this row, if they were computed."""
        try:
            kept: Array = np.load(self._path(start), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):  # a damaged part is computed again
            return None
        return kept if kept.shape == shape else None

    def keep(self, start: int, vectors: Array) -> None:
        """Write a group's vectors."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(start)) as file:
            np.save(file, vectors, allow_pickle=False)

    def discard(self) -> None:
        """Delete all of them."""
        if self._folder.exists():
            for part in self._folder.iterdir():
                part.unlink()
            self._folder.rmdir()
