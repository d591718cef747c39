"""Images of other dates in sets of the A2-MAE-style method, against loops in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from geopretext.errors import BandError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Acquisition, Observed, Role
from geopretext.nn.image_set_encoder import Shot
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.pretext.a2_mae import A2MAE
from geopretext.pretext.a2_mae_settings import A2MAESettings
from geopretext.pretext.other_dates import OtherDate, draw_dates

ENCODER = ImageSetSettings(
    sources={"fine": "sentinel2", "coarse": "sentinel2", "radar": "sentinel1"},
    image_bands={"fine": ("B3", "B2"), "coarse": ("B5",), "radar": ("asc_VV", "asc_VH")},
    factors={"coarse": 2},
    patch_size=2,
    image_size=8,
    dim=8,
    depth=1,
    heads=2,
)
OTHERS: dict[str, Any] = {
    "other_dates": {"coarse": "sentinel2_series", "fine": "sentinel2_series", "radar": "sentinel1_series"},
    "other_bands": {"radar": ["VH", "VV"]},
}
SEEDS = torch.tensor([3, 4, 5])
OWN = 18_000.25
DAYS = {"sentinel2_series": [17_900.0, 18_000.0, 18_100.0, 18_200.0], "sentinel1_series": [17_950.0, 18_003.0]}
TILES = 3
NONE = 2  # the tile without any optical date


def make(encoder: ImageSetSettings = ENCODER, **settings: Any) -> A2MAE:
    torch.manual_seed(0)
    small = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2, **OTHERS, **settings}
    method = A2MAE(encoder, A2MAESettings(**small), PUBLISHED)
    with torch.no_grad():  # so that everything tells in what comes out
        for parameter in method.parameters():
            parameter.normal_(std=0.2)
    return method


def make_batch(method: A2MAE) -> tuple[dict[str, Observed[Tensor]], Acquisition[Tensor]]:
    """Tiles with random numbers; their last dates are padding, all optical ones of one of them."""
    generator = torch.Generator().manual_seed(0)
    fields, series = {}, {}
    for name, bands in method.bands.items():
        dates = (len(DAYS[name]),) if name in DAYS else ()
        valid = torch.rand(TILES, *dates, len(bands), 8, 8, generator=generator) >= 0.2
        if dates:
            known = torch.ones(TILES, *dates, dtype=torch.bool)
            known[1, -1] = False
            if name == "sentinel2_series":
                known[NONE] = False
            valid &= known[..., None, None, None]
            series[name] = Observed(torch.where(known, torch.tensor(DAYS[name]), 0.0), known)
        fields[name] = Observed(torch.randn(valid.shape, generator=generator) * valid, valid)
    yes = torch.ones(TILES, dtype=torch.bool)
    numbers = Observed(torch.tensor([10.0, 20.0, 30.0]), yes)
    return fields, Acquisition(numbers, numbers, Observed(torch.full((TILES,), OWN), yes), 10.0, series)


def seen_shots(method: A2MAE, fields: Any, at: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Shot]]:
    """The losses, and the images of other dates that the network was given."""
    found: list[Any] = []
    predict = method.network.predict

    def spy(*arguments: Any) -> dict[str, Tensor]:
        found.append(arguments)
        return predict(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(method.network, "predict", spy)
        losses = method(fields, SEEDS, at)
    return losses, found[0][-1]


def drawn(shot: Shot, fields: Any, series: str, band: int, row: int) -> list[int | None]:
    """Number of the date of which each tile's image is, found by its pixels."""
    numbers: list[int | None] = []
    for tile in range(TILES):
        matches = [
            date
            for date in range(fields[series].values.shape[1])
            if fields[series].valid[tile, date].any()
            and torch.equal(fields[series].values[tile, date, band], shot.x[tile, row])
        ]
        assert len(matches) < 2
        numbers.append(matches[0] if matches else None)
    return numbers


