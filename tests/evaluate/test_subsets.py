"""Subsets of labels: nested, stratified, the same everywhere, and apart from validation and test."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.errors import InputError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.subsets import Amount, Subsets, parse_amount, subset
from geopretext.evaluate.task import Task

SHARES = ("0.5%", "1%", "5%", "20%", "50%", "90%", "100%")


class Maps:
    """Label maps in memory that count how often each is read."""

    def __init__(self, values: np.ndarray, labelled: np.ndarray) -> None:
        self.values, self.labelled = values, labelled
        self.reads = np.zeros(len(values), int)

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.reads[samples] += 1
        return self.values[samples], self.labelled[samples]


def make_task(kind: TaskKind, labels: np.ndarray, classes: int, maps: Maps | None = None) -> Task:
    """Positions are a random order, of which three fifths train; sample numbers differ from positions."""
    order = np.random.default_rng(5).permutation(len(labels))
    train, val, test = np.split(order, [len(order) * 3 // 5, len(order) * 4 // 5])
    return Task(
        name="toy",
        kind=kind,
        classes=tuple(f"c{n}" for n in range(classes)),
        inputs=None,
        samples=np.arange(len(labels))[::-1].copy(),
        labels=labels,
        train=train,
        val=val,
        test=test,
        left_out={"cloudy": 3},
        maps=maps,
        later=object() if kind is TaskKind.CHANGE_DETECTION else None,
    )


def single_label(seed: int, count: int = 400, classes: int = 6) -> Task:
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(classes, 0.6))
    return make_task(TaskKind.SINGLE_LABEL, generator.choice(classes, count, p=shares), classes)


def multi_label(seed: int, count: int = 400, classes: int = 7) -> Task:
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0.02, 0.6, classes)
    shares[0] = 0.5
    return make_task(TaskKind.MULTI_LABEL, (generator.random((count, classes)) < shares).astype(np.int64), classes)


def regression(seed: int, count: int = 400) -> Task:
    return make_task(TaskKind.REGRESSION, np.random.default_rng(seed).gamma(1.0, 5.0, (count, 2)), 2)


def dense(kind: TaskKind, seed: int, count: int = 200) -> Task:
    generator = np.random.default_rng(seed)
    labelled = generator.random((count, 4, 4)) < 0.8
    if kind is TaskKind.DENSE_REGRESSION:
        values = generator.normal(generator.uniform(0, 30, (count, 1, 1)), 1, (count, 4, 4)).astype(np.float32)
        return make_task(kind, np.zeros((count, 0)), 1, Maps(values, labelled))
    most = generator.integers(1, 5, (count, 1, 1)) if kind is TaskKind.SEGMENTATION else 2
    values = (generator.random((count, 4, 4)) ** 3 * most).astype(np.int64)
    return make_task(kind, np.zeros((count, 0)), 4 if kind is TaskKind.SEGMENTATION else 2, Maps(values, labelled))


def any_task(kind: TaskKind, seed: int) -> Task:
    match kind:
        case TaskKind.SINGLE_LABEL:
            return single_label(seed)
        case TaskKind.MULTI_LABEL:
            return multi_label(seed)
        case TaskKind.REGRESSION:
            return regression(seed)
        case _:
            return dense(kind, seed)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1%", Amount(percent=1)),
        (" 0.5 % ", Amount(percent=0.5)),
        ("100%", Amount(percent=100)),
        ("5 a class", Amount(a_class=5)),
        ("1 per class", Amount(a_class=1)),
    ],
)
def test_amounts_are_read_and_written(text: str, amount: Amount) -> None:
    assert parse_amount(text) == amount
    assert parse_amount(str(amount)) == amount


@pytest.mark.parametrize("text", ["", "5", "0.01", "%", "-1%", "1 %%", "five a class", "1.5 a class", "1% a class"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r'is no amount of labels\nhint: as "1%" or "5 a class"'):
        parse_amount(text)


@pytest.mark.parametrize("text", ["0%", "101%", "0 a class"])
def test_amounts_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="hint: a"):
        parse_amount(text)


@pytest.mark.parametrize("kind", list(TaskKind), ids=str)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(number=st.integers(0, 10_000), seed=st.integers(0, 3))
def test_shares_are_nested_and_apart_from_the_other_splits(kind: TaskKind, number: int, seed: int) -> None:
    task = any_task(kind, number)
    subsets = Subsets(task)
    sets = [subsets.take(amount, seed) for amount in SHARES]
    for smaller, larger in pairwise(sets):
        assert set(smaller.train) <= set(larger.train)
    for amount, some in zip(SHARES, sets, strict=True):
        assert len(set(some.train)) == len(some.train)
        np.testing.assert_array_equal(some.train, [position for position in task.train if position in set(some.train)])
        np.testing.assert_array_equal(some.val, task.val)
        np.testing.assert_array_equal(some.test, task.test)
        wanted = len(task.train) * float(amount[:-1]) / 100
        if kind is not TaskKind.SINGLE_LABEL:
            assert abs(len(some.train) - max(1, wanted)) <= 0.5
    np.testing.assert_array_equal(sets[-1].train, task.train)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(number=st.integers(0, 10_000), percent=st.floats(0.2, 99), classes=st.integers(2, 30))
def test_seats_are_dealt_to_classes_as_fairly_as_can_be(number: int, percent: float, classes: int) -> None:
    """No class could give a sample to another and leave both nearer to their share: Sainte-Lague's mark."""
    task = single_label(number, classes=classes)
    some = subset(task, Amount(percent=percent), seed=1)
    sizes, taken = (np.bincount(task.labels[split], minlength=classes) for split in (task.train, some.train))
    present = sizes > 0
    assert (taken[present] >= 1).all()
    assert len(some.train) == max(present.sum(), np.floor(percent / 100 * len(task.train) + 0.5))
    givers, takers = taken > 1, present & (taken < sizes)
    if givers.any() and takers.any():
        assert ((2 * taken - 1) / np.maximum(sizes, 1))[givers].max() <= ((2 * taken + 1) / np.maximum(sizes, 1))[
            takers
        ].min() + 1e-12


