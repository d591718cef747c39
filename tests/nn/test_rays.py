"""Cameras and slanting rays against numpy and closed forms."""

import math

import numpy as np
import pytest
import torch

from geopretext.nn.rays import inverse_pose, meet_surface, move, nearest_depth, pixel_directions, project, shear

CAMERA = torch.tensor([[50.0, 0, 33], [0, 60, 20], [0, 0, 1]], dtype=torch.float64)


def pose() -> torch.Tensor:
    """A rotation by 0.3 about z and 0.2 about x, and a step."""
    a, b = 0.3, 0.2
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_z @ about_x, (1, -2, 0.5)
    return torch.tensor(matrix)


def test_projects_as_a_pinhole_does() -> None:
    points = np.random.default_rng(0).uniform((-2, -2, 3), (2, 2, 9), (5, 3))
    pixels, depth = project(torch.tensor(points), CAMERA, pose())
    for i, point in enumerate(points):
        x, y, z = pose().numpy()[:3, :3] @ point + pose().numpy()[:3, 3]
        assert pixels[i].tolist() == pytest.approx([50 * x / z + 33, 60 * y / z + 20])
        assert float(depth[i]) == pytest.approx(z)


def test_a_pose_and_its_inverse_lead_back() -> None:
    points = torch.randn(2, 7, 3, dtype=torch.float64)
    assert torch.allclose(move(move(points, pose()), inverse_pose(pose())), points)


def test_a_pixel_sees_the_points_that_are_projected_to_its_centre() -> None:
    rays = pixel_directions(CAMERA, height=4, width=6)
    assert rays.shape == (4, 6, 3)
    pixels, depth = project((rays * 7.5).reshape(-1, 3), CAMERA, torch.eye(4, dtype=torch.float64))
    row, column = np.divmod(np.arange(24), 6)
    assert pixels[:, 0].tolist() == pytest.approx((column + 0.5).tolist())
    assert pixels[:, 1].tolist() == pytest.approx((row + 0.5).tolist())
    assert depth.tolist() == pytest.approx([7.5] * 24)


def test_what_is_behind_has_no_depth() -> None:
    pixels, depth = project(torch.tensor([[0.0, 0, -3], [0, 0, 0]]), CAMERA.float(), torch.eye(4))
    assert (depth <= 0).all()
    assert pixels.isfinite().all()


def test_no_sparse_depth_is_lost_but_behind_a_nearer_one() -> None:
    pixels = torch.tensor([[[0.5, 0.5], [3.5, 3.0], [5, 1], [9, 1], [5, 1], [-0.1, 1], [1, 7]]])
    depth = torch.tensor([[4.0, 2, 3, 1, 0, 1, 6]])
    valid = torch.tensor([[True, True, True, True, True, True, False]])
    nearest = nearest_depth(pixels, depth, valid, height=8, width=8, cell=4)
    assert nearest.tolist() == [[[2, 3], [math.inf, math.inf]]]


def test_a_slanting_ray_is_over_another_cell_the_higher_it_is() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 1, 5, 6)
    sampled, over = shear(ramp, torch.tensor([0.0, 1, 3]), torch.tensor([[0.5, 0.0]]))
    expected = torch.tensor([[0, 1, 2, 3, 4, 5], [0.5, 1.5, 2.5, 3.5, 4.5, 5], [1.5, 2.5, 3.5, 4.5, 5, 5]])
    assert torch.allclose(sampled[0, :, 0, 2], expected, atol=1e-5)
    assert over[0, :, 2].tolist() == [[True] * 6, [True] * 5 + [False], [True] * 4 + [False] * 2]
    down, _ = shear(ramp.mT, torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(down[0, 0, 0, :, 0], torch.tensor([2.0, 3, 4, 5, 5, 5]), atol=1e-5)


def test_each_ray_can_have_a_height_of_its_own() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 1, 5, 6)
    heights = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    sampled, over = shear(ramp, heights, torch.tensor([[2.0, 0.0]]))
    expected = torch.arange(6.0) + 2 * heights[0, 0]
    assert torch.allclose(sampled[0, 0, 0][over[0, 0]], expected[over[0, 0]], atol=1e-5)


def test_meets_a_plane_where_algebra_says() -> None:
    """z = a (x + z s) + b, so z = (a x + b) / (1 - a s)."""
    a, b, s = 0.8, 3.0, 0.6
    x = torch.arange(20.0)
    surface = (a * x + b).expand(1, 4, 20)
    met = meet_surface(
        surface, torch.ones(1, 4, 20, dtype=torch.bool), torch.linspace(20, 0, 9), torch.tensor([[s, 0]])
    )
    exact = (a * x + b) / (1 - a * s)
    inside = x + 20 * s <= 19  # rays that are over the map from the first height on
    assert inside.sum() > 5
    assert met.valid[0, 0, inside].all()
    assert torch.allclose(met.height[0, :, inside], exact[inside].expand(4, -1), atol=1e-4)


def test_straight_down_the_surface_is_met_everywhere() -> None:
    surface = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 9
    known = torch.ones(2, 5, 7, dtype=torch.bool)
    met = meet_surface(surface, known, torch.linspace(10, 0, 30), torch.zeros(2, 2))
    assert met.valid.all()
    assert torch.allclose(met.height, surface, atol=1e-4)


def test_a_wall_hides_what_is_behind_it_and_what_is_unknown_is_not_met() -> None:
    surface = torch.zeros(1, 3, 12)
    surface[:, :, 8] = 4.0
    known = torch.ones(1, 3, 12, dtype=torch.bool)
    known[:, :, 2] = False
    met = meet_surface(surface, known, torch.linspace(4, 0, 401), torch.tensor([[1.0, 0.0]]))
    # The ray over 6 comes from the right and meets the wall's right flank, 4 (9 - x): z = 4 (9 - 6 - z).
    assert float(met.height[0, 1, 6]) == pytest.approx(12 / 5, abs=1e-4)
    assert met.height[0, 1, 3] == pytest.approx(0, abs=0.02)
    assert not met.valid[0, 1, 2]
    assert not met.valid[0, 1, 1]  # it passes over the unknown cell before it is down
    assert met.valid[0, 1, 3]


def test_nobody_knows_how_high_the_unknown_is() -> None:
    """A peak above all that is known: whatever is seen behind it from the side would be seen through it."""
    surface, known = torch.zeros(1, 3, 12), torch.ones(1, 3, 12, dtype=torch.bool)
    surface[:, :, 0] = 2.0  # the highest that is known
    known[:, :, 8] = False
    met = meet_surface(surface, known, torch.linspace(4, 0, 41), torch.tensor([[1.0, 0.0]]))
    assert not met.valid[0, 1, 5]  # at a height of 3, above all that is known, it is over the peak
    assert met.valid[0, 1, 1:4].all()  # over 3 it begins on the near side of the peak
    assert met.valid[0, 1, 9]  # at 2 it comes in over the tile's edge, higher than all that is known
    assert not met.valid[0, 1, 10]  # what it passes beside the tile may be as high
