import pytest
import torch

from geopretext.nn.response_norm import GlobalResponseNorm


def make_norm(scope: str) -> GlobalResponseNorm:
    norm = GlobalResponseNorm(5, scope).double()
    torch.manual_seed(0)
    with torch.no_grad():
        norm.gamma.normal_()
        norm.beta.normal_()
    return norm


def by_definition(
    norm: GlobalResponseNorm, x: torch.Tensor, mask: torch.Tensor | None, epsilon: float = 1e-6
) -> torch.Tensor:
    """The formula of the paper in single operations, to be differentiated by torch."""
    squares = (x if mask is None else x * mask).square()
    strength = squares.sum((0, 1, 2) if norm.over_batch else (1, 2), keepdim=True).sqrt()
    return x + norm.gamma * x * strength / (strength.mean(-1, keepdim=True) + epsilon) + norm.beta


@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_values_and_gradients_are_those_of_the_definition(scope, masked, epsilon):
    norm = make_norm(scope)
    x = torch.randn(3, 4, 2, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, 4, 2, 1) > 0.4 if masked else None
    upstream = torch.randn(3, 4, 2, 5, dtype=torch.float64)
    inputs = [x, norm.gamma, norm.beta]
    actual, expected = norm(x, mask, epsilon), by_definition(norm, x, mask, epsilon)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_inference_looks_at_one_tile_whatever_the_scope():
    norm, x = make_norm("batch").eval(), torch.randn(3, 4, 2, 5, dtype=torch.float64)
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]))
    assert not torch.allclose(norm.train()(x)[:1], norm(x[:1]))


def test_a_feature_that_is_zero_everywhere_has_a_finite_gradient():
    norm = make_norm("sample")
    x = torch.zeros(2, 3, 1, 5, dtype=torch.float64, requires_grad=True)
    norm(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_half_precision_is_summed_in_single_precision():
    norm = GlobalResponseNorm(4, "sample").half()
    with torch.no_grad():
        norm.gamma.fill_(1)
    x = torch.full((1, 64, 64, 4), 300.0, dtype=torch.float16)  # the squares overflow
    assert torch.equal(norm(x), torch.full_like(x, 600.0))
