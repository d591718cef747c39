"""The encoder of sets of images, against loops over tokens and cells."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from geopretext.errors import BandError, GridError, RecipeError
from geopretext.modality import Acquisition, Observed
from geopretext.nn.families import make_encoder, settings_from_plain, settings_to_plain
from geopretext.nn.image_set_encoder import ImageSetEncoder
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.transformer import TransformerBlock

from .image_sets import SETTINGS, random_image


def make(settings: ImageSetSettings = SETTINGS) -> ImageSetEncoder:
    torch.manual_seed(0)
    network = ImageSetEncoder(settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network


def test_a_block_is_that_of_torch() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2).eval()
    layer = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    pairs = {
        "queries_keys_values.weight": "self_attn.in_proj_weight",
        "queries_keys_values.bias": "self_attn.in_proj_bias",
        "attended.weight": "self_attn.out_proj.weight",
        "attended.bias": "self_attn.out_proj.bias",
        "attention_norm.weight": "norm1.weight",
        "attention_norm.bias": "norm1.bias",
        "mlp.0.weight": "norm2.weight",
        "mlp.0.bias": "norm2.bias",
        "mlp.1.weight": "linear1.weight",
        "mlp.1.bias": "linear1.bias",
        "mlp.3.weight": "linear2.weight",
        "mlp.3.bias": "linear2.bias",
    }
    layer.load_state_dict({theirs: block.state_dict()[ours] for ours, theirs in pairs.items()})
    x, usable = torch.randn(2, 5, 8), torch.tensor([[True, False, True, True, False], [True] * 5])
    torch.testing.assert_close(block(x), layer(x))
    torch.testing.assert_close(block(x, usable), layer(x, src_key_padding_mask=~usable))


def test_a_cell_is_the_mean_over_the_tokens_that_cover_it() -> None:
    network, x = make(), random_image()
    tokens, there = network.embed(x)
    (encoded,) = network.transform(tokens, there)
    found = network(x)
    assert found.shape == (2, 16, 6, 6)
    starts, sides = (0, 36, 45), (1, 2, 3)
    for row in range(6):
        for column in range(6):
            numbers = [
                start + row // side * (6 // side) + column // side for start, side in zip(starts, sides, strict=True)
            ]
            torch.testing.assert_close(found[:, :, row, column], encoded[:, numbers].mean(1))


def test_images_are_area_means_of_what_is_there() -> None:
    x = random_image()
    x[0, :, :2, 2:4] = 0
    values, there = make().images(x)["coarse"]
    assert values.shape == (2, 1, 6, 6)
    assert not there[0, 0, 0, 1]
    assert there.sum() == 71
    assert values[1, 0, 2, 1].item() == pytest.approx(x[1, 2, 4:6, 2:4].mean().item(), abs=1e-6)
    assert values[0, 0, 0, 1] == 0


def test_an_image_that_is_absent_is_as_if_it_had_never_been() -> None:
    network, x = make(), random_image()
    x[:, 3:] = 0
    state = torch.get_rng_state()
    alone = network.given(["sentinel2"])
    assert torch.equal(torch.get_rng_state(), state)  # its weights are not drawn, but given
    assert alone.settings.inputs == {"sentinel2": ("B2", "B3", "B5")}
    torch.testing.assert_close(network(x), alone(x[:, :3]))
    x[0] = 0
    assert not network(x)[0].any()
    assert network(x)[1].any()
    terrain = network.given(["aster"])
    x = random_image()
    assert terrain(x[:, 3:]).shape == (2, 16, 6, 6)


def test_the_order_of_images_changes_nothing() -> None:
    names = ("terrain", "coarse", "fine")
    other = ImageSetEncoder(
        replace(
            SETTINGS,
            sources={name: SETTINGS.sources[name] for name in names},
            image_bands={name: SETTINGS.image_bands[name] for name in names},
        )
    ).eval()
    network, x = make(), random_image()
    other.load_state_dict(network.state_dict())
    assert other.settings.bands == ("slope", "elevation", "B5", "B2", "B3")
    assert SETTINGS.bands == ("B2", "B3", "B5", "slope", "elevation")
    torch.testing.assert_close(other(x[:, [3, 4, 2, 0, 1]]), network(x))


def test_the_order_in_which_bands_are_listed_changes_nothing() -> None:
    names = ("terrain", "coarse", "fine")
    other = ImageSetEncoder(replace(SETTINGS, image_bands={name: SETTINGS.image_bands[name] for name in names})).eval()
    network, x = make(), random_image()
    other.load_state_dict(network.state_dict())
    assert other.settings.bands == SETTINGS.bands
    torch.testing.assert_close(other(x), network(x))


def test_what_patches_do_not_tile_is_filled_with_nothing() -> None:
    network, x = make(), random_image(height=14, width=10)
    found = network(x)
    assert found.shape == (2, 16, 7, 5)
    filled = nn.functional.pad(x, (0, 2, 0, 10))
    torch.testing.assert_close(found, network(filled)[:, :, :7, :5])


def test_a_mask_shows_tokens_of_which_all_cells_are_visible() -> None:
    network = make()
    visible = torch.rand(3, 36, generator=torch.Generator().manual_seed(0)) < 0.8
    found = network.seen_tokens(visible, height=12, width=12)
    cells = visible.reshape(3, 6, 6)
    for tile in range(3):
        wanted = [bool(cells[tile, row, column]) for row in range(6) for column in range(6)]
        wanted += [
            bool(cells[tile, r : r + side, c : c + side].all())
            for side in (2, 3)
            for r in range(0, 6, side)
            for c in range(0, 6, side)
        ]
        assert found[tile].tolist() == wanted
    # what lies outside of the image hides nothing
    part = network.seen_tokens(torch.ones(1, 35, dtype=torch.bool), height=14, width=10)
    assert part.all()


def test_stages_are_of_four_depths() -> None:
    network, x = make(), random_image()
    stages = network.forward_stages(x)
    assert [stage.shape for stage in stages] == [(2, 16, 6, 6)] * 4
    assert network.strides == (2, 2, 2, 2)
    assert network.widths == (16,) * 4
    torch.testing.assert_close(stages[-1], network(x))
    assert not torch.allclose(stages[0], stages[1])
    shallow = make(replace(SETTINGS, depth=1))
    first, *_, last = shallow.forward_stages(x)
    torch.testing.assert_close(first, last)


def test_place_and_date_count_unless_they_are_switched_off() -> None:
    x, yes = random_image(), torch.tensor([True, True])
    numbers = Observed(torch.tensor([10.0, 20.0]), yes)
    where = Acquisition(numbers, numbers, Observed(torch.tensor([18_000.0, 18_100.0]), yes), 10.0)
    network = make()
    assert not torch.allclose(network(x, acquisition=where), network(x))
    blind = make(replace(SETTINGS, geographic_encoding=False))
    assert torch.equal(blind(x, acquisition=where), blind(x))


def test_layers_are_numbered() -> None:
    network = make()
    assert network.layers == 5
    numbers = {name: network.layer_of(name) for name, _ in network.named_parameters()}
    assert numbers["projections.fine.weight"] == numbers["blocks.0.attended.weight"] == 1
    assert numbers["blocks.3.mlp.1.weight"] == 4
    assert numbers["norm.weight"] == 5
    assert len(network.linear_layers()) == 5 * 4


def test_settings_pass_through_json() -> None:
    plain = json.loads(json.dumps(settings_to_plain(SETTINGS)))
    assert settings_from_plain(plain) == SETTINGS
    assert isinstance(make_encoder(settings_from_plain(plain)), ImageSetEncoder)


def test_images_of_other_bands_or_sizes_are_refused() -> None:
    network = make()
    with pytest.raises(BandError, match="wants"):
        network(random_image()[:, :4])
    with pytest.raises(GridError, match="divide"):
        network(random_image(height=13))
    with pytest.raises(GridError, match="mask"):
        network(random_image(), torch.ones(2, 35, dtype=torch.bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "timm"}, "family"),
        ({"sources": {}}, "sources is empty"),
        ({"sources": {"fine": "sentinel2"}}, "image_bands"),
        ({"factors": {"fnie": 2}}, "fnie"),
        ({"factors": {"fine": 0}}, "factors.fine is 0"),
        ({"image_bands": {"fine": (), "coarse": ("B5",), "terrain": ("slope",)}}, "no band"),
        ({"image_bands": {"fine": ("B5",), "coarse": ("B5",), "terrain": ("slope",)}}, "B5 twice"),
        ({"patch_size": 1}, "patch_size"),
        ({"image_size": 15}, "multiple of 2"),
        ({"dim": 18}, "dim is 18"),
        ({"heads": 3}, "heads is 3"),
        ({"depth": 0}, "depth"),
        ({"ground_sampling_distance": 0.0}, "ground_sampling_distance"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        replace(SETTINGS, **changes)


def test_bands_that_a_modality_does_not_have_are_refused() -> None:
    with pytest.raises(BandError, match="B99"):
        replace(SETTINGS, image_bands={**SETTINGS.image_bands, "fine": ("B99",)})
