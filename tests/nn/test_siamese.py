"""Change is seen in what differs between two images, whichever comes first."""

import pytest
import torch
import torch.nn.functional as F

from geopretext.errors import BandError, GridError, RecipeError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import PAIRS, SEGMENTERS, STEMS, EncoderSettings
from geopretext.nn.siamese import make_siamese

pytestmark = pytest.mark.filterwarnings("ignore")  # of what segmentation-models-pytorch imports

BANDS = ("B2", "B8A", "B11")


def make_network(kind, pair="difference", patch=8, stem="mmearth"):
    torch.manual_seed(0)
    settings = EncoderSettings(size="micro", bands=BANDS, patch_size=patch, image_size=patch, stem=stem)
    return make_siamese(kind, ConvNeXtV2(settings), 2, pair=pair)


@pytest.fixture(params=SEGMENTERS)
def kind(request, need_decoder):
    need_decoder(request.param)
    return request.param


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("patch", [8, 16, 32])
@pytest.mark.parametrize("stem", STEMS)
def test_every_pixel_of_a_pair_gets_its_scores(kind, pair, patch, stem):
    with torch.no_grad():
        scores = make_network(kind, pair, patch, stem)(torch.randn(2, 2, 3, 2 * patch, 3 * patch))
    assert scores.shape == (2, 2, 2 * patch, 3 * patch)


def test_the_order_of_images_is_of_no_matter_to_their_difference(kind):
    network, pairs = make_network(kind).eval(), torch.randn(2, 2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(network(pairs), network(pairs.flip(1)))
        concatenated = make_network(kind, "concatenation").eval()
        assert not torch.allclose(concatenated(pairs), concatenated(pairs.flip(1)), rtol=0.01)


def test_where_nothing_changed_the_scores_say_nothing_of_the_image(kind):
    network = make_network(kind).eval()
    first, second = torch.randn(2, 1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(
            network(torch.stack([first, first], 1)), network(torch.stack([second, second], 1)), rtol=1e-5, atol=1e-6
        )


def test_a_small_difference_is_not_a_large_one(kind):
    """A norm would make noise as large as a change, but for the bias of what mixes the differences."""
    network = make_network(kind).eval()
    first, second = torch.randn(2, 1, 3, 16, 24)
    with torch.no_grad():
        same, noisy, other = (
            network(torch.stack([first, later], 1)) for later in (first, first + 1e-4 * second, second)
        )
    assert (noisy - same).abs().mean() < 0.05 * (other - same).abs().mean()


@pytest.mark.parametrize("pair", PAIRS)
def test_every_weight_gets_a_gradient(kind, pair):
    network = make_network(kind, pair).train()
    network(torch.randn(2, 2, 3, 16, 24)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["difference", "concatenation"])
def test_a_change_is_learnt(kind, pair):
    network = make_network(kind, pair).train()
    torch.manual_seed(0)
    pairs = torch.randn(2, 1, 3, 16, 24).repeat(1, 2, 1, 1, 1) + 0.02 * torch.randn(2, 2, 3, 16, 24)
    changed = torch.zeros(2, 16, 24, dtype=torch.long)
    for number, (row, column) in enumerate([(2, 3), (7, 14)]):
        changed[number, row : row + 8, column : column + 9] = 1
        pairs[number, number, :, row : row + 8, column : column + 9] += 2
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(network(pairs), changed).backward()
        optimiser.step()
    with torch.no_grad():
        found = network.eval()(pairs).argmax(1) == 1
    both = (found & (changed == 1)).sum() / (found | (changed == 1)).sum()
    assert both > 0.8


def test_what_is_no_pair_is_refused():
    network = make_network("linear")
    for shape in ((2, 3, 16, 16), (2, 3, 3, 16, 16), (2, 1, 3, 16, 16)):
        with pytest.raises(BandError, match="it wants pairs of images"):
            network(torch.randn(shape))
    with pytest.raises(GridError, match="crop to a multiple of 8"):
        network(torch.randn(1, 2, 3, 12, 16))
    with pytest.raises(RecipeError, match=r"(?s)compared by 'product'.*difference, concatenation"):
        make_network("linear", "product")
