"""SoftCon: multi-label guided soft contrastive learning (Wang, Albrecht and Zhu, arXiv 2405.20462).

A step: cut two views out of each tile, each with the labels of the land cover in it; encode one with patches hidden by
the trained branch, the other whole by a branch that follows the first one's weights slowly; compare each tile with all
tiles of the batch. The instance term asks that a tile is more like itself than like any other. The similarity term
asks that tiles are as alike as their sets of labels. Then the same with the views exchanged.

The pretraining code was never published. Known are how encoders and labels were made, that both terms are optimised
together and within the batch, that rows of the label similarities are of one view and columns of the other, and that
patches are hidden from the trained branch only. ``docs/methods/softcon.md`` says what stands in for the rest: mostly
MoCo v3 (arXiv 2104.02057), which the authors used on the same data before.

Letters: ``B`` tiles of this process, ``N`` of all, ``C`` bands, ``K`` classes, ``P`` patches, ``E`` embedding.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import RecipeError
from geopretext.modality import Acquisition, Kind, Modality, Observed, Role
from geopretext.nn.augmentation import blur, cut, drop_bands, flip, gray, jitter, random_boxes
from geopretext.nn.continual import start_from
from geopretext.nn.families import make_encoder
from geopretext.nn.masking import sample_visible, visible_count
from geopretext.nn.network import NetworkSettings
from geopretext.nn.processes import gather_rows, process_rank
from geopretext.nn.projection import make_mlp
from geopretext.nn.seeded import derived, uniform
from geopretext.nn.weighting import FixedWeighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs, lacking
from geopretext.pretext.softcon_settings import SoftConSettings

_VIEWS = (101, 102)  # streams of seeds, apart from those of ``nn.augmentation``
_MASK, _DATES = 103, 104
_OBSERVED = 0.5  # share of an image that must be observed for its date to be a view
_SMALL = 1e-6


class View(NamedTuple):
    """What one branch sees of each tile."""

    image: Tensor
    """(B, C, S, S), standardised, 0 where missing"""
    labels: Tensor
    """(B, K) bool: classes in it; none where nothing is seen"""
    seen: Tensor
    """(B,) bool: whether any number of it is observed; what has none is compared with nothing"""
    seeds: Tensor
    """(B,) int64: its own"""


class SoftCon(Method):
    """Two branches, and the two terms of the objective.

    Args:
        encoder: the encoder and its inputs.
        settings: of the method.
        modalities: what the data hold, by name.

    Raises:
        InputError: the data lack an input or the labels.
        BandError: they lack a band of it.
        BundleError: ``settings.start`` cannot be read, or does not fit the encoder.
        RecipeError: a modality cannot be used as it is meant to, or no patch would be shown.
    """

    def __init__(self, encoder: NetworkSettings, settings: SoftConSettings, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        self._inputs = find_inputs(encoder, modalities)
        _check(encoder, settings, modalities)
        self.settings: SoftConSettings = settings
        self.classes = len(modalities[settings.labels].classes)
        self.encoder = make_encoder(encoder)
        if settings.start is not None:
            start_from(self.encoder, settings.start)
        width, hidden, out = encoder.widths[-1], settings.projection_width, settings.embedding_width
        self.projector = make_mlp(settings.projection_depth, width, hidden, out)
        self.predictor = make_mlp(settings.prediction_depth, out, hidden, out)
        self.momentum_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.momentum_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.weighting = FixedWeighting(
            {"instance": settings.instance_weight, "similarity": settings.similarity_weight}
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The two terms."""
        return ("instance", "similarity")

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self._inputs

    @property
    def bands(self) -> dict[str, tuple[str, ...] | None]:
        """Bands of the inputs, or of the series in place of the one input; and the labels."""
        images = self.encoder.settings.inputs
        if self.settings.series is not None:
            images = {self.settings.series: self.encoder.settings.bands}
        return {**images, self.settings.labels: None}

    @property
    def crop(self) -> int:
        """Pixels on a side of what views are cut from."""
        return self.settings.source_size or self.encoder.settings.image_size

    @property
    def targets(self) -> tuple[str, ...]:
        """What the labels are of."""
        return (self.settings.labels,)

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,  # noqa: ARG002 -- neither places nor dates are looked at
    ) -> dict[str, TaskLoss]:
        """Cut views, encode, compare each with the other view of all tiles.

        Args:
            fields: of the inputs or of the series, and of the labels, see ``Method.forward``.
            seeds: (B,) int64: from which follow dates, views and what is hidden of them.
            acquisition: not looked at.

        Returns:
            The instance term, over rows of both directions of which both views are seen; the similarity term, over
            pairs with labels or over rows.
        """
        labels = fields[self.settings.labels]
        images = self._images(fields, seeds)
        blurred = self.settings.blur_shares
        views = [self.view(images[i], labels, derived(seeds, _VIEWS[i]), blurred[i]) for i in range(2)]
        with torch.no_grad():
            keys = [self._follow(view) for view in views]
        queries = [self._lead(view) for view in views]
        one, other = (self._compare(queries[i], keys[1 - i], views[i], views[1 - i]) for i in range(2))
        return {
            task: TaskLoss(one[task].total + other[task].total, one[task].count + other[task].count)
            for task in self.tasks
        }

    @torch.no_grad()
    def view(self, image: Observed[Tensor], labels: Observed[Tensor], seeds: Tensor, blur_share: float) -> View:
        """A view of each tile.

        Args:
            image: (B, C, H, W).
            labels: (B, H, W).
            seeds: (B,) int64, of the view.
            blur_share: how often it is blurred.
        """
        chosen = self.settings
        height, width = image.values.shape[2:]
        boxes = random_boxes(seeds, height=height, width=width, smallest=chosen.smallest_box)
        with torch.autocast(seeds.device.type, enabled=False):  # pixels stay float32
            image = cut(image, boxes, self.encoder.settings.image_size)
            image = jitter(image, seeds, strength=chosen.jitter, share=chosen.jitter_share)
            image = gray(image, seeds, chosen.gray_share)
            if blur_share:
                image = blur(image, seeds, sigma=chosen.blur_sigma, share=blur_share)
            image = flip(image, seeds, chosen.flip_share)
            image = drop_bands(image, seeds, most=chosen.drop_most, share=chosen.drop_share)
        shown = boxes if chosen.labels_of == "view" else None
        seen = image.valid.flatten(1).any(1)
        present = classes_shown(labels, shown, self.classes, chosen.least_share) & seen[:, None]
        return View(image.values, present, seen, seeds)

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """Move the slow branch towards the trained one, less and less as the run goes on.

        Args:
            done: share of the run that is done, above 0 to 1.
        """
        share = (1 - self.settings.momentum) * 0.5 * (1 + math.cos(math.pi * done))
        pairs = ((self.momentum_encoder, self.encoder), (self.momentum_projector, self.projector))
        for slow, fast in pairs:
            torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), share)

    def save(self, folder: Any, **facts: Any) -> None:
        """Write the bundle; see ``Method``. Trained on a series, its input is standardised as the series was."""
        statistics, (name, *_) = facts["statistics"], self.encoder.settings.inputs
        if self.settings.series is not None and statistics is not None:
            modalities = statistics["modalities"]
            facts["statistics"] = {**statistics, "modalities": {**modalities, name: modalities[self.settings.series]}}
        super().save(folder, **facts)

    def _images(self, fields: Mapping[str, Observed[Tensor]], seeds: Tensor) -> tuple[Observed[Tensor], ...]:
        """What each of the two views is cut from: (B, C, H, W)."""
        if self.settings.series is not None:
            series = fields[self.settings.series]
            tiles = torch.arange(len(seeds), device=seeds.device)
            dates = two_dates(series.valid, derived(seeds, _DATES))
            return tuple(Observed(series.values[tiles, date], series.valid[tiles, date]) for date in dates.unbind(1))
        parts = [fields[name] for name in self.encoder.settings.inputs]
        image = Observed(torch.cat([part.values for part in parts], 1), torch.cat([part.valid for part in parts], 1))
        return image, image

    def _lead(self, view: View) -> Tensor:
        """What the trained branch says of a view with hidden patches: (B, E) float32, of length 1."""
        patches = self.encoder.settings.patches
        if not self.settings.mask_ratio:
            cells = self.encoder(view.image).float().mean((2, 3))
        else:
            visible = sample_visible(derived(view.seeds, _MASK), patches, self.settings.mask_ratio)
            count = visible_count(patches, self.settings.mask_ratio)
            # hidden cells are 0
            cells = self.encoder(view.image, visible, count=count).float().sum((2, 3)) / count
        return F.normalize(self.predictor(self.projector(cells)).float(), dim=1)

    def _follow(self, view: View) -> Tensor:
        """What the slow branch says of a whole view: (B, E) float32, of length 1."""
        cells = self.momentum_encoder(view.image).float().mean((2, 3))
        return F.normalize(self.momentum_projector(cells).float(), dim=1)

    def _compare(self, queries: Tensor, keys: Tensor, view: View, other: View) -> dict[str, TaskLoss]:
        """Rows of this process with columns of all."""
        chosen, first = self.settings, process_rank() * len(queries)
        with torch.autocast(queries.device.type, enabled=False):  # cosines divided by a temperature stay float32
            cosines = queries @ gather_rows(keys).T
            others, seen = (
                gather_rows(torch.cat([other.labels, other.seen[:, None]], 1).float()).bool().tensor_split([-1], 1)
            )
            wanted, known = label_similarity(view.labels, others)
            similarity = similarity_loss(
                cosines,
                wanted,
                known,
                kind=chosen.similarity_loss,
                mapping=chosen.similarity_map,
                temperature=chosen.similarity_temperature,
            )
            instance = instance_loss(cosines, view.seen[:, None] & seen.T, first, chosen.temperature)
            return {"instance": instance, "similarity": similarity}


