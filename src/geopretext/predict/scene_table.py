"""Embeddings of a scene as a table: one row, with one vector, a tile that is cut from it.

The same table as of a store's tiles (``predict.embedding_file``), so that both can be searched together.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError, MissingLibraryError
from geopretext.nn.bundle import Encoder
from geopretext.predict.embedding_file import EmbeddingRows, Precision, write_embeddings
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_outputs import Output, check_outputs, parts_folder
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun, run_scene
from geopretext.predict.tile_embeddings import embedding_facts

_ROW_BYTES = 512
"""of a row of the table besides its vector, at most: name, box and outline"""


def embed_scene_tiles(
    source: SceneOpener,
    bundle: str | Path | Encoder,
    out: Path,
    *,
    tile: int | None = None,
    pooling: str = "stages",
    dtype: Precision = "float32",
    least_seen: float = 0.5,
    run: RunOptions | None = None,
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> dict[str, Any]:
    """Cut a scene into tiles that do not overlap, and write a vector of each; stopped and called again, it goes on.

    Args:
        source: the scene.
        bundle: the encoder.
        out: the file, ``.parquet``; what it held stays until the new one is whole.
        tile: pixels on a side; None: the crop that the encoder was trained on.
        pooling: how a grid of features becomes one vector, see ``nn.settings.POOLINGS``.
        dtype: of the vectors in the file.
        least_seen: share of a tile's pixels that must have been observed, and lie in the scene; others get no row.
        run: how it is computed.
        progress: told how far it is.
        looked: told what is done to the numbers of the scene.

    Returns:
        what the table says of itself, and ``rows`` and ``tiles_without_vector``.

    Raises:
        InputError: ``out`` is a folder, or in none; no tile was observed; and as ``run_scene``.
    """
    check_outputs([out], [(".parquet",)])
    run = run or RunOptions()
    side = tile or EmbeddingSource(bundle).encoder().settings.image_size
    network = EmbeddingSource(bundle, tile=side, pooling=pooling).of_scene(source.open(), run.door)
    encoder = network.encoder()
    outputs = [Output(out, network.width * np.dtype(dtype).itemsize + _ROW_BYTES)]
    with run_scene(
        source, network, parts_folder(out), run, outputs=outputs, progress=progress, looked=looked
    ) as computed:
        facts = {
            **embedding_facts(encoder, pooling=pooling, source=computed.scene.where),
            "tile_size": network.cell,
            "input": dict(computed.record),
        }
        seen = np.concatenate([rows.seen for rows in computed.rows()])
        kept = int(np.count_nonzero(seen >= least_seen))
        if not kept:
            raise InputError(
                f"no tile of {network.cell} pixels has {least_seen:.0%} of them observed",
                where=computed.scene.where,
                hint="ask for less (--least-seen), or for smaller tiles (--tile)",
            )
        write_embeddings(out, _rows(computed, least_seen), width=network.width, dtype=dtype, facts=facts)
        computed.discard()
    return {**facts, "rows": kept, "tiles_without_vector": seen.size - kept}


def _rows(run: SceneRun, least_seen: float) -> Iterator[EmbeddingRows]:
    """A row of tiles at a time."""
    stem = Path(run.scene.where).name or "scene"
    time = run.scene.time if run.scene.time is not None else np.datetime64("NaT", "s")
    for rows in run.rows():
        down, across = np.nonzero(rows.seen >= least_seen)
        down_all = down + rows.start
        if len(down):
            yield EmbeddingRows.of_places(
                down_all.astype(np.int64) * run.columns + across,
                names=np.array([f"{stem}:{row}:{column}" for row, column in zip(down_all, across, strict=True)]),
                rings=_rings(run.georeference, down_all, across),
                time=np.full(len(down), time),
                vectors=rows.values[down, across],
            )


def _rings(
    georeference: Georeference, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Corners of cells, (n, 5, 2) degrees east and north; NaN if it is not known where they lie."""
    if not georeference.crs:
        return np.full((len(rows), 5, 2), np.nan)
    try:
        from rasterio.warp import transform
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="say where tiles lie") from error
    a, b, c, d, e, f = georeference.transform
    column = columns[:, None] + np.array([0, 1, 1, 0, 0])
    row = rows[:, None] + np.array([1, 1, 0, 0, 1])
    x, y = a * column + b * row + c, d * column + e * row + f
    east, north = transform(georeference.crs, "OGC:CRS84", x.ravel().tolist(), y.ravel().tolist())
    return np.stack([np.reshape(east, x.shape), np.reshape(north, x.shape)], axis=-1)
