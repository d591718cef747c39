"""Columns over the ground: their layout, and what is seen of columns made by hand."""

import math
from pathlib import Path

import pytest
import torch

from geopretext.errors import BandError, RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle_pretext import load_reconstructor, save_bundle
from geopretext.nn.column_settings import ColumnSettings
from geopretext.nn.columns import ColumnRenderer, Columns
from geopretext.nn.settings import EncoderSettings

BANDS = ("B4", "B8")
SENTINEL2 = PUBLISHED["sentinel2"].select(BANDS)


def renderer(**settings) -> ColumnRenderer:
    torch.manual_seed(0)
    encoder = EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32)
    chosen = ColumnSettings(
        **{"height_range": 100.0, "height_bins": 5, "bin_growth": 1.0, "decoder_dim": 32, **settings}
    )
    return ColumnRenderer(encoder, chosen, inputs=[SENTINEL2], targets={"sentinel2": SENTINEL2}).eval()


def layer(network: ColumnRenderer, bin_: int, reflectance: torch.Tensor) -> Columns:
    """An opaque layer in one bin, counted from the top: reflectance (B, C, h, w)."""
    bins = network.settings.height_bins
    density = torch.zeros(len(reflectance), bins, *reflectance.shape[2:])
    density[:, bin_] = 1e6
    return Columns(density, reflectance[:, None].repeat(1, bins, 1, 1, 1))


def test_the_channels_of_a_bin_are_its_bands_and_then_its_density() -> None:
    """In the published code all densities came from the outputs of the last bins."""
    network = renderer()
    with torch.no_grad():
        network.head.weight.zero_()
        # Within a patch of 4 x 4 cells, by row, then column; in a cell by bin; in a bin two bands and the density.
        bias = network.head.bias.view(4, 4, 5, 3)
        for row in range(4):
            for bin_ in range(5):
                bias[row, :, bin_, 0] = bin_
                bias[row, :, bin_, 1] = 10 + row
                bias[row, :, bin_, 2] = math.log(math.expm1(0.1 * (bin_ + 1)))  # softplus leads back
        columns = network.columns(torch.randn(1, 2, 32, 32), None)
    assert columns.reflectance.shape == (1, 5, 2, 16, 16)
    for bin_ in range(5):
        assert torch.allclose(columns.reflectance[0, bin_, 0], torch.tensor(float(bin_)))
        assert torch.allclose(columns.reflectance[0, bin_, 1, 6], torch.tensor(12.0))
        assert torch.allclose(columns.density[0, bin_], torch.tensor(0.1 * (bin_ + 1) / 20))


def test_bins_are_sampled_where_they_are() -> None:
    """The published code sampled rays at other distances than those of the bins that the densities were made for."""
    network = renderer(bin_growth=2.0)
    assert network.edges.tolist() == pytest.approx([100 - 100 * (k / 5) ** 2 for k in range(5, -1, -1)])
    assert network.middles.tolist() == pytest.approx(
        [(e + f) / 2 for e, f in [(64, 100), (36, 64), (16, 36), (4, 16), (0, 4)]]
    )
    image = torch.randn(1, 2, 16, 16)
    for bin_, height in enumerate(network.middles.tolist()):
        view = network.render(layer(network, bin_, image))
        assert torch.allclose(view.height, torch.tensor(height))
        assert torch.allclose(view.reflectance, image)


def test_there_is_ground_below_an_empty_column() -> None:
    network = renderer()
    columns = layer(network, 0, torch.randn(1, 2, 16, 16))
    view = network.render(Columns(torch.zeros_like(columns.density), columns.reflectance))
    assert torch.allclose(view.height, torch.tensor(10.0))
    assert torch.allclose(view.reflectance, columns.reflectance[:, -1])


def test_a_layer_at_a_height_is_seen_aside_from_an_angle() -> None:
    network = renderer()
    image = torch.randn(2, 2, 16, 16)
    # Bin 3 from the top has its middle at 30 m: with 10 m pixels and cells of 2, a slope of 4/3 is 2 cells.
    slope = torch.tensor([[4 / 3, 0.0], [0.0, 2 / 3]])
    view = network.render(layer(network, 3, image), slope, pixel=10.0)
    assert torch.allclose(view.reflectance[0, :, :, :14], image[0, :, :, 2:], atol=1e-4)
    assert torch.allclose(view.reflectance[1, :, :15], image[1, :, 1:], atol=1e-4)
    assert torch.allclose(view.height[0, :, :14], torch.tensor(30.0))


def test_a_slanting_ray_goes_a_longer_way_through_a_haze() -> None:
    network = renderer(height_bins=400)
    density = torch.full((1, 400, 16, 16), 0.02)
    haze = Columns(density, torch.zeros(1, 400, 2, 16, 16))
    angle = 0.3
    slope = torch.tensor([[math.tan(angle), 0.0]])

    def height(density: float) -> float:
        """Over a ground that ends every ray: the integral of (100 - z) density exp(-density z)."""
        return 100 - (1 - math.exp(-100 * density)) / density

    assert float(network.render(haze).height[0, 5, 5]) == pytest.approx(height(0.02), abs=0.2)
    aslant = network.render(haze, slope, pixel=100.0)
    assert float(aslant.height[0, 5, 5]) == pytest.approx(height(0.02 / math.cos(angle)), abs=0.2)


def test_what_is_hidden_does_not_change_what_is_rendered() -> None:
    network = renderer()
    x = torch.randn(1, 2, 32, 32)
    visible = torch.arange(16)[None] < 7
    changed = x.clone()
    changed[:, :, 24:] = 5.0
    with torch.inference_mode():
        one, other = network(x, visible)["sentinel2"], network(changed, visible)["sentinel2"]
        every = network(x, visible, everywhere=True)["sentinel2"]
    assert torch.allclose(one, other, atol=1e-5)
    assert one.shape == (1, 9, 128)
    assert every.shape == (1, 16, 128)
    assert torch.allclose(every[:, 7:], one, atol=1e-6)


def test_a_bundle_renders_what_the_network_rendered(tmp_path: Path) -> None:
    network = renderer()
    scales = {name: {"mean": 1000.0, "std": 300.0} for name in BANDS}
    statistics = {"modalities": {"sentinel2": {"bands": {"all": scales}}}}
    save_bundle(tmp_path / "bundle", network, statistics=statistics, recipe={}, metrics={})
    loaded = load_reconstructor(tmp_path / "bundle")
    x = torch.randn(1, 2, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(x, None)["sentinel2"], network(x, None)["sentinel2"])
        assert isinstance(loaded, ColumnRenderer)
        assert torch.equal(loaded.surface(x), network.surface(x))
        assert network.surface(x).shape == (1, 16, 16)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="cell 3 does not divide"):
        renderer(cell=3)
    with pytest.raises(RecipeError, match="'sentinel1', which the encoder does not see"):
        renderer(image="sentinel1")
    for name, value in {"height_bins": 1, "bin_growth": 0.5, "cell": 0, "height_range": 0.0, "mask_ratio": 1.0}.items():
        with pytest.raises(RecipeError, match=f"pretext.{name} is {value}"):
            ColumnSettings(**{name: value})
    encoder = EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32)
    with pytest.raises(RecipeError, match="nothing is to be rendered"):
        ColumnRenderer(encoder, ColumnSettings(), inputs=[SENTINEL2], targets={})
    with pytest.raises(BandError, match="the encoder B4, B8"):
        ColumnRenderer(encoder, ColumnSettings(), inputs=[PUBLISHED["sentinel2"]], targets={"sentinel2": SENTINEL2})
