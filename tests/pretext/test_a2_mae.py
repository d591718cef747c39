"""The A2-MAE-style method, against losses in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from geopretext.errors import GridError, RecipeError
from geopretext.modality import PUBLISHED, Acquisition, Observed, Role
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.a2_mae import A2MAE, MeanOverImages
from geopretext.pretext.a2_mae_settings import A2MAESettings

ENCODER = ImageSetSettings(
    sources={"fine": "sentinel2", "terrain": "aster", "coarse": "sentinel2"},
    image_bands={"fine": ("B2", "B3"), "coarse": ("B5",), "terrain": ("slope", "elevation")},
    factors={"coarse": 3, "terrain": 2},
    patch_size=2,
    image_size=12,
    dim=16,
    depth=2,
    heads=2,
)
SIZES = {"fine": 6, "terrain": 3, "coarse": 2}


def make(encoder: ImageSetSettings = ENCODER, **settings) -> A2MAE:
    torch.manual_seed(0)
    small = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, **settings}
    return A2MAE(encoder, A2MAESettings(**small), PUBLISHED)


def make_fields(*, missing: float = 0.3, side: int = 12) -> dict[str, Observed[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    fields = {}
    for name, bands in ENCODER.inputs.items():
        valid = torch.rand(3, len(bands), side, side, generator=generator) >= missing
        if name == "aster":
            valid[1] = False
        fields[name] = Observed(torch.randn(valid.shape, generator=generator) * valid, valid)
    return fields


def where() -> Acquisition[Tensor]:
    yes = torch.ones(3, dtype=torch.bool)
    numbers = Observed(torch.tensor([10.0, 20.0, 30.0]), yes)
    return Acquisition(numbers, numbers, Observed(torch.tensor([18_000.0, 18_100.0, 18_200.0]), yes), 10.0)


SEEDS = torch.tensor([3, 4, 5])


def coarsened(values: np.ndarray, valid: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, H, W) -> the mean over the valid numbers of each square, up to a multiple of a patch; 0 beyond the image."""
    side = -(-values.shape[1] // (2 * factor)) * 2
    means, there = np.zeros((len(values), side, side)), np.zeros((len(values), side, side), bool)
    for band in range(len(values)):
        for y in range(side):
            for x in range(side):
                square = (band, slice(y * factor, (y + 1) * factor), slice(x * factor, (x + 1) * factor))
                if valid[square].any():
                    means[band, y, x] = values[square][valid[square]].mean()
                    there[band, y, x] = True
    return means, there


@pytest.mark.parametrize("side", [12, 10])
def test_losses_are_those_of_numpy(side: int) -> None:
    sizes = {"fine": side // 2, "terrain": 3, "coarse": 2}  # with 10 px the last of the coarser ones reach beyond
    method, fields = make(replace(ENCODER, image_size=side)), make_fields(side=side)
    present = torch.tensor([[True, True, True], [True, False, True], [True, True, True]])
    visible = method.visible(SEEDS, present)
    x = torch.cat([fields["sentinel2"].values, fields["aster"].values], 1)
    predictions = method.network.predict(x, torch.cat(list(visible.values()), 1), sum(method.counts.values()))
    rows = {"fine": ("sentinel2", [0, 1]), "coarse": ("sentinel2", [2]), "terrain": ("aster", [0, 1])}
    assert ENCODER.inputs == {"sentinel2": ("B2", "B3", "B5"), "aster": ("slope", "elevation")}
    found = method(fields, SEEDS, None)
    for name, (source, bands) in rows.items():
        total, count = 0.0, 0
        for tile in range(3):
            values, valid = (part[tile, bands].numpy() for part in fields[source])
            values, valid = coarsened(values, valid, ENCODER.factor(name))
            errors = []
            for number in range(sizes[name] ** 2):
                if visible[name][tile, number]:
                    continue
                y, column = (2 * i for i in divmod(number, sizes[name]))
                patch, there = (
                    part[:, y : y + 2, column : column + 2].transpose(1, 2, 0).ravel() for part in (values, valid)
                )
                known = patch[there]
                if len(known):
                    variance = known.var(ddof=1) if len(known) > 1 else 0.0
                    truth = (known - known.mean()) / np.sqrt(variance + 1e-6)
                    errors += list((predictions[name][tile, number].detach().numpy()[there] - truth) ** 2)
            if errors:
                total, count = total + np.mean(errors), count + 1
        assert found[name].total.item() == pytest.approx(total, rel=1e-4)
        assert found[name].count.item() == count
    assert found["terrain"].count == 2  # of one tile it is missing wholly


def test_ground_beyond_the_crop_is_hidden_by_nobody_and_counts_for_nothing() -> None:
    method = make(replace(ENCODER, image_size=10))
    for k, grid in enumerate(method.grids.values()):
        for a in set(range(3)) - {k}:
            shares = method.masks.get_buffer(f"covers_{k}_{a}").sum(0)
            torch.testing.assert_close(shares, torch.ones(grid.tokens), msg=f"{k} by {a}")


def test_losses_of_a_batch_are_those_of_its_tiles() -> None:
    method, fields = make(), make_fields()
    whole = method(fields, SEEDS, where())
    parts = []
    for tile in range(3):
        one = {name: Observed(*(part[tile : tile + 1] for part in field)) for name, field in fields.items()}
        at = where()
        at = Acquisition(
            *(Observed(*(part[tile : tile + 1] for part in field)) for field in (at.lat, at.lon, at.day)), 10.0
        )
        parts.append(method(one, SEEDS[tile : tile + 1], at))
    for name, loss in whole.items():
        assert loss.total.item() == pytest.approx(sum(part[name].total.item() for part in parts), rel=1e-4)
        assert loss.count == sum(part[name].count for part in parts)


def test_an_image_that_is_missing_is_no_anchor() -> None:
    method = make(keep_share=0.0)
    seeds = torch.arange(300)
    present = torch.tensor([[True, False, True]]).expand(300, -1)
    visible = method.visible(seeds, present)
    fixed = [make(keep_share=0.0, anchor=name).visible(seeds, present) for name in method.tasks]
    same = torch.stack([torch.stack([(one[n] == visible[n]).all(1) for n in SIZES]).all(0) for one in fixed])
    assert (same[0] | same[2]).all()
    assert same[0].float().mean() > 0.3
    assert same[2].float().mean() > 0.3
    assert (same[1] & ~same[0] & ~same[2]).sum() == 0


def test_masks_can_be_independent() -> None:
    method = make(masking="independent")
    visible = method.visible(torch.arange(500), torch.ones(500, 3, dtype=torch.bool))
    assert {name: set(mask.sum(1).tolist()) for name, mask in visible.items()} == {
        "fine": {9},
        "terrain": {2},
        "coarse": {1},
    }
    aligned = make(keep_share=0.0, anchor="coarse").visible(torch.arange(500), torch.ones(500, 3, dtype=torch.bool))

    def agreement(masks: dict[str, Tensor]) -> float:
        """Share of the fine tokens shown that lie under the coarse one shown."""
        coarse = masks["coarse"].reshape(-1, 2, 2).repeat_interleave(3, 1).repeat_interleave(3, 2)
        return float((masks["fine"].reshape(-1, 6, 6) & coarse).sum() / masks["fine"].sum())

    assert agreement(visible) == pytest.approx(0.25, abs=0.04)
    assert agreement(aligned) == 1


def test_places_and_dates_are_forgotten_as_often_as_is_said() -> None:
    fields = make_fields()

    def losses(method: A2MAE, at: Acquisition[Tensor] | None) -> list[float]:
        return [loss.total.item() for loss in method(fields, SEEDS, at).values()]

    never_told = make(unknown_share=1.0)
    assert losses(never_told, where()) == losses(never_told, None)
    always_told = make(unknown_share=0.0)
    assert losses(always_told, where()) != losses(always_told, None)
    blind = make(replace(ENCODER, geographic_encoding=False), unknown_share=0.0)
    assert losses(blind, where()) == losses(blind, None)

    numbers = Observed(torch.zeros(1000), torch.ones(1000, dtype=torch.bool))
    told = make(unknown_share=0.3)._forget(Acquisition(numbers, numbers, numbers, 10.0), torch.arange(1000))
    places, dates = told.lat.valid, told.day.valid
    assert torch.equal(places, told.lon.valid)
    assert places.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert dates.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert (places & dates).float().mean().item() == pytest.approx(0.49, abs=0.05)


def test_the_objective_is_the_mean_over_images_that_have_a_loss() -> None:
    weighting = MeanOverImages(["a", "b", "c"])
    losses = {"a": torch.tensor(1.0), "b": torch.tensor(4.0), "c": torch.tensor(0.0)}
    active = {"a": torch.tensor(True), "b": torch.tensor(True), "c": torch.tensor(False)}
    total, weights = weighting(losses, active)
    assert total == 2.5
    assert weights["a"] == 0.5
    nothing = dict.fromkeys(losses, torch.tensor(False))
    assert weighting(losses, nothing)[0] == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match="family"):
        A2MAE(EncoderSettings(), A2MAESettings(), PUBLISHED)
    with pytest.raises(RecipeError, match="label"):
        A2MAE(ENCODER, A2MAESettings(), {**PUBLISHED, "aster": replace(PUBLISHED["aster"], role=Role.LABEL)})
    with pytest.raises(RecipeError, match="anchor is 'radar'"):
        make(anchor="radar")
    with pytest.raises(RecipeError, match="'coarse' has 1 tokens"):
        make(replace(ENCODER, factors={"coarse": 6, "terrain": 2}))
    for changes, message in (({"masking": "none"}, "masking"), ({"keep_share": 2.0}, "keep_share")):
        with pytest.raises(RecipeError, match=message):
            A2MAESettings(**changes)
    method, fields = make(), make_fields()
    with pytest.raises(GridError, match="20 m a pixel"):
        method(fields, SEEDS, replace(where(), ground_sampling_distance=20.0))
    smaller = {name: Observed(*(part[..., :6] for part in field)) for name, field in fields.items()}
    with pytest.raises(GridError, match="12 x 6 px"):
        method(smaller, SEEDS, None)
