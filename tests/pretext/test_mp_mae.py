import math

import pytest
import torch
import torch.nn.functional as F

from geopretext.errors import BandError, GridError, InputError, RecipeError
from geopretext.modality import PRETEXT, PUBLISHED, Band, Kind, Modality, Observed, Role
from geopretext.nn.masking import patchify, sample_visible
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE, standardise
from geopretext.pretext.settings import MPMAESettings

from .random_fields import random_fields

SPECIES = Modality("species", Kind.MULTILABEL_VECTOR, (Band("oak"), Band("beech"), Band("fir")), "uint8", (255,))
HELD = {**PUBLISHED, "species": SPECIES}
ALL = {**MPMAESettings().targets, "species": None}
SIZE = 32
ENCODER = EncoderSettings(size="micro", image_size=SIZE)


def make_method(seed: int = 0, encoder: EncoderSettings = ENCODER, modalities=HELD, **settings) -> MPMAE:
    torch.manual_seed(seed)
    return MPMAE(encoder, MPMAESettings(**{"decoder_dim": 64, "targets": ALL, **settings}), modalities)


def make_fields(method: MPMAE, batch: int = 4, *, size: int = SIZE, missing: float = 0.2, seed: int = 0):
    return random_fields(method.bands, HELD, tiles=batch, size=size, missing=missing, seed=seed)


def take(fields, tiles):
    return {name: Observed(field.values[tiles], field.valid[tiles]) for name, field in fields.items()}


def mean(loss) -> float:
    return (loss.total / loss.count).detach().item()


def total_loss(method, losses):
    means = {name: loss.total / loss.count.clamp(min=1) for name, loss in losses.items()}
    return method.combine(means, {name: loss.count > 0 for name, loss in losses.items()})


SEEDS = torch.tensor([11, 12, 13, 14])


