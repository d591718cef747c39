"""NS-MAE for cameras and LiDAR (arXiv 2405.17942): hide most of both, and render both.

A step: hide patches of each picture and voxels of the points, each picture and sample with a mask of its own; make the
frusta of the cameras and the columns over the ground; render colour and depth as the cameras see them, and depth as it
is seen from above; and compare with the whole of what was there: all pixels, and all points, hidden or not.

The published code is Unified-Pretrain-AD (commit d2963d1). ``docs/methods/ns-mae.md`` lists its faults that are mended
here, and all that is smaller or otherwise. ``pretext.ns_mae`` is the form for images of the Earth.

Losses: squared error of colours, 0 to 1, over all cells; absolute error of depth, as a share of ``far``, over cells
that a point is in, whose depth is that of the nearest; absolute error of depth from above, as a share of the grid's
height, over columns that a point is in, whose depth is that of the highest.

Letters: ``B`` samples, ``N`` cameras, ``I = B N`` pictures, ``M`` points, ``h w`` cells of ``patch_size`` pixels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import InputError, RecipeError
from geopretext.modality import POOLED, Acquisition, Modality, Observed
from geopretext.nn.bundle_statistics import input_scales
from geopretext.nn.masking import patch_grid, sample_visible, visible_count
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.rays import inverse_pose, nearest_depth, project
from geopretext.nn.seeded import derived, uniform
from geopretext.nn.street_settings import StreetSettings
from geopretext.nn.streets import Cameras, StreetRenderer, StreetViews
from geopretext.nn.voxels import choose_voxels, voxel_of
from geopretext.nn.weighting import make_weighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs

FIELDS = ("camera_intrinsics", "camera_pose", "points")
"""what a batch brings beside pictures, see ``data.streets``"""

_VOXELS = 1
"""stream of ``nn.seeded.derived``"""


class StreetTruth(NamedTuple):
    """What views are compared with."""

    colour: Tensor
    """(I, h, w, 3), 0 to 1: the mean of each cell"""
    depth: Tensor
    """(I, h, w), metres along the optical axis, of the nearest point; infinite where there is none"""
    above: Observed[Tensor]
    """(B, Y, X): metres from the top of the grid down to the highest point; not valid where there is none, which is
    something else than a point at the top"""


class NSMAEStreet(Method):
    """The renderer of streets and its objective.

    Args:
        encoder: of pictures: one input of three bands.
        settings: the volume.
        modalities: of the data.

    Raises:
        InputError: the data lack the encoder's input.
        RecipeError: the encoder sees something else than one input of three bands.
    """

    def __init__(self, encoder: NetworkSettings, settings: StreetSettings, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        if len(encoder.inputs) != 1 or len(encoder.bands) != 3:
            raise RecipeError(
                f"the encoder sees {', '.join(encoder.bands)}", hint="one input of red, green and blue: camera"
            )
        self.settings = settings
        self._inputs = find_inputs(encoder, modalities)
        self.network = StreetRenderer(encoder, settings)
        self.weighting = make_weighting(settings.weighting, self.tasks)
        self.scales: Tensor
        # Rows: mean and standard deviation of each band, 0 to 255.
        self.register_buffer("scales", torch.zeros(2, 3), persistent=False)
        self._knows_scales = False

    @property
    def encoder(self) -> EncoderNetwork:  # type: ignore[override]  # part of the network, which owns it
        """Of pictures; that of points is left behind."""
        return self.network.encoder

    @property
    def tasks(self) -> tuple[str, ...]:
        """Colour and depth of the cameras' views, and depth from above."""
        return ("colour", "depth", "depth_from_above")

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self._inputs

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """See ``Method``; what else a batch brings follows from the data, see ``FIELDS``."""
        return dict(self.encoder.settings.inputs)

    def learn_scales(self, statistics: Mapping[str, Any]) -> None:
        """Mean and standard deviation of the pictures' bands, whose colours are rendered unstandardised."""
        self.scales.copy_(torch.tensor(input_scales(statistics, self._inputs)[POOLED]))
        self._knows_scales = True

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,  # noqa: ARG002 -- streets are nowhere
    ) -> dict[str, TaskLoss]:
        """Hide, render, compare; see ``Method``.

        Args:
            fields: as ``data.streets`` gives them.
            seeds: (B,) int64: each sample's own.
            acquisition: not looked at.

        Raises:
            InputError: something is missing from ``fields``, or ``learn_scales`` was not called.
            GridError: pictures do not divide into patches.
        """
        name = self._inputs[0].name
        absent = [field for field in (name, *FIELDS) if field not in fields]
        if absent:
            raise InputError(f"the batch lacks {', '.join(absent)}", hint="data in the layout of nuScenes bring them")
        pictures = fields[name].values.flatten(0, 1)
        cell = self.encoder.settings.patch_size
        h, w = patch_grid(height=pictures.shape[2], width=pictures.shape[3], patch_size=cell)
        each = fields[name].values.shape[1]
        own = (seeds[:, None] * each + torch.arange(each, device=seeds.device)).flatten()
        visible = sample_visible(own, h * w, self.settings.mask_ratio)
        points, there = fields["points"].values, fields["points"].valid[..., 0]
        voxels, inside = voxel_of(points, there, self.settings)
        noise = uniform(derived(seeds, _VOXELS), self.settings.layers * self.settings.side**2)
        shown = choose_voxels(voxels, inside, noise, self.settings.voxel_mask_ratio)
        intrinsics, poses = fields["camera_intrinsics"].values, fields["camera_pose"].values
        size = {"height": pictures.shape[2], "width": pictures.shape[3], "cell": cell}
        views = self.network(
            pictures,
            visible,
            visible_count(h * w, self.settings.mask_ratio),
            Cameras(_in_cells(intrinsics, cell).flatten(0, 1), poses.flatten(0, 1)),
            sparse_depth=depth_maps(points, shown, intrinsics, poses, **size),
            above=self.network.voxels(points, voxels, shown),
        )
        truth = StreetTruth(
            self._colours(pictures, cell),
            depth_maps(points, there, intrinsics, poses, **size),
            highest_points(points, voxels, inside, self.settings),
        )
        return self.compare(views, truth)

    def compare(self, views: StreetViews, truth: StreetTruth) -> dict[str, TaskLoss]:
        """The losses of what was rendered."""
        size = self.settings
        assert views.cameras.features is not None
        squares = (views.cameras.features - truth.colour).square()
        known = (truth.depth >= size.near) & (truth.depth <= size.far)
        depth = torch.where(known, views.cameras.depth - truth.depth, 0.0).abs() / size.far
        above = torch.where(truth.above.valid, views.above.depth - truth.above.values, 0.0).abs()
        above = above / (size.top - size.bottom)
        losses = (
            TaskLoss(squares.sum(), torch.tensor(float(squares.numel()), device=squares.device)),
            TaskLoss(depth.sum(), known.sum().float()),
            TaskLoss(above.sum(), truth.above.valid.sum().float()),
        )
        return dict(zip(self.tasks, losses, strict=True))

    def _colours(self, pictures: Tensor, cell: int) -> Tensor:
        """(I, h, w, 3), 0 to 1, of standardised pictures; on the device, where the pictures are."""
        if not self._knows_scales:
            raise InputError("colours cannot be rendered without their scales", hint="call learn_scales first")
        mean, std = self.scales[:, :, None, None]
        return F.avg_pool2d((pictures.float() * std + mean) / 255, cell).permute(0, 2, 3, 1)