def pick(*, days: Any, known: Any, seen: Any, own: float | None, seeds: Tensor) -> OtherDate:
    """``draw_dates`` of tiles that are alike, whose images hold the number of their date."""
    count, dates = len(seeds), len(days)
    valid = torch.tensor(seen).view(1, dates, 1, 1, 1).expand(count, -1, 2, 3, 3)
    values = torch.arange(1.0, dates + 1).view(1, dates, 1, 1, 1).expand(count, -1, 2, 3, 3)
    when = Observed(torch.tensor(days).expand(count, -1), torch.tensor(known).expand(count, -1))
    but = Observed(torch.full((count,), own or 0.0), torch.full((count,), own is not None))
    return draw_dates(Observed(values, valid), when, seeds, but=but)


def test_each_date_that_can_be_had_is_drawn_as_often() -> None:
    seeds = torch.arange(6000)
    found = pick(
        days=[10.0, 20.0, 30.0, 40.0, 50.0, 0.0],
        known=[True, True, True, True, True, False],
        seen=[True, True, False, True, True, True],
        own=20.7,
        seeds=seeds,
    )
    assert found.day.valid.all()
    days, counts = np.unique(found.day.values.numpy(), return_counts=True)
    assert days.tolist() == [10.0, 40.0, 50.0]  # 20 is the tile's own, of 30 nothing is observed, the last is padding
    assert (counts / 6000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    # the image is that of its date, and the draw is the tile's own, whatever batch it is in
    assert torch.equal(found.image.values[:, 0, 0, 0], found.day.values / 10)
    alone = pick(days=[10.0, 40.0], known=[True, True], seen=[True, True], own=None, seeds=seeds[7:8])
    other = pick(days=[10.0, 40.0], known=[True, True], seen=[True, True], own=None, seeds=seeds[:20])
    assert alone.day.values[0] == other.day.values[7]


@pytest.mark.parametrize(
    ("known", "seen", "own"), [([False], [True], None), ([True], [False], None), ([True], [True], 10.5)]
)
def test_without_a_date_there_is_no_image(known: list[bool], seen: list[bool], own: float | None) -> None:
    found = pick(days=[10.0], known=known, seen=seen, own=own, seeds=torch.arange(4))
    assert not found.day.valid.any()
    assert not found.image.valid.any()
    assert not found.image.values.any()


def test_images_of_a_series_are_of_one_date_with_the_bands_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(unknown_share=0.0)
    assert method.tasks == ("fine", "coarse", "radar", "coarse_other", "fine_other", "radar_other")
    assert method.bands["sentinel2_series"] == ("B5", "B3", "B2")
    assert method.bands["sentinel1_series"] == ("VH", "VV")
    assert ENCODER.bands == ("B3", "B2", "B5", "asc_VV", "asc_VH")
    assert method.dates == 4
    fields, at = make_batch(method)
    _, (optical, radar) = seen_shots(method, fields, at, monkeypatch)
    one = drawn(optical, fields, "sentinel2_series", 0, 2)
    assert one == drawn(optical, fields, "sentinel2_series", 1, 0) == drawn(optical, fields, "sentinel2_series", 2, 1)
    assert one[NONE] is None
    assert not optical.x[NONE].any()
    assert not optical.x[:, 3:].any()
    assert 1 not in one  # the day of the tile's own image
    other = drawn(radar, fields, "sentinel1_series", 0, 3)  # VH stands for asc_VV, as is said above
    assert None not in other
    for shot, name, dates in ((optical, "sentinel2_series", one), (radar, "sentinel1_series", other)):
        assert shot.acquisition is not None
        for tile, date in enumerate(dates):
            assert shot.acquisition.day.valid[tile] == (date is not None)
            if date is not None:
                assert shot.acquisition.day.values[tile] == DAYS[name][date]


def numpy_encoding(method: A2MAE, image: str, side: int, place: float, day: float) -> npt.NDArray[np.float64]:
    """What tokens of an image are told, (N, D): written out anew from ``nn.geographic_encoding``."""
    encodings = method.encoder.encodings
    geography = encodings.geography
    assert geography is not None

    def linear(layer: Any, x: Any) -> npt.NDArray[np.float64]:
        weight, bias = (np.asarray(part.detach(), np.float64) for part in (layer.weight, layer.bias))
        return np.asarray(weight @ np.asarray(x) + bias)

    turns = np.radians(place) * 2.0 ** np.arange(8)
    where = linear(geography.place, [*np.sin(turns), *np.cos(turns)] * 2)  # latitude and longitude are the same here
    years = day / 365.2425
    season = 2 * np.pi * (years % 1)
    when = linear(geography.date, [np.sin(season), np.cos(season), (years - 50) / 10])
    metres = 10.0 * ENCODER.factor(image)
    told = where + when + linear(geography.distance, [np.log(metres / 10)])
    rows = []
    for row in range(side):
        for column in range(side):
            angles = [((i + 0.5) * metres * 1e4 ** -np.array([0, 0.5])) for i in (row, column)]
            rows.append(np.concatenate([part for a in angles for part in (np.sin(a * 1.0), np.cos(a * 1.0))]))
    return np.asarray(np.array(rows) + told + encodings.images[image].detach().double().numpy())


def test_tokens_are_told_the_date_that_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(unknown_share=0.0)
    fields, at = make_batch(method)
    _, (optical, _) = seen_shots(method, fields, at, monkeypatch)
    dates = drawn(optical, fields, "sentinel2_series", 0, 2)
    tokens, there = method.encoder.embed(optical.x, optical.acquisition, optical.images.values())
    assert tokens.shape == (TILES, 4 + 16, 8)  # the coarse image, then the fine one
    assert not there[NONE].any()
    for tile in range(2):
        date = dates[tile]
        assert date is not None
        coarse, fine = (np.asarray(fields["sentinel2_series"].values[tile, date, b].double()) for b in ([0], [1, 2]))
        valid = np.asarray(fields["sentinel2_series"].valid[tile, date, 0])
        counts = valid.reshape(4, 2, 4, 2).sum((1, 3))
        coarse = (coarse.reshape(1, 4, 2, 4, 2).sum((2, 4)) / np.maximum(counts, 1)).astype(float)
        place = float(at.lat.values[tile])
        wanted = []
        for image, pixels, side in (("coarse", coarse, 2), ("fine", fine, 4)):
            layer: Any = method.encoder.projections[image]
            patches = [
                pixels[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].transpose(1, 2, 0).ravel()
                for r in range(side)
                for c in range(side)
            ]
            projected = np.array(patches) @ layer.weight.detach().double().numpy().T
            projected = projected + layer.bias.detach().double().numpy()
            wanted.append(projected + numpy_encoding(method, image, side, place, DAYS["sentinel2_series"][date]))
        np.testing.assert_allclose(tokens[tile].detach().numpy(), np.concatenate(wanted), atol=1e-4)


def test_the_loss_of_another_date_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make()
    fields, at = make_batch(method)
    losses, shots = seen_shots(method, fields, at, monkeypatch)
    dates = drawn(shots[0], fields, "sentinel2_series", 0, 2)
    present = torch.ones(TILES, 6, dtype=torch.bool)
    present[NONE, 3:5] = False
    visible = method.visible(SEEDS, present)
    own = torch.cat([fields["sentinel2"].values, fields["sentinel1"].values], 1)
    told = method._forget(at, SEEDS)
    predictions = method.network.predict(
        own, torch.cat(list(visible.values()), 1), sum(method.counts.values()), told, shots
    )
    total, count = 0.0, 0
    for tile in range(TILES):
        date, errors = dates[tile], []
        if date is None:
            continue
        values, valid = (np.asarray(part[tile, date, 1:]) for part in fields["sentinel2_series"])  # B3, B2
        for number in range(16):
            row, column = divmod(number, 4)
            window = (slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            there = valid[window].transpose(1, 2, 0).ravel()
            if visible["fine_other"][tile, number] or not there.any():
                continue
            known = values[window].transpose(1, 2, 0).ravel()[there]
            spread = known.var(ddof=1) if len(known) > 1 else 0.0
            truth = (known - known.mean()) / np.sqrt(spread + 1e-6)
            errors += list((predictions["fine_other"][tile, number].detach().numpy()[there] - truth) ** 2)
        total, count = total + np.mean(errors), count + 1
    assert losses["fine_other"].total.item() == pytest.approx(total, rel=1e-4)
    assert losses["fine_other"].count == count == 2
    assert losses["radar_other"].count == 3


def test_neither_padding_nor_dates_that_were_not_drawn_reach_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make()
    fields, at = make_batch(method)
    losses, shots = seen_shots(method, fields, at, monkeypatch)
    dates = drawn(shots[0], fields, "sentinel2_series", 0, 2)
    values, valid = fields["sentinel2_series"]
    spoilt = torch.full_like(values, float("nan"))
    for tile, date in enumerate(dates):
        if date is not None:
            spoilt[tile, date] = values[tile, date]
    again = method({**fields, "sentinel2_series": Observed(spoilt, valid)}, SEEDS, at)
    for name, loss in losses.items():
        assert torch.equal(loss.total, again[name].total)
    date = dates[0]
    assert date is not None
    spoilt[0, date] += 1
    changed = method({**fields, "sentinel2_series": Observed(spoilt, valid)}, SEEDS, at)
    assert not torch.equal(changed["fine_other"].total, losses["fine_other"].total)


def test_only_the_date_of_the_own_image_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(unknown_share=1.0)
    fields, at = make_batch(method)
    _, shots = seen_shots(method, fields, at, monkeypatch)
    for shot in shots:
        assert shot.acquisition is not None
        assert not shot.acquisition.lat.valid.any()
        assert shot.acquisition.day.valid[:NONE].all()


@pytest.mark.parametrize("anchor", ["fine", "fine_other"])
def test_an_image_complements_its_other_date(anchor: str) -> None:
    visible = make(anchor=anchor, keep_share=1.0).visible(torch.arange(200), torch.ones(200, 6, dtype=torch.bool))
    assert (visible["fine_other"].sum(1) == 4).all()
    assert not (visible["fine_other"] & visible["fine"]).any()


def test_the_network_is_that_of_single_dates() -> None:
    one, other = make(), make(other_dates={}, other_bands={})
    assert one.inputs == other.inputs
    shapes = [{name: part.shape for name, part in method.state_dict().items()} for method in (one, other)]
    assert shapes[0] == shapes[1]


def test_what_does_not_fit_is_refused() -> None:
    method = make()
    fields, at = make_batch(method)
    with pytest.raises(InputError, match="'sentinel2_series' or its dates"):
        method(fields, SEEDS, replace(at, series={}))
    with pytest.raises(InputError, match="'sentinel2_series' or its dates"):
        method(fields, SEEDS, None)
    with pytest.raises(RecipeError, match="cannot be told apart"):
        make(replace(ENCODER, geographic_encoding=False))
    with pytest.raises(RecipeError, match="names 'fnie'"):
        make(other_dates={"fnie": "sentinel2_series"}, other_bands={})
    with pytest.raises(RecipeError, match="'sentinel2' is a"):
        make(other_dates={"fine": "sentinel2"}, other_bands={})
    with pytest.raises(InputError, match="no modality 'landsat'"):
        make(other_dates={"fine": "landsat"}, other_bands={})
    with pytest.raises(BandError, match="asc_VV"):
        make(other_bands={})
    with pytest.raises(BandError, match=r"other_bands\.radar has 1"):
        make(other_bands={"radar": ["VV"]})
    with pytest.raises(RecipeError, match="other_bands names radar"):
        make(other_dates={"fine": "sentinel2_series"})
    with pytest.raises(RecipeError, match="max_dates is 0"):
        make(max_dates=0)
    twice = replace(
        ENCODER,
        sources={"fine": "sentinel2", "fine_other": "aster"},
        image_bands={"fine": ("B2",), "fine_other": ("slope",)},
        factors={},
    )
    with pytest.raises(RecipeError, match="rename"):
        make(twice, other_dates={"fine": "sentinel2_series"}, other_bands={})
    labels = {**PUBLISHED, "sentinel2_series": replace(PUBLISHED["sentinel2_series"], role=Role.LABEL)}
    with pytest.raises(RecipeError, match="label"):
        A2MAE(ENCODER, A2MAESettings(other_dates={"fine": "sentinel2_series"}), labels)