def test_every_task_learns_a_tiny_batch():
    method = make_method(weighting="equal")
    fields = make_fields(method, missing=0.1)
    optimiser = torch.optim.AdamW(method.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        losses = method(fields, SEEDS)
        history.append({name: mean(loss) for name, loss in losses.items()})
        optimiser.zero_grad()
        total_loss(method, losses).backward()
        optimiser.step()
    assert set(history[0]) == set(ALL)
    for name in history[0]:
        assert history[-1][name] < 0.8 * history[0][name], name


def test_first_losses_are_those_of_knowing_nothing():
    method = make_method()
    losses = {name: mean(loss) for name, loss in method(make_fields(method, 8), torch.arange(8)).items()}
    assert losses["sentinel1"] == pytest.approx(1, abs=0.1)
    assert losses["sentinel2"] == pytest.approx(1, abs=0.1)
    assert losses["dynamic_world"] == pytest.approx(math.log(9), abs=0.1)
    assert losses["ecoregion"] == pytest.approx(math.log(846), abs=0.1)
    assert losses["species"] == pytest.approx(math.log(2), abs=0.1)


@torch.no_grad()
def by_hand(method, fields, seeds):
    """Each task's loss, tile by tile and patch by patch, from the predictions at all patches."""
    visible = sample_visible(seeds, 16, method.settings.mask_ratio)
    image = fields["sentinel2"].values
    predictions = method.network(image, visible, everywhere=True)
    losses = {}
    for name, target in method.targets.items():
        values, valid = fields[name]
        total, count = 0.0, 0
        for tile in range(len(seeds)):
            if not target.kind.is_map:
                places = [(predictions[name][tile], values[tile], valid[tile])]
            else:
                maps = [x if x.ndim == 4 else x[:, None] for x in (values, valid)]
                cut = [patchify(x, 8)[tile] for x in maps]
                hidden = (~visible[tile]).nonzero()[:, 0]
                compared = range(16) if method.settings.predict_visible and name != "sentinel2" else hidden
                places = [(predictions[name][tile, p], cut[0][p], cut[1][p]) for p in compared]
            for predicted, truth, known in places:
                if name == "sentinel2":
                    chosen = truth[known]
                    truth = (truth - chosen.mean()) / (chosen.var() + 1e-6).sqrt()
                if target.kind.is_categorical:
                    logits = predicted.reshape(-1, target.channels)[known.flatten()]
                    each = F.cross_entropy(logits, truth.flatten()[known.flatten()], reduction="none")
                elif target.kind is Kind.MULTILABEL_VECTOR:
                    each = F.binary_cross_entropy(predicted.sigmoid(), truth, reduction="none")[known]
                else:
                    each = (predicted - truth).square()[known]
                total, count = total + each.sum().item(), count + int(known.sum())
        losses[name] = total, count
    return losses


@pytest.mark.parametrize("predict_visible", [False, True])
def test_losses_are_means_over_valid_numbers_of_hidden_or_all_patches(predict_visible):
    method = make_method(seed=3, predict_visible=predict_visible)
    fields = make_fields(method)
    expected = by_hand(method, fields, SEEDS)
    for name, loss in method(fields, SEEDS).items():
        assert loss.count.item() == expected[name][1]
        assert loss.total.detach().item() == pytest.approx(expected[name][0], rel=1e-4), name


def test_targets_under_visible_patches_and_missing_numbers_are_never_looked_at():
    method = make_method()
    fields = make_fields(method)
    visible = sample_visible(SEEDS, 16, 0.6).reshape(4, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    before = method(fields, SEEDS)
    changed = dict(fields)
    for name in ("sentinel1", "aster"):
        values, valid = fields[name]
        changed[name] = Observed(torch.where(visible | ~valid, 77.0, values), valid)
    values, valid = fields["dynamic_world"]
    changed["dynamic_world"] = Observed(torch.where(visible[:, 0] | ~valid, 8, values), valid)
    values, valid = fields["era5"]
    changed["era5"] = Observed(torch.where(valid, values, 77.0), valid)
    after = method(changed, SEEDS)
    for name, loss in before.items():
        assert after[name].total.detach().item() == loss.total.detach().item()


def test_losses_add_up_over_parts_of_a_batch_in_any_order():
    method = make_method()
    fields = make_fields(method)
    whole = method(fields, SEEDS)
    order = torch.tensor([2, 0, 3, 1])
    permuted = method(take(fields, order), SEEDS[order])
    halves = [method(take(fields, part), SEEDS[part]) for part in (slice(0, 2), slice(2, 4))]
    for name, loss in whole.items():
        for total, count in (
            (permuted[name].total, permuted[name].count),
            (halves[0][name].total + halves[1][name].total, halves[0][name].count + halves[1][name].count),
        ):
            assert count == loss.count
            assert total.detach().item() == pytest.approx(loss.total.detach().item(), rel=1e-5)


def test_the_same_seeds_hide_the_same_patches():
    method = make_method()
    fields = make_fields(method)
    first, again, other = method(fields, SEEDS), method(fields, SEEDS), method(fields, SEEDS + 1)
    assert all(first[name].total == again[name].total for name in first)
    assert first["sentinel1"].total != other["sentinel1"].total


def test_a_task_without_a_valid_target_is_skipped_and_moves_nothing():
    method = make_method()
    fields = make_fields(method)
    for name in ("aster", "dynamic_world", "biome", "era5", "species", "sentinel2"):
        values, valid = fields[name]
        # the input itself stays: only its validity as a target is gone
        fields[name] = Observed(values if name == "sentinel2" else torch.zeros_like(values), torch.zeros_like(valid))
    losses = method(fields, SEEDS)
    total = total_loss(method, losses)
    total.backward()
    assert torch.isfinite(total)
    present = [name for name in ALL if losses[name].count > 0]
    assert len(present) == len(ALL) - 6
    assert total.detach().item() == pytest.approx(sum(mean(losses[n]) for n in present), rel=1e-5)
    names = tuple(method.targets)
    for name in ("aster", "dynamic_world", "biome", "era5", "species", "sentinel2"):
        assert losses[name].total == 0
        assert (method.network.heads[name].weight.grad == 0).all()
        assert method.weighting.log_variances.grad[names.index(name)] == 0
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_standardising_uses_valid_numbers_of_the_patch_only():
    torch.manual_seed(0)
    values, valid = torch.randn(2, 3, 50) * 5 + 2, torch.rand(2, 3, 50) > 0.3
    valid[0, 0] = False
    valid[0, 1] = torch.arange(50) == 4
    standard = standardise(values.masked_fill(~valid, 0), valid)
    chosen = standard[1, 2][valid[1, 2]]
    assert chosen.mean().item() == pytest.approx(0, abs=1e-5)
    assert chosen.var().item() == pytest.approx(1, abs=1e-5)
    assert (standard[~valid] == 0).all()
    assert (standard[0, :2] == 0).all()


def test_input_and_target_bands_of_one_modality_may_differ():
    encoder = EncoderSettings(size="micro", image_size=SIZE, bands=("B4", "B3", "B2"))
    method = make_method(encoder=encoder, targets={"sentinel2": ("B2", "B12")}, standardise_patches=())
    assert method.bands == {"sentinel2": ("B4", "B3", "B2", "B12")}
    assert method.inputs[0].band_names == ("B4", "B3", "B2")
    fields = make_fields(method)
    seen = []
    method.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    before = method(fields, SEEDS)["sentinel2"]
    values, valid = fields["sentinel2"]
    assert torch.equal(seen[0], values[:, :3])
    assert before.count == int(
        (
            valid[:, [2, 3]]
            & ~sample_visible(SEEDS, 16, 0.6).reshape(4, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
        ).sum()
    )
    changed = values.clone()
    changed[:, 3] += 10.0
    assert method({"sentinel2": Observed(changed, valid)}, SEEDS)["sentinel2"].total > before.total + 1000


def test_half_precision_is_finite_and_sums_in_single_precision():
    method = make_method()
    fields = make_fields(method)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(fields, SEEDS)
        total = total_loss(method, losses)
    total.backward()
    assert all(loss.total.dtype == torch.float32 for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    exact = method(fields, SEEDS)
    for name, loss in losses.items():
        assert loss.total.detach().item() == pytest.approx(exact[name].total.detach().item(), rel=0.02), name


def test_other_sizes_of_crop_work():
    method = make_method()
    losses = method(make_fields(method, 2, size=48), torch.arange(2))
    assert losses["aster"].count > 0


def test_the_default_predicts_the_twelve_published_modalities():
    settings = MPMAESettings()
    assert list(settings.targets) == [modality.name for modality in PRETEXT]
    assert len(settings.targets["sentinel2"]) == 12
    with torch.device("meta"):
        method = MPMAE(EncoderSettings(), settings, PUBLISHED)
    assert sum(p.numel() for p in method.parameters()) == 7_580_674


def test_a_modality_that_the_data_lack_is_named():
    some = {name: PUBLISHED[name] for name in ("sentinel2", "aster")}
    with pytest.raises(
        InputError, match=r"(?s)targets.era5: the data hold no modality 'era5'.*hint: they hold sentinel2, aster"
    ):
        make_method(modalities=some, targets={"era5": None})
    with pytest.raises(InputError, match=r"(?s)encoder: the data hold no modality 'sentinel2'.*hint: they hold aster"):
        make_method(modalities={"aster": PUBLISHED["aster"]}, targets={"aster": None})


def test_bands_that_the_data_lack_are_named():
    short = {**PUBLISHED, "sentinel2": PUBLISHED["sentinel2"].select(("B2", "B3", "B4"))}
    with pytest.raises(BandError, match=r"(?s)modality 'sentinel2': no band 'B1', .*'B12'.*hint: it has B2, B3, B4"):
        make_method(modalities=short, targets={"aster": None})
    with pytest.raises(BandError, match=r"(?s)modality 'aster': no band 'aspect'.*hint: it has elevation, slope"):
        make_method(targets={"aster": ("aspect",)})


def test_modalities_of_the_wrong_kind_or_role_are_refused():
    labels = {
        **PUBLISHED,
        "crop": Modality("crop", Kind.CONTINUOUS_VECTOR, (Band("yield"),), "float32", role=Role.LABEL),
    }
    with pytest.raises(RecipeError, match=r"(?s)'crop' is a downstream label.*hint: labels are never shown"):
        make_method(modalities=labels, targets={"crop": None})
    with pytest.raises(
        RecipeError, match=r"(?s)encoder: the input 'era5' is a continuous vector.*hint: .*continuous map"
    ):
        make_method(encoder=EncoderSettings(modality="era5", bands=("year_avg_temp",)), targets={"aster": None})
    with pytest.raises(RecipeError, match=r"(?s)standardise_patches names 'biome', a categorical vector.*hint: only"):
        make_method(standardise_patches=("biome",))


def test_a_mask_that_shows_or_hides_nothing_is_refused():
    with pytest.raises(RecipeError, match=r"(?s)mask_ratio 0.99 shows 0 of 16 patches.*hint: show at least one"):
        make_method(mask_ratio=0.99)


def test_batches_that_do_not_fit_are_named():
    method = make_method()
    fields = make_fields(method)
    with pytest.raises(InputError, match=r"(?s)lacks aster, biome.*hint: it must bring sentinel2, sentinel1"):
        method({name: field for name, field in fields.items() if name not in ("aster", "biome")}, SEEDS)
    values, valid = fields["sentinel1"]
    with pytest.raises(BandError, match=r"(?s)7 bands of 'sentinel1'.*hint: it must bring asc_VV"):
        method({**fields, "sentinel1": Observed(values[:, 1:], valid[:, 1:])}, SEEDS)
    with pytest.raises(GridError, match=r"(?s)differ in size: sentinel2 32 x 32, sentinel1 24 x 32.*hint: crop all"):
        method({**fields, "sentinel1": Observed(values[..., :24, :], valid[..., :24, :])}, SEEDS)
    with pytest.raises(GridError, match=r"(?s)28 x 28 pixels do not divide into patches of 8 x 8.*hint: crop"):
        method(make_fields(method, size=28), SEEDS)
