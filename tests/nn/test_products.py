"""Products in another order, against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from geopretext.nn.products import widen


def gradients(function, x, weight):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = function(x, weight)
    torch.manual_seed(1)
    y.backward(torch.randn(y.shape).to(y.dtype))
    return y.detach(), x.grad, weight.grad


@pytest.mark.parametrize(("few", "wide"), [(40, 160), (16, 17), (160, 40), (320, 1280)])
def test_the_order_of_a_product_changes_nothing(few, wide):
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, 2, few), torch.randn(wide, few)
    for ours, theirs in zip(gradients(widen, x, weight), gradients(F.linear, x, weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert ours.stride() == theirs.stride(), "processes exchange gradients as they lie"


@pytest.mark.parametrize(("with_x", "with_weight"), [(True, False), (False, True)])
def test_what_needs_no_gradient_gets_none(with_x, with_weight):
    x, weight = torch.randn(4, 8).requires_grad_(with_x), torch.randn(16, 8).requires_grad_(with_weight)
    widen(x, weight).sum().backward()
    assert (x.grad is not None, weight.grad is not None) == (with_x, with_weight)


def test_autocast_decides_the_numbers():
    x, weight = torch.randn(4, 8), torch.randn(16, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = widen(x, weight)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad.dtype == torch.float32
