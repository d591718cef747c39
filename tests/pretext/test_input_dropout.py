"""Inputs that are hidden wholly: which ones follows from a tile's seed, and they are learned on every patch."""

import pytest
import torch

from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED, Observed
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.masking import patchify, sample_dropped, sample_visible
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

from .random_fields import random_fields

INPUTS = {"sentinel2": ("B2", "B3"), "sentinel1": ("asc_VV",), "aster": ("elevation",)}
ENCODER = FusedSettings(size="micro", inputs=INPUTS, image_size=32)
TARGETS = {**INPUTS, "canopy_height_eth": ("height",), "dynamic_world": None, "era5": None}
SEEDS = torch.tensor([11, 12, 13, 14, 15, 16])


def make(**settings: object) -> MPMAE:
    torch.manual_seed(0)
    plain = {"decoder_dim": 32, "targets": TARGETS, "standardise_patches": ("sentinel2",), "input_dropout": 0.5}
    return MPMAE(ENCODER, MPMAESettings(**{**plain, **settings}), PUBLISHED)


def fields_of(method: MPMAE, missing: float = 0.2) -> dict[str, Observed[torch.Tensor]]:
    return random_fields(method.bands, PUBLISHED, tiles=len(SEEDS), size=32, missing=missing, seed=0)


def test_all_choices_occur_equally_often_and_something_is_always_left() -> None:
    seeds = torch.arange(40000)
    dropped = sample_dropped(seeds, torch.ones(40000, 3, dtype=torch.bool), 0.5)
    assert not dropped.all(1).any()
    kinds, counts = dropped.unique(dim=0, return_counts=True)
    assert len(kinds) == 7
    # 1/8 each, but that the eighth with nothing left is shared out over the three that leave one
    expected = torch.where(kinds.sum(1) == 2, 1 / 8 + 1 / 24, 1 / 8)
    torch.testing.assert_close(counts / 40000, expected, atol=0.008, rtol=0)
    share = sample_dropped(seeds, torch.ones(40000, 3, dtype=torch.bool), 0.1).float().mean(0)
    torch.testing.assert_close(share, torch.full((3,), 0.1), atol=0.008, rtol=0)


def test_what_is_left_is_something_that_the_tile_has() -> None:
    present = torch.tensor([[True, False, False], [False, True, True], [False, False, False]]).repeat(2000, 1)
    dropped = sample_dropped(torch.arange(6000), present, 0.9)
    left = (present & ~dropped).any(1)
    assert left[present.any(1)].all()
    assert not dropped[0::3, 0].any()


def test_a_choice_is_the_tile_s_own_and_not_that_of_its_patches() -> None:
    present = torch.ones(6, 3, dtype=torch.bool)
    together = sample_dropped(SEEDS, present, 0.5)
    alone = torch.cat([sample_dropped(SEEDS[n : n + 1], present[:1], 0.5) for n in range(6)])
    assert torch.equal(together, alone)
    many = torch.arange(4000)
    dropped = sample_dropped(many, torch.ones(4000, 3, dtype=torch.bool), 0.5)[:, 0].float()
    shown = sample_visible(many, 3, 0.6)[:, 0].float()
    assert abs(float(torch.corrcoef(torch.stack([dropped, shown]))[0, 1])) < 0.05


@pytest.mark.parametrize("predict_visible", [False, True])
@pytest.mark.parametrize("denominator", ["valid", "nonzero"])
def test_losses_are_those_of_a_loop_over_tiles_and_patches(predict_visible: bool, denominator: str) -> None:
    method = make(predict_visible=predict_visible, denominator=denominator, standardise_patches=())
    fields = fields_of(method)
    with torch.no_grad():
        losses = method(fields, SEEDS)
    present = torch.stack([fields[n].valid[:, : len(b)].flatten(1).any(1) for n, b in INPUTS.items()], 1)
    dropped = sample_dropped(SEEDS, present, 0.5)
    assert dropped.any()
    assert not dropped.all()
    visible = sample_visible(SEEDS, 16, 0.6)
    image = torch.cat([fields[name].values[:, : len(bands)] for name, bands in INPUTS.items()], 1).clone()
    start = 0
    for number, bands in enumerate(INPUTS.values()):
        image[dropped[:, number], start : start + len(bands)] = 0
        start += len(bands)
    with torch.inference_mode():
        predictions = method.network(image, visible, everywhere=True)
    for name in ("sentinel2", "sentinel1", "aster", "canopy_height_eth"):
        field = fields[name]
        values, valid = (patchify(part, 8) for part in field)
        total, count = 0.0, 0
        for tile in range(len(SEEDS)):
            for patch in range(16):
                everywhere = bool(dropped[tile, list(INPUTS).index(name)]) if name in INPUTS else predict_visible
                if visible[tile, patch] and not everywhere:
                    continue
                squares = (predictions[name][tile, patch] - values[tile, patch])[valid[tile, patch]].square()
                if denominator == "valid":
                    total, count = total + float(squares.sum()), count + len(squares)
                elif len(squares):
                    total, count = total + float(squares.mean()), count + 1
        assert float(losses[name].count) == count, name
        assert float(losses[name].total) == pytest.approx(total, rel=1e-4), name


def test_evaluation_hides_no_input() -> None:
    method = make().eval()
    fields = fields_of(method)
    plain = make(input_dropout=0.0)
    plain.load_state_dict(method.state_dict())
    for name, loss in method(fields, SEEDS).items():
        assert torch.equal(loss.total, plain(fields, SEEDS)[name].total)


def test_a_probability_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(RecipeError, match="input_dropout is 1"):
        MPMAESettings(input_dropout=1.0)
    settings = MPMAESettings(targets={"sentinel2": ("B2",)}, input_dropout=0.5)
    with pytest.raises(RecipeError, match="the encoder has one input"):
        MPMAE(EncoderSettings(size="micro", bands=("B2",)), settings, PUBLISHED)
