"""Where a predicted modality was also observed: the real product beside the predicted one.

The real product lies on the grid of the scene, in the unit and with the codes of its modality. Codes that the modality
does not have cannot be compared; they are counted.

Shapes: C bands, h w pixels of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import BandError, CorruptError, GridError, InputError, MissingLibraryError, UnitError
from geopretext.modality import Modality, Observed
from geopretext.predict.predicted_map import PredictedMap
from geopretext.predict.scene import Scene

Array = npt.NDArray[Any]

_ROWS = 512
_ALIKE = 1e-3
"""of a pixel: how far corners may lie apart"""


@dataclass(frozen=True)
class TruthFile:
    """A raster of a modality as it was observed."""

    path: Path
    bands: tuple[str, ...] = ()
    """names in file order; empty: as the file describes them"""

    def check(self, modality: Modality, scene: Scene) -> None:
        """Refuse what cannot be compared with predictions of a modality for a scene.

        Raises:
            InputError: there is no such file.
            CorruptError: it is no raster.
            BandError: its bands are not said, or none is a band of the modality.
            GridError: it does not lie on the grid of the scene.
            UnitError: its numbers have a scale or an offset.
        """
        if not self.path.exists():
            raise InputError("no such file", where=str(self.path))
        rasterio = _rasterio()
        with _open(self.path) as file:
            self._chosen(file, modality)
            self._check_scale(file, modality)
            georeference = scene.georeference
            size = (file.height, file.width) == (scene.height, scene.width)
            crs = not georeference.crs or file.crs == rasterio.crs.CRS.from_user_input(georeference.crs)
            pixel = max(abs(number) for number in georeference.transform[:2])
            apart = np.subtract(tuple(file.transform)[:6], georeference.transform)
            if not size or not crs or np.abs(apart).max() > _ALIKE * pixel:
                raise GridError(
                    "does not lie on the grid of the scene",
                    where=str(self.path),
                    hint=f"warp it to {scene.height} x {scene.width} pixels of the scene (gdalwarp -t_srs -te -ts)",
                )

    def modality(self, modality: Modality) -> Modality:
        """A modality with the bands that are here."""
        with _open(self.path) as file:
            return modality.select(self._chosen(file, modality))

    def read(self, modality: Modality, shape: tuple[int, int], window: Any = None) -> Observed[Array]:
        """Numbers of the modality's bands that are here, nearest pixels.

        Args:
            modality: as ``self.modality`` gives it.
            shape: rows and columns wanted.
            window: of rasterio; None: all of it.
        """
        return self.read_known(modality, shape, window)[0]

    def read_known(
        self, modality: Modality, shape: tuple[int, int], window: Any = None
    ) -> tuple[Observed[Array], npt.NDArray[np.bool_]]:
        """As ``read``, and where (h, w) a class was observed whose code the modality does not have.

        Raises:
            CorruptError: the file cannot be decoded.
        """
        with _open(self.path) as file:
            names = self.bands or file.descriptions
            numbers = [names.index(name) + 1 for name in modality.band_names]
            size = (len(numbers), *shape)
            try:
                raw = file.read(numbers, out_shape=size, window=window)
                seen = file.read_masks(numbers, out_shape=size, window=window) > 0
            except _rasterio().errors.RasterioError as error:
                raise CorruptError(f"cannot be decoded: {error}", where=str(self.path)) from error
        if not modality.kind.is_categorical:
            values, valid = modality.decode(raw[None])
            return Observed(values[0], valid[0] & seen), np.zeros(shape, np.bool_)
        known = np.isin(raw[0], [label.code for label in modality.classes])
        unknown = seen[0] & ~known & ~np.isin(raw[0], modality.missing)
        values, _ = modality.decode(np.where(known, raw[0], modality.classes[0].code)[None, None])
        return Observed(values[0], known & seen[0]), unknown

    def _check_scale(self, file: Any, modality: Modality) -> None:
        names = self.bands or file.descriptions
        for name, scale, offset in zip(names, file.scales, file.offsets, strict=True):
            if name in modality.band_names and (scale, offset) != (1, 0):
                raise UnitError(
                    f"numbers of {name!r} have scale {scale:g} and offset {offset:g}",
                    where=str(self.path),
                    hint="write them in the unit of the modality first (gdal_translate -unscale -ot Float32)",
                )

    def _chosen(self, file: Any, modality: Modality) -> tuple[str, ...]:
        names = self.bands or file.descriptions
        if len(names) != file.count:
            raise BandError(f"{len(names)} names for {file.count} bands", where=str(self.path))
        chosen = tuple(name for name in modality.band_names if name in names)
        if not chosen:
            raise BandError(
                f"none of its bands is one of {modality.name!r}",
                where=str(self.path),
                hint=f"name them in file order: {modality.name}:BAND,BAND=FILE, of {', '.join(modality.band_names)}",
            )
        return chosen


@dataclass(frozen=True)
class Comparison:
    """A prediction held against what was observed."""

    truth: TruthFile
    modality: Modality
    """with the bands that both have"""
    pixels: tuple[int, ...]
    """that both have, of each band"""
    correlation: tuple[float, ...]
    """of each band over these pixels; empty for classes"""
    rmse: tuple[float, ...]
    """in the band's unit; empty for classes"""
    bias: tuple[float, ...]
    """mean of predicted minus observed; empty for classes"""
    accuracy: float | None
    """share of pixels whose class is right; None for quantities"""
    unknown: int = 0
    """pixels that both have, but with a code that is no class of the modality; they do not count"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types; None where there is nothing to say, since no pixel is in both or all are equal."""
        if self.accuracy is not None:
            counts = {"pixels": self.pixels[0], "pixels_of_unknown_class": self.unknown}
            return {"file": str(self.truth.path), **counts, "accuracy": _finite(self.accuracy)}
        bands = {
            name: {
                "pixels": self.pixels[row],
                "correlation": _finite(self.correlation[row]),
                "rmse": _finite(self.rmse[row]),
                "bias": _finite(self.bias[row]),
            }
            for row, name in enumerate(self.modality.band_names)
        }
        return {"file": str(self.truth.path), "bands": bands}


