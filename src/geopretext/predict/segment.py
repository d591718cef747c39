"""Class maps of scenes by fine-tuned heads: a COG of class codes, and on request probabilities and polygons.

    result = segment("runs/corine/bundle", "scene.tif", "map.tif", polygons="map.gpkg")
    for each in result.classes:
        print(each.name, each.hectares)

A scene goes through the engine of ``predict.scene_run`` once; everything is written from what that keeps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.predict.cog import RASTERS, Bands, needed_bytes, write_cog
from geopretext.predict.ground_area import Ground, ground_of
from geopretext.predict.head_network import CLASSES, HeadSource, open_head
from geopretext.predict.legend import Codes, Legend, legend_of
from geopretext.predict.map_outputs import OBSERVED, map_tags, run_head
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_maps import Rows
from geopretext.predict.scene_outputs import Output, check_outputs
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun
from geopretext.predict.summaries import ClassShare, ClassTally

PROBABILITY_STEP = 0.004
"""Of the stored numbers 0 to 250."""
PROBABILITY_NODATA = 255
POLYGON_SUFFIXES = (".gpkg", ".parquet")


@dataclass(frozen=True)
class ClassMap:
    """What ``segment`` has written."""

    path: Path
    legend: Legend
    height: int
    width: int
    classes: tuple[ClassShare, ...]
    """in the order of codes, also those that occur nowhere"""
    probabilities: Path | None
    polygons: Path | None
    polygon_count: int | None
    """None: no polygons were asked for"""
    record: Mapping[str, Any]
    """what was done to the scene, in plain types"""

    @property
    def observed(self) -> float:
        """Share of the pixels that have a class, 0 to 1."""
        return sum(each.pixels for each in self.classes) / (self.height * self.width)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "map": str(self.path),
            "height": self.height,
            "width": self.width,
            "observed": self.observed,
            "nodata": self.legend.nodata,
            "classes": [asdict(each) for each in self.classes],
            "probabilities": None if self.probabilities is None else str(self.probabilities),
            "polygons": None if self.polygons is None else str(self.polygons),
            "polygon_count": self.polygon_count,
            "record": dict(self.record),
        }


def segment(
    bundle: str | Path,
    scene: SceneOpener | str | Path,
    out: str | Path,
    *,
    probabilities: str | Path | None = None,
    polygons: str | Path | None = None,
    min_area: float = 0.0,
    colors: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> ClassMap:
    """Map the classes of a scene.

    Args:
        bundle: that `geopretext evaluate finetune --save-bundle` wrote on a task of segmentation.
        scene: where it is: a path, a ``SceneSource`` if there is more to say of it, or an ``ArrayScene``.
        out: GeoTIFF to write: class codes, colours and names.
        probabilities: GeoTIFF to write: a band a class, uint8, 0 to 250 for 0 to 1, 255 where nothing was observed.
        polygons: ``.gpkg`` (in the scene's CRS) or ``.parquet`` (GeoParquet in degrees) to write.
        min_area: polygons that are smaller are left out, m2.
        colors: of some classes by name, ``#rrggbb``; by default see ``predict.legend``.
        options: of the run: windows, device, processes, input.
        progress: told how far it is.
        looked: told what is done to the numbers.

    Raises:
        BundleError: there is no such bundle, or it is none with a head.
        InputError: its head is for another task; the scene is not there or does not fit the encoder (``BandError``,
            ``UnitError``, ``GridError``); an output cannot be written by its name; or polygons are asked for of a scene
            that does not say where it lies.
        ClassError: codes do not fit into 16 bits, or ``colors`` names no class.
        CorruptError: the scene cannot be decoded.
        ClusterError: a process died.
        StoreError: the disk is full.
        MissingLibraryError: a library of ``[geo]`` or ``[segmentation]`` is not installed.
    """
    out = Path(out)
    probabilities = None if probabilities is None else Path(probabilities)
    polygons = None if polygons is None else Path(polygons)
    rasters = [out] if probabilities is None else [out, probabilities]
    shapes = [] if polygons is None else [polygons]
    check_outputs([*rasters, *shapes], [*[RASTERS] * len(rasters), *[POLYGON_SUFFIXES] * len(shapes)])
    head = open_head(bundle, CLASSES)
    legend = legend_of(head.labels, colors)
    outputs = [Output(out, needed_bytes(1, legend.dtype))]
    outputs += [Output(path, needed_bytes(len(legend.names), "uint8")) for path in rasters[1:]]
    outputs += [Output(path, placed=True) for path in shapes]
    with run_head(scene, head, outputs, options, progress=progress, looked=looked) as run:
        ground = ground_of(run.georeference, height=run.height, width=run.columns)
        tally = ClassTally(legend, ground)
        _write_map(out, run, head, legend, tally)
        if probabilities is not None:
            _write_probabilities(probabilities, run, head, legend)
        count = None
        if polygons is not None and ground is not None:
            count = _write_polygons(polygons, out, ground, legend, min_area)
        run.discard()
    return ClassMap(out, legend, run.height, run.columns, tally.shares, probabilities, polygons, count, run.record)


def _write_map(path: Path, run: SceneRun, head: HeadSource, legend: Legend, tally: ClassTally) -> None:
    def blocks() -> Iterator[Codes]:
        for rows in run.rows():
            codes = legend.encode(rows.values, rows.seen > OBSERVED)
            tally.add(codes)
            yield codes[..., None]

    bands = Bands(
        ("class",),
        legend.dtype,
        legend.nodata,
        colours=legend.color_table if legend.dtype == "uint8" else None,
        categories=legend.by_code,
        tags=map_tags(head, run),
    )
    write_cog(path, blocks(), height=run.height, width=run.columns, georeference=run.georeference, bands=bands)


def _write_probabilities(path: Path, run: SceneRun, head: HeadSource, legend: Legend) -> None:
    bands = Bands(
        legend.names,
        "uint8",
        PROBABILITY_NODATA,
        scales=(PROBABILITY_STEP,) * len(legend.names),
        offsets=(0.0,) * len(legend.names),
        tags=map_tags(head, run),
    )
    blocks = (_probabilities(rows) for rows in run.rows())
    write_cog(path, blocks, height=run.height, width=run.columns, georeference=run.georeference, bands=bands)


def _probabilities(rows: Rows) -> Codes:
    numbers = np.rint(rows.values / PROBABILITY_STEP).clip(0, 1 / PROBABILITY_STEP).astype(np.uint8)
    return np.where((rows.seen > OBSERVED)[..., None], numbers, np.uint8(PROBABILITY_NODATA))


def _write_polygons(path: Path, class_map: Path, ground: Ground, legend: Legend, min_area: float) -> int:
    from geopretext.predict.polygon_files import write_polygons  # here, since they import optional libraries
    from geopretext.predict.polygons import polygonise

    regions = polygonise(_read_blocks(class_map), nodata=legend.nodata)
    return write_polygons(path, regions, ground=ground, names=legend.by_code, min_area=min_area)


def _read_blocks(path: Path) -> Iterator[Codes]:
    """A map, a row of its file's blocks at a time."""
    import rasterio

    with rasterio.open(path) as file:
        step = file.block_shapes[0][0]
        for top in range(0, file.height, step):
            yield file.read(1, window=((top, min(top + step, file.height)), (0, file.width)))
