"""OmniSat's encoder: which tokens it has, what they know of each other, and what is predicted from them."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from geopretext.errors import BandError, GridError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Observed
from geopretext.nn.families import settings_from_plain, settings_to_plain
from geopretext.nn.omnisat import OmniSat
from geopretext.nn.omnisat_reconstructor import OmniSatDecoderSettings, OmniSatReconstructor
from geopretext.nn.omnisat_settings import OmniSatSettings
from geopretext.nn.relative_position import tiled_buckets
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.temporal_attention import Series
from geopretext.nn.token_fusion import CombinerBlock, FusionBlock, RelativeAttention

OPTICAL, RADAR = ("B2", "B3", "B4"), ("asc_VV", "asc_VH")
SMALL = OmniSatSettings(
    inputs={"sentinel2": OPTICAL, "sentinel1": RADAR},
    series={"sentinel2_series": ("B4", "B8")},
    patch_size=8,
    image_size=32,
    dim=16,
    depth=2,
    heads=4,
    dropout=0.0,
    drop_path=0.0,
    series_heads=4,
    series_widths=(8,),
)
INPUTS = tuple(PUBLISHED[name].select(bands) for name, bands in SMALL.inputs.items())


def make_encoder(**changes: Any) -> OmniSat:
    torch.manual_seed(0)
    return OmniSat(replace(SMALL, **changes)).eval()


def make_reconstructor(bypass: str = "shown") -> OmniSatReconstructor:
    torch.manual_seed(0)
    settings = OmniSatDecoderSettings(0.75, tuple(SMALL.inputs), bypass)
    return OmniSatReconstructor(SMALL, settings, inputs=INPUTS).eval()


def images(count: int = 2, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 5, side, side, generator=torch.Generator().manual_seed(seed))


def series(count: int = 2, dates: int = 5, side: int = 32) -> Series:
    generator = torch.Generator().manual_seed(2)
    valid = torch.rand(count, dates, 1, side, side, generator=generator).expand(-1, -1, 2, -1, -1) < 0.9
    days = torch.randint(18_000, 18_365, (count, dates), generator=generator).float()
    known = torch.ones(count, dates, dtype=torch.bool)
    known[0, -2:] = False
    valid = valid & known[:, :, None, None, None]
    values = torch.randn(valid.shape, generator=generator) * valid
    return Series(Observed(values, valid), Observed(days * known, known))


@torch.no_grad()
@pytest.mark.parametrize("asked", [3, 9])
def test_attention_is_that_of_a_loop(asked: int) -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(8, 2, 5, 0.0)
    attention.table.normal_()
    attention.nearness.normal_()
    one, other = torch.randn(2, 4, 8), torch.randn(2, asked, 8)
    buckets = torch.randint(0, 5, (4, asked))
    present = torch.rand(2, asked) < 0.6
    present[:, 0] = True
    q, kv = attention.query(one), attention.key_value(other)
    wanted = torch.zeros(2, 4, 8)
    for b in range(2):
        for i in range(4):
            for head in range(2):
                at = slice(4 * head, 4 * head + 4)
                query = q[b, i, at] / 2
                here = [j for j in range(asked) if present[b, j]]
                told = [query @ attention.table[k] + attention.nearness[k] for k in buckets[i, here]]
                logits = torch.stack([query @ kv[b, j, at] for j in here]) + torch.stack(told)
                for weight, j in zip(logits.softmax(0), here, strict=True):
                    wanted[b, i, at] += weight * kv[b, j, 8 + 4 * head : 12 + 4 * head]
    assert torch.allclose(attention(one, other, buckets, present), attention.out(wanted), atol=1e-5)


@torch.no_grad()
def test_nothing_is_skipped_in_the_fusion_block() -> None:
    """Nothing stands beside its attention: a skipped one would leave zeros, as in the published code."""
    encoder = make_encoder(drop_path=0.9).train()
    assert [block.drop_path for block in encoder.combiner] == [0.0, 0.9]
    assert not hasattr(encoder.fusion, "drop_path")
    torch.manual_seed(1)
    fusion, tokens = FusionBlock(16, 4, 8, dropout=0.0).train(), torch.randn(64, 5, 16)
    buckets = torch.zeros(5, 5, dtype=torch.long)
    present = torch.ones(64, 5, dtype=torch.bool)
    fused = fusion(tokens, tokens, buckets, present)
    assert torch.equal(fused, fusion.eval()(tokens, tokens, buckets, present))
    block = CombinerBlock(16, 4, 8, dropout=0.0, drop_path=0.5).train()
    changed = (block(tokens, buckets, present) != tokens).flatten(1).any(1)
    assert 0 < int(changed.sum()) < 64


@torch.no_grad()
def test_an_absent_input_leaves_no_trace() -> None:
    encoder = make_encoder()
    x = images()
    optical_only = torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], 1)
    found = encoder(optical_only)
    for parameter in encoder.maps["sentinel1"].parameters():
        parameter.normal_(std=3.0)
    assert torch.allclose(encoder(optical_only), found, atol=1e-6)
    assert not torch.allclose(encoder(x), found, atol=1e-3)
    for one, other in zip(encoder.forward_stages(optical_only), encoder.forward_stages(optical_only), strict=True):
        assert torch.equal(one, other)
    radar_only = torch.cat([torch.zeros_like(x[:, :3]), x[:, 3:]], 1)
    assert encoder(radar_only).isfinite().all()
    assert encoder(torch.zeros_like(x)).isfinite().all()


@torch.no_grad()
def test_an_encoder_of_some_inputs_is_as_if_the_others_were_absent() -> None:
    encoder, x, one = make_encoder(), images(), series()
    assert encoder.any_input
    radar = encoder.given(["sentinel1", "sentinel2_series"])
    assert radar.settings.inputs == {"sentinel1": RADAR}
    assert encoder.given(["sentinel1"]).settings.series == {}
    assert not radar.training
    absent = torch.cat([torch.zeros_like(x[:, :3]), x[:, 3:]], 1)
    for given in ({}, {"sentinel2_series": one}):
        assert torch.allclose(radar(x[:, 3:], series=given), encoder(absent, series=given), atol=1e-5)
    for found, wanted in zip(radar.forward_stages(x[:, 3:]), encoder.forward_stages(absent), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


@torch.no_grad()
def test_an_encoder_of_series_alone_is_as_if_the_maps_were_absent() -> None:
    encoder, x, given = make_encoder(), images(), {"sentinel2_series": series()}
    alone = encoder.given(["sentinel2_series"])
    assert alone.strides == (8,)
    (found,) = alone.forward_series(x[:, :0], given)
    *_, wanted = encoder.forward_series(torch.zeros_like(x), given)
    assert torch.allclose(found, wanted, atol=1e-5)
    with pytest.raises(InputError, match="time series only"):
        alone(x[:, :0])


def test_weights_of_an_encoder_of_some_inputs_are_not_drawn() -> None:
    encoder = make_encoder()
    state = torch.get_rng_state()
    encoder.given(["sentinel1"])
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_inputs_are_missed_patch_by_patch() -> None:
    """Radar over the left half only: its tokens there are as if it were everywhere, and nothing stands for the rest."""
    encoder, x = make_encoder(), images()
    x[:, 3:, :, 16:] = 0
    present = encoder.project(x, {}).present
    left = torch.tensor([True, True, False, False]).repeat(4)
    assert present[:, 0].all()
    assert torch.equal(present[:, 1], left.expand(2, -1))


@torch.no_grad()
def test_a_series_adds_to_images_and_padding_changes_nothing() -> None:
    encoder, x, one = make_encoder(), images(), series()
    found = encoder(x, series={"sentinel2_series": one})
    assert found.shape == (2, 16, 4, 4)
    assert not torch.allclose(found, encoder(x), atol=1e-4)
    longer = Series(
        *(
            Observed(*(F.pad(part, (*[0] * (2 * part.ndim - 4), 0, 3)) for part in field))
            for field in (one.images, one.days)
        )
    )
    assert longer.images.values.shape[1] == 8
    assert torch.allclose(encoder(x, series={"sentinel2_series": longer}), found, atol=1e-5)
    projection = encoder.project(x, {"sentinel2_series": longer})
    sums = projection.attention["sentinel2_series"].sum(1)
    assert torch.allclose(sums, torch.ones(2), atol=1e-5)
    assert not projection.attention["sentinel2_series"][:, 5:].any()
    empty = Series(Observed(*map(torch.zeros_like, one.images)), Observed(*map(torch.zeros_like, one.days)))
    assert torch.allclose(encoder(x, series={"sentinel2_series": empty}), encoder(x), atol=1e-5)


@torch.no_grad()
def test_projectors_of_dates_see_patches_in_their_place() -> None:
    """One patch of one date, and nothing else."""
    encoder = make_encoder()
    one = series(1)
    valid = torch.zeros_like(one.images.valid)
    valid[:, 1, :, 8:16, 16:24] = True
    only = Series(Observed(one.images.values * valid, valid), one.days)
    projection = encoder.project(images(1), {"sentinel2_series": only})
    assert projection.present[0, 2].nonzero().flatten().tolist() == [1 * 4 + 2]
    assert projection.attention["sentinel2_series"][0].tolist() == pytest.approx([0, 1, 0, 0, 0])
    pixels = only.images.values[0, 1, :, 8:16, 16:24].reshape(1, 1, -1)
    day = torch.tensor([[int(one.days.values[0, 1]) - 17_896]])  # days since 2019-01-01, from 1
    assert 18_000 <= one.days.values[0, 1] <= 18_261
    token, _ = encoder.series["sentinel2_series"](pixels, torch.tensor([[True]]), day)
    assert torch.allclose(projection.tokens[0, 2, 6], token[0], atol=1e-5)


@torch.no_grad()
def test_stages_are_those_of_the_projectors_in_their_place() -> None:
    encoder, x = make_encoder(patch_size=16), images(1)
    x[:, 3:, :16, :16] = 0  # no radar in the first patch
    fine, middle, last = encoder.forward_stages(x)
    assert encoder.strides == (4, 8, 16)
    assert [tuple(stage.shape[1:]) for stage in (fine, middle, last)] == [(16, 8, 8), (16, 4, 4), (16, 2, 2)]
    assert torch.allclose(last, encoder(x))
    for row in range(2):
        for column in range(2):
            patch = x[:, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            parts = [encoder.maps["sentinel2"](patch[:, :3]).levels[0]]
            if row or column:
                parts.append(encoder.maps["sentinel1"](patch[:, 3:]).levels[0])
            wanted = torch.stack(parts).mean(0)
            assert torch.allclose(fine[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4], wanted, atol=1e-5)


@torch.no_grad()
def test_positions_are_interpolated_to_other_sizes() -> None:
    """Positions that grow from top to bottom do so at any size, and are themselves at that of training."""
    encoder = make_encoder()
    encoder.positions.copy_(torch.linspace(-1, 1, 4)[:, None].expand_as(encoder.positions))
    added: list[torch.Tensor] = []
    encoder.combiner[0].register_forward_pre_hook(lambda _, inputs: added.append(inputs[0][0, 1:]))
    for height, width in ((4, 4), (1, 1), (3, 3), (8, 8), (2, 5)):
        x = torch.randn(1, 5, 8 * height, 8 * width)
        assert encoder(x).shape == (1, 16, height, width)
        tokens = encoder.project(x, {}).tokens[0].flatten(0, 1)
        rows = (added.pop() - tokens).reshape(2, height, width, 16)
        assert torch.allclose(rows, rows[:1, :, :1, :1].expand_as(rows), atol=1e-5)
        row = rows[0, :, 0, 0]
        assert (row.diff() > 0).all()
        assert torch.allclose(row, -row.flip(0), atol=1e-5)
        if height == 4:
            assert torch.allclose(row, torch.linspace(-1, 1, 4), atol=1e-5)


@torch.no_grad()
def test_hidden_tokens_keep_their_position() -> None:
    """Positions come after masking; in the published code, before, so that hidden tokens are all the same."""
    reconstructor, x = make_reconstructor(), images(1)
    encoder = reconstructor.encoder
    seen: list[torch.Tensor] = []
    encoder.combiner[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    reconstructor.mask_token.normal_()
    projection = encoder.project(x, {})
    hidden = torch.zeros_like(projection.present)
    hidden[0, 0, 3] = hidden[0, 1, 9] = True
    reconstructor.fuse(projection, hidden)
    tokens, positions = seen[0][0, 1:].reshape(2, 16, 16), encoder.positions.flatten(1).T
    for modality, patch in ((0, 3), (1, 9)):
        assert torch.allclose(tokens[modality, patch], reconstructor.mask_token + positions[patch])
    assert torch.allclose(tokens[0, 4], projection.tokens[0, 0, 4] + positions[4])


@torch.no_grad()
def test_hidden_patches_do_not_reach_their_prediction_unless_as_published() -> None:
    x = images()
    visible = torch.zeros(2, 16, dtype=torch.bool)
    visible[:, :6] = True
    pixels = visible.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(pixels, x, torch.randn_like(x))
    closed, open_ = make_reconstructor("shown"), make_reconstructor("all")
    for name, one in closed(x, visible).items():
        assert one.shape == (2, 16, 64 * len(SMALL.inputs[name]))
        assert torch.allclose(one, closed(changed, visible)[name], atol=1e-5)
        assert not torch.allclose(open_(x, visible)[name], open_(changed, visible)[name], atol=1e-3)
        assert closed.predicts_visible(name)
    assert closed(x, None)["sentinel1"].shape == (2, 16, 128)


@torch.no_grad()
def test_predictions_are_laid_out_by_row_column_and_band() -> None:
    reconstructor = make_reconstructor()
    decoder = reconstructor.maps["sentinel2"].layers[-1]
    decoder.weight.zero_()
    decoder.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    found = reconstructor(images(), None)["sentinel2"]
    assert torch.equal(found, torch.tensor([1.0, 2.0, 3.0]).repeat(64).expand_as(found))


def test_everything_is_trained_by_something() -> None:
    """A parameter without gradient stops training on several processes."""
    reconstructor, one = make_reconstructor().train(), series()
    projection = reconstructor.encoder.project(images(), {"sentinel2_series": one})
    hidden = torch.rand(projection.present.shape, generator=torch.Generator().manual_seed(0)) < 0.75
    cells = reconstructor.fuse(projection, hidden)
    total = sum(part.square().sum() for part in reconstructor.decode_maps(cells, projection, hidden).values())
    total = total + reconstructor.decode_series("sentinel2_series", cells[0], torch.arange(16)).square().sum()
    assert isinstance(total, torch.Tensor)
    total.backward()
    assert [name for name, parameter in reconstructor.named_parameters() if parameter.grad is None] == []


def test_settings_survive_json_and_are_not_changed_by_a_network() -> None:
    plain = settings_to_plain(SMALL)
    listed = {**plain, "inputs": {name: list(bands) for name, bands in plain["inputs"].items()}}
    assert settings_from_plain(listed) == SMALL
    assert settings_from_plain({**listed, "series_widths": [8]}) == SMALL
    before = asdict(SMALL)
    one, other = make_encoder(), make_encoder()
    assert asdict(SMALL) == before
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    assert (SMALL.pooled_width("mean"), SMALL.pooled_width("stages")) == (16, 64)


def test_a_tile_at_a_time_is_as_good_as_many() -> None:
    encoder, x, one = make_encoder().train(), images(), series()
    together = encoder(x, series={"sentinel2_series": one})
    for tile in range(2):
        alone = Series(*(Observed(*(part[tile : tile + 1] for part in field)) for field in one))
        assert torch.allclose(
            encoder(x[tile : tile + 1], series={"sentinel2_series": alone})[0], together[tile], atol=1e-5
        )


def test_relative_positions_are_those_of_patches_whatever_the_modalities() -> None:
    """What the combiner is told of the tokens of one modality does not depend on how many others there are."""
    encoder, x, one = make_encoder(), images(), series()
    seen: list[torch.Tensor] = []
    encoder.combiner[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    encoder.fusion.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    with torch.no_grad():
        encoder(x)
        encoder(x, series={"sentinel2_series": one})
    two, two_fused, three, three_fused = seen
    assert torch.equal(two, three[:33, :33])
    assert torch.equal(two_fused, three_fused[:, :33])
    assert torch.equal(three_fused, tiled_buckets(4, 4, SMALL.buckets, queries=1, keys=3)[1:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {}, "series": {}}, "inputs is empty"),
        ({"inputs": {"sentinel2": "B2"}}, "inputs.sentinel2"),
        ({"series": {"sentinel2": ("B2",)}}, "both in"),
        ({"patch_size": 2}, "patch_size is 2"),
        ({"image_size": 36}, "image_size 36"),
        ({"dim": 18}, "dim 18"),
        ({"heads": 0}, "heads is 0"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"drop_path": -0.1}, "drop_path is -0.1"),
        ({"date_base": 1.0}, "date_base is 1"),
        ({"series_widths": (0,)}, "series_widths"),
        ({"family": "convnextv2"}, "family"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        replace(SMALL, **changes)


def test_inputs_that_cannot_be() -> None:
    encoder = make_encoder()
    with pytest.raises(BandError, match="6 bands"):
        encoder(torch.zeros(1, 6, 32, 32))
    with pytest.raises(GridError, match="30 x 32"):
        encoder(torch.zeros(1, 5, 30, 32))
    with pytest.raises(InputError, match="no series 'radar'"):
        encoder(images(), series={"radar": series()})
    one = series()
    thin = Series(Observed(*(part[:, :, :1] for part in one.images)), one.days)
    with pytest.raises(BandError, match="1 bands"):
        encoder(images(), series={"sentinel2_series": thin})
    flat = Series(Observed(*(part.reshape(2, 5, 2, 16, 64) for part in one.images)), one.days)
    with pytest.raises(GridError, match="16 x 64"):  # as many patches, in other places
        encoder(images(), series={"sentinel2_series": flat})
    few = Series(one.images, Observed(*(part[:, :1] for part in one.days)))
    with pytest.raises(InputError, match="days of 'sentinel2_series'"):
        encoder(images(), series={"sentinel2_series": few})
    for network in (encoder, make_reconstructor()):
        with pytest.raises(GridError, match="mask"):
            network(images(), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(BandError, match="no band"):
        replace(SMALL, inputs={"sentinel2": ("B99",)})
    with pytest.raises(RecipeError, match="called 'keys'"):
        OmniSat(replace(SMALL, inputs={"keys": ("a",)}))
    with pytest.raises(RecipeError, match="family"):
        OmniSatReconstructor(EncoderSettings(size="micro"), OmniSatDecoderSettings(0.5, ()), inputs=INPUTS)
    with pytest.raises(BandError, match="the encoder B2"):
        OmniSatReconstructor(SMALL, OmniSatDecoderSettings(0.5, ()), inputs=INPUTS[:1])
