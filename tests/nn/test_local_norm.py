"""Local response norms: what they are by definition, on crops of training's size, and in large images."""

import threading
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from geopretext.errors import GridError, InputError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.decoders import make_segmenter
from geopretext.nn.kernels import can_run, kernels_enabled, local_gelu_response_
from geopretext.nn.local_norm import Squares, local_norms, local_response, needed_margin
from geopretext.nn.settings import EncoderSettings


def by_definition(x, gamma, beta, squares, epsilon):
    """Cell by cell: the squares around it, each summed by itself, and the bilinear weights of their factors."""
    _, height, width, _ = x.shape
    out = torch.empty_like(x)
    for row, column in product(range(height), range(width)):
        total = torch.zeros_like(x[:, 0, 0])
        for top, by_row in _around(row, height, squares):
            for left, by_column in _around(column, width, squares):
                side = squares.block * squares.span
                square = x[:, top * squares.block :, left * squares.block :][:, :side, :side]
                strength = square.square().sum((1, 2)).sqrt()
                factor = 1 + gamma * strength / (strength.mean(-1, keepdim=True) + epsilon)
                total += by_row * by_column * factor
        out[:, row, column] = x[:, row, column] * total + beta
    return out


def _around(cell, cells, squares):
    """(first block, weight) of the squares whose middles are before and after the middle of a cell."""
    last = max(0, cells // squares.block - squares.span)
    begin = min(max((cell + 0.5) / squares.block - squares.span / 2, 0), last)
    before = int(begin)
    return [(before, 1 - (begin - before)), (min(before + 1, last), begin - before)]


def some(*shape, features=16):
    torch.manual_seed(0)
    x = torch.randn(*shape, features, dtype=torch.float64) * torch.rand(*shape, 1, dtype=torch.float64).exp2()
    return x, torch.randn(features, dtype=torch.float64), torch.randn(features, dtype=torch.float64)


@pytest.mark.parametrize("squares", [Squares(4, 3), Squares(4, 2), Squares(2, 5), Squares(1, 4), Squares(2, 20)])
def test_it_is_what_its_definition_says(squares):
    x, gamma, beta = some(2, 24, 16)
    expected = by_definition(x, gamma, beta, squares, 1e-3)
    torch.testing.assert_close(local_response(x, gamma, beta, squares, 1e-3), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("squares", [Squares(4, 3), Squares(4, 2), Squares(2, 5), Squares(1, 4), Squares(8, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_is_what_the_definition_says(squares, dtype):
    if not can_run(torch.zeros(1)):
        pytest.skip("no C compiler here")
    h, gamma, beta = (part.to(dtype) for part in some(2, 24, 16, features=32))
    bias = beta.flip(0)
    active = F.gelu(h.double() + bias.double())
    expected = by_definition(active, gamma.double(), beta.double(), squares, 1e-3)
    actual = local_gelu_response_(h, bias, gamma, beta, 1e-3, block=squares.block, span=squares.span)
    assert actual.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("settings", [{"patch_size": 8}, {"patch_size": 32}, {"stem": "convnextv2"}], ids=str)
def test_kernels_and_mixed_precision_agree_with_plain_torch(make_encoder, settings, amp):
    network = make_encoder(**settings).network
    x = torch.randn(1, 3, 160, 96)
    with torch.inference_mode(), local_norms(network, 64):
        with kernels_enabled(False):
            plain = network(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            fast = network(x).float()
    difference = (fast - plain).abs() / plain.std((0, 2, 3), keepdim=True)
    assert difference.max() < (0.3 if amp else 1e-3)


def test_gradients_are_those_of_differences(make_encoder):
    network = make_encoder(image_size=32).network.double()
    x = torch.randn(1, 3, 64, 32, dtype=torch.float64, requires_grad=True)
    step = 1e-5 * torch.randn_like(x)
    with local_norms(network, 32):
        (gradient,) = torch.autograd.grad(network(x)[..., 0].sum(), x)
        with torch.no_grad():
            rise = (network(x + step) - network(x - step))[..., 0].sum() / 2
    torch.testing.assert_close((gradient * step).sum(), rise, rtol=1e-4, atol=0.0)


def test_the_kernel_refuses_maps_that_do_not_divide_into_blocks():
    vector = torch.zeros(16)
    with pytest.raises(InputError, match="in blocks of 4"):
        local_gelu_response_(torch.zeros(1, 8, 6, 16), vector, vector, vector, 1e-6, block=4, span=1)


@pytest.mark.parametrize(
    "settings",
    [
        {"patch_size": 8},
        {"patch_size": 16},
        {"patch_size": 32, "image_size": 96},
        {"stem": "convnextv2", "patch_size": 16},
        {"dense_padding": "published-classifier", "dense_grn_epsilon": 1e-4},
    ],
    ids=str,
)
def test_an_image_of_the_extent_has_its_ordinary_features(make_encoder, settings):
    network = make_encoder(**settings).network
    extent = network.settings.image_size
    for height, width in ((extent, extent), (extent - 32, extent)):
        x = torch.randn(2, 3, height, width)
        with torch.inference_mode(), local_norms(network, extent):
            local = network.forward_maps(x)
        with torch.inference_mode():
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(local, network.forward_maps(x), strict=True))


def test_a_larger_image_has_other_features_only_within(make_encoder):
    encoder = make_encoder()
    x = torch.randn(1, 3, 128, 96)
    with torch.inference_mode():
        ordinary = encoder(x)
        with local_norms(encoder, 64):
            local = encoder(x)
        assert not torch.allclose(local, ordinary, rtol=0.01)
        assert torch.equal(encoder(x), ordinary)


def test_what_is_far_away_changes_little(make_encoder):
    network = make_encoder().network
    x = torch.randn(1, 3, 64, 512)
    other = x.clone()
    other[..., 256:] *= 5
    with torch.inference_mode(), local_norms(network, 64):
        local, changed = network(x), network(other)
    with torch.inference_mode():
        ordinary = (network(x) - network(other)).abs()[..., :8].mean()
    assert (local - changed).abs()[..., :8].mean() < 0.01 * ordinary


@pytest.mark.parametrize(
    ("size", "patch_size", "extent"), [("micro", 8, 56), ("micro", 16, 64), ("micro", 8, 112), ("atto", 8, 56)]
)
def test_within_the_margin_a_window_has_the_features_of_one_pass(size, patch_size, extent):
    settings = EncoderSettings(size=size, patch_size=patch_size, image_size=extent, bands=("B2", "B3", "B4"))
    torch.manual_seed(0)
    network = ConvNeXtV2(settings).eval()
    for name, parameter in network.named_parameters():
        if ".grn." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    margin, patch = needed_margin(settings, extent), patch_size
    left, width = 4 * patch, 2 * margin + 4 * patch
    x = torch.randn(1, 3, extent + patch, width + 8 * patch).cumsum(3)  # what changes slowly is seen from far
    x = x / x.std()
    with torch.inference_mode(), local_norms(network, extent):
        whole, window = network(x)[..., 4:-4], network(x[..., left : left + width])
    error = ((window - whole).abs() / whole.std((0, 2, 3), keepdim=True)).amax((0, 1, 2))
    inside = margin // patch
    assert error[inside:-inside].max() < 1e-3
    assert error.max() > 0.1  # it is the margin that does it


def test_heads_have_the_local_norms_of_their_encoder(make_encoder):
    encoder = make_encoder(image_size=64)
    head = make_segmenter("unet", encoder.network, 2).eval()
    x = torch.randn(1, 3, 128, 64)
    with torch.inference_mode(), local_norms(head, 64):
        scores, maps = head(x), encoder.network.forward_maps(x)
    with torch.inference_mode():
        assert not torch.equal(scores, head(x))
        assert not torch.equal(maps[-1], encoder.network.forward_maps(x)[-1])


def test_other_threads_stay_as_they_are(make_encoder):
    network = make_encoder().network
    x, found = torch.randn(1, 3, 128, 64), []
    with torch.no_grad():
        ordinary = network(x)

    def compute():
        with torch.no_grad():
            found.append(network(x))

    with local_norms(network, 64):
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    assert torch.equal(found[0], ordinary)


@pytest.mark.parametrize("extent", [0, 20])
def test_an_extent_that_is_no_multiple_of_the_patch_is_refused(make_encoder, extent):
    network = make_encoder().network
    with pytest.raises(GridError, match=f"squares of {extent} pixels"), local_norms(network, extent):
        network(torch.randn(1, 3, 64, 64))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler about itself
def test_compiled_networks_are_refused():
    network = torch.compile(ConvNeXtV2(EncoderSettings(size="micro", bands=("B2", "B3"), image_size=16)).eval())
    with pytest.raises(InputError, match="compiled"), local_norms(network, 16):
        pass
    network = torch.nn.Sequential(ConvNeXtV2(EncoderSettings(size="micro", bands=("B2", "B3"), image_size=16)).eval())
    network[0].compile()
    with pytest.raises(InputError, match="compiled"), local_norms(network, 16):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler about itself
def test_compiled_functions_do_not_pass_over_local_norms(make_encoder):
    torch.compiler.reset()
    network, other = make_encoder().network, make_encoder().network
    x = torch.randn(1, 3, 128, 96)
    compiled = torch.compile(lambda images: network(images), backend="eager", fullgraph=True)
    broken = torch.compile(lambda images: network(images), backend="eager")
    with torch.no_grad():
        ordinary = compiled(x)
        torch.testing.assert_close(ordinary, network(x))
        with local_norms(network, 64):
            with pytest.raises(InputError, match="compiled code cannot compute local response norms"):
                broken(x)
            with pytest.raises(torch._dynamo.exc.Unsupported):
                compiled(x)
        # afterwards, and within the local norms of another network, the compiled code serves as before
        with torch._dynamo.config.patch(error_on_recompile=True), local_norms(other, 64):
            assert torch.equal(compiled(x), ordinary)
