"""Images of a place on another date, drawn from its time series.

Letters: ``B`` tiles, ``T`` dates, ``C`` bands, ``H W`` pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from geopretext.errors import BandError, RecipeError
from geopretext.modality import Kind, Modality, Observed
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.seeded import uniform
from geopretext.pretext.a2_mae_settings import A2MAESettings
from geopretext.pretext.method import lacking, refuse_label

_SUFFIX = "_other"


@dataclass(frozen=True)
class OtherImages:
    """What a set has of one time series: images that were taken together, on one date of it."""

    series: str
    """its name"""
    images: dict[str, str]
    """the encoder's images that it shows, by their name in the set"""
    series_bands: dict[str, tuple[str, ...]]
    """bands of the series that each shows, by its name in the set"""
    image_bands: dict[str, tuple[str, ...]]
    """bands of the encoder's input that they stand for"""

    @property
    def bands(self) -> tuple[str, ...]:
        """Of the series, that a batch must bring."""
        return tuple(dict.fromkeys(band for bands in self.series_bands.values() for band in bands))

    @property
    def rows(self) -> dict[str, list[int]]:
        """Of the bands that a batch brings, those of each image by its name in the set."""
        return {name: [self.bands.index(band) for band in bands] for name, bands in self.series_bands.items()}

    def image(self, values: Tensor, bands: Sequence[str]) -> Tensor:
        """The image that the encoder sees, with 0 in bands that the series does not show.

        Args:
            values: (B, C, H, W), of ``self.bands``.
            bands: of the encoder's input.

        Returns:
            (B, len(bands), H, W).
        """
        x = values.new_zeros(len(values), len(bands), *values.shape[2:])
        for name, rows in self.rows.items():
            x[:, [bands.index(band) for band in self.image_bands[name]]] = values[:, rows]
        return x


def other_images(
    encoder: ImageSetSettings, settings: A2MAESettings, modalities: Mapping[str, Modality]
) -> tuple[OtherImages, ...]:
    """What ``settings.other_dates`` asks for, a series after the other.

    Args:
        encoder: the images.
        settings: which of them join a set on another date.
        modalities: what the data hold, by name.

    Raises:
        InputError: the data lack a series.
        BandError: it lacks a band, or other bands are named than an image has.
        RecipeError: there is no such image, its new name is taken, the modality is no series or a label, or the encoder
            is not told dates.
    """
    if settings.other_dates and not encoder.geographic_encoding:
        raise RecipeError(
            "pretext.other_dates with encoder.geographic_encoding false: images of two dates cannot be told apart",
            hint="geographic_encoding true, or no other dates",
        )
    for name in settings.other_dates:
        if name not in encoder.sources:
            raise RecipeError(f"pretext.other_dates names {name!r}", hint=f"images are {', '.join(encoder.sources)}")
        if name + _SUFFIX in encoder.sources:
            raise RecipeError(f"encoder.sources has an image {name + _SUFFIX!r}", hint="rename it")
    return tuple(
        _other_images(series, encoder, settings, modalities) for series in dict.fromkeys(settings.other_dates.values())
    )


def _other_images(
    series: str, encoder: ImageSetSettings, settings: A2MAESettings, modalities: Mapping[str, Modality]
) -> OtherImages:
    if series not in modalities:
        raise lacking(series, modalities, "pretext.other_dates")
    modality = modalities[series]
    if modality.kind is not Kind.CONTINUOUS_SERIES:
        raise RecipeError(f"pretext.other_dates: {series!r} is a {modality.kind}", hint="a continuous series")
    refuse_label(modality)
    images = {name + _SUFFIX: name for name, source in settings.other_dates.items() if source == series}
    bands = {}
    for label, name in images.items():
        bands[label] = settings.other_bands.get(name, encoder.image_bands[name])
        modality.band_indices(bands[label])
        if len(bands[label]) != len(encoder.image_bands[name]):
            raise BandError(
                f"pretext.other_bands.{name} has {len(bands[label])} bands",
                hint=f"one for each of {', '.join(encoder.image_bands[name])}, in order",
            )
    return OtherImages(series, images, bands, {label: encoder.image_bands[name] for label, name in images.items()})


class OtherDate(NamedTuple):
    """One image of each tile out of a series."""

    image: Observed[Tensor]
    """(B, C, H, W); nothing valid, and 0, where no date can be had"""
    day: Observed[Tensor]
    """(B,) float32: days since 1970-01-01; not valid where no date can be had"""


def draw_dates(series: Observed[Tensor], days: Observed[Tensor], seeds: Tensor, *, but: Observed[Tensor]) -> OtherDate:
    """One date of each tile, each that can be had with the same probability.

    A date can be had if it is no padding, if anything of its image is observed, and if it is another day than that of
    the tile's own image, which may be in the series once more.

    Args:
        series: (B, T, C, H, W).
        days: (B, T) days since 1970-01-01; not valid: padding.
        seeds: (B,) int64, for this purpose.
        but: (B,) the day of the tile's own image; not valid: not known, so that no day is left out.
    """
    own = but.valid[:, None] & (days.values.floor() == but.values.floor()[:, None])
    candidates = days.valid & series.valid.flatten(2).any(2) & ~own
    draws = uniform(seeds, candidates.shape[1])
    chosen = torch.where(candidates, draws, 1 + draws).argmin(1)
    tiles = torch.arange(len(seeds), device=seeds.device)
    found = candidates[tiles, chosen]
    valid = series.valid[tiles, chosen] & found[:, None, None, None]
    values = torch.where(valid, series.values[tiles, chosen], 0.0)
    return OtherDate(Observed(values, valid), Observed(torch.where(found, days.values[tiles, chosen], 0.0), found))
