"""Volume rendering: what a ray sees of a medium whose density and features are known in intervals along it.

A ray passes through K intervals that follow each other, each of one density and one vector of features. With the
optical depth ``t_k = density_k * length_k`` of an interval, the light that reaches it is ``T_k = exp(-sum_{l<k} t_l)``,
and what it absorbs of that, ``w_k = T_k (1 - exp(-t_k))``, is its weight (Max 1995; NeRF, arXiv 2003.08934, eq. 3).
Depth and features of a ray are the means over its intervals with these weights. The weights are exact for a medium of
piecewise constant density, however dense; an interval stands for its middle.

Here an interval's edges say both where it is sampled and how long it is, so that no sample stands for another distance
than that of the bin that it was made from. Sums of optical depths replace products of ``1 - alpha``, which lose all
digits in dense media and need a small constant to have gradients.

Letters: ``K`` intervals, ``D`` features, ``...`` any axes of rays.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from geopretext.errors import GridError


class Rendered(NamedTuple):
    """What rays see, in float32, or float64 if the densities were."""

    weights: Tensor
    """(..., K): share of a ray's light that each interval absorbs, at least 0; they sum to ``opacity``"""
    opacity: Tensor
    """(...): share that is absorbed at all, 0 to 1; 1 if rays are closed"""
    depth: Tensor
    """(...): mean distance at which a ray ends, in the unit of the edges; what is not absorbed ends at the last edge,
    so that an empty ray is as long as can be, and not 0"""
    features: Tensor | None
    """(..., D): sum of the intervals' features with the weights; what is not absorbed adds nothing"""


def render_rays(
    density: Tensor,
    edges: Tensor,
    features: Tensor | None = None,
    *,
    stretch: Tensor | None = None,
    closed: bool = False,
) -> Rendered:
    """What rays see.

    All is computed in float32 at least, also under autocast: optical depths of 1e-3 and of 1e3 stand in one sum.

    Args:
        density: (..., K), at least 0: absorption for a unit of length; the nearest interval first.
        edges: (K + 1) or (..., K + 1), rising: where the intervals begin and end.
        features: (..., K, D), or None.
        stretch: (...), at least 1, or None for 1: length of the path for a unit of the edges' distance, if these are
            counted along another line than the ray (an optical axis, the vertical).
        closed: the last interval lets nothing pass, as if it never ended. (NeRF and the published code of NS-MAE give
            it a length of 1e10.) Its own density then plays no part.

    Returns:
        Weights, opacity, depth and features.

    Raises:
        GridError: the numbers of intervals differ.
    """
    if edges.shape[-1] != density.shape[-1] + 1:
        raise GridError(
            f"{edges.shape[-1]} edges for {density.shape[-1]} intervals", hint=f"give {density.shape[-1] + 1} edges"
        )
    with torch.autocast(density.device.type, enabled=False):
        exact = torch.float64 if density.dtype == torch.float64 else torch.float32
        density, edges = density.to(exact), edges.to(exact)
        length = edges.diff(dim=-1)
        thickness = density * (length if stretch is None else length * stretch.to(exact)[..., None])
        passed = thickness.cumsum(-1)
        reaches = torch.exp(torch.cat([torch.zeros_like(passed[..., :1]), -passed[..., :-1]], -1))
        absorbed = -torch.expm1(-thickness)
        if closed:
            absorbed = torch.cat([absorbed[..., :-1], torch.ones_like(absorbed[..., -1:])], -1)
        weights = reaches * absorbed
        left = torch.zeros_like(passed[..., -1]) if closed else torch.exp(-passed[..., -1])
        middle = edges[..., :-1] + length / 2
        depth = (weights * middle).sum(-1) + left * edges[..., -1]
        seen = None if features is None else (weights[..., None, :] @ features.to(exact))[..., 0, :]
        return Rendered(weights, 1 - left, depth, seen)
