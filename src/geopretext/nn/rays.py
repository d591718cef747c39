"""Where rays pass: through the pixels of a pinhole camera, or straight down and aslant through columns over a map.

A camera has x to the right, y down and z ahead; pixel (row 0, column 0) spans 0 to 1 along both axes of the image, its
centre is at 0.5. Depth is along the optical axis, not along the ray. Maps have x to the right and y down, in cells.

Letters: ``B`` tiles, ``N`` cameras, ``K`` heights, ``C`` channels, ``H W`` pixels or cells, ``M`` points.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_directions(intrinsics: Tensor, *, height: int, width: int) -> Tensor:
    """Through the centre of each pixel: a vector in the camera's axes whose depth is 1.

    Args:
        intrinsics: (..., 3, 3): focal lengths and principal point in pixels.
        height: H.
        width: W.

    Returns:
        (..., H, W, 3); times a depth, it is the point that a pixel sees there; its norm is the length of the path for
        a unit of depth.
    """
    like = {"dtype": intrinsics.dtype, "device": intrinsics.device}
    rows, columns = torch.arange(height, **like) + 0.5, torch.arange(width, **like) + 0.5  # type: ignore[call-overload]  # no overload takes a mapping
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    x = (u - intrinsics[..., 0, 2, None, None]) / intrinsics[..., 0, 0, None, None]
    y = (v - intrinsics[..., 1, 2, None, None]) / intrinsics[..., 1, 1, None, None]
    return torch.stack([x, y, torch.ones_like(x)], -1)


def move(points: Tensor, pose: Tensor) -> Tensor:
    """Points (..., M, 3) in the axes that a pose (..., 4, 4) leads to: rotation, then translation."""
    return points @ pose[..., :3, :3].mT + pose[..., None, :3, 3]


def inverse_pose(pose: Tensor) -> Tensor:
    """The way back of (..., 4, 4), a rotation and a translation."""
    back = pose.clone()
    rotation = pose[..., :3, :3].mT
    back[..., :3, :3] = rotation
    back[..., :3, 3] = -(rotation @ pose[..., :3, 3, None])[..., 0]
    return back


def project(points: Tensor, intrinsics: Tensor, world_to_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Where a camera sees points.

    Args:
        points: (..., M, 3).
        intrinsics: (..., 3, 3).
        world_to_camera: (..., 4, 4).

    Returns:
        Column and row (..., M, 2) in pixels, and depth (..., M); what is not ahead of the camera has a depth of 0 or
        less, and no place in the image.
    """
    seen = move(points, world_to_camera)
    depth = seen[..., 2]
    pixels = (seen / torch.where(depth > 0, depth, 1.0)[..., None]) @ intrinsics.mT
    return pixels[..., :2], depth


def nearest_depth(pixels: Tensor, depth: Tensor, valid: Tensor, *, height: int, width: int, cell: int) -> Tensor:
    """A map of the nearest depth in each cell of an image: sparse depths, min-pooled, so that none is lost by chance.

    Args:
        pixels: (B, M, 2): columns and rows, as ``project`` gives them.
        depth: (B, M).
        valid: (B, M) bool: which points there are.
        height: H, in pixels.
        width: W.
        cell: pixels on a side of a cell.

    Returns:
        (B, H / cell, W / cell); infinite where there is no point.
    """
    h, w = height // cell, width // cell
    column, row = (pixels / cell).floor().unbind(-1)
    inside = valid & (depth > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    index = torch.where(inside, row * w + column, 0.0).long()
    nearest = depth.new_full((len(depth), h * w), torch.inf)
    nearest = nearest.scatter_reduce(1, index, torch.where(inside, depth, torch.inf), "amin")
    return nearest.reshape(-1, h, w)


def shear(maps: Tensor, heights: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Columns over a map as rays meet them that come aslant: at height z, the ray over cell x passes x + z slope.

    Args:
        maps: (B, K, C, H, W): a map for each height, or (B, 1, C, H, W) if all are the same.
        heights: (K), (B, K), or (B, K, H, W) if each ray has its own: any unit.
        slope: (B, 2): cells along x and along y for a unit of height.

    Returns:
        (B, K, C, H, W), interpolated bilinearly; and whether a ray is over the map there, (B, K, H, W) bool: beyond
        its outermost centres of cells it is not, and the numbers are those of the nearest.
    """
    batch, _, channels, height, width = maps.shape
    if heights.ndim < 4:
        heights = heights.expand(batch, -1)[..., None, None]
    size = (batch, heights.shape[1], height, width)
    x = (torch.arange(width, device=maps.device) + heights * slope[:, 0, None, None, None]).expand(size)
    y = (torch.arange(height, device=maps.device)[:, None] + heights * slope[:, 1, None, None, None]).expand(size)
    over = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)
    flat = maps.expand(-1, size[1], -1, -1, -1).flatten(0, 1)
    sampled = F.grid_sample(flat, grid.flatten(0, 1).to(flat.dtype), padding_mode="border", align_corners=True)
    return sampled.reshape(batch, size[1], channels, height, width), over


class Surface(NamedTuple):
    """Where rays that come aslant meet a surface."""

    height: Tensor
    """(B, H, W), in the unit of the surface; 0 where not valid"""
    valid: Tensor
    """(B, H, W) bool: the ray met the surface, which is known wherever the ray was over it until then"""


def meet_surface(surface: Tensor, known: Tensor, heights: Tensor, slope: Tensor) -> Surface:
    """The first crossing of each ray with a surface, from above; as ``shear`` has rays.

    Rays are looked at at some heights, between which the surface is taken as linear along the ray; of a plane the
    crossing is exact.

    Args:
        surface: (B, H, W): its height over each cell; anything where not known.
        known: (B, H, W) bool.
        heights: (K), falling; from the top of all that may be met to the bottom.
        slope: (B, 2), see ``shear``.
    """
    filled = torch.where(known, surface, 0.0)
    both = torch.stack([filled, known.to(filled.dtype)], 1)[:, None]
    sampled, over = shear(both, heights, slope)
    above = sampled[:, :, 0] - heights[:, None, None]  # 0 or more: the ray is below the surface by then
    # Beside a tile, above its highest point, nothing is taken to be; of what is unknown over it, nobody knows how high.
    top = filled.flatten(1).amax(1)[:, None, None, None]
    clear = torch.where(over, sampled[:, :, 1] > 1 - 1e-4, heights[:, None, None] > top)
    met = above >= 0
    first = met.float().argmax(1, keepdim=True)
    before = (first - 1).clamp(min=0)
    a, b = above.gather(1, before)[:, 0], above.gather(1, first)[:, 0]
    step = (a / torch.where(a < b, a - b, -1.0)).clamp(0, 1)  # a < 0 <= b
    z = heights[before[:, 0]] + step * (heights[first[:, 0]] - heights[before[:, 0]])
    z = torch.where(first[:, 0] > 0, z, heights[0])
    seen = clear.long().cumprod(1).gather(1, first)[:, 0] > 0
    valid = met.any(1) & seen
    return Surface(torch.where(valid, z, 0.0), valid)
