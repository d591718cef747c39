"""Batch norm over some places of maps, and over all processes."""

import torch
from torch import Tensor, nn

from geopretext.nn.processes import process_count, sum_over_processes


class SiteNorm(nn.BatchNorm2d):
    """Batch norm (Ioffe & Szegedy, ICML 2015) whose statistics are those of visible places only; zero elsewhere.

    In training they are over the batches of all processes, so that several processes compute what one does. Weights
    and running statistics are named as those of torch's batch norm, which this is in evaluation without a mask.
    """

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: (B, D, H, W).
            visible: (B, 1, H, W) bool; None: all.

        Returns:
            (B, D, H, W), zero where not visible.
        """
        if visible is None and not (self.training and process_count() > 1):
            return super().forward(x)
        y = x.float()
        shown = torch.ones_like(y[:, :1], dtype=torch.bool) if visible is None else visible
        if self.training:
            mean, variance = self._measure(y, shown)
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        y = (y - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return torch.where(shown, y, 0.0).to(x.dtype)

    def _measure(self, y: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each feature, which become part of the running ones; at least one place is visible."""
        count = sum_over_processes(shown.sum().to(y))
        mean = sum_over_processes(torch.where(shown, y, 0.0).sum((0, 2, 3))) / count
        deviation = torch.where(shown, y - mean[:, None, None], 0.0)
        variance = sum_over_processes(deviation.square().sum((0, 2, 3))) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            # as torch's: running variances are without bias
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        return mean, variance
