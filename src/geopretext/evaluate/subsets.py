"""Fewer labels: subsets of a task's training samples that are nested, stratified and the same everywhere.

A subset is the beginning of an order of the training samples that depends on the task and a seed only. So those of one
seed are nested, 1 % in 5 % in all, and a curve over amounts adds samples but never exchanges them. Every beginning of
the order is stratified:

- single-label: seats go to classes in turn by Sainte-Lague's method (Balinski and Young 1982), after one for each
  class, the rarest first. A share of fewer samples than there are classes is that one of each.
- all others: by iterative stratification (Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10), halving again and
  again. What is spread evenly: labels, of multi-label; tenths of the values of each target, of regression; classes that
  occur in a map, of segmentation and change detection; tenths of the mean of a map, of dense regression. A label rarer
  than the share may be missing.

``k a class`` takes the first k samples of each class. Of multi-label, and of the classes of maps, every label gets at
least k: in k rounds, the rarest label first, each label that has fewer than the round's number gets one more sample.
Labels that no training sample has are passed over. Regressions have no classes.

Shapes: n training samples, L labels or strata.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task

Array = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]

_AMOUNT = re.compile(r"\s*(?:(?P<share>\d+(?:\.\d+)?)\s*%|(?P<count>\d+)\s+(?:a|per)\s+class)\s*")
_TENTHS = 10
_MAPS_AT_ONCE = 64


@dataclass(frozen=True)
class Amount:
    """How many training labels: one of the two.

    Raises:
        InputError: the number is out of its range.
    """

    percent: float | None = None
    """of the training samples, above 0, at most 100"""
    a_class: int | None = None
    """samples of each class, at least 1"""

    def __post_init__(self) -> None:
        assert (self.percent is None) != (self.a_class is None)
        if self.percent is not None and not 0 < self.percent <= 100:
            raise InputError(f"{self} of the labels", hint="above 0 %, at most 100 %")
        if self.a_class is not None and self.a_class < 1:
            raise InputError(f"{self}", hint="at least 1 a class")

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else f"{self.a_class} a class"


def parse_amount(text: str) -> Amount:
    """``"1%"``, ``"0.5 %"``, ``"100%"``, ``"5 a class"``.

    Raises:
        InputError: it is none of these.
    """
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise InputError(f"{text!r} is no amount of labels", hint='as "1%" or "5 a class"')
    share, count = found.group("share", "count")
    return Amount(percent=float(share)) if share else Amount(a_class=int(count))


def subset(task: Task, amount: Amount | str, seed: int, *, shrink_validation: bool = False) -> Task:
    """The task with fewer training labels; validation and test samples stay, and so does the order of what is left.

    For several subsets of one task of maps, make ``Subsets`` once: it reads the maps once.

    Args:
        task: whole.
        amount: as ``parse_amount`` takes it.
        seed: of the draw, at least 0.
        shrink_validation: also take the same share of the validation samples, as someone who has few labels has few to
            choose by. Default: all of them are kept, as the partitions of GEO-Bench do.

    Raises:
        InputError: there are not as many labels of a class, or a regression has no classes.
        ClassError, GridError, CorruptError: a label map cannot be read.
    """
    return Subsets(task).take(amount, seed, shrink_validation=shrink_validation)


@dataclass(frozen=True)
class Subsets:
    """All subsets of a task; label maps are read once, when a subset first asks for them."""

    task: Task

    def take(self, amount: Amount | str, seed: int, *, shrink_validation: bool = False) -> Task:
        """See ``subset``."""
        if isinstance(amount, str):
            amount = parse_amount(amount)
        task = self.task
        if amount.percent == 100:
            return task
        train = self._train.take(amount, seed, where=f"task {task.name!r}")
        left_out = {**task.left_out, f"not in {amount} of the labels": len(task.train) - len(train)}
        val = task.val
        if shrink_validation:
            share = Amount(percent=100 * len(train) / len(task.train))
            val = self._val.take(share, seed, where=f"task {task.name!r}")
            left_out["validation, in proportion"] = len(task.val) - len(val)
        return replace(task, train=train, val=val, left_out=left_out)

    @cached_property
    def _train(self) -> "_Pool":
        return _Pool.of(self.task, self.task.train)

    @cached_property
    def _val(self) -> "_Pool":
        return _Pool.of(self.task, self.task.val)


@dataclass(frozen=True)
class _Pool:
    """Samples to draw from, with what they are stratified by."""

    positions: Positions
    """(n,) in ``task.samples``"""
    strata: npt.NDArray[np.bool_]
    """(n, L)"""
    names: Sequence[str]
    """of the strata, if they are classes; empty if not"""
    exclusive: bool
    """each sample has exactly one class"""

    @classmethod
    def of(cls, task: Task, positions: Positions) -> "_Pool":
        names = () if task.kind in (TaskKind.REGRESSION, TaskKind.DENSE_REGRESSION) else task.classes
        return cls(positions, _strata(task, positions), names, task.kind is TaskKind.SINGLE_LABEL)

    def take(self, amount: Amount, seed: int, *, where: str) -> Positions:
        """Positions in the order in which they were."""
        order = _shuffled(len(self.positions), seed)
        strata = self.strata[order]
        if amount.a_class is not None:
            chosen = self._some_a_class(strata, amount.a_class, where)
        else:
            assert amount.percent is not None
            size = max(1, _half_up(amount.percent / 100 * len(strata)))
            chosen = _in_turn(strata.argmax(1), size) if self.exclusive else _halved(strata, size)
        return np.asarray(self.positions[np.sort(order[chosen])])

    def _some_a_class(self, strata: npt.NDArray[np.bool_], number: int, where: str) -> Positions:
        if not self.names:
            raise InputError(f"{number} a class of a regression", where=where, hint='give a share, as "1%"')
        counts = strata.sum(0)
        short = [f"{name} {count}" for name, count in zip(self.names, counts, strict=True) if 0 < count < number]
        if short:
            raise InputError(
                f"has fewer than {number} training samples of {', '.join(short)}",
                where=where,
                hint=f'at most "{counts[counts > 0].min()} a class", or a share, as "5%"',
            )
        return _rounds(strata, number)


def _strata(task: Task, positions: Positions) -> npt.NDArray[np.bool_]:
    """What samples are stratified by, (n, L)."""
    match task.kind:
        case TaskKind.SINGLE_LABEL:
            return np.asarray(task.labels[positions, None] == np.arange(len(task.classes)))
        case TaskKind.MULTI_LABEL:
            return np.asarray(task.labels[positions] > 0)
        case TaskKind.REGRESSION:
            return _tenths(task.labels[positions])
        case TaskKind.SEGMENTATION | TaskKind.CHANGE_DETECTION:
            return _classes_of_maps(task, positions)
        case TaskKind.DENSE_REGRESSION:
            return _tenths(_means_of_maps(task, positions)[:, None])


def _tenths(values: Array) -> npt.NDArray[np.bool_]:
    """In which tenth of the values of each of K targets a sample is, (n, 10 K), by rank; a NaN is in none."""
    known = np.isfinite(values)
    rank = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    tenth = np.where(known, rank * _TENTHS // np.maximum(known.sum(0), 1), -1)
    return np.asarray((tenth[:, :, None] == np.arange(_TENTHS)).reshape(len(values), -1))


def _classes_of_maps(task: Task, positions: Positions) -> npt.NDArray[np.bool_]:
    assert task.maps is not None
    present = np.zeros((len(positions), len(task.classes)), np.bool_)
    for start in range(0, len(positions), _MAPS_AT_ONCE):
        classes, labelled = task.maps.read(task.samples[positions[start : start + _MAPS_AT_ONCE]])
        image = np.nonzero(labelled)[0]
        present[start + image, classes[labelled]] = True
    return present


def _means_of_maps(task: Task, positions: Positions) -> Array:
    """Over labelled pixels, (n,); NaN without any."""
    assert task.maps is not None
    means = []
    for start in range(0, len(positions), _MAPS_AT_ONCE):
        values, labelled = task.maps.read(task.samples[positions[start : start + _MAPS_AT_ONCE]])
        total = np.where(labelled, values, 0).sum((1, 2), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            means.append(total / labelled.sum((1, 2)))
    return np.concatenate(means)


def _shuffled(count: int, seed: int) -> Positions:
    """A random order that depends on nothing but both numbers: raw output of a generator is the same in every numpy."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def _half_up(number: float) -> int:
    """To the nearest whole number; rounded first, since 0.5 % of 300 is not quite 1.5."""
    return int(np.floor(round(number, 9) + 0.5))