def depth_maps(
    points: Tensor, chosen: Tensor, intrinsics: Tensor, poses: Tensor, *, height: int, width: int, cell: int
) -> Tensor:
    """The nearest of some points in each cell of each camera.

    Args:
        points: (B, M, 3 or more), in the car's axes.
        chosen: (B, M) bool.
        intrinsics: (B, N, 3, 3), pixels.
        poses: (B, N, 4, 4): from cameras' axes to the car's.
        height: of pictures, pixels.
        width: likewise.
        cell: pixels on a side of a cell.

    Returns:
        (B N, h, w), metres; infinite where there is none.
    """
    pixels, depth = project(points[:, None, :, :3], intrinsics, inverse_pose(poses))
    seen = chosen[:, None].expand_as(depth).flatten(0, 1)
    return nearest_depth(pixels.flatten(0, 1), depth.flatten(0, 1), seen, height=height, width=width, cell=cell)


def highest_points(points: Tensor, voxels: Tensor, inside: Tensor, settings: StreetSettings) -> Observed[Tensor]:
    """How far below the top of the grid the highest point of each column is, (B, Y, X); not valid without a point."""
    columns = voxels % settings.side**2
    depth = torch.where(inside, settings.top - points[..., 2], torch.inf)
    nearest = depth.new_full((len(points), settings.side**2), torch.inf)
    nearest = nearest.scatter_reduce(1, columns, depth, "amin").reshape(-1, settings.side, settings.side)
    valid = nearest.isfinite()
    return Observed(torch.where(valid, nearest, 0.0), valid)


def _in_cells(intrinsics: Tensor, cell: int) -> Tensor:
    """Focal lengths and principal points in cells instead of pixels."""
    scaled = intrinsics.clone()
    scaled[..., :2, :] /= cell
    return scaled