@settings(max_examples=20, deadline=None, derandomize=True)
@given(number=st.integers(0, 10_000), percent=st.sampled_from([5.0, 10.0, 25.0, 40.0, 75.0]))
def test_labels_are_spread_evenly_though_they_come_together(number: int, percent: float) -> None:
    task = multi_label(number)
    some = subset(task, Amount(percent=percent), seed=0)
    wanted = task.labels[task.train].sum(0) * percent / 100
    got = task.labels[some.train].sum(0)
    # A random draw of 60 of 240 is off by 3.3 (one deviation) for a label that every second sample has.
    assert np.abs(got - wanted).max() <= 4
    assert np.abs(got - wanted).mean() <= 1.2


def test_iterative_stratification_is_closer_than_chance() -> None:
    task = multi_label(3, count=2000)
    labels, size = task.labels[task.train], len(task.train) // 10
    wanted = labels.mean(0) * size
    ours = np.abs(labels_of(task, "10%") - wanted).mean()
    generator = np.random.default_rng(0)
    chance = [np.abs(labels[generator.permutation(len(labels))[:size]].sum(0) - wanted).mean() for _ in range(50)]
    assert ours < min(chance) / 1.5


def labels_of(task: Task, amount: str) -> np.ndarray:
    return np.asarray(task.labels[subset(task, amount, 0).train].sum(0))


def test_values_of_every_target_are_spread_evenly() -> None:
    task = regression(0)
    some = subset(task, "25%", seed=0)
    for target in range(2):
        edges = np.quantile(task.labels[task.train, target], np.linspace(0, 1, 11))
        counts = np.histogram(task.labels[some.train, target], edges)[0]
        assert np.abs(counts - 6).max() <= 2


def test_classes_of_maps_are_spread_evenly_and_maps_are_read_once() -> None:
    task = dense(TaskKind.SEGMENTATION, 0)
    maps = task.maps
    assert isinstance(maps, Maps)
    subsets = Subsets(task)
    for seed in range(3):
        some = subsets.take("25%", seed)
        present = [[(maps.values[s] == k)[maps.labelled[s]].any() for k in range(4)] for s in task.samples[task.train]]
        share = np.mean(present, axis=0)
        got = np.mean([present[list(task.train).index(position)] for position in some.train], axis=0)
        np.testing.assert_allclose(got, share, atol=2 / 30)
    subsets.take("5 a class", 0)
    np.testing.assert_array_equal(maps.reads, np.isin(np.arange(200), task.samples[task.train]))


def test_means_of_maps_are_spread_evenly() -> None:
    task = dense(TaskKind.DENSE_REGRESSION, 0)
    maps = task.maps
    assert isinstance(maps, Maps)
    mean = np.array([maps.values[s][maps.labelled[s]].mean() for s in task.samples])
    edges = np.quantile(mean[task.train], np.linspace(0, 1, 11))
    counts = np.histogram(mean[subset(task, "25%", 0).train], edges)[0]
    assert np.abs(counts - 3).max() <= 1


