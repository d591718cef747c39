import math

import pytest
import torch

from geopretext.nn.weighting import EqualWeighting, UncertaintyWeighting, make_weighting

YES, NO = torch.tensor(True), torch.tensor(False)


def test_uncertainty_is_exp_minus_s_times_loss_plus_s():
    weighting = UncertaintyWeighting(["a", "b"])
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([0.5, -1.0]))
    losses = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(3.0, requires_grad=True)}
    total, weights = weighting(losses, {"a": YES, "b": YES})
    assert total.detach().item() == pytest.approx(2 * math.exp(-0.5) + 0.5 + 3 * math.exp(1) - 1)
    assert weights["b"].item() == pytest.approx(math.exp(1))
    total.backward()
    assert losses["a"].grad.item() == pytest.approx(math.exp(-0.5))
    assert weighting.log_variances.grad.tolist() == pytest.approx([1 - 2 * math.exp(-0.5), 1 - 3 * math.exp(1)])


@pytest.mark.parametrize("kind", ["uncertainty", "equal"])
def test_a_task_that_is_not_active_adds_nothing_and_moves_nothing(kind):
    weighting = make_weighting(kind, ["a", "b"])
    if isinstance(weighting, UncertaintyWeighting):
        with torch.no_grad():
            weighting.log_variances.fill_(0.7)
    losses = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(0.0, requires_grad=True)}
    total, _ = weighting(losses, {"a": YES, "b": NO})
    alone, _ = make_weighting(kind, ["a"])(losses, {"a": YES})
    if kind == "equal":
        assert total.detach().item() == alone.item()
    else:
        assert total.detach().item() == pytest.approx(2 * math.exp(-0.7) + 0.7)
    total.backward()
    assert losses["b"].grad.item() == 0
    for parameter in weighting.parameters():
        assert parameter.grad[1] == 0
        assert parameter.grad[0] != 0


def test_equal_is_the_plain_sum_and_learns_nothing():
    weighting = EqualWeighting(["a", "b"])
    total, weights = weighting({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": YES, "b": YES})
    assert total.detach().item() == 5
    assert [weight.item() for weight in weights.values()] == [1, 1]
    assert not list(weighting.parameters())


def test_weighting_stays_in_single_precision_under_autocast():
    weighting = UncertaintyWeighting(["a"])
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = weighting({"a": torch.tensor(1.0009765625)}, {"a": YES})
    assert total.dtype == torch.float32
    assert total.detach().item() == pytest.approx(1.0009765625, abs=1e-7)
