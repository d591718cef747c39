"""Rasters by path: one file, one a year, or the tiles of a product, on disk, on a web server or in an object store.

::

    archives:
      worldcover: {kind: rasters, root: "s3://esa-worldcover/v100/2020/map", anonymous: true}
      elevation: {kind: rasters, root: /data/copernicus-dem}
    modalities:
      esa_worldcover:
        from: worldcover
        tiles: {degrees: 3}
        absent: missing
        bands: {map: {path: "ESA_WorldCover_10m_2020_v100_{ns}{lat:02d}{ew}{lon:03d}_Map.tif"}}
      aster:
        from: elevation
        tiles: {degrees: 1}
        absent: missing
        bands:
          elevation: {path: "Copernicus_DSM_COG_10_{ns}{lat:02d}_00_{ew}{lon:03d}_00_DEM.tif"}
          slope: {slope_of: elevation}

``docs/source-rasters.md`` explains every key.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geopretext.build.bands import in_unit, missing_numbers, observation_of, read_grid
from geopretext.build.fetch import public, scheme_of
from geopretext.build.raster_reader import Window, WindowJob, shared_reader
from geopretext.build.recipe import ModalityRecipe
from geopretext.build.source import Asset, Candidate, Observation, Query, Request, Resampling
from geopretext.build.tiling import Tiling, check_template, has_year, paths_for
from geopretext.build.transfer import TransferSettings
from geopretext.data.fields import read_settings
from geopretext.data.offset import OFFSET
from geopretext.data.units import REFLECTANCE, check_unit
from geopretext.errors import RecipeError, SourceError
from geopretext.modality import Band, Modality


@dataclass(frozen=True)
class BandFile:
    """Where one band is, as a recipe says it."""

    path: str = ""
    """below the archive's root, or a whole path or URL; with the fields of ``tiling``"""
    band: int = 1
    """of the file, from 1"""
    scale: float = 1.0
    """value = number x scale + offset"""
    offset: float = 0.0
    nodata: tuple[float, ...] = ()
    """numbers that mean "not observed", besides the file's own"""
    unit: str = ""
    """of the values; empty: the band's own"""
    resampling: Resampling | None = None
    """null: the modality's"""
    slope_of: str = ""
    """instead of a path: the band that holds the elevation, in metres"""

    def undone(self, band: Band) -> float:
        """The Sentinel-2 offset, if ``offset`` undoes it: what the numbers were before is the band's own."""
        is_undone = band.unit == (self.unit or band.unit) == REFLECTANCE and (self.scale, self.offset) == (1.0, -OFFSET)
        return self.offset if is_undone else 0.0

    def missing(self, modality: Modality, band: Band) -> tuple[float, ...]:
        """All numbers that are known to mean "not observed"."""
        own = missing_numbers(
            modality, band, unit=self.unit or band.unit, scale=self.scale, offset=self.offset - self.undone(band)
        )
        return tuple(sorted({*self.nodata, *own}))


@dataclass(frozen=True)
class RasterOptions:
    """Options of a modality whose archive is of the kind ``rasters``."""

    tiles: Tiling | None = None
    """null: one file holds everything"""
    absent: Literal["error", "missing"] = "error"
    """what a file that is not there means: a failure, or no data, as with products without tiles over the ocean"""
    years: tuple[int, ...] = ()
    """first and last of a yearly product; empty: every year"""


@dataclass(frozen=True)
class ArchiveOptions:
    """Options of an archive of the kind ``rasters``, besides those of ``TransferSettings``."""

    root: str = ""
    """folder or URL that paths are below"""


@dataclass(frozen=True)
class RastersSource:
    """Reads one modality from rasters by path. See the module; made by ``open_source``."""

    modality: Modality
    files: Mapping[str, BandFile]
    """by band"""
    options: RasterOptions
    root: str
    resampling: Resampling
    settings: TransferSettings = field(default_factory=TransferSettings)

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """One candidate for each place, or one for each year of a yearly product; files are not looked at."""
        return [
            [
                candidate
                for candidate in (self._candidate(query, year) for year in self._years(query))
                if query.item in ("", candidate.item)
            ]
            for query in queries
        ]

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """All windows of all requests together; see ``Source``."""
        jobs: list[WindowJob] = []
        owners: list[tuple[int, str]] = []
        for number, request in enumerate(requests):
            for name, assets in request.candidate.assets.items():
                owners.append((number, name))
                jobs.append(
                    WindowJob(
                        assets=assets,
                        grid=read_grid(request.grid, name, self._slopes),
                        resampling=self.files[name].resampling or self.resampling,
                        absent_is_missing=self.options.absent == "missing",
                    )
                )
        left = [len(request.candidate.assets) for request in requests]
        windows: list[dict[str, Window]] = [{} for _ in requests]
        failures: dict[int, SourceError] = {}
        for job, window in shared_reader(self.settings).read(jobs):
            number, name = owners[job]
            left[number] -= 1
            if isinstance(window, SourceError):
                failures.setdefault(number, window)
            else:
                windows[number][name] = window
            if not left[number]:
                yield number, failures.get(number) or self._observed(requests[number], windows[number])
                windows[number] = {}

    @property
    def _is_yearly(self) -> bool:
        return any(has_year(file.path) for file in self.files.values())

    def _years(self, query: Query) -> list[int]:
        if not self._is_yearly:
            return [0]
        assert query.start is not None
        assert query.stop is not None
        first, last = (int(time.astype("datetime64[Y]").astype(int)) + 1970 for time in (query.start, query.stop - 1))
        if self.options.years:
            first, last = max(first, self.options.years[0]), min(last, self.options.years[-1])
        return list(range(first, last + 1))

    def _candidate(self, query: Query, year: int) -> Candidate:
        assets = {}
        for band in self.modality.bands:
            file = self.files[band.name]
            if not file.slope_of:
                missing = file.missing(self.modality, band)
                assets[band.name] = tuple(
                    Asset(self._whole(path), file.band, file.scale, file.offset, missing)
                    for path in paths_for(file.path, self.options.tiles, query, year)
                )
        stems = dict.fromkeys(PurePosixPath(public(asset.href)).stem for files in assets.values() for asset in files)
        return Candidate(
            item="+".join(stems), time=np.datetime64(f"{year}-07-01", "s") if year else None, assets=assets
        )

    def _whole(self, path: str) -> str:
        if not self.root or scheme_of(path) or path.startswith("/"):
            return path
        return f"{self.root.rstrip('/')}/{path}"

    @property
    def _slopes(self) -> dict[str, str]:
        return {name: file.slope_of for name, file in self.files.items() if file.slope_of}

    def _observed(self, request: Request, windows: Mapping[str, Window]) -> Observation | SourceError:
        """Bands together, in the modality's units."""
        numbers: dict[str, npt.NDArray[np.float64]] = {}
        try:
            for band in self.modality.bands:
                if band.name in windows:
                    file = self.files[band.name]
                    numbers[band.name] = in_unit(
                        self.modality,
                        band,
                        windows[band.name],
                        unit=file.unit or band.unit,
                        undone=file.undone(band),
                        where=f"{request.candidate.item}, band {band.name!r}",
                    )
        except SourceError as error:
            return error
        return observation_of(self.modality, request.grid, numbers, self._slopes, {})