def _in_turn(classes: npt.NDArray[np.int64], size: int) -> Positions:
    """The first ``size`` samples in an order in which each class takes turns by its size; at least one of each.

    The j-th sample of a class of m comes at (2 j - 1) / m, which is Sainte-Lague's order.
    """
    counts = np.bincount(classes)
    size = max(size, int((counts > 0).sum()))
    by_class = np.argsort(classes, kind="stable")
    number = np.empty(len(classes), np.int64)
    number[by_class] = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # First samples come before all others, the rarest class first; numbers start at 0.
    turn = np.where(number == 0, -1.0 / counts[classes], (2 * number + 1) / counts[classes])
    return np.argsort(turn, kind="stable")[:size]


def _rounds(strata: npt.NDArray[np.bool_], number: int) -> Positions:
    """At least ``number`` samples of each label that occurs."""
    counts = strata.sum(0)
    labels = [label for label in np.argsort(counts, kind="stable") if counts[label]]
    have, taken = np.zeros(strata.shape[1], np.int64), np.zeros(len(strata), np.bool_)
    chosen: list[int] = []
    for wanted in range(1, number + 1):
        for label in labels:
            if have[label] < wanted:
                sample = int(np.argmax(strata[:, label] & ~taken))
                taken[sample] = True
                have += strata[sample]
                chosen.append(sample)
    return np.asarray(chosen, np.int64)


