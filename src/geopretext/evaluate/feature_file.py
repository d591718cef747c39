"""Features of a task in one Parquet file, for whoever wants to fit a head of their own.

One row a sample of the task; n samples, D features, K labels or targets::

    sample                int64            its number in the source: the tile, or the position of the image
    split                 string           train, val or test; null: in none of them
    label                 int64            single-label: the class, as a position in the task's classes
                          list<int64>      multi-label: K numbers, 0 or 1
                          list<double>     regression: K values
    pretrained, ...       list<float, D>   features by method; of several seeds "random_init/0", "random_init/1", ...

They are as the encoder gave them; heads standardise them by the training split (``LabelledFeatures.standardise``).
Name, kind and classes of the task are the JSON under ``geopretext`` in the metadata of the schema.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.local_file import replace_file
from geopretext.data.tiles import SPLITS
from geopretext.errors import CorruptError
from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task

Array = npt.NDArray[Any]

FEATURES_FILE = "features.parquet"
_KEY = b"geopretext"


@dataclass(frozen=True)
class FeatureTable:
    """What the file holds."""

    task: str
    kind: TaskKind
    classes: tuple[str, ...]
    samples: npt.NDArray[np.int64]
    """(n,)"""
    split: npt.NDArray[np.str_]
    """(n,) train, val, test; empty: none"""
    labels: Array
    """(n,) or (n, K), as ``Task.labels``"""
    features: Mapping[str, Array]
    """(n, D) float32 by column"""

    def labelled(self, column: str) -> LabelledFeatures:
        """One column of features with the labels, as ``knn`` and ``probe`` take them."""
        train, val, test = (np.flatnonzero(self.split == name) for name in SPLITS)
        return LabelledFeatures.standardise(
            self.features[column],
            self.labels,
            kind=self.kind,
            outputs=len(self.classes),
            train=train,
            val=val,
            test=test,
        )


def write_features(path: Path, task: Task, features: Mapping[str, Array | Sequence[Array]]) -> None:
    """Write features of ``task.samples``; the old file stays until the new one is complete.

    Args:
        path: of the file.
        task: whose samples they are.
        features: (n, D) by method: of one run, or of several.
    """
    split = np.full(len(task.samples), None, object)
    for name, positions in zip(SPLITS, (task.train, task.val, task.test), strict=True):
        split[positions] = name
    columns = {
        "sample": pa.array(task.samples, pa.int64()),
        "split": pa.array(split, pa.string()),
        "label": pa.array(task.labels) if task.labels.ndim == 1 else _rows(task.labels),
    }
    for method, runs in features.items():
        several = [runs] if isinstance(runs, np.ndarray) else list(runs)
        names = [method] if len(several) == 1 else [f"{method}/{number}" for number in range(len(several))]
        columns |= {name: _rows(run.astype(np.float32, copy=False)) for name, run in zip(names, several, strict=True)}
    facts = {"task": task.name, "kind": str(task.kind), "classes": list(task.classes)}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    content = pa.BufferOutputStream()
    # numbers of a network hardly compress
    pq.write_table(table, content, compression="zstd", use_dictionary=["split"])
    replace_file(path, content.getvalue().to_pybytes())


def read_features(path: Path) -> FeatureTable:
    """Read what ``write_features`` wrote.

    Raises:
        CorruptError: the file is missing, damaged or another one.
    """
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_KEY])
        plain = {name: table.column(name).combine_chunks() for name in table.column_names}
        split = plain.pop("split").fill_null("").to_numpy(zero_copy_only=False).astype(str)
        return FeatureTable(
            facts["task"],
            TaskKind(facts["kind"]),
            tuple(facts["classes"]),
            plain.pop("sample").to_numpy(),
            split,
            _numbers(plain.pop("label")),
            {name: _numbers(column) for name, column in plain.items()},
        )
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise CorruptError(
            f"holds no features of a task: {error}",
            where=str(path),
            hint="`geopretext evaluate probe ... --save-features` writes such a file",
        ) from error


def _rows(array: Array) -> Any:
    """(n, D) as n lists of D numbers."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def _numbers(column: Any) -> Array:
    if pa.types.is_fixed_size_list(column.type):
        rows: Array = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
        return rows
    numbers: Array = column.to_numpy()
    return numbers
