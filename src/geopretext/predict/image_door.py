"""The door between images and an encoder: what is done to the numbers, decided once and on record.

Bands are matched by name (``predict.band_matching``), units converted where that is exact, and the result is held
against what the encoder was trained on (``predict.input_gate``).

An 8-bit picture has no exact reflectance: its contrast stretch and compression cannot be undone. Its bands are known,
and the honest way into an encoder that was trained on reflectance is to standardise it by the task's own training
images, which no linear unit changes. That is a choice, so it has a name (``statistics="dataset"``), stands in
``ImageDoor.record``, and is written beside every score.

Shapes: B images, C bands, H W pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.normalise import Decoder, Normaliser, Scale
from geopretext.data.offset import OFFSET
from geopretext.data.statistics import POOLED
from geopretext.data.units import CONVERSIONS, REFLECTANCE, check_plausible, to_unit
from geopretext.errors import GridError, UnitError
from geopretext.modality import Modality, Observed, choose_scale, known_scales
from geopretext.predict.band_matching import BandMatch, match_bands
from geopretext.predict.images import UNSTATED, Images
from geopretext.predict.input_gate import SAMPLE, GateReport, judge_inputs
from geopretext.predict.reference import Reference

Array = npt.NDArray[Any]
StatisticsChoice: TypeAlias = Literal["auto", "bundle", "dataset"]
"""By which means and deviations inputs are standardised: the bundle's, the task's own training images', or the
bundle's where it has some and the units agree, and else the images'"""

_BLOCK = 64
_PLAUSIBILITY_SAMPLE = 16


@dataclass(frozen=True)
class ImageDoor:
    """How images become the input of an encoder; made by ``ImageDoor.open``."""

    images: Images
    match: BandMatch
    """where each band of the encoder comes from"""
    modality: Modality
    """the encoder's bands in its order, with the unit and the valid range that hold after conversion"""
    scale: Scale
    """mean and standard deviation of each band, by which it is standardised"""
    height: int
    """pixels that are kept around the centre: a multiple of the patch size"""
    width: int
    """pixels that are kept around the centre: a multiple of the patch size"""
    record: Mapping[str, Any]
    """all of this in plain types, for ``scores.json``"""

    @classmethod
    def open(
        cls,
        images: Images,
        modality: Modality,
        scales: Mapping[str, Scale],
        *,
        patch_size: int,
        statistics: StatisticsChoice = "auto",
        training: Array | None = None,
        level: str | None = None,
        substitutes: Mapping[str, str] | None = None,
        fill: Sequence[str] = (),
    ) -> "ImageDoor":
        """Decide what is done to the images.

        Args:
            images: the files.
            modality: what the encoder reads: its bands with their unit.
            scales: the bundle's mean and standard deviation by level.
            patch_size: of the encoder, pixels; images are cut to a multiple of it.
            statistics: which ones standardise the images.
            training: positions of the training images, for ``"dataset"``; by default all images.
            level: processing level of the images (``L2A``), where the bundle has statistics by level.
            substitutes: for bands that the images lack, the band to take instead.
            fill: bands that may be missing everywhere, if the images lack them.

        Raises:
            BandError: the images lack a band of the encoder, and nothing is declared for it.
            UnitError: ``"bundle"`` was asked for, but the unit of the images cannot be converted exactly.
            GridError: the images are smaller than a patch.
            InputError: the bundle has no statistics for ``level``.
        """
        match = match_bands(modality.band_names, images.bands, substitutes=substitutes, fill=fill, where=images.where)
        height, width = images.height // patch_size * patch_size, images.width // patch_size * patch_size
        if not height or not width:
            raise GridError(
                f"images of {images.height} x {images.width} pixels are smaller than a patch of {patch_size}",
                where=images.where,
                hint="resample them, or use an encoder with smaller patches",
            )
        convertible = all(_convertible(images.unit, band.unit) for band in modality.bands)
        if statistics == "auto":
            statistics = "bundle" if convertible and known_scales(scales) else "dataset"
        if statistics == "bundle" and not convertible:
            raise UnitError(
                f"the images are in {images.unit!r}, the encoder wants {modality.bands[0].unit!r},"
                " and no exact conversion is known",
                where=images.where,
                hint="declare their true unit with --unit, or standardise them by their own training images with"
                " --statistics dataset",
            )
        seen = replace(modality, dtype="float32", levels=())
        if not convertible:
            # Valid ranges and no-data numbers are in the encoder's unit and say nothing about this one.
            plain = tuple(replace(band, unit=images.unit, valid_min=None, valid_max=None) for band in modality.bands)
            seen = replace(seen, bands=plain, missing=())
        door = cls(images, match, seen, _no_scale(seen), height, width, {})
        chosen = np.arange(len(images)) if training is None else training
        if convertible:
            door._check_plausible(chosen[:: max(1, len(chosen) // _PLAUSIBILITY_SAMPLE)])
        scale = choose_scale(scales, level)[1] if statistics == "bundle" else door._measure(chosen)
        return replace(door, scale=scale, record=door._describe(modality, statistics, level, scale))

    def like(self, other: "ImageDoor") -> "ImageDoor":
        """Standardise by the scale of another door, so that what differs between their images stays.

        Raises:
            UnitError: its images are in another unit.
        """
        units = [[band.unit for band in door.modality.bands] for door in (self, other)]
        if units[0] != units[1]:
            raise UnitError(
                f"the images are in {units[0][0]!r}, those in {other.images.where} in {units[1][0]!r},"
                " and one scale cannot be for both",
                where=self.images.where,
                hint="give both in one unit",
            )
        shared = {name: other.record[name] for name in ("statistics", "level", "mean", "std")}
        return replace(self, scale=other.scale, record={**self.record, **shared, "scale_of": other.images.where})

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """The one input."""
        return (self.modality,)

    def moved(self, place: Callable[[Images], Images], *, height: int, width: int) -> "ImageDoor":
        """The same decisions for other images.

        Args:
            place: gives them, of the images that there are.
            height: pixels of each.
            width: likewise.
        """
        return replace(self, images=place(self.images), height=height, width=width)

    def seen(self, valid: Tensor) -> Tensor:
        """Pixels (B, H, W) at which all bands that the images have were observed, of (B, C, H, W)."""
        return valid[:, [source is not None for source in self.match.sources]].all(1)

    def blocks(self, samples: Array | None = None, size: int = _BLOCK) -> Iterator[Observed[Tensor]]:
        """Values in the unit of ``modality`` and validity, (B, C, height, width), ``size`` images at a time, in order.

        Raises:
            CorruptError: a file cannot be decoded.
            GridError: a file differs in size.
            BandError: a file differs in its number of bands.
        """
        samples = np.arange(len(self.images)) if samples is None else samples
        decoder = Decoder(self.modality)
        top, left = (self.images.height - self.height) // 2, (self.images.width - self.width) // 2
        for start in range(0, len(samples), size):
            values, valid = self._read(samples[start : start + size])
            window = (..., slice(top, top + self.height), slice(left, left + self.width))
            values, valid = self._convert(values[window]), valid[window]
            observed = decoder(torch.from_numpy(np.ascontiguousarray(values)))
            both = observed.valid & torch.from_numpy(np.ascontiguousarray(valid))
            yield Observed(observed.values.masked_fill(~both, 0.0), both)

    @property
    def normaliser(self) -> Normaliser:
        """Standardises what ``blocks`` yields."""
        return Normaliser(self.modality, {POOLED: self.scale})

    def judge(self, reference: Reference | None, samples: Array, *, level: str | None = None) -> GateReport:
        """Hold some of the images against what the encoder was trained on.

        Args:
            reference: of the encoder.
            samples: positions of images, of which at most ``input_gate.SAMPLE`` are read.
            level: processing level of the images, if it is known.
        """
        observed = next(self.blocks(spread(samples, SAMPLE), SAMPLE))
        unit = None if reference is None else reference.unit
        return judge_inputs(
            observed.values.numpy(),
            observed.valid.numpy(),
            reference,
            real=self.match.real,
            level=level,
            unit_known=self.modality.bands[0].unit == unit,
        )

    def _read(self, samples: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """The encoder's bands as stored; a filled one is missing."""
        stored = list(dict.fromkeys(source for source in self.match.sources if source is not None))
        values, valid = self.images.read(samples, stored)
        rows = [stored.index(source) if source is not None else 0 for source in self.match.sources]
        values, valid = values[:, rows], valid[:, rows].copy()
        valid[:, [source is None for source in self.match.sources]] = False
        return values, valid

    def _convert(self, values: Array) -> Array:
        for row, band in enumerate(self.modality.bands):
            given = values[:, row]
            numbers = given
            if band.unit != self.images.unit:
                numbers = to_unit(given.astype(np.float64), self.images.unit, band.unit)
            if band.unit == REFLECTANCE and band.valid_min is not None:
                # as in stores: what is dark was observed, though the offset takes it to 0 or below; a 0 that stands in
                # the file is no data, as is what no offset explains
                dark = (given != 0) & (numbers > -OFFSET) & (numbers < band.valid_min)
                numbers = np.where(dark, band.valid_min, numbers)
            values[:, row] = numbers
        return values

    def _check_plausible(self, samples: Array) -> None:
        """Hold some images against the unit that they are said to be in."""
        values, valid = self._read(samples)
        for row, band in enumerate(self.modality.bands):
            numbers = values[:, row][valid[:, row]].astype(np.float64)
            where = self.images.where
            try:
                check_plausible(numbers, band, self.images.unit, dtype=self.images.dtype, where=where)
            except UnitError as error:
                raise UnitError(error.what, where=where, hint="correct the declared unit (--unit)") from error

    def _measure(self, samples: Array) -> Scale:
        """Mean and standard deviation of each band over the valid pixels of some images, in one pass."""
        count = np.zeros(len(self.modality.bands))
        mean, squares = np.zeros_like(count), np.zeros_like(count)
        for values, valid in self.blocks(samples, _BLOCK):
            pixels = valid.sum((0, 2, 3)).double().numpy()
            block_mean = values.double().sum((0, 2, 3)).numpy() / np.maximum(pixels, 1)
            centred = (values.double() - torch.from_numpy(block_mean)[:, None, None]).masked_fill(~valid, 0.0)
            total = np.maximum(count + pixels, 1)
            squares += centred.square().sum((0, 2, 3)).numpy() + (block_mean - mean) ** 2 * count * pixels / total
            mean += (block_mean - mean) * pixels / total
            count += pixels
        return mean.astype(np.float32), np.sqrt(squares / np.maximum(count, 1)).astype(np.float32)

    def _describe(self, wanted: Modality, statistics: str, level: str | None, scale: Scale) -> dict[str, Any]:
        return {
            "bands": list(self.modality.band_names),
            **self.match.to_dict(),
            "unit": self.images.unit,
            "unit_of_encoder": wanted.bands[0].unit,
            "statistics": statistics,
            "level": level,
            "mean": [float(number) for number in scale[0]],
            "std": [float(number) for number in scale[1]],
            "image_size": [self.images.height, self.images.width],
            "centre_crop": [self.height, self.width],
        }


def _convertible(given: str, wanted: str) -> bool:
    return given != UNSTATED and (given == wanted or (given, wanted) in CONVERSIONS)


def _no_scale(modality: Modality) -> Scale:
    return np.zeros(len(modality.bands), np.float32), np.ones(len(modality.bands), np.float32)


def spread(samples: Array, count: int) -> Array:
    """At most ``count`` of some samples, evenly over their order."""
    if len(samples) <= count:
        return samples
    chosen: Array = samples[np.linspace(0, len(samples) - 1, count).astype(np.int64)]
    return chosen
