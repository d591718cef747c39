"""Numbers as an encoder sees them, from numbers in a band's unit: a layer, for graphs that leave the package.

It does to one processing level what ``data.normalise`` does to batches of many.
"""

import math

import torch
from torch import Tensor, nn

from geopretext.errors import BandError
from geopretext.modality import Modality, choose_scale
from geopretext.nn.bundle import Encoder


class Standardise(nn.Module):
    """Subtract the mean of each band, divide by its standard deviation, and put 0 where nothing was observed.

    Not observed is what the modality says: its missing values, numbers outside a band's valid range, and NaN.

    Args:
        modality: the bands.
        mean: of each band, in its unit.
        std: likewise; a band that is constant is divided by 1.
    """

    def __init__(self, modality: Modality, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.low: Tensor
        self.high: Tensor
        largest = torch.finfo(torch.float32).max
        low = [-largest if band.valid_min is None else band.valid_min for band in modality.bands]
        high = [largest if band.valid_max is None else band.valid_max for band in modality.bands]
        for name, values in (("mean", mean), ("std", std), ("low", low), ("high", high)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1))
        self.missing = modality.missing
        self.bands = modality.band_names

    def forward(self, x: Tensor) -> Tensor:
        """(..., C, H, W) in the bands' units -> the same shape.

        Raises:
            BandError: there is another number of bands, which would be spread over all of them.
        """
        if x.ndim < 3 or x.shape[-3] != len(self.bands):
            raise BandError(
                f"cannot standardise an array of shape {tuple(x.shape)}",
                hint=f"it wants (..., {len(self.bands)}, height, width) with the bands {', '.join(self.bands)}",
            )
        valid = (x >= self.low) & (x <= self.high)
        for number in self.missing:
            valid = valid & (x != number)
        return torch.where(valid, (x - self.mean) / self.std, 0.0)


def scale_of(encoder: Encoder, level: str | None) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Processing level, and mean and standard deviation of each band at it; 0 and 1 for a band never observed.

    Args:
        encoder: with its statistics.
        level: one of its levels; None takes the statistics over all levels, or those of the only level there is.

    Raises:
        InputError: the encoder has no statistics, none of that level, or several to choose from.
    """
    chosen, (mean, std) = choose_scale(encoder.statistics, level)
    return (
        chosen,
        tuple(value if math.isfinite(value) else 0.0 for value in mean),
        tuple(value if math.isfinite(value) and value > 0 else 1.0 for value in std),
    )


def standardiser(encoder: Encoder, level: str | None = None) -> Standardise:
    """The layer for an encoder and a processing level, see ``scale_of``."""
    _, mean, std = scale_of(encoder, level)
    return Standardise(encoder.modality, mean, std)
