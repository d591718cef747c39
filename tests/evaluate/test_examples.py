"""Which samples are shown, and that maps come back as they were written."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import CorruptError, GridError, InputError
from geopretext.evaluate.examples import ExampleMaps, choose_examples, example_maps, read_examples, write_examples
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, SampleOutcome


def test_single_label_goes_by_the_probability_of_the_truth() -> None:
    scores = np.array([[0.6, 0.4], [0.1, 0.9], [0.95, 0.05], [0.3, 0.7]])
    chosen = choose_examples(SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.array([0, 1, 1, 0])), 2)
    assert chosen.best.tolist() == [1, 0]
    assert chosen.worst.tolist() == [2, 3]


def test_multi_label_goes_by_f1_and_then_by_confidence() -> None:
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]])
    scores = np.array([[0.9, 0.2, 0.1], [0.7, 0.1, 0.1], [0.9, 0.1, 0.1], [0.99, 0.1, 0.1]])
    chosen = choose_examples(SampleOutcome(TaskKind.MULTI_LABEL, scores, truth), 2)
    assert chosen.best.tolist() == [3, 1]  # both are right, the first of them with more confidence
    assert chosen.worst.tolist() == [2, 0]


def test_regression_errors_count_in_deviations_of_each_target() -> None:
    truth = np.array([[0.0, 0.0], [1.0, 1000.0], [2.0, 2000.0], [3.0, 3000.0]])
    wrong = np.array([[0.0, 100.0], [1.5, 0.0], [0.0, 0.0], [0.1, 0.0]])  # in deviations 0.09, 0.45, 0, 0.09
    chosen = choose_examples(SampleOutcome(TaskKind.REGRESSION, truth + wrong, truth), 2)
    assert chosen.best[0] == 2
    assert chosen.worst[0] == 1


def tables(*rows: list[list[int]]) -> ConfusionOutcome:
    return ConfusionOutcome(TaskKind.SEGMENTATION, np.array(rows))


def test_class_maps_go_by_the_metric_of_the_image_and_prefer_many_classes() -> None:
    outcome = tables(
        [[10, 0], [0, 0]],  # right, one class
        [[5, 0], [0, 5]],  # right, both classes
        [[5, 5], [5, 5]],
        [[0, 0], [0, 0]],  # nothing labelled
        [[0, 10], [0, 0]],
    )
    chosen = choose_examples(outcome, 9)
    assert chosen.best.tolist() == [1, 0]
    assert chosen.worst.tolist() == [4, 2]


def test_change_detection_leaves_out_images_without_change() -> None:
    outcome = ConfusionOutcome(
        TaskKind.CHANGE_DETECTION, np.array([[[9, 0], [0, 0]], [[5, 0], [0, 4]], [[5, 4], [0, 0]]])
    )
    chosen = choose_examples(outcome, 3)
    assert (chosen.best.tolist(), chosen.worst.tolist()) == ([1], [2])


def test_maps_of_a_quantity_go_by_their_error() -> None:
    sums = np.array([[4, 0, 0, 16.0], [1, 0, 0, 1.0], [100, 0, 0, 25.0], [0, 0, 0, 0]])
    chosen = choose_examples(ErrorOutcome(TaskKind.DENSE_REGRESSION, sums, 0.0), 5)
    assert (chosen.best.tolist(), chosen.worst.tolist()) == ([2, 1], [0])


def test_none_is_both_best_and_worst() -> None:
    outcome = SampleOutcome(TaskKind.SINGLE_LABEL, np.full((5, 2), 0.5), np.zeros(5, np.int64))
    chosen = choose_examples(outcome, 4)
    assert sorted([*chosen.best, *chosen.worst]) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="0 examples"):
        choose_examples(outcome, 0)


def test_maps_are_of_the_chosen_positions_and_come_back(tmp_path: Path) -> None:
    outcome = tables([[10, 0], [0, 2]], [[1, 9], [0, 2]], [[9, 1], [0, 2]])
    asked: list[list[int]] = []

    def predict(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(positions.tolist())
        truth = positions[:, None, None] * np.ones((1, 4, 6), np.int64)
        return truth, truth > 50, truth + 1

    maps = example_maps(outcome, np.array([40, 50, 60]), predict, count=1)
    assert asked == [[40, 50]]
    assert write_examples(tmp_path, "key", maps).name == "key.examples.npz"
    again = read_examples(tmp_path, "key")
    assert again is not None
    for name in ("positions", "truth", "labelled", "predicted"):
        np.testing.assert_array_equal(getattr(again, name), getattr(maps, name))
    assert again.truth.dtype == np.int16
    assert read_examples(tmp_path, "other") is None


def test_quantities_stay_quantities(tmp_path: Path) -> None:
    values = np.full((1, 2, 2), 0.25)
    write_examples(tmp_path, "key", ExampleMaps(np.array([3]), values, values > 0, values))
    again = read_examples(tmp_path, "key")
    assert again is not None
    assert (again.truth.dtype, again.predicted[0, 0, 0]) == (np.float32, 0.25)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.examples.npz").write_bytes(content)
    with pytest.raises(CorruptError, match=r"key\.examples\.npz"):
        read_examples(tmp_path, "key")


def test_a_file_with_an_object_in_it_is_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "key.examples.npz", positions=np.array([{}], object))
    with pytest.raises(CorruptError, match="allow_pickle=False"):
        read_examples(tmp_path, "key")


def test_maps_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(GridError, match="1 positions"):
        ExampleMaps(np.array([0]), np.zeros((1, 2, 2)), np.ones((1, 2, 2), bool), np.zeros((1, 2, 3)))
