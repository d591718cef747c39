"""``missing_targets: zero`` and ``denominator: nonzero`` against the published formula, and each on its own."""

import numpy as np
import pytest
import torch

from geopretext.modality import PUBLISHED, Kind, Observed
from geopretext.nn.masking import patchify, sample_visible
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

from .published_loss import published_losses, published_targets, uncertainty
from .random_fields import random_fields

SIZE, PATCH, BATCH = 32, 8, 4
SEEDS = torch.arange(BATCH) + 11
MAPS = ("sentinel2", "sentinel1", "aster", "canopy_height_eth")


def make_method(**settings) -> MPMAE:
    torch.manual_seed(0)
    encoder = EncoderSettings(size="micro", image_size=SIZE, patch_size=PATCH, grn_scope="batch")
    method = MPMAE(encoder, MPMAESettings(decoder_dim=32, **settings), PUBLISHED)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "grn" in name or "log_variances" in name:
                parameter.normal_(std=0.3)  # zeros would hide what they multiply
    return method.train()


def make_fields(method: MPMAE, *, missing: float = 0.2) -> dict[str, Observed[torch.Tensor]]:
    """Random crops with single numbers missing; of maps, also whole bands, and the whole of one tile."""
    fields = random_fields(method.bands, PUBLISHED, tiles=BATCH, size=SIZE, missing=missing, seed=1)
    for name, (values, valid) in fields.items():
        kind = PUBLISHED[name].kind
        if kind is Kind.CONTINUOUS_MAP and missing:
            valid[:, 0] = False
            valid[1] = False
        if kind.is_continuous:
            values += 0.5
            values.masked_fill_(~valid, 0)
    return fields


def means(losses) -> dict[str, float]:
    return {name: (loss.total / loss.count).item() for name, loss in losses.items()}


def patches_of(method: MPMAE, fields, name: str):
    """Predictions, targets and validity of a map, each (hidden patches of all tiles, p p C)."""
    visible = sample_visible(SEEDS, 16, 0.6)
    predictions = method.network(fields["sentinel2"].values, visible, everywhere=True)[name]
    return (x[~visible] for x in (predictions, *(patchify(part, PATCH) for part in fields[name])))


@torch.no_grad()
def test_both_together_are_the_published_loss():
    method = make_method(missing_targets="zero", denominator="nonzero")
    fields = make_fields(method)
    losses = method(fields, SEEDS)
    visible = sample_visible(SEEDS, 16, 0.6)
    predictions = method.network(fields["sentinel2"].values, visible, everywhere=True)
    predictions = {name: prediction.double().numpy() for name, prediction in predictions.items()}
    expected = published_losses(predictions, published_targets(fields), (~visible).numpy().astype(int), PATCH)
    assert list(expected) == list(method.targets)
    assert means(losses) == pytest.approx(expected, rel=1e-5)
    total = method.combine(
        {name: loss.total / loss.count for name, loss in losses.items()},
        {name: loss.count > 0 for name, loss in losses.items()},
    )
    assert total.item() == pytest.approx(uncertainty(expected, method.weighting.log_variances.numpy()), rel=1e-5)


@torch.no_grad()
def test_without_missing_numbers_all_choices_agree():
    fields = make_fields(make_method(), missing=0)
    first = means(make_method()(fields, SEEDS))
    for choice in ({"missing_targets": "zero"}, {"denominator": "nonzero"}):
        assert means(make_method(**choice)(fields, SEEDS)) == pytest.approx(first, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("choice", [{"missing_targets": "zero"}, {"denominator": "nonzero"}])
def test_only_continuous_maps_are_touched(choice):
    fields = make_fields(make_method())
    first, other = means(make_method()(fields, SEEDS)), means(make_method(**choice)(fields, SEEDS))
    assert {name for name in first if first[name] != other[name]} == set(MAPS)


@torch.no_grad()
def test_missing_numbers_as_zeros_count_like_any_other():
    method = make_method(missing_targets="zero")
    fields = make_fields(method)
    losses = method(fields, SEEDS)
    for name in MAPS[1:]:
        predicted, truth, valid = patches_of(method, fields, name)
        assert losses[name].count == truth.numel()
        expected = torch.where(valid, predicted - truth, predicted).square().mean()
        assert means(losses)[name] == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_patches_are_averaged_over_what_is_valid_in_them_and_empty_ones_do_not_count():
    method = make_method(denominator="nonzero")
    fields = make_fields(method)
    losses = method(fields, SEEDS)
    for name in MAPS[1:]:
        each = [
            (predicted[known] - truth[known]).square().mean().item()
            for predicted, truth, known in zip(*patches_of(method, fields, name), strict=True)
            if known.any()
        ]
        assert losses[name].count == len(each) < 10 * BATCH
        assert means(losses)[name] == pytest.approx(np.mean(each), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("missing_targets", ["ignored", "zero"])
def test_losses_over_patches_add_up_over_parts_of_a_batch(missing_targets):
    method = make_method(missing_targets=missing_targets, denominator="nonzero").eval()  # norms over single tiles
    fields = make_fields(method)
    whole = method(fields, SEEDS)
    halves = [
        method({name: Observed(*(x[part] for x in field)) for name, field in fields.items()}, SEEDS[part])
        for part in (slice(0, 1), slice(1, 4))
    ]
    for name, loss in whole.items():
        assert sum(half[name].count.item() for half in halves) == loss.count.item()
        assert sum(half[name].total.item() for half in halves) == pytest.approx(loss.total.item(), rel=1e-5)


def test_a_task_without_any_valid_number_is_skipped_under_the_published_denominator():
    method = make_method(denominator="nonzero")
    fields = make_fields(method)
    values, valid = fields["sentinel1"]
    fields["sentinel1"] = Observed(torch.zeros_like(values), torch.zeros_like(valid))
    losses = method(fields, SEEDS)
    assert losses["sentinel1"].count == losses["sentinel1"].total == 0
    losses["sentinel1"].total.backward()
    assert all((p.grad == 0).all() for p in method.parameters() if p.grad is not None)
