"""What is kept of class maps, image by image: tables of true and predicted classes, and tallies of confidence.

Maps of a whole test set are too large to keep. Counts and sums are small, and every metric over all pixels, calibration
too, follows from them for the set and for any resample of its images.

Shapes: B images, K classes, H W pixels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

BINS = 15
"""Bins of confidence, of equal width (Guo et al. 2017, arXiv 1706.04599, and torchmetrics)."""


def confusion_and_confidence(logits: Tensor, labels: Tensor, labelled: Tensor) -> dict[str, Array]:
    """Tables of a batch of class maps; of several batches, they are concatenated.

    Args:
        logits: (B, K, H, W) before softmax, on any device; of change detection K is 2: unchanged, changed.
        labels: (B, H, W) int64 class indices.
        labelled: (B, H, W) bool; other pixels do not count.

    Returns:
        the fields of ``evaluate.outcome.ConfusionOutcome``: "confusion" (B, K, K) int64, labelled pixels by true and
        predicted class; "confidence" (B, BINS, 3) float64, see ``tally``.
    """
    batch, classes = logits.shape[:2]
    # Sums on the CPU, where they are the same each time.
    confidence, predicted = (part.cpu() for part in logits.float().softmax(1).max(1))
    labels, labelled = labels.cpu(), labelled.cpu()
    image = torch.arange(batch)[:, None, None].expand_as(labels)[labelled]
    truth, predicted, confidence = labels[labelled], predicted[labelled], confidence[labelled]
    cell = (image * classes + truth) * classes + predicted
    confusion = torch.bincount(cell, minlength=batch * classes * classes).reshape(batch, classes, classes)
    return {"confusion": confusion.numpy(), "confidence": tally(image, confidence, predicted == truth, batch)}


def tally(sample: Tensor, confidence: Tensor, correct: Tensor, samples: int) -> Array:
    """Decisions by sample and bin of confidence.

    Args:
        sample: (m,) number of the sample that each decision belongs to.
        confidence: (m,) probability that was given to what was decided.
        correct: (m,) whether it was right.
        samples: n.

    Returns:
        (n, BINS, 3) float64: number of decisions, sum of their confidences, number of right ones.
    """
    # In float32 with the same edges as torchmetrics, so that both sort alike.
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float32)
    bins = (torch.bucketize(confidence.float(), edges, right=True) - 1).clamp(0, BINS - 1)
    cell = sample * BINS + bins
    columns = [torch.ones_like(confidence, dtype=torch.float64), confidence.double(), correct.double()]
    sums = [torch.bincount(cell, weights=column, minlength=samples * BINS) for column in columns]
    return np.asarray(torch.stack(sums, 1).reshape(samples, BINS, 3))
