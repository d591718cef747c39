"""OmniSat's objective, against loops over tiles, patches and dates."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.errors import BandError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Acquisition, Modality, Observed, Role
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import load_reconstructor
from geopretext.nn.masking import sample_visible
from geopretext.nn.omnisat_settings import OmniSatSettings
from geopretext.nn.temporal_attention import Series, day_of_year
from geopretext.pretext.omnisat import OmniSatMethod
from geopretext.pretext.omnisat_settings import OmniSatPretextSettings
from geopretext.pretext.patch_contrast import patch_contrast

ENCODER = OmniSatSettings(
    inputs={"sentinel2": ("B2", "B3", "B4"), "aster": ("elevation", "slope")},
    series={"sentinel1_series": ("VV", "VH")},
    patch_size=8,
    image_size=16,
    dim=16,
    depth=1,
    heads=4,
    dropout=0.0,
    drop_path=0.0,
    series_heads=4,
    series_widths=(8,),
)
TILES, SIDE, PATCHES, DATES = 3, 16, 4, 6
SEEDS = torch.tensor([5, 6, 7])
SERIES = "sentinel1_series"


def make_method(encoder: OmniSatSettings = ENCODER, held: dict[str, Modality] = PUBLISHED, **settings) -> OmniSatMethod:
    torch.manual_seed(0)
    return OmniSatMethod(encoder, OmniSatPretextSettings(**settings), held)


def make_batch(seed: int = 0) -> tuple[dict[str, Observed[torch.Tensor]], Acquisition[torch.Tensor]]:
    """Pixels missing here and there, radar series of 6, 3 and no dates, and no terrain in the last tile."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"sentinel2": (TILES, 3, SIDE, SIDE), "aster": (TILES, 2, SIDE, SIDE)}
    shapes[SERIES] = (TILES, DATES, 2, SIDE, SIDE)
    known = torch.arange(DATES) < torch.tensor([6, 3, 0])[:, None]
    fields = {}
    for name, shape in shapes.items():
        valid = torch.rand(shape, generator=generator) < 0.8
        if name == SERIES:
            valid &= known[:, :, None, None, None]
        if name == "aster":
            valid[2] = False
        fields[name] = Observed(torch.randn(shape, generator=generator) * valid, valid)
    days = torch.randint(17_000, 17_365, (TILES, DATES), generator=generator).float() * known
    nowhere = Observed(torch.zeros(TILES), torch.zeros(TILES, dtype=torch.bool))
    return fields, Acquisition(nowhere, nowhere, nowhere, 10.0, {SERIES: Observed(days, known)})


def means(losses) -> dict[str, float]:
    return {name: (loss.total / loss.count).item() for name, loss in losses.items()}


