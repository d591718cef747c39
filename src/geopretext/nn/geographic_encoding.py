"""What tokens are told of where, when and how finely their image was seen.

Positions follow Scale-MAE (Reed et al., ICCV 2023, arXiv 2212.14532, section 3.2): sines and cosines of the position
times the ground sampling distance over a reference of 1 m, so that tokens over the same ground agree whatever image
they are of. What else is told (place, date, distance itself) is ours.

Letters: ``B`` tiles, ``N`` tokens, ``D`` features.
"""

import math

import torch
from torch import Tensor, nn

from geopretext.modality import Acquisition, Observed
from geopretext.nn.footprints import TokenGrid
from geopretext.nn.initialisation import initialise
from geopretext.nn.products import Linear

OCTAVES = 8
"""Frequencies of latitude and longitude: 1, 2, 4, ... times the angle; the last turns once in 2.8 degrees."""

YEAR = 365.2425
"""days of a mean year"""

_BASE = 10_000.0
_EPOCH, _YEARS = 50.0, 10.0  # the year is told as decades after 2020
_METRES = 10.0  # distances are told relative to Sentinel-2's


def encode_positions(
    grid: TokenGrid, dim: int, *, pixels: int, scaled: bool = True, device: torch.device | None = None
) -> Tensor:
    """Where the tokens of an image lie.

    Args:
        grid: of the tokens.
        dim: D, a multiple of 4.
        pixels: on a side of a token.
        scaled: false: by row and column in the image, whatever its resolution.
        device: where they are computed; None: the CPU.

    Returns:
        (N, D) float32: sines, then cosines of the row's position times 10000^(-i / (D / 4)), i = 0 to D / 4 - 1;
        likewise of the column's. A position is the centre's in tokens, times metres a pixel if ``scaled``.
    """
    unit = pixels if scaled else grid.side
    frequencies = _BASE ** (-torch.arange(dim // 4, device=device) / (dim // 4))
    angles = grid.centres(device)[..., None] / unit * frequencies  # (N, 2, D / 4)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


def place_features(lat: Tensor, lon: Tensor) -> Tensor:
    """(B,) degrees each -> (B, 4 OCTAVES): sines and cosines of 1, 2, 4, ... times both angles."""
    times = 2.0 ** torch.arange(OCTAVES, device=lat.device)
    angles = torch.deg2rad(torch.stack([lat, lon], -1))[..., None] * times
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)


def date_features(day: Tensor) -> Tensor:
    """(B,) days since 1970-01-01 -> (B, 3): sine and cosine of the season, and decades after 2020."""
    years = day / YEAR
    angle = 2 * math.pi * years.frac()
    return torch.stack([angle.sin(), angle.cos(), (years - _EPOCH) / _YEARS], -1)


class GeographicEncoding(nn.Module):
    """Place, date and ground sampling distance of an image -> (B, D), which is added to each of its tokens.

    Linear maps of their features. A place or a date that is not known is a learned vector instead.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.place = Linear(4 * OCTAVES, dim)
        self.date = Linear(3, dim)
        self.distance = Linear(1, dim)
        self.unknown_place = nn.Parameter(torch.zeros(dim))
        self.unknown_date = nn.Parameter(torch.zeros(dim))
        initialise(self)

    def forward(self, distance: float, acquisition: Acquisition[Tensor] | None, batch: int) -> Tensor:
        """Encode.

        Args:
            distance: metres a pixel of the image.
            acquisition: where and when; None: not known.
            batch: B.
        """
        told: Tensor = self.distance(self.unknown_place.new_tensor([math.log(distance / _METRES)]))
        if acquisition is None:
            return (told + self.unknown_place + self.unknown_date).expand(batch, -1)
        (lat, lat_known), (lon, lon_known) = acquisition.lat, acquisition.lon
        place = self.place(place_features(lat, lon))
        date = self.date(date_features(acquisition.day.values))
        place = torch.where((lat_known & lon_known)[:, None], place, self.unknown_place)
        date = torch.where(acquisition.day.valid[:, None], date, self.unknown_date)
        return told + place + date


def forget(acquisition: Acquisition[Tensor], *, places: Tensor, dates: Tensor) -> Acquisition[Tensor]:
    """The same, without what is to be forgotten.

    Args:
        acquisition: of B tiles.
        places: (B,) bool: tiles whose place becomes unknown.
        dates: (B,) bool: tiles whose date becomes unknown.
    """
    lat, lon, day = acquisition.lat, acquisition.lon, acquisition.day
    return Acquisition(
        Observed(lat.values, lat.valid & ~places),
        Observed(lon.values, lon.valid & ~places),
        Observed(day.values, day.valid & ~dates),
        acquisition.ground_sampling_distance,
    )
