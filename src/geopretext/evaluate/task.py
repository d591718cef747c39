"""A downstream task as a typed spec: kind, classes, inputs, labels, splits, metric; wherever it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.evaluate.inputs import Inputs
from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind
from geopretext.nn.bundle import Encoder

Array = npt.NDArray[Any]


class LabelMaps(Protocol):
    """Labels of each pixel, on the grid of the images."""

    def read(self, samples: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Class indices (int64) or quantities (float32), (B, H, W), and which are labelled; the rest is 0.

        Args:
            samples: as in ``Task.samples``.

        Raises:
            ClassError: a stored code is neither a class nor to be ignored.
            GridError: a map has another size than its image.
            CorruptError: a map cannot be decoded.
        """


@dataclass(frozen=True)
class Task:
    """What is to be predicted from a representation; n samples, K classes, labels or targets.

    Raises:
        InputError: a split is empty, samples are in two splits, or there is nothing to tell apart.
    """

    name: str
    """for people and for ``scores.json``"""
    kind: TaskKind
    classes: tuple[str, ...]
    """names of the K classes, labels or regression targets; of change detection, "unchanged" and "changed" """
    inputs: Inputs
    """where samples are read from; of change detection, the earlier image"""
    samples: npt.NDArray[np.int64]
    """(n,) numbers of the samples in their source: tile numbers, or positions in a list of images"""
    labels: Array
    """(n,) class indices; (n, K) int64 of 0 and 1; or (n, K) float64 values. Dense kinds: (n, 0), see ``maps``"""
    train: npt.NDArray[np.int64]
    """positions in ``samples``, likewise ``val`` and ``test``"""
    val: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    left_out: Mapping[str, int]
    """how many samples of the source are in no split, by reason"""
    maps: LabelMaps | None = None
    """labels of each pixel: of dense kinds, and of no others"""
    later: Inputs | None = None
    """the later image: of change detection, and of no other kind"""
    codes: tuple[int, ...] = ()
    """numbers that stand for the classes in the label maps as stored; empty: none are known"""
    ignore: float | None = None
    """number that means "not labelled" there; None: none is known"""
    unit: str = ""
    """of the quantities to be predicted; empty: not known"""

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        for split, positions in zip(SPLITS, (self.train, self.val, self.test), strict=True):
            if not len(positions):
                raise InputError(f"split {split!r} has no labelled sample", where=where, hint=split_hint(self.name))
        everything = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(everything)) != len(everything):
            raise InputError("a sample is in two splits", where=where)
        if len(self.labels) != len(self.samples):
            raise InputError(f"has {len(self.labels)} labels for {len(self.samples)} samples", where=where)
        if self.kind.is_dense != (self.maps is not None):
            raise InputError(
                f"is {self.kind}, which {'needs' if self.kind.is_dense else 'has no'} label maps", where=where
            )
        if (self.kind is TaskKind.CHANGE_DETECTION) != (self.later is not None):
            raise InputError("change detection, and nothing else, has a later image", where=where)
        if self.kind in (TaskKind.SINGLE_LABEL, TaskKind.SEGMENTATION) and len(self.classes) < 2:
            raise InputError(
                f"has only one class ({', '.join(self.classes)}): there is nothing to tell apart",
                where=where,
                hint="give at least two classes",
            )
        test = self.labels[self.test]
        for name, positions in (("validation", self.val), ("test", self.test)):
            if self.kind is TaskKind.MULTI_LABEL and not self.labels[positions].any():
                raise InputError(f"no {name} sample has any label", where=where, hint=split_hint(self.name))
        if self.kind is TaskKind.REGRESSION and (test == test[0]).all(0).any():
            raise InputError("all test samples have the same value", where=where, hint=split_hint(self.name))

    @property
    def metric(self) -> Metric:
        """The headline metric."""
        return METRICS[self.kind][0]

    def suited(self, encoder: Encoder) -> Encoder:
        """The encoder of those of its inputs that the samples have; one with a single input stays itself.

        Raises:
            InputError, BandError: there is none of them.
        """
        encoder = self.inputs.suited(encoder)
        return encoder if self.later is None else self.later.suited(encoder)

    @property
    def counts(self) -> dict[str, int]:
        """Samples by split, and those left out by reason."""
        sizes = {"train": len(self.train), "val": len(self.val), "test": len(self.test)}
        return {**sizes, **self.left_out}

    def require_one_label_a_sample(self) -> None:
        """Refuse dense kinds, for heads that see one vector a sample.

        Raises:
            InputError: says what can be done with the task instead.
        """
        if self.kind.is_dense:
            raise InputError(
                f"is {self.kind}, one label a pixel; k-NN and linear probe need one label a sample",
                where=f"task {self.name!r}",
                hint="`geopretext evaluate finetune` trains a decoder on it; for one of your own, task.inputs gives the"
                " images and task.maps the labels",
            )

    def labelled(self, features: Array) -> LabelledFeatures:
        """Features (n, D) of ``samples`` with the labels, standardised by the training split.

        Raises:
            InputError: there is not one row a sample, or the labels are of pixels.
            NonFiniteError: a feature is NaN or infinite.
        """
        self.require_one_label_a_sample()
        return LabelledFeatures.standardise(
            features,
            self.labels,
            kind=self.kind,
            outputs=len(self.classes),
            train=self.train,
            val=self.val,
            test=self.test,
        )


def split_hint(name: str) -> str:
    """How to get a split, for a store."""
    store = name.rpartition(":")[0] or name
    return f"`geopretext split {store}` makes a split into train, val and test"
