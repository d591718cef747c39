"""MMEarth's linear probing on features that are at hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import TaskKind, measure
from geopretext.evaluate.probe import probe
from geopretext.evaluate.sgd_probe import sgd_probe

from .conftest import make_problem

LONG = FinetuneSettings(epochs=150, batch_size=64, base_learning_rate=0.4, warmup_epochs=0, weight_decay=0)


def test_it_comes_to_where_the_solved_probe_is(problem: LabelledFeatures) -> None:
    prediction = sgd_probe(problem, settings=LONG)
    assert measure(problem.metric, prediction.scores, problem.test.labels) == pytest.approx(
        measure(problem.metric, probe(problem).scores, problem.test.labels), abs=0.04
    )
    assert 1 <= prediction.chosen["epoch"] <= LONG.epochs


def test_run_long_it_is_the_logistic_regression_of_scikit_learn() -> None:
    data = make_problem(TaskKind.SINGLE_LABEL)
    settings = replace(LONG, epochs=800, batch_size=200, keep="last")
    theirs = LogisticRegression(C=np.inf, max_iter=10_000).fit(data.train.features, data.train.labels)
    scores = sgd_probe(data, settings=settings).scores
    assert (scores.argmax(1) == theirs.predict(data.test.features)).mean() > 0.97


def test_by_default_it_is_mmearths_protocol(problem: LabelledFeatures) -> None:
    first, again, other = (sgd_probe(problem, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.scores, again.scores)
    assert (first.scores != other.scores).any()
    assert first.chosen["epoch"] <= 100


def test_the_best_epoch_on_validation_is_kept() -> None:
    data = make_problem(TaskKind.SINGLE_LABEL)
    best, last = (sgd_probe(data, settings=replace(LONG, keep=keep)) for keep in ("best", "last"))
    assert best.validation >= last.validation
    assert last.chosen["epoch"] == LONG.epochs


def test_while_no_probability_passes_a_half_the_later_epoch_is_the_better_one() -> None:
    data = make_problem(TaskKind.MULTI_LABEL)
    rare = np.zeros_like(data.val.labels)
    rare[0] = 1
    data = replace(
        data, val=replace(data.val, labels=rare), train=replace(data.train, labels=rare[:1].repeat(200, 0) * 0)
    )
    prediction = sgd_probe(data, settings=replace(LONG, epochs=4))
    assert (prediction.validation, prediction.chosen["epoch"]) == (0, 4)


def test_smoothing_quantities_is_refused() -> None:
    with pytest.raises(RecipeError, match="labels of regression are no classes"):
        sgd_probe(make_problem(TaskKind.REGRESSION), settings=replace(LONG, label_smoothing=0.1))


@pytest.mark.parametrize("change", [{"mixup": 0.2}, {"cutmix": 1.0}, {"ema": 0.9}, {"patience": 3}], ids=str)
def test_what_a_probe_cannot_do_is_refused_by_name(change: dict[str, float]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(RecipeError, match=f"{name} is {value}"):
        sgd_probe(make_problem(TaskKind.SINGLE_LABEL), settings=replace(LONG, **change))