def _finite(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def compare(found: PredictedMap, truth: TruthFile) -> Comparison:
    """Hold a predicted map against the real one, block by block.

    Raises:
        CorruptError: the real one cannot be decoded.
    """
    modality = truth.modality(found.modality)
    pairs = _pairs(found, truth, modality)
    if modality.kind.is_categorical:
        right = total = strange = 0
        for predicted, true, both, unknown in pairs:
            right += int(np.count_nonzero((predicted == true) & both))
            total += int(np.count_nonzero(both))
            strange += int(np.count_nonzero(unknown))
        return Comparison(truth, modality, (total,), (), (), (), right / total if total else float("nan"), strange)
    sums = np.zeros((6, len(modality.bands)))
    for predicted, true, both, _ in pairs:
        p, t = (np.where(both, each, 0.0).astype(np.float64) for each in (predicted, true))
        sums += [np.sum(each, axis=(1, 2)) for each in (both, p, t, p * p, t * t, p * t)]
    pixels, *moments = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        p, t, pp, tt, pt = (each / pixels for each in moments)
        correlation = (pt - p * t) / np.sqrt((pp - p * p) * (tt - t * t))
        rmse = np.sqrt(np.maximum(pp - 2 * pt + tt, 0))
    counts = tuple(int(number) for number in pixels)
    return Comparison(truth, modality, counts, tuple(correlation), tuple(rmse), tuple(p - t), None)


def _pairs(found: PredictedMap, truth: TruthFile, modality: Modality) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Predicted and observed numbers of blocks of rows, where both are, and where the observed class is unknown."""
    from rasterio.windows import Window

    own = TruthFile(found.path, found.modality.band_names)
    with _open(found.path) as file:
        height, width = file.height, file.width
    for start in range(0, height, _ROWS):
        rows = min(_ROWS, height - start)
        window = Window(0, start, width, rows)
        predicted = own.read(modality, (rows, width), window)
        true, unknown = truth.read_known(modality, (rows, width), window)
        yield predicted.values, true.values, predicted.valid & true.valid, unknown & predicted.valid


def _open(path: Path) -> Any:
    rasterio = _rasterio()
    try:
        return rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise CorruptError(f"cannot be read as a raster: {error}", where=str(path)) from error


def _rasterio() -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="read GeoTIFFs") from error
    return rasterio