def _halved(strata: npt.NDArray[np.bool_], size: int) -> Positions:
    """The first ``size`` samples in an order whose halves, quarters and so on are stratified alike."""
    members = np.arange(len(strata))
    chosen: list[Positions] = []
    while size:
        if size == len(members):
            chosen.append(members)
            break
        first, second = _halves(strata, members)
        if size >= len(first):
            chosen.append(first)
            size -= len(first)
            members = second
        else:
            members = first
    return np.concatenate(chosen) if chosen else members[:0]


def _halves(strata: npt.NDArray[np.bool_], members: Positions) -> tuple[Positions, Positions]:
    """Iterative stratification (Sechidis et al. 2011, algorithm 1) into two halves; the first is larger by 1 if odd.

    Labels are gone through from the rarest of those that are left; each of its samples goes where more samples of the
    label are still wanted, then where more samples at all are. Twice the wanted numbers are kept, which are whole.
    """
    rows = strata[members]
    left = rows.sum(0)
    wanted, room = np.stack([left, left]), np.array([len(members) + 1, len(members)]) // 2
    side = np.full(len(members), -1, np.int8)
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, len(members) + 1)))
        for sample in np.flatnonzero(rows[:, label] & (side < 0)):
            to = _side(wanted[:, label], wanted[:, rows[sample]].sum(1), room, int(members[sample] % 2))
            side[sample] = to
            room[to] -= 1
            wanted[to] -= 2 * rows[sample]
            left -= rows[sample]
    rest = np.flatnonzero(side < 0)
    side[rest[: room[0]]], side[rest[room[0] :]] = 0, 1
    return members[side == 0], members[side == 1]


def _side(of_label: Array, of_all: Array, room: Array, coin: int) -> int:
    """Which half wants a sample more; a full one wants none, and of two alike the coin decides."""
    if not room.all():
        return int(room[0] == 0)
    for wanted in (of_label, of_all, room):
        if wanted[0] != wanted[1]:
            return int(wanted[1] > wanted[0])
    return coin
