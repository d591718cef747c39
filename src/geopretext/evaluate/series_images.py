"""Time series as maps, for what sees images only: of each band the mean and the deviation over the dates of a tile.

The baselines of an encoder that sees series get these beside its maps, so that it has to beat a simple use of them.

Shapes: B tiles, T dates, C bands, H W pixels.
"""

import torch
from torch import Tensor

from geopretext.modality import Observed
from geopretext.nn.bundle import Encoder


def over_dates(series: Observed[Tensor]) -> Observed[Tensor]:
    """Mean and standard deviation over the dates on which a pixel was observed: (B, T, C, H, W) -> (B, 2 C, H, W).

    All means come first. A pixel that was observed on no date is not valid; on one date, its deviation is 0.
    """
    values, valid = series
    values, count = values.masked_fill(~valid, 0.0), valid.sum(1)
    mean = values.sum(1) / count.clamp(min=1)
    centred = (values - mean[:, None]).masked_fill(~valid, 0.0)
    std = (centred.square().sum(1) / count.clamp(min=1)).sqrt()
    return Observed(torch.cat([mean, std], 1), (count > 0).repeat(1, 2, 1, 1))


def image_bands(encoder: Encoder) -> tuple[str, ...]:
    """Names of the bands of the maps of an encoder, then of what ``over_dates`` makes of each of its series."""
    made = [
        f"{one.modality.name} {band} {what}"
        for one in encoder.series
        for what in ("mean", "deviation")
        for band in one.modality.band_names
    ]
    return (*encoder.bands, *made)


def middle_dates(series: Observed[Tensor], days: Observed[Tensor]) -> Observed[Tensor]:
    """One image of each tile that has any: of the date in the middle, (B', C, H, W)."""
    count = days.valid.sum(1)
    (tiles,) = count.nonzero(as_tuple=True)
    at = count[tiles] // 2
    return Observed(series.values[tiles, at], series.valid[tiles, at])