def classes_shown(labels: Observed[Tensor], boxes: Tensor | None, classes: int, least_share: float) -> Tensor:
    """Which classes are in each box of a map.

    Args:
        labels: (B, H, W) class indices.
        boxes: (B, 4): upper row, left column, rows, columns; None: whole maps.
        classes: K.
        least_share: of the labelled pixels of the box that a class must have, besides being there at all.

    Returns:
        (B, K) bool; no class where nothing is labelled.
    """
    values, valid = labels
    if boxes is not None:
        height, width = values.shape[1:]
        top, left, rows, columns = boxes.T[..., None]
        y, x = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
        in_rows, in_columns = (y >= top) & (y < top + rows), (x >= left) & (x < left + columns)
        valid = valid & in_rows[:, :, None] & in_columns[:, None, :]
    pixels = torch.zeros(len(values), classes, device=values.device)
    pixels.scatter_add_(1, values.flatten(1), valid.flatten(1).float())
    return (pixels > 0) & (pixels >= least_share * pixels.sum(1, keepdim=True))


def two_dates(valid: Tensor, seeds: Tensor) -> Tensor:
    """Two dates of each tile of which at least half the numbers are observed.

    Args:
        valid: (B, T, C, H, W) bool.
        seeds: (B,) int64, for this purpose.

    Returns:
        (B, 2) int64: different dates; the same one twice where there is no other.
    """
    usable = valid.float().mean((2, 3, 4)) >= _OBSERVED
    order = (uniform(seeds, valid.shape[1]) - (~usable).float()).argsort(dim=1, descending=True, stable=True)
    several = usable.sum(1) > 1
    second = order[:, min(1, valid.shape[1] - 1)]
    return torch.stack([order[:, 0], torch.where(several, second, order[:, 0])], 1)