def open_source(entry: ModalityRecipe, archive: Mapping[str, Any], *, seed: int, where: str) -> RastersSource:  # noqa: ARG001 # nothing is drawn
    """The source of one modality; see ``archives.ArchiveModule``."""
    of_transfer = {key: value for key, value in archive.items() if key in TransferSettings.__dataclass_fields__}
    others = {key: value for key, value in archive.items() if key not in of_transfer and key != "kind"}
    bands = entry.options.get("bands")
    if not isinstance(bands, Mapping) or not all(isinstance(file, Mapping) for file in bands.values()):
        raise RecipeError(
            f"bands is {bands!r}",
            where=where,
            hint='a mapping of bands to files: bands: {map: {path: "worldcover.tif"}}',
        )
    settings = {key: value for key, value in entry.options.items() if key != "bands"}
    options = _read_options(settings, where)
    files = {
        band.name: _read_file(band, bands[band.name], entry, options, where=f"{where}, band {band.name!r}")
        for band in entry.modality.bands
    }
    units = {band.name: band.unit for band in entry.modality.bands}
    for name, file in files.items():
        if file.slope_of and (file.slope_of not in files or files[file.slope_of].slope_of):
            raise RecipeError(
                f"slope_of names {file.slope_of!r}", where=f"{where}, band {name!r}", hint="a band that has a path"
            )
        if file.slope_of:
            check_unit(units[file.slope_of], "m", where=f"{where}, band {file.slope_of!r}")
    return RastersSource(
        modality=entry.modality,
        files=files,
        options=options,
        root=read_settings(ArchiveOptions, others, where=where).root,
        resampling=entry.resampling,
        settings=read_settings(TransferSettings, of_transfer, where=where),
    )


def _read_options(plain: Mapping[str, Any], where: str) -> RasterOptions:
    tiles = plain.get("tiles")
    if tiles is not None and not isinstance(tiles, Mapping):
        raise RecipeError(f"tiles is {tiles!r}", where=where, hint="tiles: {degrees: 3}")
    rest = {key: value for key, value in plain.items() if key != "tiles"}
    options = read_settings(RasterOptions, rest, where=where)
    if options.years and (len(options.years) > 2 or options.years[0] > options.years[-1]):
        raise RecipeError(f"years is {list(options.years)}", where=where, hint="the first and the last: [2015, 2022]")
    return replace(options, tiles=read_settings(Tiling, tiles, where=where, prefix="tiles.")) if tiles else options


def _read_file(
    band: Band, plain: Mapping[str, Any], entry: ModalityRecipe, options: RasterOptions, *, where: str
) -> BandFile:
    nodata = plain.get("nodata", ())
    file = read_settings(
        BandFile, {**plain, "nodata": [nodata] if isinstance(nodata, int | float) else nodata}, where=where
    )
    if bool(file.path) == bool(file.slope_of):
        raise RecipeError("path and slope_of: one of them is wanted", where=where)
    if file.slope_of:
        check_unit("degree", band.unit, where=where)
        return file
    check_template(file.path, options.tiles, where=where)
    if has_year(file.path) and entry.pair.rule in ("static", "same"):
        raise RecipeError(
            f"path {file.path!r} wants a year, which rule {entry.pair.rule!r} does not give",
            where=where,
            hint="pair: {rule: year}",
        )
    if entry.modality.kind.is_categorical and file.resampling not in (None, "nearest", "mode"):
        raise RecipeError(
            f"resampling is {file.resampling}, but its values are classes", where=where, hint="nearest or mode"
        )
    if file.band < 1 or file.scale == 0:
        raise RecipeError(f"band {file.band} and scale {file.scale:g}", where=where, hint="bands count from 1")
    if file.unit:
        check_unit(file.unit, band.unit, where=where)
    return file
