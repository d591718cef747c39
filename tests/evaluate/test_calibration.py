"""Calibration agrees with torchmetrics and with a count by hand; its interval is honest about noise."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from geopretext.evaluate.calibration import calibration, has_probabilities
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, SampleOutcome
from geopretext.evaluate.tallies import BINS, confusion_and_confidence


def single_label(samples: int = 500, overconfident: float = 0.0, seed: int = 0) -> SampleOutcome:
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.5, 1, samples)
    right = generator.random(samples) < confidence - overconfident
    return SampleOutcome(
        TaskKind.SINGLE_LABEL, np.stack([confidence, 1 - confidence], 1), np.where(right, 0, 1).astype(np.int64)
    )


def test_the_error_of_a_single_label_is_torchmetrics() -> None:
    outcome = single_label()
    expected = multiclass_calibration_error(
        torch.from_numpy(outcome.scores), torch.from_numpy(outcome.labels), num_classes=2, n_bins=15
    )
    found = calibration([outcome])
    assert found is not None
    assert found.error.value == pytest.approx(float(expected), abs=1e-6)
    assert sum(each.share * abs(each.confidence - each.right) for each in found.bins) == pytest.approx(
        float(expected), abs=1e-6
    )


def test_of_multi_label_every_pair_counts() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.random((200, 4)), generator.integers(0, 2, (200, 4))
    found = calibration([SampleOutcome(TaskKind.MULTI_LABEL, scores, labels)])
    expected = binary_calibration_error(torch.from_numpy(scores.ravel()), torch.from_numpy(labels.ravel()), n_bins=15)
    assert found is not None
    assert found.error.value == pytest.approx(float(expected), abs=1e-6)
    assert sum(each.share * abs(each.confidence - each.right) for each in found.bins) == pytest.approx(
        float(expected), abs=1e-6
    )


def test_certainty_belongs_to_the_last_bin() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.96, 0.04], [0.97, 0.03]])
    found = calibration([SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.array([0, 1, 0, 0]))])
    assert found is not None
    (only,) = found.bins
    assert (only.share, only.upper, only.right) == (1, 1, 0.75)
    assert found.error.value == pytest.approx((1 + 1 + 0.96 + 0.97) / 4 - 0.75, abs=1e-6)


def test_the_bins_of_the_diagram_are_counted() -> None:
    outcome = single_label()
    found = calibration([outcome])
    assert found is not None
    confidence, right = outcome.scores.max(1), outcome.scores.argmax(1) == outcome.labels
    for each in found.bins:
        inside = (confidence >= each.lower) & (confidence < each.upper)
        assert each.share == pytest.approx(inside.mean())
        assert each.confidence == pytest.approx(confidence[inside].mean())
        assert each.right == pytest.approx(right[inside].mean())
        assert each.right_low <= each.right <= each.right_high
    assert min(each.lower for each in found.bins) == pytest.approx(7 / 15)
    assert found.to_dict()["bins"][0]["lower"] == pytest.approx(7 / 15)


def test_a_calibrated_model_is_not_accused_and_an_overconfident_one_is() -> None:
    honest, bold = calibration([single_label(seed=1)]), calibration([single_label(overconfident=0.2)])
    assert honest is not None
    assert bold is not None
    assert honest.error.low == 0 < honest.error.value < honest.error.high
    assert bold.error.low > 0.08


@pytest.mark.slow
@pytest.mark.parametrize("overconfident", [0.0, 0.05, 0.15])
def test_the_interval_covers_the_error_that_endless_samples_have(overconfident: float) -> None:
    covered = 0
    for seed in range(150):
        found = calibration([single_label(400, overconfident, seed)], resamples=200, seed=seed)
        assert found is not None
        covered += found.error.low <= overconfident <= found.error.high
    assert covered / 150 >= 0.92


def test_runs_of_several_seeds_are_averaged() -> None:
    runs = [single_label(overconfident=0.0), single_label(overconfident=0.2)]
    each = [calibration([run]) for run in runs]
    both, among = calibration(runs), calibration(runs, seeds=[0, 1])
    assert both is not None
    assert among is not None
    assert both.error.value == among.error.value == pytest.approx(np.mean([one.error.value for one in each if one]))
    assert among.error.low < both.error.low
    assert sum(one.share for one in both.bins) == pytest.approx(1)


def test_quantities_and_votes_have_no_calibration() -> None:
    values = np.arange(6.0)[:, None]
    assert calibration([SampleOutcome(TaskKind.REGRESSION, values, values)]) is None
    assert calibration([ErrorOutcome(TaskKind.DENSE_REGRESSION, np.ones((2, 4)), 0.0)]) is None
    assert calibration([ConfusionOutcome(TaskKind.SEGMENTATION, np.ones((2, 3, 3), np.int64))]) is None
    assert has_probabilities(TaskKind.SINGLE_LABEL, "probe")
    assert has_probabilities(TaskKind.SEGMENTATION, "finetune:unet")
    assert not has_probabilities(TaskKind.SINGLE_LABEL, "knn")
    assert not has_probabilities(TaskKind.REGRESSION, "probe")


def maps(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, classes, 6, 5, generator=generator)
    labels = torch.randint(classes, (4, 6, 5), generator=generator)
    return logits, labels, torch.rand(4, 6, 5, generator=generator) < 0.7


def test_class_maps_are_tallied_image_by_image() -> None:
    logits, labels, labelled = maps()
    tables = confusion_and_confidence(logits, labels, labelled)
    for image in range(4):
        expected = np.zeros((3, 3), np.int64)
        truth, predicted = labels[image][labelled[image]], logits.argmax(1)[image][labelled[image]]
        np.add.at(expected, (truth.numpy(), predicted.numpy()), 1)
        np.testing.assert_array_equal(tables["confusion"][image], expected)
        assert tables["confidence"][image, :, 0].sum() == labelled[image].sum()
        assert tables["confidence"][image, :, 2].sum() == (truth == predicted).sum()
    found = calibration([ConfusionOutcome(TaskKind.SEGMENTATION, **tables)])
    pixels = logits.softmax(1).permute(0, 2, 3, 1)[labelled]
    expected_error = multiclass_calibration_error(pixels, labels[labelled], num_classes=3, n_bins=BINS)
    assert found is not None
    assert found.error.value == pytest.approx(float(expected_error), abs=1e-6)


def test_batches_of_class_maps_are_concatenated() -> None:
    logits, labels, labelled = maps(2)
    whole = confusion_and_confidence(logits, labels, labelled)
    parts = [confusion_and_confidence(*(part[n : n + 1] for part in (logits, labels, labelled))) for n in range(4)]
    for name, table in whole.items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), table)
    outcome = ConfusionOutcome(TaskKind.CHANGE_DETECTION, **whole)
    assert outcome.measure(Metric.ACCURACY) == pytest.approx(
        float((logits.argmax(1) == labels)[labelled].double().mean())
    )


def test_an_image_without_labels_counts_for_nothing() -> None:
    logits, labels, labelled = maps()
    tables = confusion_and_confidence(logits, labels, torch.zeros_like(labelled))
    assert not tables["confusion"].any()
    assert not tables["confidence"].any()
    assert tables["confidence"].shape == (4, BINS, 3)
