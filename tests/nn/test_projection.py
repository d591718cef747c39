import numpy as np
import torch
from torch import nn

from geopretext.nn.projection import BatchStandardise, make_mlp


def test_rows_are_standardised_as_torch_does_in_training():
    torch.manual_seed(0)
    ours, theirs = BatchStandardise(5), nn.BatchNorm1d(5)
    with torch.no_grad():
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(one.normal_())
    x = (3 + 2 * torch.randn(7, 5)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weights = torch.randn(7, 5)
    (ours(x) * weights).sum().backward()
    (theirs(y) * weights).sum().backward()
    torch.testing.assert_close(ours(x), theirs(y), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=0)


def test_a_feature_that_is_the_same_in_all_rows_becomes_zero():
    assert not BatchStandardise(3, scaled=False)(torch.full((4, 3), 7.0)).any()


def test_networks_are_layers_norms_and_rectifiers():
    torch.manual_seed(0)
    network = make_mlp(3, 4, 6, 2)
    x = torch.randn(9, 4)
    y = x.double().numpy()
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(6, 4), (6, 6), (2, 6)]
    assert all(layer.bias is None for layer in layers)
    for number, layer in enumerate(layers):
        y = y @ layer.weight.detach().double().numpy().T
        y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)
        y = np.maximum(y, 0) if number < 2 else y
    np.testing.assert_allclose(network(x).detach().numpy(), y, atol=1e-4)
    assert len(list(network[-1].parameters())) == 0