def test_all_labels_need_no_maps() -> None:
    task = dense(TaskKind.SEGMENTATION, 0)
    assert subset(task, "100%", 3) is task
    assert isinstance(task.maps, Maps)
    assert not task.maps.reads.any()


def test_some_a_class_are_exactly_that_many_and_nested() -> None:
    task = make_task(TaskKind.SINGLE_LABEL, np.random.default_rng(0).choice(4, 400, p=(0.5, 0.3, 0.1, 0.1)), 5)
    sets = [subset(task, f"{number} a class", seed=0) for number in (1, 2, 5, 10)]
    for number, some in zip((1, 2, 5, 10), sets, strict=True):
        assert np.bincount(task.labels[some.train], minlength=5).tolist() == [number] * 4 + [0]
    for smaller, larger in pairwise(sets):
        assert set(smaller.train) < set(larger.train)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(number=st.integers(0, 10_000))
def test_some_a_label_are_at_least_that_many_and_nested(number: int) -> None:
    task = multi_label(number, count=800)
    least = int(task.labels[task.train].sum(0).min())
    sets = [subset(task, Amount(a_class=size), seed=2) for size in sorted({1, 2, max(1, least // 2), least}) if size]
    for some in sets:
        size = int(task.labels[some.train].sum(0).min())
        assert len(some.train) <= size * 7
    for smaller, larger in pairwise(sets):
        assert set(smaller.train) <= set(larger.train)
    assert (task.labels[sets[-1].train].sum(0) >= least).all()


def test_a_class_with_fewer_is_named() -> None:
    labels = np.repeat([0, 1, 2], [100, 100, 5])
    task = make_task(TaskKind.SINGLE_LABEL, labels, 3)
    count = int((labels[task.train] == 2).sum())
    with pytest.raises(InputError, match=rf'fewer than 20 training samples of c2 {count}\n.*at most "{count} a class"'):
        subset(task, "20 a class", 0)


def test_a_regression_has_no_classes() -> None:
    with pytest.raises(InputError, match=r'5 a class of a regression\nhint: give a share, as "1%"'):
        subset(regression(0), "5 a class", 0)


@pytest.mark.parametrize("kind", list(TaskKind), ids=str)
def test_the_seed_settles_the_subset(kind: TaskKind) -> None:
    task = any_task(kind, 4)
    first, again, other = (subset(task, "20%", seed).train for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (TaskKind.SINGLE_LABEL, "56f511ab81f5"),
        (TaskKind.MULTI_LABEL, "a588d922d052"),
        (TaskKind.REGRESSION, "892ad9e6b690"),
    ],
    ids=str,
)
def test_a_subset_is_the_same_on_every_machine(kind: TaskKind, digest: str) -> None:
    """Labels and splits by arithmetic, since numpy's distributions may change between versions."""
    numbers = np.arange(300)
    labels = {
        TaskKind.SINGLE_LABEL: numbers * numbers % 7 % 4,
        TaskKind.MULTI_LABEL: (numbers[:, None] % np.array([2, 3, 5, 11]) == 0).astype(np.int64),
        TaskKind.REGRESSION: (numbers * 37 % 101).astype(np.float64)[:, None],
    }[kind]
    task = make_task(kind, labels, 4 if kind is not TaskKind.REGRESSION else 1)
    some = subset(replace(task, train=numbers[:240], val=numbers[240:270], test=numbers[270:]), "20%", seed=11)
    assert hashlib.sha256(some.train.astype("<i8").tobytes()).hexdigest()[:12] == digest


def test_validation_shrinks_if_asked_and_it_is_said() -> None:
    task = single_label(1)
    whole, shrunk = (subset(task, "25%", 0, shrink_validation=shrink) for shrink in (False, True))
    np.testing.assert_array_equal(whole.train, shrunk.train)
    assert len(shrunk.val) == pytest.approx(len(task.val) / 4, abs=1)
    assert set(shrunk.val) < set(task.val)
    np.testing.assert_array_equal(shrunk.test, task.test)
    assert whole.left_out == {"cloudy": 3, "not in 25% of the labels": len(task.train) - len(whole.train)}
    assert shrunk.left_out["validation, in proportion"] == len(task.val) - len(shrunk.val)
    assert shrunk.counts["train"] == len(shrunk.train)
