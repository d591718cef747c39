"""Maps of quantities by fine-tuned heads: a COG with a band a quantity, in its unit.

    result = regress("runs/height/bundle", "scene.tif", "height.tif")
    for each in result.quantities:
        print(each.name, each.mean, each.unit)

Nothing is clipped: a head that was taught heights says what it says, also below 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.errors import InputError
from geopretext.predict.cog import RASTERS, Bands, needed_bytes, write_cog
from geopretext.predict.head_network import QUANTITIES, HeadSource, open_head
from geopretext.predict.map_outputs import OBSERVED, map_tags, run_head
from geopretext.predict.scene import Array, Mask
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_maps import Rows
from geopretext.predict.scene_outputs import Output, check_outputs
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun
from geopretext.predict.summaries import QuantitySummary, QuantityTally

NODATA = -32_768
"""In maps of whole numbers; those of float32 have NaN."""
_LARGEST = 32_767


@dataclass(frozen=True)
class QuantityMap:
    """What ``regress`` has written."""

    path: Path
    height: int
    width: int
    quantities: tuple[QuantitySummary, ...]
    """in the order of bands"""
    step: float | None
    """of the stored whole numbers; None: float32"""
    beyond: int
    """values that are beyond what whole numbers of this step reach, and so are missing in the map"""
    record: Mapping[str, Any]
    """what was done to the scene, in plain types"""

    @property
    def observed(self) -> float:
        """Share of the pixels that have values, 0 to 1."""
        return self.quantities[0].pixels / (self.height * self.width)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "map": str(self.path),
            "height": self.height,
            "width": self.width,
            "observed": self.observed,
            "quantities": [each.to_dict() for each in self.quantities],
            "step": self.step,
            "beyond": self.beyond,
            "record": dict(self.record),
        }


def regress(
    bundle: str | Path,
    scene: SceneOpener | str | Path,
    out: str | Path,
    *,
    step: float | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> QuantityMap:
    """Map the quantities of a scene.

    Args:
        bundle: that `geopretext evaluate finetune --save-bundle` wrote on a task of dense regression.
        scene: where it is: a path, a ``SceneSource`` if there is more to say of it, or an ``ArrayScene``.
        out: GeoTIFF to write: a band a quantity, float32 with NaN where nothing was observed.
        step: write int16 instead, in whole numbers of this step (0.1: decimetres for metres); what lies beyond
            +-32767 steps is missing, and counted in ``beyond``.
        options: of the run: windows, device, processes, input.
        progress: told how far it is.
        looked: told what is done to the numbers.

    Raises:
        BundleError: there is no such bundle, or it is none with a head.
        InputError: its head is for another task; the scene is not there or does not fit the encoder (``BandError``,
            ``UnitError``, ``GridError``); the output cannot be written by its name; or the step is not above 0.
        CorruptError: the scene cannot be decoded.
        ClusterError: a process died.
        StoreError: the disk is full.
        MissingLibraryError: a library of ``[geo]`` or ``[segmentation]`` is not installed.
    """
    out = Path(out)
    if step is not None and not 0 < step < np.inf:
        raise InputError(f"a step of {step}", hint="above 0, in the unit of the quantity")
    check_outputs([out], [RASTERS])
    head = open_head(bundle, QUANTITIES)
    names, units = head.labels.names, units_of(head)
    beyond = 0
    outputs = [Output(out, needed_bytes(len(names), "float32" if step is None else "int16"))]
    with run_head(scene, head, outputs, options, progress=progress, looked=looked) as run:
        tally = QuantityTally(run.height * run.columns, len(names))

        def blocks() -> Iterator[Array]:
            nonlocal beyond
            for rows in run.rows():
                seen = rows.seen > OBSERVED
                tally.add(rows.values, seen)
                stored, lost = _stored(rows, seen, step)
                beyond += lost
                yield stored

        bands = _bands(head, run, step)
        write_cog(out, blocks(), height=run.height, width=run.columns, georeference=run.georeference, bands=bands)
        run.discard()
    return QuantityMap(out, run.height, run.columns, tally.summaries(names, units), step, beyond, run.record)


def units_of(head: HeadSource) -> tuple[str, ...]:
    """One a quantity: a bundle names one for all, or as many as there are, with commas."""
    names, unit = head.labels.names, head.labels.unit
    each = tuple(part.strip() for part in unit.split(","))
    return each if len(each) == len(names) else (unit,) * len(names)


def _bands(head: HeadSource, run: SceneRun, step: float | None) -> Bands:
    count = len(head.labels.names)
    return Bands(
        head.labels.names,
        "float32" if step is None else "int16",
        float("nan") if step is None else NODATA,
        scales=() if step is None else (step,) * count,
        offsets=() if step is None else (0.0,) * count,
        units=units_of(head),
        tags={**map_tags(head, run), "unit": head.labels.unit},
    )


def _stored(rows: Rows, seen: Mask, step: float | None) -> tuple[Array, int]:
    """Numbers as written (rows, W, D), and how many had no room."""
    if step is None:
        return np.where(seen[..., None], rows.values, np.float32(np.nan)), 0
    steps = np.rint(rows.values / np.float32(step))
    fits = np.abs(steps) <= _LARGEST
    numbers = np.where(fits & seen[..., None], steps, NODATA).astype(np.int16)
    return numbers, int((~fits & seen[..., None]).sum())
