"""k-NN and the linear probe against brute force and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from geopretext.errors import InputError, NonFiniteError
from geopretext.evaluate import knn as knn_module
from geopretext.evaluate.knn import knn, nearest
from geopretext.evaluate.labelled import LabelledFeatures, Part
from geopretext.evaluate.metrics import TaskKind, measure
from geopretext.evaluate.probe import LinearModel, _Problem, fit_linear, probe

from .conftest import make_problem


def objective(model: LinearModel, data: LabelledFeatures, strength: float) -> float:
    linear = torch.as_tensor(data.train.features).double() @ model.weights + model.intercept
    labels = torch.as_tensor(data.train.labels)
    if data.kind is TaskKind.SINGLE_LABEL:
        loss = torch.nn.functional.cross_entropy(linear, labels)
    elif data.kind is TaskKind.MULTI_LABEL:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(linear, labels.double()) * labels.shape[1]
    else:
        loss = (linear - labels).square().sum() / len(labels) / 2
    return float(loss + strength / 2 * model.weights.square().sum())


def reference(data: LabelledFeatures, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test scores, weights and intercept of scikit-learn at the same strength."""
    features, samples = data.train.features.astype(np.float64), len(data.train)
    test = data.test.features.astype(np.float64)
    if data.kind is TaskKind.REGRESSION:
        ridge = Ridge(alpha=strength * samples).fit(features, data.train.labels)
        return ridge.predict(test), ridge.coef_.T, ridge.intercept_
    logistic = LogisticRegression(C=1 / (strength * samples), tol=1e-10, max_iter=10_000)
    if data.kind is TaskKind.SINGLE_LABEL:
        logistic.fit(features, data.train.labels)
        return logistic.predict_proba(test), logistic.coef_.T, logistic.intercept_
    each = OneVsRestClassifier(logistic).fit(features, data.train.labels)
    weights = np.concatenate([estimator.coef_ for estimator in each.estimators_]).T
    return each.predict_proba(test), weights, np.concatenate([estimator.intercept_ for estimator in each.estimators_])


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_the_probe_reaches_scikit_learns_optimum(problem: LabelledFeatures, strength: float) -> None:
    model = fit_linear(problem, strength)
    scores, weights, intercept = reference(problem, strength)
    theirs = type(model)(model.kind, torch.as_tensor(weights), torch.as_tensor(intercept))
    assert objective(model, problem, strength) <= objective(theirs, problem, strength) + 1e-9
    assert measure(problem.metric, model.scores(problem.test.features), problem.test.labels) == pytest.approx(
        measure(problem.metric, scores, problem.test.labels), abs=1e-3
    )
    np.testing.assert_allclose(model.scores(problem.test.features), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in TaskKind if not kind.is_dense], ids=str)
