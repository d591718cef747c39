"""k nearest neighbours by cosine similarity: what a representation is worth with nothing trained on it.

The neighbours are training samples; ``k`` is chosen on the validation split. Single-label: neighbours vote with weight
exp(similarity / 0.07) (Wu et al. 2018, arXiv 1805.01978, section 3.4, also in DINO). Multi-label and regression: the
plain mean of the neighbours' labels or values.

Shapes: ``n`` training samples, ``q`` queries, ``k`` neighbours, ``K`` classes, labels or targets.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import InputError
from geopretext.evaluate.labelled import Array, LabelledFeatures, Prediction
from geopretext.evaluate.metrics import TaskKind, measure

NEIGHBOURS = (1, 5, 10, 20, 50)
"""How many neighbours are tried on the validation split."""
TEMPERATURE = 0.07
_SIMILARITIES_AT_ONCE = 1 << 24  # 64 MiB of float32


def knn(data: LabelledFeatures, *, neighbours: Sequence[int] = NEIGHBOURS) -> Prediction:
    """Predict the test split from the training split.

    Args:
        data: standardised features and labels.
        neighbours: values of k to choose from; those above the number of training samples are left out. Of equally
            good ones the largest is taken, as the least noisy.

    Raises:
        InputError: no value of k is between 1 and the number of training samples.
    """
    tried = sorted(k for k in neighbours if 1 <= k <= len(data.train))
    if not tried:
        raise InputError(f"no k of {list(neighbours)} is between 1 and {len(data.train)} training samples")
    found = nearest(data.val.features, data.train.features, tried[-1])
    values = {k: measure(data.metric, _vote(data, *found, k), data.val.labels) for k in tried}
    best = max(tried, key=lambda k: (values[k], k))
    found = nearest(data.test.features, data.train.features, best)
    return Prediction(_vote(data, *found, best), {"k": best}, values[best])


def nearest(queries: Array, references: Array, k: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities (q, k) and positions (q, k) of the most similar references, best first.

    Works through the queries in blocks, so that memory does not grow with queries x references.
    """
    unit_references = F.normalize(torch.as_tensor(references, dtype=torch.float32), dim=1)
    unit_queries = F.normalize(torch.as_tensor(queries, dtype=torch.float32), dim=1)
    block = max(1, _SIMILARITIES_AT_ONCE // len(unit_references))
    parts = [torch.topk(rows @ unit_references.T, k, dim=1) for rows in torch.split(unit_queries, block)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _vote(data: LabelledFeatures, similarity: Tensor, position: Tensor, k: int) -> Array:
    """Scores (q, K) of the first ``k`` neighbours."""
    labels = torch.as_tensor(data.train.labels)[position[:, :k]]
    if data.kind is not TaskKind.SINGLE_LABEL:
        mean: Array = labels.double().mean(1).numpy()
        return mean
    votes = torch.softmax(similarity[:, :k].double() / TEMPERATURE, dim=1)
    scores = torch.zeros(len(votes), data.outputs, dtype=torch.float64)
    return np.asarray(scores.scatter_add_(1, labels.long(), votes))
