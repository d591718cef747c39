"""NS-MAE over the Earth: a masked image and what it shows of heights, through one rendered volume.

NS-MAE (arXiv 2405.17942) pretrains the encoders of cameras and LiDAR for driving: what is hidden of both is rendered,
as colour and depth, from a volume that is made of both. Over the Earth rays come from above, so that its two views,
perspective and bird's eye, are one. A step: hide patches of the image, and, of every other input, most pixels; encode;
make columns of density and reflectance over the ground; look straight down, and from an angle drawn for each tile; and
compare what is seen with the image and with the surface, which is elevation plus the height of what stands on it.

This transfer is ours, as the published method knows no such data. ``docs/methods/ns-mae.md`` says what is published
and which of its faults are mended; ``pretext.ns_mae_street`` is the form for cameras and LiDAR.

Losses: squared error of standardised reflectance over hidden cells or all, and absolute error of heights, as a share of
``height_range``, over all cells whose surface is known, hidden or not. Aslant, the truth is the same image and surface
seen as an opaque, matt body: a ray ends where it first meets the surface, and sees what the image has there.

Letters: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``h w`` cells of ``settings.cell`` pixels.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import InputError, RecipeError
from geopretext.modality import POOLED, Acquisition, Kind, Modality, Observed, Role
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.bundle_statistics import input_scales
from geopretext.nn.columns import ColumnRenderer, View
from geopretext.nn.masking import patch_grid, patchify, sample_visible, unpatchify, visible_count
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.rays import meet_surface, shear
from geopretext.nn.seeded import derived, uniform
from geopretext.nn.weighting import make_weighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image, lacking
from geopretext.pretext.mp_mae import standardise
from geopretext.pretext.ns_mae_settings import NSMAESettings

_VIEWS, _PIXELS = 1, 2
"""streams of ``nn.seeded.derived``; those of further inputs follow"""


class Truth(NamedTuple):
    """What views are compared with."""

    reflectance: Observed[Tensor]
    """(B, C, h, w), standardised; not valid where it is not compared, too"""
    height: Observed[Tensor]
    """(B, h, w), metres above the lowest ground of the crop"""


class NSMAE(Method):
    """The renderer of columns and its objective.

    Args:
        encoder: the encoder and its inputs.
        settings: what is rendered, and how.
        modalities: what the data hold, by name.

    Raises:
        InputError: the data lack an input or a source of heights.
        BandError: they lack a band of it.
        RecipeError: a modality cannot be used as it is meant to, or no patch would be shown.
    """

    def __init__(self, encoder: NetworkSettings, settings: NSMAESettings, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        inputs = find_inputs(encoder, modalities)
        _check(encoder, settings, modalities)
        target = [modality for modality in inputs if modality.name == settings.image]
        self.settings = settings
        self.network = ColumnRenderer(
            encoder, settings.columns, inputs=inputs, targets={modality.name: modality for modality in target}
        )
        self.weighting = make_weighting(settings.weighting, self.tasks)
        self._sources = tuple(modalities[name].select([band]) for name, band in settings.heights)
        self.scales: Tensor
        # Rows: mean and standard deviation of each source, metres.
        self.register_buffer("scales", torch.zeros(2, len(self._sources)), persistent=False)
        self._knows_scales = False

    @property
    def encoder(self) -> EncoderNetwork:  # type: ignore[override]  # part of the network, which owns it
        """What the bundle keeps."""
        return self.network.encoder

    @property
    def tasks(self) -> tuple[str, ...]:
        """Reflectance and height of the surface, seen from above and aslant."""
        down = ("reflectance", "surface_height")
        return (*down, *(f"oblique_{name}" for name in down)) if self.settings.max_view_angle else down

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self.network.inputs

    @property
    def targets(self) -> tuple[str, ...]:
        """The image, and what the surface is the sum of."""
        return tuple(dict.fromkeys((self.settings.image, *(name for name, _ in self.settings.heights))))

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Bands that a batch must bring, by modality: those of the inputs first."""
        bands = dict(self.encoder.settings.inputs)
        for name, band in self.settings.heights:
            bands[name] = tuple(dict.fromkeys((*bands.get(name, ()), band)))
        return bands

    def learn_scales(self, statistics: Mapping[str, Any]) -> None:
        """Mean and standard deviation of the sources of heights, which are added in metres."""
        for column, source in enumerate(self._sources):
            (mean,), (std,) = input_scales(statistics, source)[POOLED]
            self.scales[0, column] = mean if math.isfinite(mean) else 0.0
            self.scales[1, column] = std if std > 0 else 1.0  # as standardising does with a constant band
        self._knows_scales = True

    def forward(
        self, fields: Mapping[str, Observed[Tensor]], seeds: Tensor, acquisition: Acquisition[Tensor] | None = None
    ) -> dict[str, TaskLoss]:
        """Hide, render, compare; see ``Method``.

        Raises:
            InputError: the batch lacks a modality, or its ground sampling distance; or ``learn_scales`` was not called.
            GridError: maps do not divide into patches.
        """
        absent = [name for name in self.bands if name not in fields]
        if absent or acquisition is None:
            raise InputError(
                f"the batch lacks {', '.join(absent) or 'its acquisition'}", hint=f"bring {', '.join(self.bands)}"
            )
        if self.settings.max_view_angle and not acquisition.ground_sampling_distance > 0:
            raise InputError(
                f"the batch has pixels of {acquisition.ground_sampling_distance} m",
                hint="metres above 0 are needed to look aslant; pretext.max_view_angle 0 looks only from above",
            )
        encoder = self.encoder.settings
        image = self._hide_pixels(input_image(fields, encoder.inputs), seeds)
        h, w = patch_grid(height=image.shape[2], width=image.shape[3], patch_size=encoder.patch_size)
        visible = sample_visible(seeds, h * w, self.settings.mask_ratio)
        columns = self.network.columns(image, visible, visible_count(h * w, self.settings.mask_ratio))
        compared = (~visible).reshape(-1, 1, h, w) | (self.settings.compare == "all")
        truth = self._truth(fields, compared)
        losses = self._compare(self.network.render(columns), truth)
        if self.settings.max_view_angle:
            slope = self._slopes(seeds)
            aslant = self.network.render(columns, slope, acquisition.ground_sampling_distance)
            step = slope / (acquisition.ground_sampling_distance * self.settings.cell)
            losses += self._compare(aslant, self._seen_aslant(truth, step))
        return dict(zip(self.tasks, losses, strict=True))

    def save(self, folder: Any, **facts: Any) -> None:
        """Write a bundle that also renders the image; see ``Method``."""
        save_bundle(folder, self.network, **facts)

    def _hide_pixels(self, image: Tensor, seeds: Tensor) -> Tensor:
        """Leave only few pixels of inputs other than the image; each input and tile has its own."""
        if len(self.inputs) == 1:
            return image
        pixels = image.shape[2] * image.shape[3]
        parts = []
        each = torch.split(image, [len(modality.bands) for modality in self.inputs], 1)
        for number, (modality, part) in enumerate(zip(self.inputs, each, strict=True)):
            drawn = uniform(derived(seeds, _PIXELS + number), pixels).reshape(-1, 1, *image.shape[2:])
            kept = (drawn >= self.settings.sparse_mask_ratio) | (modality.name == self.settings.image)
            parts.append(torch.where(kept, part, 0.0))
        return torch.cat(parts, 1)

    def _slopes(self, seeds: Tensor) -> Tensor:
        """(B, 2): of each tile's view, metres aside for a metre up."""
        drawn = uniform(derived(seeds, _VIEWS), 2)
        tangent = torch.tan(drawn[:, 0] * math.radians(self.settings.max_view_angle))
        azimuth = drawn[:, 1] * (2 * math.pi)
        return tangent[:, None] * torch.stack([torch.cos(azimuth), torch.sin(azimuth)], 1)

    def _truth(self, fields: Mapping[str, Observed[Tensor]], compared: Tensor) -> Truth:
        """Image and surface by cell, from the whole crop: what is hidden from the encoder is not missing here.

        Args:
            fields: as ``forward`` takes them.
            compared: (B, 1, patches high, patches wide) bool: where reflectance is.
        """
        cell, bands = self.settings.cell, len(self.encoder.settings.inputs[self.settings.image])
        values, valid = (part[:, :bands] for part in fields[self.settings.image])
        if self.settings.standardise_patches:
            values = self._contrast(values, valid)
        share = F.avg_pool2d(valid.float(), cell)
        mean = F.avg_pool2d(torch.where(valid, values, 0.0), cell) / share.clamp(min=1e-6)
        patch = self.encoder.settings.patch_size // cell
        here = compared.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        return Truth(Observed(mean, (share > 0) & here), self.surface(fields))

    def _contrast(self, values: Tensor, valid: Tensor) -> Tensor:
        """Each patch of (B, C, H, W) with mean 0 and variance 1, over pixels and bands."""
        side = self.encoder.settings.patch_size
        grid = patch_grid(height=values.shape[2], width=values.shape[3], patch_size=side)
        known = patchify(torch.where(valid, values, 0.0), side)
        return unpatchify(standardise(known, patchify(valid, side)), side, grid=grid)

    def surface(self, fields: Mapping[str, Observed[Tensor]]) -> Observed[Tensor]:
        """The height of the surface over the lowest ground of each crop, metres: (B, h, w).

        Without ``elevation`` the ground is flat, and the surface is the height of what stands on it.

        A cell has its highest pixel, which is what a ray from above meets first. What is higher than ``height_range``
        is not valid.

        Args:
            fields: standardised crops of the sources of heights, as ``forward`` takes them.

        Raises:
            InputError: ``learn_scales`` was not called.
        """
        if not self._knows_scales:
            raise InputError("heights cannot be added up without their scales", hint="call learn_scales first")
        height, known = None, None
        for column, (name, band) in enumerate(self.settings.heights):
            row = self.bands[name].index(band)
            values, valid = fields[name].values[:, row], fields[name].valid[:, row]
            metres = values.float() * self.scales[1, column] + self.scales[0, column]
            if (name, band) == self.settings.elevation:
                lowest = torch.where(valid, metres, torch.inf).flatten(1).amin(1)[:, None, None]
                metres = metres - torch.where(lowest.isfinite(), lowest, 0.0)
            if height is None or known is None:
                height, known = metres, valid
            else:
                height, known = height + metres, known & valid
        assert height is not None
        assert known is not None
        highest = F.max_pool2d(torch.where(known, height, -torch.inf), self.settings.cell)
        valid = highest.isfinite() & (highest <= self.settings.height_range)
        return Observed(torch.where(valid, highest, 0.0), valid)

    def _seen_aslant(self, truth: Truth, slope: Tensor) -> Truth:
        """The same body from the side; ``slope`` in cells a metre."""
        heights = torch.cat([self.network.middles, self.settings.height_range - self.network.edges]).sort().values
        met = meet_surface(*truth.height, heights.flip(0), slope)
        values, valid = truth.reflectance
        both = torch.cat([torch.where(valid, values, 0.0), valid.float()], 1)[:, None]
        seen, over = shear(both, met.height[:, None], slope)
        reflectance, known = seen[:, 0].chunk(2, 1)
        # A mean of cells of which some are not hidden, or missing, is none.
        known = (known > 1 - 1e-4) & (over & met.valid[:, None])
        return Truth(Observed(reflectance, known), Observed(met.height, met.valid))

    def _compare(self, view: View, truth: Truth) -> list[TaskLoss]:
        """Of reflectance and height."""
        values, valid = truth.reflectance
        squares = torch.where(valid, view.reflectance - values, 0.0).square()
        heights, known = truth.height
        metres = torch.where(known, view.height - heights, 0.0).abs()
        return [
            TaskLoss(squares.sum(), valid.sum().float()),
            TaskLoss(metres.sum() / self.settings.height_range, known.sum().float()),
        ]


def _check(encoder: NetworkSettings, settings: NSMAESettings, modalities: Mapping[str, Modality]) -> None:
    """What the networks cannot check."""
    for field in ("elevation", "height"):
        if (source := getattr(settings, field)) is None:
            continue
        (name, band), where = source, f"pretext.{field}"
        if name not in modalities:
            raise lacking(name, modalities, where)
        modality = modalities[name].select([band])
        if modality.kind is not Kind.CONTINUOUS_MAP or modality.levels or modality.role is Role.LABEL:
            what = "a label" if modality.role is Role.LABEL else f"a {modality.kind}"
            raise RecipeError(f"{where} is {name!r}, {what}", hint="heights are a continuous map without levels")
        if modality.bands[0].unit != "m":
            raise RecipeError(
                f"{where}: {name}.{band} is in {modality.bands[0].unit!r}", hint="heights are added up in m"
            )
    count = visible_count(encoder.patches, settings.mask_ratio)
    if not 0 < count < encoder.patches:
        raise RecipeError(
            f"pretext.mask_ratio {settings.mask_ratio} shows {count} of {encoder.patches} patches",
            hint="show at least one patch and hide at least one: change mask_ratio or encoder.image_size",
        )
