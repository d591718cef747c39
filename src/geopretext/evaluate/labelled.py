"""What a head is fitted to: features and labels of the three splits; and what it gives back.

Shapes: ``n`` samples, ``D`` features, ``K`` classes, labels or regression targets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError, NonFiniteError
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Features and labels of one split."""

    features: Array
    """(n, D) float32, standardised by the training split"""
    labels: Array
    """(n,) class indices, (n, K) of 0 and 1, or (n, K) values"""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabelledFeatures:
    """The three splits of a task in one feature space."""

    kind: TaskKind
    outputs: int
    """K: classes, labels or regression targets"""
    train: Part
    val: Part
    test: Part

    @property
    def metric(self) -> Metric:
        """By which heads choose their setting on ``val``."""
        return METRICS[self.kind][0]

    @classmethod
    def standardise(
        cls,
        features: Array,
        labels: Array,
        *,
        kind: TaskKind,
        outputs: int,
        train: Array,
        val: Array,
        test: Array,
    ) -> "LabelledFeatures":
        """Shift and scale each feature to mean 0 and standard deviation 1 on the training samples.

        A feature that is constant in training carries no information for a head and would blow up rounding errors of
        the other splits; it becomes 0 everywhere.

        Args:
            features: (n, D) of all samples.
            labels: of all samples.
            kind: of the task.
            outputs: number of classes, labels or targets.
            train: sample numbers of the training split, likewise ``val`` and ``test``.
            val: sample numbers.
            test: sample numbers.

        Raises:
            NonFiniteError: a feature is NaN or infinite.
            InputError: features and labels are not of the same samples.
        """
        if features.ndim != 2 or len(features) != len(labels):
            raise InputError(f"features of shape {features.shape} do not fit {len(labels)} samples")
        if not np.isfinite(features).all():
            sample, feature = np.argwhere(~np.isfinite(features))[0]
            raise NonFiniteError(
                f"feature {feature} of sample {sample} is {features[sample, feature]}",
                hint="the bundle's weights or statistics are not finite: look at the losses of its run",
            )
        mean = features[train].mean(0, dtype=np.float64)
        std = features[train].std(0, dtype=np.float64)
        varies = std > 1e-6 * np.maximum(np.abs(mean), 1e-12)
        scale = np.where(varies, 1 / np.where(varies, std, 1.0), 0.0)

        def part(samples: Array) -> Part:
            return Part(((features[samples] - mean) * scale).astype(np.float32), labels[samples])

        return cls(kind=kind, outputs=outputs, train=part(train), val=part(val), test=part(test))


@dataclass(frozen=True)
class Prediction:
    """What a head says about the test samples."""

    scores: Array
    """(n, K) float64, as ``evaluate.metrics`` reads them"""
    chosen: Mapping[str, float]
    """the settings that were chosen on the validation split"""
    validation: float
    """the headline metric on the validation split at those settings"""
