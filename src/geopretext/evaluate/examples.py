"""Examples for a report: which test samples a run did best and worst, and predicted maps kept beside its result.

Maps are ``KEY.examples.npz`` beside ``KEY.json``: whoever trains a dense head holds the network, and a report does not.

Shapes: ``n`` test samples, ``m`` examples, H W pixels of the window that the encoder saw (the centre of the image).
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geopretext.data.local_file import replace_file
from geopretext.errors import CorruptError, GridError, InputError
from geopretext.evaluate.metrics import METRICS, THRESHOLD, Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, Outcome, SampleOutcome

Array = npt.NDArray[Any]

_SUFFIX = ".examples.npz"
_TINY = 1e-12


class Chosen(NamedTuple):
    """Rows of an outcome, 0 to n - 1; the first of each is the most extreme."""

    best: npt.NDArray[np.int64]
    worst: npt.NDArray[np.int64]


def choose_examples(outcome: Outcome, count: int) -> Chosen:
    """The test samples that a run did best and worst.

    Samples are ordered by: the probability of the true class (single-label); F1 of the sample's labels, then their
    log-likelihood (multi-label); the error in standard deviations of each target (regression); the headline metric of
    the image alone, then how many classes it has (class maps); its root mean square error (maps of a quantity). Images
    on which that is undefined are left out: nothing labelled, or no change in truth and prediction.

    Args:
        outcome: of one run.
        count: how many of each are wanted; with fewer than twice as many samples, half of them are the best.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"{count} examples are wanted", hint="at least 1")
    match outcome:
        case SampleOutcome():
            quality, second = _sample_quality(outcome)
        case ConfusionOutcome():
            quality, second = _map_quality(outcome)
        case ErrorOutcome():
            with np.errstate(invalid="ignore", divide="ignore"):
                quality = -np.sqrt(outcome.sums[:, 3] / outcome.sums[:, 0])
            second = np.zeros(len(quality))
        case _:
            raise AssertionError(f"{type(outcome).__name__} is no outcome of this package")
    defined = np.flatnonzero(np.isfinite(quality))
    order = defined[np.lexsort((second[defined], quality[defined]))][::-1]
    half = -(-len(order) // 2)
    return Chosen(order[: min(count, half)], order[half:][::-1][:count])


def _sample_quality(outcome: SampleOutcome) -> tuple[Array, Array]:
    """How good each sample is (n,), and what settles ties (n,)."""
    scores, labels = outcome.scores, outcome.labels
    if outcome.kind is TaskKind.SINGLE_LABEL:
        quality = scores[np.arange(len(labels)), labels]
        return quality, -scores.max(1)
    if outcome.kind is TaskKind.MULTI_LABEL:
        decided, truth = scores > THRESHOLD, labels > THRESHOLD
        found, named = (decided & truth).sum(1), decided.sum(1) + truth.sum(1)
        f1 = np.where(named > 0, 2 * found / np.maximum(named, 1), 1.0)
        likelihood = np.log(np.maximum(np.where(truth, scores, 1 - scores), _TINY)).sum(1)
        return f1, likelihood
    spread = labels.std(0)
    error = np.abs(scores - labels) / np.where(spread > 0, spread, 1.0)
    return -error.mean(1), np.zeros(len(labels))


def _map_quality(outcome: ConfusionOutcome) -> tuple[Array, Array]:
    metric: Metric = METRICS[outcome.kind][0]
    alone = [ConfusionOutcome(outcome.kind, table[None]) for table in outcome.confusion]
    defined = outcome.confusion.sum((1, 2)) > 0
    quality = [image.measure(metric) if known else np.nan for image, known in zip(alone, defined, strict=True)]
    return np.asarray(quality, np.float64), (outcome.confusion.sum(2) > 0).sum(1)


@dataclass(frozen=True)
class ExampleMaps:
    """Maps of some test samples, true and predicted.

    Raises:
        GridError: the arrays are not of the same samples and pixels.
    """

    positions: npt.NDArray[np.int64]
    """(m,) in ``task.samples``, as ``CellResult.test``"""
    truth: Array
    """(m, H, W) class indices, or quantities"""
    labelled: npt.NDArray[np.bool_]
    """(m, H, W) where ``truth`` is known"""
    predicted: Array
    """(m, H, W) as ``truth``"""

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("truth", "labelled", "predicted")}
        if len(set(shapes.values())) > 1 or self.truth.ndim != 3 or len(self.positions) != len(self.truth):
            given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise GridError(f"example maps do not fit together: {len(self.positions)} positions, {given}")


def example_maps(
    outcome: Outcome,
    test: npt.NDArray[np.int64],
    predict: Callable[[npt.NDArray[np.int64]], tuple[Array, Array, Array]],
    count: int = 3,
) -> ExampleMaps:
    """Maps of the best and the worst test images of a dense head, while its network is at hand.

    Args:
        outcome: of the run.
        test: (n,) positions in ``task.samples`` of the samples of ``outcome``.
        predict: positions (m,) -> true map, where it is labelled, predicted map; each (m, H, W).
        count: how many of the best, and how many of the worst.
    """
    positions = test[np.concatenate(choose_examples(outcome, count))]
    return ExampleMaps(positions, *predict(positions))


def write_examples(folder: Path, key: str, maps: ExampleMaps) -> Path:
    """Write the maps of a cell beside its result; call it before ``cells.write_result``, which completes the cell.

    Classes are kept as int16 and quantities as float32, whatever they come as.

    Args:
        folder: ``OUT/cells``; made if need be.
        key: ``Cell.key``.
        maps: a few: they are for looking at.

    Returns:
        path of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    dtype = np.float32 if np.issubdtype(maps.truth.dtype, np.floating) else np.int16
    np.savez_compressed(
        content,
        positions=maps.positions.astype(np.int64),
        truth=maps.truth.astype(dtype),
        labelled=maps.labelled.astype(np.bool_),
        predicted=maps.predicted.astype(dtype),
    )
    path = folder / f"{key}{_SUFFIX}"
    replace_file(path, content.getvalue())
    return path


def read_examples(folder: Path, key: str) -> ExampleMaps | None:
    """The maps that ``write_examples`` wrote; None if there are none.

    Raises:
        CorruptError: the file is damaged.
    """
    path = folder / f"{key}{_SUFFIX}"
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return ExampleMaps(*(stored[name] for name in ("positions", "truth", "labelled", "predicted")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(
            f"example maps cannot be read: {error}",
            where=str(path),
            hint=f"delete this file and {key}.json, and run the suite again: only that cell is computed",
        ) from error
