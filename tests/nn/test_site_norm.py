"""Batch norm of visible places, against numpy and against torch's batch norm of those places alone."""

import numpy as np
import pytest
import torch
from torch import nn

from geopretext.nn.site_norm import SiteNorm

SHAPE = (3, 5, 6, 4)


@pytest.fixture
def x() -> torch.Tensor:
    return 3 + 2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def visible() -> torch.Tensor:
    return torch.rand(3, 1, 6, 4, generator=torch.Generator().manual_seed(1)) < 0.4


def make(width: int = 5) -> SiteNorm:
    torch.manual_seed(2)
    norm = SiteNorm(width)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def test_statistics_are_those_of_visible_places(x: torch.Tensor, visible: torch.Tensor) -> None:
    norm = make()
    y = norm(x, visible).detach().numpy()
    rows = x.permute(0, 2, 3, 1).numpy()[visible[:, 0].numpy()]
    mean, variance = rows.mean(0), ((rows - rows.mean(0)) ** 2).mean(0)
    wanted = np.zeros((3, 6, 4, 5), np.float32)
    scaled = (rows - mean) / np.sqrt(variance + norm.eps)
    wanted[visible[:, 0].numpy()] = scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    np.testing.assert_allclose(y.transpose(0, 2, 3, 1), wanted, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * mean, rtol=1e-5)
    unbiased = variance * len(rows) / (len(rows) - 1)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * unbiased, rtol=1e-5)
    assert int(norm.num_batches_tracked) == 1


def test_gradients_are_those_of_a_norm_of_these_places_alone(x: torch.Tensor, visible: torch.Tensor) -> None:
    norm, alone = make(), nn.BatchNorm1d(5)
    alone.load_state_dict(norm.state_dict())
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    pull = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    (norm(ours, visible) * pull).sum().backward()
    where = visible[:, 0]
    (alone(theirs.permute(0, 2, 3, 1)[where]) * pull.permute(0, 2, 3, 1)[where]).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.weight.grad, alone.weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_without_a_mask_it_is_torchs(x: torch.Tensor, training: bool) -> None:
    norm, torchs = make().train(training), nn.BatchNorm2d(5).train(training)
    torchs.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), torchs(x))
    everywhere = torch.ones(3, 1, 6, 4, dtype=torch.bool)
    torch.testing.assert_close(norm(x, everywhere), torchs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict())


def test_in_evaluation_nothing_is_learnt_from_a_batch(x: torch.Tensor, visible: torch.Tensor) -> None:
    norm = make().eval()
    alone = norm(x[:1], visible[:1])
    torch.testing.assert_close(norm(x, visible)[:1], alone)
    assert int(norm.num_batches_tracked) == 0


def test_one_place_is_enough(x: torch.Tensor) -> None:
    visible = torch.zeros(3, 1, 6, 4, dtype=torch.bool)
    visible[1, 0, 2, 3] = True
    norm = make()
    y = norm(x, visible)
    torch.testing.assert_close(y[1, :, 2, 3], norm.bias)
    assert norm.running_var.isfinite().all()
