"""Embeddings of a scene as a raster: one vector a patch, as a cloud-optimised GeoTIFF.

::

    from geopretext.predict.embedding_map import embed_scene
    from geopretext.predict.open_scene import SceneSource

    embed_scene(SceneSource("S2B_..._T32TPS.SAFE.zip"), "runs/first/bundle", Path("embeddings.tif"))
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext import __version__
from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder
from geopretext.predict.cog import RASTERS, Bands, needed_bytes, write_cog
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.quantisation import Floats, Quantisation, StoredType
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_outputs import Output, check_outputs, parts_folder
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun, run_scene

_SAMPLE = 20_000
"""cells from which scales are taken"""


@dataclass(frozen=True)
class EmbeddingOptions:
    """Choices about what is written; all have a sound default."""

    dtype: StoredType = "int8"
    """how features are stored"""
    least_seen: float = 0.5
    """share of a cell's pixels that must have been observed, above 0 to 1; others have no vector"""
    context: int | None = None
    """see ``EmbeddingSource.context``"""

    def __post_init__(self) -> None:
        if not 0 < self.least_seen <= 1:
            raise InputError(f"least_seen is {self.least_seen}", hint="above 0, at most 1")


@dataclass(frozen=True)
class _Look:
    """What was seen of a map before it is written."""

    sample: Floats
    """(N, D) of cells that have a vector"""
    cells: int
    """that have one"""
    lowest: Floats
    """(D,)"""
    highest: Floats
    """(D,)"""


def embed_scene(
    source: SceneOpener,
    bundle: str | Path | Encoder,
    out: Path,
    options: EmbeddingOptions | None = None,
    run: RunOptions | None = None,
    *,
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> dict[str, Any]:
    """Write the embeddings of a scene, one band a feature; what stood at ``out`` stays until they are whole.

    A run that is stopped goes on, when it is called again, from the strips that it had finished; they are in
    ``scene_outputs.parts_folder(out)``.

    Args:
        source: the scene.
        bundle: the encoder.
        out: the file, ``.tif``.
        options: what is written.
        run: how it is computed.
        progress: told how far it is.
        looked: told what is done to the numbers of the scene.

    Returns:
        what the file's tag ``GEOPRETEXT`` says, in plain types.

    Raises:
        InputError and others: as ``run_scene`` and ``write_cog``.
    """
    options = options or EmbeddingOptions()
    check_outputs([out], [RASTERS])
    run = run or RunOptions()
    network = EmbeddingSource(bundle, options.context).of_scene(source.open(), run.door)
    outputs = [Output(out, needed_bytes(network.width, options.dtype))]
    with run_scene(
        source, network, parts_folder(out), run, outputs=outputs, progress=progress, looked=looked
    ) as computed:
        look = _look(computed, options.least_seen)
        quantisation = Quantisation.of(look.sample, look.lowest, look.highest, options.dtype)
        record = _record(network, computed, options, look, quantisation)
        bands = Bands(
            tuple(f"feature {number}" for number in range(computed.width)),
            options.dtype,
            quantisation.nodata,
            scales=tuple(map(float, quantisation.scale)),
            offsets=tuple(map(float, quantisation.offset)),
            tags=_tags(record, computed.scene.time),
        )
        write_cog(
            out,
            _encoded(computed, quantisation, options.least_seen),
            height=computed.height,
            width=computed.columns,
            georeference=computed.georeference,
            bands=bands,
        )
        computed.discard()
    return record


def _look(run: SceneRun, least_seen: float) -> _Look:
    """Some cells, evenly over all that have a vector."""
    stride = max(1, run.height * run.columns // _SAMPLE)
    sample, cells = [], 0
    lowest, highest = (np.full(run.width, bound, np.float32) for bound in (np.inf, -np.inf))
    for rows in run.rows():
        kept = rows.values[rows.seen >= least_seen]
        sample.append(kept[(-cells) % stride :: stride].copy())
        cells += len(kept)
        lowest = np.minimum(lowest, kept.min(0, initial=np.inf))
        highest = np.maximum(highest, kept.max(0, initial=-np.inf))
    if not cells:
        raise InputError(
            f"no cell has {least_seen:.0%} of its pixels observed",
            where=run.scene.where,
            hint="ask for less (--least-seen)",
        )
    return _Look(np.concatenate(sample), cells, lowest, highest)


def _encoded(run: SceneRun, quantisation: Quantisation, least_seen: float) -> Iterator[npt.NDArray[Any]]:
    for rows in run.rows():
        numbers = quantisation.encode(rows.values)
        numbers[rows.seen < least_seen] = quantisation.nodata
        yield numbers


def _record(
    network: EmbeddingSource, run: SceneRun, options: EmbeddingOptions, look: _Look, quantisation: Quantisation
) -> dict[str, Any]:
    cells = run.height * run.columns
    mean, rms = quantisation.errors(look.sample)
    return {
        "geopretext_version": __version__,
        "kind": "embeddings",
        "bundle": network.name,
        "fingerprint": network.fingerprint(),
        "patch_size": network.patch,
        "extent": network.extent,
        "features": run.width,
        "height": run.height,
        "width": run.columns,
        "dtype": options.dtype,
        "formula": "feature = number * scale + offset" if options.dtype == "int8" else "feature = number",
        "mean_error": mean,
        "rms_error": rms,
        "least_seen": options.least_seen,
        "cells": cells,
        "cells_without_vector": cells - look.cells,
        "input": dict(run.record),
    }


def _tags(record: Mapping[str, Any], time: np.datetime64 | None) -> dict[str, str]:
    tags = {"GEOPRETEXT": json.dumps(record), "TIFFTAG_SOFTWARE": f"geopretext {__version__}"}
    if time is not None:
        tags["TIFFTAG_DATETIME"] = str(time.astype("datetime64[s]")).replace("-", ":").replace("T", " ")
    return tags
