"""NS-MAE's networks around a car: cameras and LiDAR into one volume, and what is rendered of it.

Each cell of a camera's features is one ray, cut into bins: a distribution over the bins times a vector of features
makes the frustum (Lift-Splat-Shoot, arXiv 2008.05711), which is rendered as it is for the camera's view, and summed
into columns over the ground for the view from above, where the LiDAR's features join it. What is lifted depends on the
camera's intrinsics and pose, so that the rays' places and directions are known to the network.

Letters: ``B`` samples, ``N`` cameras, ``I = B N`` pictures, ``K`` bins, ``C`` features, ``h w`` cells of a picture,
``Z Y X`` voxels.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.families import make_encoder
from geopretext.nn.network import NetworkSettings
from geopretext.nn.products import Linear
from geopretext.nn.rays import move, pixel_directions
from geopretext.nn.rendering import Rendered, render_rays
from geopretext.nn.street_settings import StreetSettings
from geopretext.nn.voxels import VoxelEncoder

_CHANNELS = 4
"""of a bin: red, green, blue and density, in this order"""


class Cameras(NamedTuple):
    """Of ``I`` pictures, one sample after the other."""

    intrinsics: Tensor
    """(I, 3, 3), in cells of the feature map"""
    poses: Tensor
    """(I, 4, 4): from a camera's axes to the car's"""


class StreetViews(NamedTuple):
    """What is rendered."""

    cameras: Rendered
    """colours (I, h, w, 3), 0 to 1, and depths (I, h, w) along the optical axes, metres"""
    above: Rendered
    """depths (B, Y, X): metres below the top of the grid, looking down; no colours"""


class StreetRenderer(nn.Module):
    """The encoder of pictures, that of points, and the volumes between them and the renderer.

    Args:
        encoder: of pictures, with three bands.
        settings: the volume.
    """

    def __init__(self, encoder: NetworkSettings, settings: StreetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(encoder)
        self.voxels = VoxelEncoder(settings)
        width, dim = encoder.widths[-1], settings.camera_dim
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.condition = nn.Sequential(Linear(16, width), nn.GELU(), Linear(width, width))
        self.mix = nn.Conv2d(width + 2, width, 3, padding=1)
        self.lift = nn.Conv2d(width, settings.depth_bins + dim, 1)
        self.camera_head = Linear(dim, _CHANNELS)
        self.above_head = nn.Conv2d(dim + settings.lidar_dim, settings.layers, 3, padding=1)
        with torch.no_grad():  # rays that are half transparent at first, so that gradients reach all of them
            self.camera_head.bias[3] = _softplus_back(1 / (settings.far - settings.near))
            assert self.above_head.bias is not None
            self.above_head.bias.fill_(_softplus_back(1 / (settings.top - settings.bottom)))
        edges = torch.linspace(settings.near, settings.far, settings.depth_bins + 1)
        self.edges: Tensor
        self.register_buffer("edges", edges, persistent=False)
        self.down: Tensor
        height = settings.top - settings.bottom
        self.register_buffer("down", torch.linspace(0, height, settings.layers + 1), persistent=False)

    def forward(
        self,
        pictures: Tensor,
        visible: Tensor,
        count: int,
        cameras: Cameras,
        *,
        sparse_depth: Tensor,
        above: Tensor,
    ) -> StreetViews:
        """Render what cameras and a view from above see.

        Args:
            pictures: (I, 3, H, W), standardised.
            visible: (I, P) bool: patches that are shown.
            count: how many, the same in every picture.
            cameras: their optics and places.
            sparse_depth: (I, h, w), metres, of the points that are shown; infinite where there is none.
            above: (B, D, Y, X): of ``voxels``, likewise.
        """
        features = self.encoder(pictures, visible, count)
        hidden = ~visible.reshape(-1, 1, *features.shape[2:])
        features = torch.where(hidden, self.mask_token.to(features.dtype)[:, None, None], features)
        known = sparse_depth.isfinite()
        points = torch.stack([torch.where(known, sparse_depth, 0.0) / self.settings.far, known.float()], 1)
        features = F.gelu(self.mix(torch.cat([features, points.to(features.dtype)], 1)))
        # Attention to channels by what camera it is, as BEVDepth (arXiv 2206.10092) has it.
        features = features * (2 * torch.sigmoid(self.condition(_describe(cameras))))[..., None, None]
        bins, context = torch.split(self.lift(features), [self.settings.depth_bins, self.settings.camera_dim], 1)
        frustum = bins.softmax(1)[:, :, None] * context[:, None]  # (I, K, C, h, w)
        rays = pixel_directions(cameras.intrinsics, height=features.shape[2], width=features.shape[3])
        columns = torch.cat([self._splat(frustum, rays, cameras, len(above)), above], 1)
        return StreetViews(self._look(frustum, rays), self._look_down(columns))

    def _look(self, frustum: Tensor, rays: Tensor) -> Rendered:
        """The cameras' view, (I, h, w): bins and samples are at the same distances, since both are ``edges``."""
        raw = self.camera_head(frustum.permute(0, 3, 4, 1, 2)).float()  # (I, h, w, K, 4)
        colour, density = torch.split(raw, [3, 1], -1)
        return render_rays(
            F.softplus(density[..., 0]), self.edges, colour.sigmoid(), stretch=rays.norm(dim=-1), closed=True
        )

    def _look_down(self, columns: Tensor) -> Rendered:
        """The view from above, (B, Y, X), highest layer first; rays may leave the grid at the bottom."""
        density = F.softplus(self.above_head(columns).float()).permute(0, 2, 3, 1)
        return render_rays(density, self.down)

    def _splat(self, frustum: Tensor, rays: Tensor, cameras: Cameras, samples: int) -> Tensor:
        """Sums of the frusta's features in columns over the ground: (B, C, Y, X)."""
        middles = (self.edges[1:] + self.edges[:-1]) / 2
        points = rays[:, None] * middles[:, None, None, None]  # (I, K, h, w, 3)
        places = move(points.flatten(1, 3), cameras.poses)
        size = self.settings
        cells = ((places[..., :2] + size.reach) / size.voxel).floor()
        inside = (cells >= 0).all(-1) & (cells < size.side).all(-1)
        inside &= (places[..., 2] >= size.bottom) & (places[..., 2] < size.top)
        x, y = torch.where(inside[..., None], cells, 0.0).long().unbind(-1)
        index = (y * size.side + x).reshape(samples, -1, 1)
        numbers = frustum.permute(0, 1, 3, 4, 2).flatten(1, 3) * inside[..., None]
        numbers = numbers.reshape(samples, -1, size.camera_dim)
        sums = numbers.new_zeros(samples, size.side**2, size.camera_dim)
        sums = sums.scatter_add(1, index.expand_as(numbers), numbers)
        return sums.mT.reshape(samples, size.camera_dim, size.side, size.side)


def _softplus_back(density: float) -> float:
    """Whose softplus a number is."""
    return math.log(math.expm1(density))


def _describe(cameras: Cameras) -> Tensor:
    """(I, 16): optics and pose as numbers of about 1."""
    k = cameras.intrinsics
    optics = torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1) / 10
    return torch.cat([optics, cameras.poses[:, :3].flatten(1)], 1)