def standard(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    here = values[valid].astype(np.float64)
    spread = np.sqrt(here.var(ddof=1) + 1e-6)
    return (values - here.mean()) / spread


@torch.no_grad()
def test_losses_are_those_of_a_loop() -> None:
    method = make_method(date_quantile=0.5)
    fields, acquisition = make_batch()
    found = method(fields, SEEDS, acquisition)
    assert tuple(found) == method.tasks == ("contrast", "sentinel2", "aster", SERIES)

    image = torch.cat([fields["sentinel2"].values, fields["aster"].values], 1)
    days = acquisition.series[SERIES]
    projection = method.network.encoder.project(image, {SERIES: Series(fields[SERIES], days)})
    hidden = ~sample_visible(SEEDS, 3 * PATCHES, 0.75).reshape(TILES, 3, PATCHES)
    assert (hidden.flatten(1).sum(1) == 9).all()
    cells = method.network.fuse(projection, hidden)
    predictions = method.network.decode_maps(cells, projection, hidden)
    for name, prediction in predictions.items():
        bands = prediction.shape[2] // 64
        total, count = 0.0, 0
        for b in range(TILES):
            for p in range(PATCHES):
                y, x = (8 * part for part in divmod(p, 2))
                values, valid = (part[b, :, y : y + 8, x : x + 8].numpy() for part in fields[name])
                if not valid.any():
                    continue
                wanted = standard(values, valid)
                image = prediction[b, p].reshape(8, 8, bands).permute(2, 0, 1).numpy()
                total, count = total + ((image - wanted)[valid] ** 2).sum(), count + valid.sum()
        assert found[name].total.item() == pytest.approx(total, rel=1e-4)
        assert found[name].count.item() == count

    total, count = 0.0, 0
    for b, dates in enumerate((6, 3)):
        attention = projection.attention[SERIES][b, :dates].numpy()
        bound = np.quantile(attention, 0.5)
        for t in range(dates):
            if attention[t] < bound - 1e-7:
                continue
            values, valid = (part[b, t].numpy() for part in fields[SERIES])
            wanted = standard(values, valid)
            for p in range(PATCHES):
                if not hidden[b, 2, p]:
                    continue
                y, x = (8 * part for part in divmod(p, 2))
                day = day_of_year(days.values[b, t])[None]
                prediction = method.network.decode_series(SERIES, cells[b, p][None], day)
                image = prediction.reshape(8, 8, 2).permute(2, 0, 1).numpy()
                part = valid[:, y : y + 8, x : x + 8]
                total += ((image - wanted[:, y : y + 8, x : x + 8])[part] ** 2).sum()
                count += part.sum()
    assert found[SERIES].total.item() == pytest.approx(total, rel=1e-4)
    assert found[SERIES].count.item() == count
    contrast = patch_contrast(projection.tokens, projection.present, 0.1)
    assert torch.equal(found["contrast"].total, contrast.total)


@torch.no_grad()
def test_knowing_nothing_costs_about_one() -> None:
    fields, acquisition = make_batch()
    found = means(make_method()(fields, SEEDS, acquisition))
    for name in ("sentinel2", "aster", SERIES):
        assert 0.9 < found[name] < 1.5, name


@torch.no_grad()
def test_tiles_do_not_depend_on_their_neighbours() -> None:
    method = make_method(contrast_weight=0.0).train()
    fields, acquisition = make_batch()
    whole = method(fields, SEEDS, acquisition)
    totals = dict.fromkeys(method.targets, 0.0)
    for tile in range(TILES):
        at = slice(tile, tile + 1)
        alone = {name: Observed(field.values[at], field.valid[at]) for name, field in fields.items()}
        days = acquisition.series[SERIES]
        when = replace(acquisition, series={SERIES: Observed(days.values[at], days.valid[at])})
        losses = method(alone, SEEDS[at], when)
        for name in totals:
            totals[name] += losses[name].total.item()
    for name, total in totals.items():
        assert whole[name].total.item() == pytest.approx(total, rel=1e-4)


@torch.no_grad()
def test_longer_padding_changes_nothing() -> None:
    method, (fields, acquisition) = make_method(), make_batch()
    found = means(method(fields, SEEDS, acquisition))
    images, days = fields[SERIES], acquisition.series[SERIES]
    longer = {**fields, SERIES: Observed(*(torch.cat([x, torch.zeros_like(x)], 1) for x in images))}
    when = replace(acquisition, series={SERIES: Observed(*(torch.cat([x, torch.zeros_like(x)], 1) for x in days))})
    assert means(method(longer, SEEDS, when)) == pytest.approx(found, rel=1e-5)


def test_dates_are_bounded() -> None:
    assert make_method(max_dates=4).dates == 4
    assert make_method().dates == 50


def test_nothing_observed_is_nothing_learnt() -> None:
    method, (fields, acquisition) = make_method(), make_batch()
    empty = {name: Observed(*map(torch.zeros_like, field)) for name, field in fields.items()}
    losses = method(empty, SEEDS, acquisition)
    assert all(loss.count == 0 and loss.total == 0 for loss in losses.values())
    active = {name: torch.tensor(False) for name in losses}
    method.combine({name: loss.total for name, loss in losses.items()}, active).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_the_contrast_has_a_weight_of_its_own() -> None:
    method = make_method(contrast_weight=3.0)
    losses = {name: torch.tensor(float(i + 1)) for i, name in enumerate(method.tasks)}
    active = {name: torch.tensor(True) for name in losses}
    assert method.combine(losses, active).item() == 3 * 1 + 2 + 3 + 4
    assert method.weighting(losses, active)[1]["contrast"] == 3


def test_a_bundle_predicts_as_the_method_did(tmp_path: Path) -> None:
    method, (fields, _) = make_method(), make_batch()
    method.save(tmp_path / "bundle", statistics=None, recipe={}, metrics={})
    network = load_reconstructor(tmp_path / "bundle")
    image = torch.cat([fields["sentinel2"].values, fields["aster"].values], 1)
    visible = torch.tensor([[True, False, True, False]]).expand(TILES, -1)
    with torch.inference_mode():
        one, other = method.network.eval()(image, visible), network(image, visible)
        assert network.settings.standardise_patches == ("sentinel2", "aster")
        assert one.keys() == other.keys()
        assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
        encoder = Encoder.from_pretrained(tmp_path / "bundle")
        assert torch.allclose(encoder(image), method.encoder(image), atol=1e-6)
    assert [modality.name for modality in encoder.inputs] == ["sentinel2", "aster"]
    assert encoder.targets == ("sentinel2", "aster")


def test_data_that_do_not_fit() -> None:
    with pytest.raises(RecipeError, match="'sentinel2' alone"):
        make_method(replace(ENCODER, inputs={"sentinel2": ("B2",)}, series={}))
    for name in ("aster", SERIES):
        with pytest.raises(RecipeError, match=f"'{name}' is a downstream label"):
            make_method(held={**PUBLISHED, name: replace(PUBLISHED[name], role=Role.LABEL)})
    with pytest.raises(InputError, match="sentinel1_series"):
        make_method(held={name: one for name, one in PUBLISHED.items() if name != SERIES})
    with pytest.raises(RecipeError, match="is a continuous map"):
        make_method(replace(ENCODER, series={"sentinel1": ("asc_VV",)}))
    with pytest.raises(BandError, match="no band"):
        make_method(held={**PUBLISHED, SERIES: PUBLISHED[SERIES].select(("VV",))})
    method, (fields, acquisition) = make_method(), make_batch()
    with pytest.raises(InputError, match="lacks aster"):
        method({name: field for name, field in fields.items() if name != "aster"}, SEEDS, acquisition)
    for when in (None, replace(acquisition, series={})):
        with pytest.raises(InputError, match="dates of 'sentinel1_series'"):
            method(fields, SEEDS, when)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mask_ratio", 1.0),
        ("date_quantile", 1.5),
        ("temperature", 0.0),
        ("contrast_weight", -1.0),
        ("max_dates", 0),
        ("bypass", "none"),
    ],
)
def test_settings_that_cannot_be(field: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=f"pretext.{field} is"):
        OmniSatPretextSettings(**{field: value})