def label_similarity(labels: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of sets of labels, as vectors of 0 and 1.

    Args:
        labels: (B, K) bool.
        others: (N, K) bool.

    Returns:
        (B, N) float32, 0 to 1, and (B, N) bool: whether both sets have a label; the cosine is 0 where not.
    """
    sizes = labels.sum(1)[:, None] * others.sum(1)
    return labels.float() @ others.float().T / sizes.clamp(min=1).sqrt(), sizes > 0


def instance_loss(cosines: Tensor, known: Tensor, first: int, temperature: float) -> TaskLoss:
    """Cross-entropy of finding each row's own column.

    Args:
        cosines: (B, N).
        known: (B, N) bool: pairs that count.
        first: the column of the first row; the others follow.
        temperature: that cosines are divided by.

    Returns:
        The sum over rows whose own column counts.
    """
    rows = torch.arange(len(cosines), device=cosines.device)
    # a finite number, since a row without any column that counts would become NaN
    scores = (cosines / temperature).masked_fill(~known, torch.finfo(cosines.dtype).min)
    counted = known[rows, first + rows]
    each = F.cross_entropy(scores, first + rows, reduction="none")
    return TaskLoss(torch.where(counted, each, 0.0).sum(), counted.sum().float())


def similarity_loss(
    cosines: Tensor, wanted: Tensor, known: Tensor, *, kind: str, mapping: str, temperature: float
) -> TaskLoss:
    """How far cosines are from the similarities of labels.

    Args:
        cosines: (B, N).
        wanted: (B, N), 0 to 1.
        known: (B, N) bool: pairs that count.
        kind: see ``SoftConSettings.similarity_loss``.
        mapping: see ``SoftConSettings.similarity_map``.
        temperature: that cosines are divided by, with "sigmoid" and with "rows".

    Returns:
        The sum over pairs that count; with "rows", over rows that are at all similar to a column.
    """
    if kind == "rows":
        return _rows_loss(cosines / temperature, torch.where(known, wanted, 0.0), known)
    if kind == "binary" and mapping == "sigmoid":
        each = F.binary_cross_entropy_with_logits(cosines / temperature, wanted, reduction="none")
    else:
        alike = _MAPS[mapping](cosines, temperature)
        if kind == "binary":
            each = F.binary_cross_entropy(alike.clamp(_SMALL, 1 - _SMALL), wanted, reduction="none")
        else:
            each = (alike - wanted).square()
    return TaskLoss(torch.where(known, each, 0.0).sum(), known.sum().float())


def _rows_loss(logits: Tensor, wanted: Tensor, known: Tensor) -> TaskLoss:
    totals = wanted.sum(1)
    # a finite number, since a row without any column that counts would become NaN
    shares = F.log_softmax(logits.masked_fill(~known, torch.finfo(logits.dtype).min), 1)
    each = -(wanted * torch.where(known, shares, 0.0)).sum(1) / totals.clamp(min=_SMALL)
    return TaskLoss(torch.where(totals > 0, each, 0.0).sum(), (totals > 0).sum().float())


_MAPS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sigmoid": lambda cosines, temperature: (cosines / temperature).sigmoid(),
    "clamp": lambda cosines, _: cosines.clamp(0, 1),
    "linear": lambda cosines, _: (cosines + 1) / 2,
}


def _check(encoder: NetworkSettings, settings: SoftConSettings, modalities: Mapping[str, Modality]) -> None:
    if settings.labels not in modalities:
        raise lacking(settings.labels, modalities, "pretext.labels")
    labels = modalities[settings.labels]
    if labels.kind is not Kind.CATEGORICAL_MAP:
        raise RecipeError(
            f"pretext.labels names {labels.name!r}, a {labels.kind}",
            hint="labels are the classes of a categorical map, for example dynamic_world or esa_worldcover",
        )
    if labels.role is Role.LABEL:
        raise RecipeError(f"{labels.name!r} is a downstream label", hint="labels are never shown to pretraining")
    if settings.series is not None:
        _check_series(settings.series, encoder, modalities)
    if not visible_count(encoder.patches, settings.mask_ratio):
        raise RecipeError(
            f"pretext.mask_ratio {settings.mask_ratio} shows none of {encoder.patches} patches",
            hint="change mask_ratio or encoder.image_size",
        )


def _check_series(name: str, encoder: NetworkSettings, modalities: Mapping[str, Modality]) -> None:
    if name not in modalities:
        raise lacking(name, modalities, "pretext.series")
    if not modalities[name].kind.is_series:
        raise RecipeError(
            f"pretext.series names {name!r}, a {modalities[name].kind}", hint="name a time series, or null"
        )
    if len(encoder.inputs) > 1:
        raise RecipeError(f"pretext.series is {name!r} beside several inputs", hint="an encoder with one input")
    modalities[name].band_indices(encoder.bands)
