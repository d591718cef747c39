"""One loss from the losses of many tasks.

A task that has no valid target in the batch is not active: it adds nothing, and moves no weight.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn


class UncertaintyWeighting(nn.Module):
    """Sum of ``exp(-s) L + s`` over active tasks, with a learned ``s`` for each (Kendall et al., CVPR 2018).

    As in MMEarth: no factor 1/2, and ``s`` (the log of a task's variance) starts at 0.

    Args:
        names: the tasks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the losses.

        Args:
            losses: a finite scalar for each task.
            active: a bool scalar for each task.

        Returns:
            The total, float32, and the weight ``exp(-s)`` of each task, detached.
        """
        s = self.log_variances.float()
        values, chosen = _stack(losses, active, self.names)
        total = torch.where(chosen, torch.exp(-s) * values + s, 0.0).sum()
        return total, dict(zip(self.names, torch.exp(-s).detach().unbind(), strict=True))


class EqualWeighting(nn.Module):
    """Plain sum over active tasks.

    Args:
        names: the tasks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the losses; as ``UncertaintyWeighting``, with every weight 1."""
        values, chosen = _stack(losses, active, self.names)
        ones = torch.ones_like(values)
        return torch.where(chosen, values, 0.0).sum(), dict(zip(self.names, ones.unbind(), strict=True))


class FixedWeighting(nn.Module):
    """Sum over active tasks with given weights.

    Args:
        weights: of each task, at least 0.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)

    def forward(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the losses; as ``UncertaintyWeighting``, with the given weights."""
        weighted = {name: weight * losses[name].float() for name, weight in self.weights.items()}
        values, chosen = _stack(weighted, active, tuple(self.weights))
        weights = {name: torch.full_like(values[0], weight) for name, weight in self.weights.items()}
        return torch.where(chosen, values, 0.0).sum(), weights


def make_weighting(
    kind: Literal["uncertainty", "equal"], names: Iterable[str]
) -> UncertaintyWeighting | EqualWeighting:
    """The weighting that a recipe names."""
    return UncertaintyWeighting(names) if kind == "uncertainty" else EqualWeighting(names)


def _stack(losses: Mapping[str, Tensor], active: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    return torch.stack([losses[name].float() for name in names]), torch.stack([active[name] for name in names])
