"""Small learnable problems of each kind."""

import numpy as np
import pytest

from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import TaskKind


def make_problem(kind: TaskKind, samples: int = 400, features: int = 12, outputs: int = 4) -> LabelledFeatures:
    generator = np.random.default_rng(3)
    hidden = generator.normal(size=(samples, 3))
    mixed = hidden @ generator.normal(size=(3, features)) + 0.3 * generator.normal(size=(samples, features))
    values = mixed * np.logspace(0, 1.5, features) + 5  # scales differ, as those of a network's features do
    noisy = hidden @ generator.normal(size=(3, outputs)) + 0.3 * generator.normal(size=(samples, outputs))
    if kind is TaskKind.SINGLE_LABEL:
        labels = noisy.argmax(1)
    elif kind is TaskKind.MULTI_LABEL:
        labels = (noisy > 0.2).astype(np.int64)
    else:
        labels = noisy * np.array([1.0, 100.0, 0.01, 3.0])[:outputs] + 1000
    samples_of = np.split(np.arange(samples), [samples // 2, samples * 3 // 4])
    return LabelledFeatures.standardise(
        values.astype(np.float32),
        labels,
        kind=kind,
        outputs=outputs,
        train=samples_of[0],
        val=samples_of[1],
        test=samples_of[2],
    )


@pytest.fixture(params=[kind for kind in TaskKind if not kind.is_dense], ids=str)
def problem(request: pytest.FixtureRequest) -> LabelledFeatures:
    return make_problem(request.param)
