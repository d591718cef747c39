"""The linear probe: a regularised linear model on frozen features, solved to its optimum rather than trained.

Single-label: multinomial logistic regression. Multi-label: one logistic regression a label. Both by full-batch L-BFGS
in float64. Regression: ridge in closed form. The objective is::

    mean over samples of the loss  +  strength / 2 * (sum of squared weights)

with a free intercept (scikit-learn's ``C`` is 1 / (strength x samples); for ridge, half the squared error). The
strength is chosen on the validation split from a log grid, from strong to weak, each fit starting where the last one
ended; the grid is left when three strengths in a row are no better, since weak ones cost most and only overfit from
there. The final fit uses the training split only; validation samples choose, and never train.

L-BFGS runs in the eigenbasis of the features' covariance, each coordinate scaled by the curvature that it would have
at probability 1/2: a change of variables that leaves the optimum as it is and makes the problem round, so that tens of
iterations do the work of thousands.

Shapes: ``n`` samples, ``D`` features, ``M`` axes of those, ``K`` classes, labels or targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.evaluate.labelled import Array, LabelledFeatures, Prediction
from geopretext.evaluate.metrics import TaskKind, measure

STRENGTHS = tuple(float(strength) for strength in np.logspace(1, -6, 10))
"""L2 strengths that are tried, strong to weak."""
PATIENCE = 3
"""Strengths in a row that may be no better."""
_SWEEP_ITERATIONS, _SWEEP_GRADIENT = 60, 1e-4
_FINAL_ITERATIONS, _FINAL_GRADIENT = 300, 1e-6
_NO_VARIANCE = 1e-12
"""Share of the largest variance below which there is none but of rounding."""


@dataclass(frozen=True)
class LinearModel:
    """scores = link(features @ weights + intercept)."""

    kind: TaskKind
    weights: Tensor
    """(D, K) float64"""
    intercept: Tensor
    """(K,) float64"""

    def scores(self, features: Array) -> Array:
        """(n, K): class probabilities, probabilities of each label, or values."""
        linear = torch.as_tensor(features, dtype=torch.float64) @ self.weights + self.intercept
        if self.kind is TaskKind.SINGLE_LABEL:
            linear = torch.softmax(linear, dim=1)
        elif self.kind is TaskKind.MULTI_LABEL:
            linear = torch.sigmoid(linear)
        return np.asarray(linear)


def probe(
    data: LabelledFeatures, *, strengths: Sequence[float] = STRENGTHS, patience: int | None = PATIENCE
) -> Prediction:
    """Fit on the training split, choose the strength on the validation split, predict the test split.

    Args:
        data: standardised features and labels.
        strengths: L2 strengths to choose from; of equally good ones the strongest is taken.
        patience: after so many strengths in a row that are no better, weaker ones are not tried; None: all are tried.
    """
    problem = _Problem(data)
    best_value, best_strength, best_model = -np.inf, 0.0, None
    model: LinearModel | None = None
    no_better = 0
    for strength in sorted(strengths, reverse=True):
        model = problem.fit(strength, start=model, iterations=_SWEEP_ITERATIONS, gradient=_SWEEP_GRADIENT)
        value = measure(data.metric, model.scores(data.val.features), data.val.labels)
        if value > best_value:
            best_value, best_strength, best_model, no_better = value, strength, model, 0
        else:
            no_better += 1
        if no_better == patience:
            break
    final = problem.fit(best_strength, start=best_model)
    value = measure(data.metric, final.scores(data.val.features), data.val.labels)
    return Prediction(final.scores(data.test.features), {"l2": best_strength}, value)


def fit_linear(data: LabelledFeatures, strength: float) -> LinearModel:
    """The optimum on the training split for one L2 strength."""
    return _Problem(data).fit(strength)


class _Problem:
    """The training split in the eigenbasis of its covariance, shared by all strengths."""

    def __init__(self, data: LabelledFeatures) -> None:
        features = torch.as_tensor(data.train.features, dtype=torch.float64)
        self.kind, self.outputs = data.kind, data.outputs
        self.mean = features.mean(0)
        centred = features - self.mean
        self.variances, self.basis = _principal_axes(centred)
        self.rotated = centred @ self.basis
        self.labels = torch.as_tensor(data.train.labels)
        if self.kind is not TaskKind.SINGLE_LABEL:
            self.labels = self.labels.double()

    def fit(
        self,
        strength: float,
        *,
        start: LinearModel | None = None,
        iterations: int = _FINAL_ITERATIONS,
        gradient: float = _FINAL_GRADIENT,
    ) -> LinearModel:
        """The optimum, or close to it: until no scaled gradient entry exceeds ``gradient``."""
        if self.kind is TaskKind.REGRESSION:
            level = self.labels.mean(0)
            moments = self.rotated.T @ (self.labels - level) / len(self.labels)
            return self._model(moments / (self.variances + strength)[:, None], level)
        weights, intercept = self._start(start)
        scale = (0.25 * self.variances + strength).rsqrt()[:, None]
        scaled = (weights / scale).requires_grad_()
        intercept = intercept.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [scaled, intercept],
            max_iter=iterations,
            max_eval=2 * iterations,
            tolerance_grad=gradient,
            tolerance_change=1e-12,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            optimiser.zero_grad()
            weights = scale * scaled
            loss = self._loss(self.rotated @ weights + intercept) + strength / 2 * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            return float(loss.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call] # likewise
        return self._model((scale * scaled).detach(), intercept.detach())

    def _loss(self, linear: Tensor) -> Tensor:
        if self.kind is TaskKind.SINGLE_LABEL:
            return F.cross_entropy(linear, self.labels)
        return F.binary_cross_entropy_with_logits(linear, self.labels) * self.outputs

    def _start(self, model: LinearModel | None) -> tuple[Tensor, Tensor]:
        """Weights in the eigenbasis and the intercept there: of ``model``, or zero and the log-odds of the classes."""
        if model is not None:
            return self.basis.T @ model.weights, model.intercept + self.mean @ model.weights
        if self.kind is TaskKind.SINGLE_LABEL:
            counts = torch.bincount(self.labels, minlength=self.outputs).double() + 0.5
            odds = counts.log()
        else:
            counts = self.labels.sum(0) + 0.5
            odds = (counts / (len(self.labels) + 1 - counts)).log()
        return torch.zeros(self.basis.shape[1], self.outputs, dtype=torch.float64), odds

    def _model(self, rotated_weights: Tensor, rotated_intercept: Tensor) -> LinearModel:
        weights = self.basis @ rotated_weights
        return LinearModel(self.kind, weights, rotated_intercept - self.mean @ weights)


def _principal_axes(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Variances (M,) and axes (D, M) of centred features (n, D): all D, or the at most n in which samples differ.

    Weights along other axes are zero at the optimum. Of few samples of many features this is where the time goes.
    """
    count, width = centred.shape
    if count >= width:
        variances, axes = torch.linalg.eigh(centred.T @ centred / count)
        return variances.clamp(min=0), axes
    variances, mixtures = torch.linalg.eigh(centred @ centred.T / count)
    kept = variances > _NO_VARIANCE * variances[-1]
    variances, mixtures = variances[kept], mixtures[:, kept]
    return variances, centred.T @ mixtures / (count * variances).sqrt()
