"""Relative positions of the patches of several modalities, as OmniSat uses them.

Which distance two tokens have depends on their patches only, so that the buckets of a P x P grid are tiled once for
each pair of modalities. The published code infers a grid from the number of tokens instead, which is no grid as soon as
there is more than one modality.

A bucket says something that depends on who asks: the query times a learned vector of the bucket is added to the
logarithm of attention ("contextual, on keys" of Wu et al., ICCV 2021, arXiv 2107.14222; vectors are shared by heads).

Letters: ``h w`` patches along y and x, ``P = h w``, ``K`` buckets, the last one for the class token.
"""

import math

import torch
from torch import Tensor


def distance_buckets(distances: Tensor, buckets: int) -> Tensor:
    """The bucket of each distance: exact up to a half of them, then by the logarithm, then all in the last one.

    The piecewise function of Wu et al. (equation 18) with beta = ``buckets - 1`` and alpha : beta : gamma = 1 : 2 : 8.

    Args:
        distances: in patches, at least 0.
        buckets: how many, at least 2.

    Returns:
        int64, 0 to ``buckets - 1``.
    """
    beta = buckets - 1
    alpha, gamma = beta / 2, 4.0 * beta
    far = alpha + torch.log(distances.clamp(min=alpha) / alpha) / math.log(gamma / alpha) * (beta - alpha)
    return torch.where(distances <= alpha, distances, far.clamp(max=beta)).round().long()


def grid_buckets(height: int, width: int, buckets: int, device: torch.device | None = None) -> Tensor:
    """The bucket of each pair of patches, by Euclidean distance: (P, P) int64."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], 1).float()
    return distance_buckets((places[:, None] - places).norm(dim=-1), buckets)


def tiled_buckets(
    height: int, width: int, buckets: int, *, queries: int, keys: int, device: torch.device | None = None
) -> Tensor:
    """The bucket of each pair of tokens.

    Args:
        height: patches along y.
        width: patches along x.
        buckets: of distances; that of the class token is one more.
        queries: modalities among the tokens that ask.
        keys: modalities among the tokens that are asked.
        device: of the result.

    Returns:
        (1 + queries P, 1 + keys P) int64: the class token first, then one modality after the other.
    """
    inner = grid_buckets(height, width, buckets, device).repeat(queries, keys)
    outer = inner.new_full((inner.shape[0] + 1, inner.shape[1] + 1), buckets)
    outer[1:, 1:] = inner
    return outer
