"""Time series of patches to tokens, by attention over dates, and tokens to images of a date.

The projector is L-TAE (Garnot and Landrieu, 2020, arXiv 2007.00586) as OmniSat has it (arXiv 2404.08351): each head has
one learned query, and attends to a group of features of its own. Dates that were not observed, padding among them, are
no keys: they change nothing. Differs from the published code: that masking; layer norms of each date's features in the
place of batch norms, and of the group norm over features and dates that it has for Sentinel-2.

Letters: ``B`` tiles, ``N`` patches, ``T`` dates, ``C`` bands, ``D`` features, ``G`` heads, ``F`` numbers of a patch at
one date.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geopretext.modality import Observed
from geopretext.nn.products import Linear


class Series(NamedTuple):
    """A time series as networks take it."""

    images: Observed[Tensor]
    """(B, T, C, H, W), standardised; 0 where not valid"""
    days: Observed[Tensor]
    """(B, T): days since 1970-01-01; not valid: padding"""


class SeriesProjector(nn.Module):
    """A patch at many dates to one token.

    Args:
        inputs: F.
        dim: D, a multiple of ``heads``.
        widths: features of the layers between F and D.
        heads: G.
        key_dim: features of a key.
        dropout: share of features and attentions dropped in training.
        date_base: see ``encode_days``.
    """

    def __init__(
        self,
        inputs: int,
        dim: int,
        *,
        widths: Sequence[int],
        heads: int,
        key_dim: int,
        dropout: float,
        date_base: float,
    ) -> None:
        super().__init__()
        self.heads, self.date_base = heads, date_base
        self.embed = nn.Sequential(*_perceptron((inputs, *widths, dim), dropout))
        self.query = nn.Parameter(torch.empty(heads, key_dim).normal_(std=(2 / key_dim) ** 0.5))
        self.keys = Linear(dim, heads * key_dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Sequential(*_perceptron((dim, 2 * dim, dim), dropout), nn.GroupNorm(heads, dim))

    def forward(self, x: Tensor, seen: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            x: (N, T, F), 0 where nothing was observed.
            seen: (N, T) bool: dates at which anything was.
            days: (N, T): of the year.

        Returns:
            Tokens (N, D), and attention (N, T) before dropout, its mean over heads: it sums to 1 over the dates seen,
            and is 0 at all others. A patch that was never seen has no attention, and a token that means nothing.
        """
        count, dates, _ = x.shape
        features = self.embed(x)
        groups = features.reshape(count, dates, self.heads, -1)  # (N, T, G, D / G)
        groups = groups + encode_days(days, groups.shape[-1], self.date_base)[:, :, None].to(groups.dtype)
        keys = self.keys(groups.flatten(2)).reshape(count, dates, *self.query.shape)  # (N, T, G, K)
        logits = torch.einsum("ntgk,gk->ngt", keys, self.query.to(keys.dtype)) / self.query.shape[1] ** 0.5
        seen = seen[:, None]
        logits = logits.masked_fill(~seen & seen.any(-1, keepdim=True), -torch.inf)
        attention = logits.softmax(-1) * seen
        gathered = torch.einsum("ngt,ntgd->ngd", self.dropout(attention).to(groups.dtype), groups)
        tokens: Tensor = self.out(gathered.flatten(1))
        return tokens, attention.mean(1)


class SeriesDecoder(nn.Module):
    """A token, and a day, to the patch on that day: one linear layer of their sum.

    Args:
        outputs: F.
        dim: D.
        date_base: see ``encode_days``.
    """

    def __init__(self, outputs: int, dim: int, date_base: float) -> None:
        super().__init__()
        self.date_base = date_base
        self.linear = Linear(dim, outputs)

    def forward(self, tokens: Tensor, days: Tensor) -> Tensor:
        """(N, D) and (N,) days of the year -> (N, F)."""
        image: Tensor = self.linear(tokens + encode_days(days, tokens.shape[-1], self.date_base).to(tokens.dtype))
        return image


def encode_days(days: Tensor, width: int, base: float) -> Tensor:
    """Sines and cosines of days, side by side: feature 2 i and 2 i + 1 have the wavelength 2 pi base^(2 i / width).

    Args:
        days: of the year, any shape.
        width: number of features.
        base: above 1.

    Returns:
        (..., width) float32.
    """
    pair = torch.arange(width, device=days.device) // 2
    angle = days.float()[..., None] / base ** (2 * pair / width)
    return torch.where(torch.arange(width, device=days.device) % 2 == 0, angle.sin(), angle.cos())


def day_of_year(days: Tensor) -> Tensor:
    """Days since 1970-01-01 -> 1 to 366, int64, in the Gregorian calendar.

    Years are counted from 1 March, so that a leap day is the last one (Hinnant, "chrono-compatible low-level date
    algorithms").
    """
    shifted = days.floor().long() + 719_468  # since 1 March of the year 0
    day = shifted % 146_097  # of 400 years
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    since_march = day - (365 * year + year // 4 - year // 100)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year == 0))
    return torch.where(since_march < 306, since_march + 60 + leap, since_march - 305)


def telling_dates(attention: Tensor, seen: Tensor, quantile: float) -> Tensor:
    """The dates that a tile's attention is drawn to: no less than a quantile over the dates that were seen.

    Args:
        attention: (B, T), before dropout.
        seen: (B, T) bool: padding is neither chosen nor part of the quantile.
        quantile: 0 to 1, between two dates by linear interpolation.

    Returns:
        (B, T) bool: at least one date of each tile that has any.
    """
    attention = attention.detach().float()
    bound = attention.masked_fill(~seen, torch.nan).nanquantile(quantile, dim=1, keepdim=True)
    return seen & (attention >= bound)


def _perceptron(widths: Sequence[int], dropout: float) -> Iterator[nn.Module]:
    for before, after in pairwise(widths):
        yield from (Linear(before, after), nn.LayerNorm(after), nn.ReLU(), nn.Dropout(dropout))