@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_the_optimum_is_the_same_with_more_features_than_samples(kind: TaskKind, strength: float) -> None:
    wide = make_problem(kind, samples=60, features=50)
    assert wide.train.features.shape == (30, 50)
    model = fit_linear(wide, strength)
    scores, weights, intercept = reference(wide, strength)
    theirs = LinearModel(kind, torch.as_tensor(weights), torch.as_tensor(intercept))
    assert objective(model, wide, strength) <= objective(theirs, wide, strength) + 1e-9
    np.testing.assert_allclose(model.scores(wide.test.features), scores, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(
        fit_linear(replace(wide, train=Part(wide.train.features * 0, wide.train.labels)), 1.0).weights
    ).all()


def shifted(problem: LabelledFeatures) -> LabelledFeatures:
    """The same problem with features that are not centred."""
    parts = {name: getattr(problem, name) for name in ("train", "val", "test")}
    return replace(problem, **{name: replace(part, features=part.features + 3) for name, part in parts.items()})


def test_features_that_are_not_centred_give_the_same_scores(problem: LabelledFeatures) -> None:
    expected = fit_linear(problem, 1e-2).scores(problem.test.features)
    moved = shifted(problem)
    np.testing.assert_allclose(fit_linear(moved, 1e-2).scores(moved.test.features), expected, rtol=1e-4, atol=1e-4)


def test_a_fit_goes_on_from_where_another_ended(problem: LabelledFeatures) -> None:
    moved = shifted(problem)
    optimum = fit_linear(moved, 1e-2)
    again = _Problem(moved).fit(1e-2, start=optimum, iterations=1)
    assert objective(again, moved, 1e-2) == pytest.approx(objective(optimum, moved, 1e-2), abs=1e-8)


def test_the_probe_learns_and_says_what_it_chose(problem: LabelledFeatures) -> None:
    prediction = probe(problem, strengths=(100.0, 1e-2, 1e-6))
    assert measure(problem.metric, prediction.scores, problem.test.labels) > 0.6
    assert prediction.validation > 0.6
    assert prediction.chosen["l2"] in (1e-2, 1e-6)


def test_the_probe_leaves_the_sweep_when_weaker_strengths_are_no_better() -> None:
    data = make_problem(TaskKind.REGRESSION)
    # Validation labels that only the strongest fits: predictions there are the mean.
    far = replace(data, val=Part(-data.val.features, data.val.labels))
    best, tried = probe(far, strengths=(100.0, 10.0, 1.0, 1e-1, 1e-9)), []
    assert best.chosen["l2"] == 100.0
    for patience, count in ((1, 2), (3, 4), (None, 5)):
        tried.clear()
        with pytest.MonkeyPatch.context() as patch:
            fit = _Problem.fit
            patch.setattr(_Problem, "fit", lambda self, l2, **more: tried.append(l2) or fit(self, l2, **more))  # noqa: B023 -- called before the next turn
            probe(far, strengths=(100.0, 10.0, 1.0, 1e-1, 1e-9), patience=patience)
        assert len(tried) == count + 1  # and the final fit


def test_the_probe_is_deterministic(problem: LabelledFeatures) -> None:
    np.testing.assert_array_equal(probe(problem).scores, probe(problem).scores)


def test_the_probe_copes_with_a_class_that_training_lacks() -> None:
    data = make_problem(TaskKind.SINGLE_LABEL)
    data.train.labels[data.train.labels == 3] = 2
    scores = probe(data).scores
    assert scores.shape == (100, 4)
    assert np.isfinite(scores).all()
    assert (scores[:, 3] < 0.05).all()


def test_neighbours_are_those_of_brute_force_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    queries, references = generator.normal(size=(30, 5)), generator.normal(size=(40, 5))
    cosine = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (
        references / np.linalg.norm(references, axis=1)[:, None]
    ).T
    expected = np.argsort(-cosine, axis=1)[:, :7]
    for cells in (1 << 20, 100):
        monkeypatch.setattr(knn_module, "_SIMILARITIES_AT_ONCE", cells)
        similarity, position = nearest(queries, references, 7)
        np.testing.assert_array_equal(position, expected)
        np.testing.assert_allclose(similarity, np.take_along_axis(cosine, expected, 1), atol=1e-6)


def test_knn_learns_and_chooses_k_on_validation(problem: LabelledFeatures) -> None:
    prediction = knn(problem)
    assert measure(problem.metric, prediction.scores, problem.test.labels) > 0.6
    each = {k: knn(problem, neighbours=[k]).validation for k in (1, 5, 10, 20, 50)}
    assert prediction.validation == max(each.values())
    assert each[prediction.chosen["k"]] == prediction.validation


def test_one_neighbour_copies_its_label(problem: LabelledFeatures) -> None:
    prediction = knn(problem, neighbours=[1])
    _, position = nearest(problem.test.features, problem.train.features, 1)
    labels = problem.train.labels[position[:, 0]]
    if problem.kind is TaskKind.SINGLE_LABEL:
        np.testing.assert_array_equal(prediction.scores.argmax(1), labels)
    else:
        np.testing.assert_allclose(prediction.scores, labels)


def test_near_neighbours_weigh_more_than_many_far_ones() -> None:
    angles = np.array([0.0, 1.2, 1.2, 1.2])
    train = Part(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 1, 1, 1]))
    query = Part(np.array([[1.0, 0.05]]), np.array([0]))
    data = LabelledFeatures(TaskKind.SINGLE_LABEL, 2, train, query, query)
    votes = np.exp(np.cos(angles - np.arctan(0.05)) / 0.07)
    np.testing.assert_allclose(knn(data, neighbours=[4]).scores[0, 0], votes[0] / votes.sum(), rtol=1e-5)


def test_more_neighbours_than_training_samples_are_refused(problem: LabelledFeatures) -> None:
    with pytest.raises(InputError, match=r"no k of .*201.* between 1 and 200 training samples"):
        knn(problem, neighbours=[201])


def standardised(features: np.ndarray) -> LabelledFeatures:
    thirds = np.split(np.arange(len(features)), 3)
    return LabelledFeatures.standardise(
        features,
        np.arange(len(features)) % 2,
        kind=TaskKind.SINGLE_LABEL,
        outputs=2,
        train=thirds[0],
        val=thirds[1],
        test=thirds[2],
    )


def test_features_are_standardised_by_the_training_split_only() -> None:
    features = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32) * 100 + 7
    features[20:] += 1000
    data = standardised(features)
    np.testing.assert_allclose(data.train.features.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.features.std(0), 1, atol=1e-5)
    assert data.test.features.mean() > 5


def test_a_feature_that_is_constant_in_training_is_left_out() -> None:
    features = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    features[:10, 1] = 0.1
    data = standardised(features)
    assert (data.test.features[:, 1] == 0).all()
    assert probe(data).scores.shape == (10, 2)


def test_a_feature_that_is_not_finite_is_named() -> None:
    features = np.zeros((30, 3), np.float32)
    features[17, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"feature 2 of sample 17 is nan\n.*bundle's weights"):
        standardised(features)


def test_features_of_other_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(3, 2\) do not fit 4 samples"):
        LabelledFeatures.standardise(
            np.zeros((3, 2)),
            np.zeros(4),
            kind=TaskKind.SINGLE_LABEL,
            outputs=2,
            train=np.arange(2),
            val=np.arange(1),
            test=np.arange(1),
        )
