"""Features on disk: a head of scikit-learn on them scores what ours does."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geopretext.data.store import Store
from geopretext.errors import CorruptError, InputError
from geopretext.evaluate.evaluation import evaluate, evaluate_many
from geopretext.evaluate.feature_file import read_features, write_features
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.probe import probe
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import store_task

from .small_store import make_encoder, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("features") / "tiles.zarr")


def made_task(kind: TaskKind) -> tuple[Task, np.ndarray]:
    """Labels that hang on features with noise, so that no head is perfect; ten samples are in no split."""
    generator = np.random.default_rng(5)
    hidden = generator.normal(size=(910, 6))
    features = hidden @ generator.normal(size=(6, 30)) + generator.normal(size=(910, 30))
    noisy = hidden @ generator.normal(size=(6, 4)) + 2 * generator.normal(size=(910, 4))
    labels = {
        TaskKind.SINGLE_LABEL: noisy.argmax(1),
        TaskKind.MULTI_LABEL: (noisy > 1).astype(np.int64),
        TaskKind.REGRESSION: 300 + noisy * [1, 10, 0.1, 3],
    }[kind]
    order = generator.permutation(910)
    task = Task(
        name="made",
        kind=kind,
        classes=("a", "b", "c", "d"),
        inputs=None,
        samples=np.arange(1000, 1910),
        labels=labels,
        train=order[:400],
        val=order[400:600],
        test=order[600:900],
        left_out={},
    )
    return task, (features * np.logspace(-1, 2, 30) + 7).astype(np.float32)


def scikit_learn(kind: TaskKind, frame: pa.Table, strength: float) -> float:
    """The test score of scikit-learn at one strength, from nothing but the columns of the file."""
    split = np.array(frame["split"].to_pylist(), object)
    features = np.array(frame["mine"].to_pylist())
    labels = np.array(frame["label"].to_pylist())
    train, test = split == "train", split == "test"
    inverse = 1 / (strength * train.sum())
    if kind is TaskKind.REGRESSION:
        model = make_pipeline(StandardScaler(), Ridge(alpha=1 / inverse)).fit(features[train], labels[train])
        return r2_score(labels[test], model.predict(features[test]))
    logistic = LogisticRegression(C=inverse, tol=1e-8, max_iter=10_000)
    if kind is TaskKind.SINGLE_LABEL:
        model = make_pipeline(StandardScaler(), logistic).fit(features[train], labels[train])
        return accuracy_score(labels[test], model.predict(features[test]))
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(logistic)).fit(features[train], labels[train])
    return f1_score(labels[test], model.predict(features[test]), average="micro")


@pytest.mark.parametrize("kind", [kind for kind in TaskKind if not kind.is_dense], ids=str)
def test_a_probe_of_scikit_learn_on_the_file_gives_our_score(kind: TaskKind, tmp_path: Path) -> None:
    task, features = made_task(kind)
    write_features(tmp_path / "features.parquet", task, {"mine": features})
    ours = evaluate_many({"mine": features}, task, head="probe")
    strength = ours.chosen["mine"][0]["l2"]
    score = ours.scores["mine"].value
    assert 0.2 < score < 0.95  # neither chance nor too easy to differ
    theirs = scikit_learn(kind, pq.read_table(tmp_path / "features.parquet"), strength)
    assert theirs == pytest.approx(score, abs=1e-3)
    assert scikit_learn(kind, pq.read_table(tmp_path / "features.parquet"), 100.0) < score - 0.01


@pytest.mark.parametrize("kind", [kind for kind in TaskKind if not kind.is_dense], ids=str)
def test_what_is_read_is_what_was_written(kind: TaskKind, tmp_path: Path) -> None:
    task, features = made_task(kind)
    path = tmp_path / "features.parquet"
    write_features(path, task, {"mine": features, "random": [features[:, :5], features[:, 5:10]]})
    table = read_features(path)
    assert (table.task, table.kind, table.classes) == ("made", kind, ("a", "b", "c", "d"))
    assert list(table.features) == ["mine", "random/0", "random/1"]
    np.testing.assert_array_equal(table.features["mine"], features)
    np.testing.assert_array_equal(table.features["random/1"], features[:, 5:10])
    np.testing.assert_array_equal(table.labels, task.labels)
    assert table.labels.dtype == task.labels.dtype
    np.testing.assert_array_equal(table.samples, task.samples)
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(np.flatnonzero(table.split == name), np.sort(getattr(task, name)))
    assert (table.split == "").sum() == 10
    # Samples are in another order than the task's, which decides the last bits of sums.
    again = probe(table.labelled("mine"))
    assert again.validation == pytest.approx(probe(task.labelled(features)).validation, abs=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_an_evaluation_saves_what_it_scored(store: Store, tmp_path: Path) -> None:
    task = store_task(store, "surface")
    out = tmp_path / "out"
    evaluate(make_encoder(), task, baselines=["random_init"], random_seeds=(0, 1), out=out, save_features=True)
    assert sorted(path.name for path in out.iterdir()) == ["features.parquet", "scores.json"]
    table = read_features(out / "features.parquet")
    assert list(table.features) == ["pretrained", "random_init/0", "random_init/1"]
    encoder = make_encoder()
    feed = task.inputs.prepare(encoder, task.samples[task.train])
    np.testing.assert_allclose(table.features["pretrained"], feed.features(encoder, task.samples), rtol=1e-5, atol=1e-6)
    assert json.loads(pq.read_schema(out / "features.parquet").metadata[b"geopretext"])["classes"] == list(task.classes)


def test_features_need_a_folder(store: Store) -> None:
    with pytest.raises(InputError, match="no folder for them"):
        evaluate(make_encoder(), store_task(store, "surface"), save_features=True)


@pytest.mark.parametrize("damage", ["absent", "cut", "another", "no column"])
def test_a_file_that_holds_no_features_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    task, features = made_task(TaskKind.SINGLE_LABEL)
    write_features(path, task, {"mine": features})
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "another":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        pq.write_table(pq.read_table(path).drop_columns(["split"]), path)
    with pytest.raises(CorruptError, match="holds no features of a task") as caught:
        read_features(path)
    assert "--save-features" in caught.value.hint


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, features = made_task(TaskKind.SINGLE_LABEL)
    path = tmp_path / "features.parquet"
    write_features(path, task, {"mine": features})
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        write_features(path, task, {"mine": features + 1})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
