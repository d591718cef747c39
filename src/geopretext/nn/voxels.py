"""Points in a grid of voxels around a car: which voxel a point is in, which are hidden, and an encoder of the rest.

The grid is dense, which suits small grids and asks for no library of sparse convolutions.

Letters: ``B`` samples, ``M`` points, ``Z Y X`` voxels from the lowest, the right and the rear, ``D`` features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.street_settings import StreetSettings

_FACTS = 5
"""numbers of a voxel: log of 1 + its points, mean place within it, mean intensity"""


def voxel_of(points: Tensor, valid: Tensor, settings: StreetSettings) -> tuple[Tensor, Tensor]:
    """The voxel of each point.

    Args:
        points: (B, M, 3 or more): x, y, z, ...
        valid: (B, M) bool.
        settings: the grid.

    Returns:
        (B, M) int64, number of the voxel by layer, row (y), column (x), 0 for points outside; (B, M) bool: inside.
    """
    low = points.new_tensor([-settings.reach, -settings.reach, settings.bottom])
    size = points.new_tensor([settings.voxel, settings.voxel, settings.voxel_height])
    cells = ((points[..., :3] - low) / size).floor()
    count = points.new_tensor([settings.side, settings.side, settings.layers])
    inside = valid & ((cells >= 0) & (cells < count)).all(-1)
    x, y, z = torch.where(inside[..., None], cells, 0.0).long().unbind(-1)
    return (z * settings.side + y) * settings.side + x, inside


def choose_voxels(voxels: Tensor, inside: Tensor, noise: Tensor, ratio: float) -> Tensor:
    """Which points are shown: those in some of the voxels that hold any, the same share in every sample.

    Args:
        voxels: (B, M), as ``voxel_of`` gives them, likewise the next.
        inside: (B, M) bool.
        noise: (B, Z Y X), at least 0, below 1: of the voxels that hold points, those with the lowest are shown.
        ratio: share of these to hide; the number shown is rounded up.

    Returns:
        (B, M) bool.
    """
    held = torch.zeros_like(noise).scatter_add(1, voxels, inside.to(noise.dtype)) > 0
    shown = torch.ceil(held.sum(1) * (1 - ratio) - 1e-6)
    order = torch.where(held, noise, 1.0).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    chosen = held & (rank < shown[:, None])
    return inside & chosen.gather(1, voxels)


class VoxelEncoder(nn.Module):
    """Points to a map of columns seen from above: two three-dimensional convolutions, layers joined, and a plane one.

    Args:
        settings: the grid, and ``lidar_dim``.
    """

    def __init__(self, settings: StreetSettings) -> None:
        super().__init__()
        self.settings = settings
        width = max(settings.lidar_dim // 4, 4)
        self.first = nn.Conv3d(_FACTS, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.columns = nn.Conv2d(width * settings.layers, settings.lidar_dim, 3, padding=1)

    def forward(self, points: Tensor, voxels: Tensor, shown: Tensor) -> Tensor:
        """Encode what is shown.

        Args:
            points: (B, M, 4): x, y, z and intensity.
            voxels: (B, M), as ``voxel_of`` gives them.
            shown: (B, M) bool.

        Returns:
            (B, D, Y, X).
        """
        grid = self._facts(points, voxels, shown)
        x = F.gelu(self.second(F.gelu(self.first(grid))))
        return F.gelu(self.columns(x.flatten(1, 2)))

    def _facts(self, points: Tensor, voxels: Tensor, shown: Tensor) -> Tensor:
        """(B, 5, Z, Y, X), 0 where nothing is shown."""
        size = self.settings
        low = points.new_tensor([-size.reach, -size.reach, size.bottom])
        edge = points.new_tensor([size.voxel, size.voxel, size.voxel_height])
        place = ((points[..., :3] - low) / edge) % 1 - 0.5
        numbers = torch.cat([torch.ones_like(points[..., :1]), place, points[..., 3:4]], -1) * shown[..., None]
        cells = size.layers * size.side**2
        sums = points.new_zeros(len(points), cells, _FACTS)
        sums = sums.scatter_add(1, voxels[..., None].expand(-1, -1, _FACTS), numbers)
        count = sums[..., :1]
        facts = torch.cat([count.log1p(), sums[..., 1:] / count.clamp(min=1)], -1)
        return facts.mT.reshape(-1, _FACTS, size.layers, size.side, size.side)
