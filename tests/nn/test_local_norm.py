"""Local response norms: what they are by definition, on crops of training's size, and in large images."""

import threading
from itertools import product

import pytest
import torch

from geopretext.errors import GridError
from geopretext.nn.decoders import make_segmenter
from geopretext.nn.local_norm import Squares, local_norms, local_response


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
