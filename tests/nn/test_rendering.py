"""Volume rendering against closed forms, a loop, and finite differences."""

import math

import numpy as np
import pytest
import torch

from geopretext.errors import GridError
from geopretext.nn.rendering import render_rays


def edges(bins: int, near: float = 0.0, far: float = 4.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.linspace(near, far, bins + 1, dtype=dtype)


def slab(x: torch.Tensor, begin: float, end: float, density: float) -> torch.Tensor:
    """Density by interval of edges ``x``, which hold ``begin`` and ``end``."""
    middle = (x[1:] + x[:-1]) / 2
    return density * ((middle > begin) & (middle < end)).double()


@pytest.mark.parametrize("bins", [4, 16, 400])
def test_a_slab_lets_through_what_beer_and_lambert_say_however_finely_it_is_cut(bins: int) -> None:
    x = edges(bins)
    seen = render_rays(slab(x, 1, 3, 0.7), x)
    assert float(seen.opacity) == pytest.approx(1 - math.exp(-0.7 * 2), rel=1e-12)
    assert float(seen.weights.sum()) == pytest.approx(float(seen.opacity), rel=1e-12)


def test_the_depth_of_a_slab_is_that_of_the_integral() -> None:
    x = edges(4000)
    density, begin, end, far = 0.7, 1.0, 3.0, 4.0
    # The integral of z density exp(-density (z - begin)) from begin to end, and the rest at the far end.
    left = math.exp(-density * (end - begin))
    exact = (begin + 1 / density) - left * (end + 1 / density) + left * far
    assert float(render_rays(slab(x, begin, end, density), x).depth) == pytest.approx(exact, rel=1e-6)


def test_an_opaque_plane_hides_what_is_behind_it() -> None:
    x = edges(8, dtype=torch.float32)
    density = torch.zeros(8)
    density[3:] = 1e30
    colours = torch.arange(16.0).reshape(8, 2)
    seen = render_rays(density, x, colours)
    assert seen.weights.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert float(seen.opacity) == 1
    assert float(seen.depth) == pytest.approx(1.75)  # the middle of the fourth interval
    assert seen.features is not None
    assert seen.features.tolist() == [6, 7]


def test_two_layers_share_the_light() -> None:
    x = edges(4)
    density = torch.tensor([0.0, 0.4, 0.0, 1.1], dtype=torch.float64)
    colours = torch.tensor([[0.0, 0], [1, 0], [0, 0], [0, 1]], dtype=torch.float64)
    first, second = 1 - math.exp(-0.4), math.exp(-0.4) * (1 - math.exp(-1.1))
    seen = render_rays(density, x, colours)
    assert seen.weights.tolist() == pytest.approx([0, first, 0, second])
    assert seen.features is not None
    assert seen.features.tolist() == pytest.approx([first, second])
    assert float(seen.depth) == pytest.approx(1.5 * first + 3.5 * second + 4 * math.exp(-1.5))


def test_an_empty_ray_is_as_long_as_can_be_and_a_closed_one_ends_in_its_last_interval() -> None:
    x, nothing = edges(4), torch.zeros(4, dtype=torch.float64)
    assert float(render_rays(nothing, x).depth) == 4
    assert float(render_rays(nothing, x).opacity) == 0
    closed = render_rays(nothing, x, closed=True)
    assert float(closed.depth) == 3.5
    assert closed.weights.tolist() == [0, 0, 0, 1]
    assert float(closed.opacity) == 1


def test_a_longer_path_absorbs_more() -> None:
    x = edges(4)
    density = torch.full((2, 4), 0.3, dtype=torch.float64)
    stretch = torch.tensor([1.0, 1 / math.cos(0.5)], dtype=torch.float64)
    opacity = render_rays(density, x, stretch=stretch).opacity
    assert opacity.tolist() == pytest.approx([1 - math.exp(-1.2), 1 - math.exp(-1.2 / math.cos(0.5))])


@pytest.mark.parametrize("closed", [False, True])
def test_is_what_a_loop_over_products_of_transparencies_gives(closed: bool) -> None:
    """As the papers write it: alpha, a running product, sums."""
    generator = np.random.default_rng(0)
    density, colour = generator.exponential(size=(3, 9)), generator.normal(size=(3, 9, 2))
    x = np.cumsum(generator.exponential(size=(3, 10)), 1)
    seen = render_rays(torch.tensor(density), torch.tensor(x), torch.tensor(colour), closed=closed)
    assert seen.features is not None
    for ray in range(3):
        light, depth, features = 1.0, 0.0, np.zeros(2)
        for k in range(9):
            alpha = 1 - np.exp(-density[ray, k] * (x[ray, k + 1] - x[ray, k]))
            alpha = 1.0 if closed and k == 8 else alpha
            depth += light * alpha * (x[ray, k] + x[ray, k + 1]) / 2
            features = features + light * alpha * colour[ray, k]
            light *= 1 - alpha
        assert float(seen.depth[ray]) == pytest.approx(depth + light * x[ray, -1])
        assert seen.features[ray].tolist() == pytest.approx(features.tolist())
        assert float(seen.opacity[ray]) == pytest.approx(1 - light)


@pytest.mark.parametrize("closed", [False, True])
def test_gradients_are_those_of_finite_differences(closed: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    density = torch.rand(2, 5, generator=generator, dtype=torch.float64) * 3 + 0.1
    features = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 6, generator=generator, dtype=torch.float64).cumsum(1)

    def rendered(density: torch.Tensor, features: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen = render_rays(density, x, features, closed=closed)
        assert seen.features is not None
        return seen.depth, seen.features, seen.weights

    inputs = tuple(part.requires_grad_() for part in (density, features, x))
    assert torch.autograd.gradcheck(rendered, inputs)


def test_dense_thin_and_empty_media_have_finite_gradients_in_single_precision() -> None:
    density = torch.tensor([[0.0] * 6, [1e-9] * 6, [1e30] * 6, [0, 1e30, 0, 1e-9, 5, 0]], requires_grad=True)
    seen = render_rays(density, edges(6, dtype=torch.float32), torch.ones(4, 6, 1))
    assert seen.features is not None
    (seen.depth.sum() + seen.features.sum()).backward()
    assert density.grad is not None
    assert density.grad.isfinite().all()
    # What stands alone and empty is where a gradient is wanted most: the product with a small constant has it, too.
    assert (density.grad[0] != 0).any()


def test_is_computed_in_single_precision_under_autocast() -> None:
    density = torch.rand(3, 64, generator=torch.Generator().manual_seed(0))
    x, colours = edges(64, dtype=torch.float32), torch.rand(3, 64, 2)
    exact = render_rays(density, x, colours)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = render_rays(density, x, colours)
    assert all(torch.equal(a, b) for a, b in zip(exact, mixed, strict=True) if a is not None and b is not None)
    assert render_rays(density.bfloat16(), x.bfloat16()).depth.dtype == torch.float32


def test_intervals_must_agree() -> None:
    with pytest.raises(GridError, match="5 edges for 3 intervals"):
        render_rays(torch.rand(3), edges(4))
