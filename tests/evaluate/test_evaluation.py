"""From an encoder and a task to a table: features, baselines, intervals, the file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from geopretext.data.store import Store
from geopretext.errors import BandError, InputError, NonFiniteError
from geopretext.evaluate.baselines import band_statistics, random_encoder
from geopretext.evaluate.evaluation import Head, evaluate, evaluate_many
from geopretext.evaluate.inputs import TileInputs
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.tasks import Task, load_task, store_task
from geopretext.modality import Observed

from .small_store import make_encoder, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("evaluation") / "tiles.zarr")


@pytest.mark.parametrize("head", ["knn", "probe"])
@pytest.mark.parametrize("label", ["surface", "traits", "biomass"])
def test_every_kind_is_scored_beside_its_baselines(store: Store, label: str, head: Head, tmp_path: Path) -> None:
    task = store_task(store, label)
    scores = evaluate(make_encoder(), task, head=head, random_seeds=(0, 1), out=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(written["scores"]) == ["pretrained", "random_init", "band_statistics", "random_convolutions"]
    assert (written["task"], written["head"], written["kind"]) == (label, head, task.kind)
    assert written["metric"] == task.metric
    assert written["counts"] == task.counts
    assert list(written["gains"]) == ["random_init", "band_statistics", "random_convolutions"]
    assert len(written["chosen"]["random_init"]) == 2
    for score in (*written["scores"].values(), *next(iter(written["other_metrics"].values())).values()):
        assert score["low"] <= score["value"] <= score["high"]
    assert written["scores"]["band_statistics"]["value"] > 0.7  # the label is the brightness and roughness of one band
    inputs = written["settings"]["inputs"]
    assert (inputs["bands"], inputs["statistics"]) == (["B2", "B3", "B4"], "bundle")
    assert scores.to_dict() == written
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.json"]


def test_the_table_holds_every_method_with_its_interval(store: Store) -> None:
    scores = evaluate(make_encoder(), store_task(store, "surface"), random_seeds=(0,))
    console = Console(width=140, no_color=True)
    with console.capture() as capture:
        console.print(scores.table())
    text = capture.get()
    for name, score in scores.scores.items():
        row = next(line for line in text.splitlines() if name in line and "minus" not in line)
        assert f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" in row
    assert "28 test samples" in text


def test_without_baselines_only_the_bundle_is_scored_and_it_may_be_a_folder(store: Store, tmp_path: Path) -> None:
    encoder = make_encoder()
    encoder.save_pretrained(tmp_path / "bundle")
    task = store_task(store, "surface")
    scores = evaluate(tmp_path / "bundle", task, baselines=())
    assert list(scores.scores) == ["pretrained"]
    assert scores.gains == {}
    assert scores.scores["pretrained"] == evaluate(encoder, task).scores["pretrained"]


def test_an_encoder_of_other_bands_is_refused(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    for name in ("crop", "forest"):
        (tmp_path / name).mkdir()
        for number in range(3):
            pillow.new("RGB", (16, 16), (number, 50, 90)).save(tmp_path / name / f"{number}.png")
    task = load_task(str(tmp_path), bands=("B8", "B3", "B2"))
    with pytest.raises(BandError, match="band B4, which the images lack; they have B8, B3, B2"):
        evaluate(make_encoder(), task)


def test_pictures_are_told_apart_by_their_colour(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    generator = np.random.default_rng(0)
    for name, green in (("crop", 60), ("forest", 140)):
        (tmp_path / name).mkdir()
        for number in range(15):
            values = generator.normal((90, green, 70), 12, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            pillow.fromarray(values).save(tmp_path / name / f"{number}.png")
    scores = evaluate(make_encoder(), load_task(str(tmp_path)), head="probe", random_seeds=(0,))
    assert scores.scores["pretrained"].value == 1
    assert scores.settings["inputs"]["statistics"] == "dataset"


def test_the_order_of_training_images_in_memory_does_not_matter(store: Store) -> None:
    """The same features through ``evaluate_many`` give what ``evaluate`` gives."""
    encoder, task = make_encoder(), store_task(store, "biomass")
    everything = TileInputs(store).prepare(encoder, task.samples).features(encoder, np.arange(len(store)))
    scores = evaluate_many({"mine": everything[task.samples]}, task, head="probe")
    assert scores.scores["mine"].value == pytest.approx(evaluate(encoder, task).scores["pretrained"].value, abs=1e-6)


def toy_task(labels: np.ndarray, kind: TaskKind = TaskKind.SINGLE_LABEL, classes: int = 2) -> Task:
    count = len(labels)
    first, second = count // 2, count * 3 // 4
    return Task(
        name="toy",
        kind=kind,
        classes=tuple(f"c{n}" for n in range(classes)),
        inputs=None,
        samples=np.arange(count),
        labels=labels,
        train=np.arange(first),
        val=np.arange(first, second),
        test=np.arange(second, count),
        left_out={},
    )


def test_better_features_score_higher_and_their_gain_is_above_zero() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    good = labels[:, None] + generator.normal(0, 0.4, (400, 3))
    noise = generator.normal(size=(400, 3))
    scores = evaluate_many({"good": good, "noise": [noise, noise + 1]}, toy_task(labels))
    assert scores.scores["good"].low > scores.scores["noise"].high
    assert scores.gains["noise"].low > 0.2
    assert scores.p_values["noise"] < 0.01
    assert list(scores.other_metrics) == [Metric.CLASS_MEAN_ACCURACY, Metric.MACRO_F1]


def test_p_values_are_corrected_for_their_number() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    features = {
        name: labels[:, None] + generator.normal(0, noise, (400, 3)) for name, noise in (("a", 0.5), ("b", 0.8))
    }
    scores = evaluate_many({**features, "c": features["a"] * 2}, toy_task(labels))
    gains = scores.to_dict()["gains"]
    assert gains["c"]["p"] == gains["c"]["p_holm"] == 1
    assert gains["b"]["p_holm"] == pytest.approx(2 * gains["b"]["p"])
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(scores.table())
    assert f"{gains['b']['p_holm']:.3f}" in next(line for line in capture.get().splitlines() if "│ b " in line)


def test_calibration_is_told_of_probabilities_only() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    features = {"a": labels[:, None] + generator.normal(0, 0.8, (400, 3))}
    probed = evaluate_many(features, toy_task(labels), head="probe")
    calibration = probed.to_dict()["calibration"]["a"]
    assert 0 <= calibration["low"] <= calibration["value"] <= calibration["high"] < 0.3
    assert sum(each["share"] for each in calibration["bins"]) == pytest.approx(1)
    assert "calibration" in "".join(str(column.header) for column in probed.table().columns)
    voted = evaluate_many(features, toy_task(labels), head="knn")
    assert voted.to_dict()["calibration"] == {}
    assert "calibration" not in "".join(str(column.header) for column in voted.table().columns)
    values = generator.normal(size=(400, 1))
    assert evaluate_many(features, toy_task(values, TaskKind.REGRESSION, 1)).calibration == {}


def test_several_runs_widen_the_interval_by_how_much_they_differ() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    noise = generator.normal(size=(400, 3))
    runs = [labels[:, None] + scale * noise for scale in (0.3, 0.9, 2.0)]
    together = evaluate_many({"a": runs}, toy_task(labels)).scores["a"]
    steady = evaluate_many({"a": [runs[1]] * 3}, toy_task(labels)).scores["a"]
    assert together.high - together.low > 3 * (steady.high - steady.low)


def test_the_same_seed_gives_the_same_scores() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 100)
    features = {"a": generator.normal(size=(100, 3))}
    first, second = (evaluate_many(features, toy_task(labels), seed=3).to_dict() for _ in range(2))
    assert first == second
    assert first != evaluate_many(features, toy_task(labels), seed=4).to_dict()


def test_features_that_are_not_finite_are_refused() -> None:
    features = np.zeros((40, 3))
    features[7, 1] = np.inf
    with pytest.raises(NonFiniteError, match="feature 1 of sample 7 is inf"):
        evaluate_many({"broken": features}, toy_task(np.arange(40) % 2))


def test_features_of_other_samples_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit 40 samples"):
        evaluate_many({"short": np.zeros((39, 3))}, toy_task(np.arange(40) % 2))


def test_an_unknown_head_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="no head 'svm'") as caught:
        evaluate(make_encoder(), store_task(store, "surface"), head="svm")
    assert caught.value.hint == "one of knn, probe"


def test_tasks_with_nothing_to_tell_apart_are_refused() -> None:
    with pytest.raises(InputError, match=r"has only one class \(c0\)"):
        toy_task(np.zeros(40, np.int64), classes=1)
    for split in ("validation", "test"):
        task = toy_task(np.ones((40, 2), np.int64), TaskKind.MULTI_LABEL)
        bare = np.isin(np.arange(40), task.val if split == "validation" else task.test)
        with pytest.raises(InputError, match=f"no {split} sample has any label"):
            replace(task, labels=np.where(bare[:, None], 0, task.labels))
    with pytest.raises(InputError, match="all test samples have the same value"):
        toy_task(np.ones((40, 1)), TaskKind.REGRESSION, classes=1)


def test_a_killed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(40) % 2
    scores = evaluate_many({"a": np.random.default_rng(0).normal(size=(40, 3))}, toy_task(labels))
    path = scores.write(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        scores.write(tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_random_weights_come_from_the_seed_and_leave_the_global_state_alone() -> None:
    encoder = make_encoder()
    state = torch.random.get_rng_state()
    first, again, other = (random_encoder(encoder, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.settings == encoder.settings
    assert first.statistics == encoder.statistics
    weights = [network.state_dict()["network.stages.0.0.pwconv1.weight"] for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_band_statistics_are_over_valid_pixels() -> None:
    values = torch.zeros(2, 2, 2, 2)
    values[0, 0] = torch.tensor([[1.0, 3.0], [5.0, 0.0]])
    valid = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    valid[0, 0] = torch.tensor([[True, True], [True, False]])
    statistics = band_statistics([Observed(values, valid)])
    np.testing.assert_allclose(statistics[0], [3, 0, np.std([1, 3, 5]), 0, 0.75, 0], rtol=1e-6)
    assert (statistics[1] == 0).all()
