"""Fine-tuning on small stores and pictures: it learns, freezes, averages, stops, repeats itself, and is saved whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.data.store import Store
from geopretext.errors import InputError, NonFiniteError, RecipeError, UnitError
from geopretext.evaluate import finetune as finetune_file
from geopretext.evaluate.batches import Batches
from geopretext.evaluate.finetune import check_settings, finetune, trained_input
from geopretext.evaluate.finetune_evaluation import evaluate_finetuning
from geopretext.evaluate.finetune_module import FinetuneModule
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.networks import make_network
from geopretext.evaluate.objectives import objective_of
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import TaskOptions, load_task, store_task
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import Head, load_head, load_head_labels
from geopretext.nn.classifier import Classifier
from geopretext.nn.unet import UNet

from .small_store import make_encoder, write_store

FAST = FinetuneSettings(epochs=3, batch_size=16, base_learning_rate=3e-2, warmup_epochs=0, drop_path=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("finetune") / "tiles.zarr")


def few(task: Task, train: int = 32, other: int = 16) -> Task:
    """The task with fewer samples: a step takes its time."""
    return replace(task, train=task.train[:train], val=task.val[:other], test=task.test[:other])


@pytest.fixture(scope="module")
def surface(store: Store) -> Prepared:
    return Prepared.open(few(store_task(store, "surface")), make_encoder())


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Pictures of 16 x 16 pixels whose bright side is a field; a tenth of the pixels has no label."""
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    generator = np.random.default_rng(0)
    for number in range(30):
        field = np.arange(16)[:, None] * generator.normal() + np.arange(16) * generator.normal() > 0
        picture = np.where(field[..., None], 180, 90) + generator.normal(0, 10, (16, 16, 3))
        pillow.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
        mask = np.where(generator.random((16, 16)) < 0.1, 0, field + 1)
        pillow.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "task.yaml").write_text("kind: segmentation\nclasses: {1: other, 2: field}\nignore: 0\n")
    return tmp_path


@pytest.mark.parametrize(("label", "least"), [("surface", 0.9), ("traits", 0.6), ("biomass", 0.8)])
def test_every_kind_of_label_is_learnt(store: Store, label: str, least: float) -> None:
    task = few(store_task(store, label), train=64, other=28)
    encoder = make_encoder()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    told: list[tuple[int, int]] = []
    settings = replace(FAST, epochs=8, base_learning_rate=5e-2, warmup_epochs=1)
    run = finetune(encoder, Prepared.open(task, encoder), settings, seed=0, progress=lambda *now: told.append(now))
    assert run.outcome.measure(task.metric) > least
    assert run.validation > least
    assert len(run.outcome) == 28
    assert told == [(step, 32) for step in range(1, 33)]
    assert run.facts["steps"] == 32
    assert run.facts["epochs"] == 8
    assert run.facts["parameters"] == run.facts["trainable_parameters"] > 1e6
    assert 1 <= run.chosen["epoch"] <= 8
    # the encoder that was given stays as it is
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("network", [pytest.param("unet", marks=pytest.mark.slow), "linear"])
def test_labels_of_pixels_are_learnt_and_turn_with_their_images(fields: Path, network: str) -> None:
    """The position of the field in a picture is random: labels that did not turn would teach nothing."""
    encoder = make_encoder()
    task = load_task(str(fields), bands=("B4", "B3", "B2"))
    settings = replace(FAST, network=network, epochs=8, batch_size=6, flips=True, frozen_epochs=1)
    run = finetune(encoder, Prepared.open(task, encoder), settings, seed=0)
    assert run.outcome.measure(task.metric) > 0.75


@pytest.mark.parametrize("kind", [TaskKind.SEGMENTATION, TaskKind.CHANGE_DETECTION, TaskKind.DENSE_REGRESSION], ids=str)
def test_every_kind_of_label_map_comes_to_a_table_and_a_bundle(fields: Path, kind: TaskKind, tmp_path: Path) -> None:
    task = load_task(str(fields), bands=("B4", "B3", "B2"))
    if kind is TaskKind.CHANGE_DETECTION:
        task = replace(task, kind=kind, classes=("unchanged", "changed"), later=task.inputs)
    elif kind is TaskKind.DENSE_REGRESSION:
        (fields / "task.yaml").write_text("kind: dense regression\nignore: 0\n")
        task = load_task(str(fields), bands=("B4", "B3", "B2"))
    settings = replace(FAST, network="linear", epochs=1)
    scores = evaluate_finetuning(
        make_encoder(), task, settings, seeds=(0,), out=tmp_path / "out", save=tmp_path / "out" / "bundle"
    )
    assert list(scores.scores) == ["finetuned", "from_scratch"]
    assert scores.metric is task.metric
    assert scores.counts["test"] == 6
    labels = load_head_labels(tmp_path / "out" / "bundle")
    assert (labels.task, labels.names) == (kind, task.classes)
    assert bool(labels.std) is (kind is TaskKind.DENSE_REGRESSION)


@pytest.mark.parametrize("kind", [TaskKind.SEGMENTATION, TaskKind.DENSE_REGRESSION], ids=str)
def test_maps_can_be_looked_at_and_are_those_that_were_measured(fields: Path, kind: TaskKind) -> None:
    if kind is TaskKind.DENSE_REGRESSION:
        (fields / "task.yaml").write_text("kind: dense regression\nignore: 0\n")
    task = load_task(str(fields), bands=("B4", "B3", "B2"))
    seen: list[tuple[np.ndarray, ...]] = []
    run = finetune(
        make_encoder(),
        Prepared.open(task, make_encoder()),
        replace(FAST, network="linear", epochs=1),
        seed=0,
        look=lambda _, maps: seen.append(maps(task.test)),
    )
    ((truth, labelled, predicted),) = seen
    assert truth.shape == labelled.shape == predicted.shape
    if kind is TaskKind.SEGMENTATION:
        assert run.outcome.measure(Metric.ACCURACY) == pytest.approx((truth == predicted)[labelled].mean())
    else:
        errors = (truth - predicted)[labelled].astype(np.float64)
        assert run.outcome.measure(Metric.RMSE) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_state_alone(surface: Prepared) -> None:
    settings = replace(FAST, epochs=2, drop_path=0.2, flips=True, mixup=0.4, cutmix=0.4, ema=0.5)
    state = torch.random.get_rng_state()
    first, again, other = (finetune(make_encoder(), surface, settings, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    for name, array in first.outcome.arrays().items():
        np.testing.assert_array_equal(array, again.outcome.arrays()[name])
    assert (first.outcome.arrays()["scores"] != other.outcome.arrays()["scores"]).any()


def test_reading_anew_gives_the_numbers_of_keeping_in_memory(surface: Prepared) -> None:
    streamed = Prepared.open(surface.task, make_encoder(), memory=0)
    runs = [finetune(make_encoder(), prepared, replace(FAST, epochs=2), seed=0) for prepared in (surface, streamed)]
    np.testing.assert_array_equal(*(run.outcome.arrays()["scores"] for run in runs))
    assert surface.kept_bytes > streamed.kept_bytes == 0


def test_batches_are_read_one_ahead_and_in_order(surface: Prepared) -> None:
    positions = surface.task.train[::-1].copy()
    expected, _ = surface.batch(positions)
    batches = Batches(surface, positions, 5)
    assert len(batches) == 7
    np.testing.assert_array_equal(torch.cat([images for images, _ in batches]), expected)
    read: list[int] = []

    class Watched(Prepared):
        def batch(self, positions: np.ndarray) -> tuple:
            read.append(len(positions))
            return super().batch(positions)

    for used, _ in enumerate(Batches(Watched(surface.task, surface.feed, None), positions, 5), start=1):
        assert len(read) <= used + 1


def watch(prepared: Prepared, settings: FinetuneSettings) -> tuple[FinetuneModule, list[dict[str, torch.Tensor]]]:
    """A fit whose weights are noted before it and after each step."""
    torch.manual_seed(0)
    objective = objective_of(prepared)
    network = make_network(settings, make_encoder(), prepared.task.kind, objective.outputs)
    seen: list[dict[str, torch.Tensor]] = []

    def note(*_: int) -> None:
        seen.append({name: weight.detach().clone() for name, weight in network.named_parameters()})

    note()
    module = FinetuneModule(network, objective, prepared, settings, seed=0, progress=note)
    finetune_file._fit(module, torch.device("cpu"))
    return module, seen


def test_a_frozen_encoder_stays_and_then_joins_with_rates_of_its_own(surface: Prepared) -> None:
    settings = replace(FAST, frozen_epochs=2, epochs=4, layer_decay=0.5, clip_norm=None, flips=False)
    _, seen = watch(surface, settings)
    before, frozen, joined = seen[0], seen[4], seen[5]  # two steps an epoch
    inner = [name for name in before if name.startswith("encoder.")]
    assert all(torch.equal(before[name], frozen[name]) for name in inner)
    assert not torch.equal(before["head.weight"], frozen["head.weight"])
    # the first step of Adam is the rate, whatever the gradient; a kernel also decays
    rate = settings.learning_rate_at(4, 2)
    for name, share in (("encoder.stages.3.0.pwconv2.bias", 0.5), ("encoder.stages.0.0.pwconv2.bias", 0.5**5)):
        change = (joined[name] - frozen[name]).abs()
        assert float(change.median()) == pytest.approx(rate * share, rel=1e-2)
    name = "encoder.stages.2.1.pwconv1.weight"
    decayed = frozen[name] * (1 - rate * 0.5**2 * settings.weight_decay)
    assert float((joined[name] - decayed).abs().median()) == pytest.approx(rate * 0.5**2, rel=1e-2)


@pytest.mark.parametrize("kind", [TaskKind.SINGLE_LABEL, TaskKind.SEGMENTATION], ids=str)
def test_a_batch_in_parts_teaches_what_the_whole_one_does(surface: Prepared, fields: Path, kind: TaskKind) -> None:
    """Also where parts differ in how many of their pixels are labelled; and in evaluation."""
    prepared = surface
    if kind is TaskKind.SEGMENTATION:
        prepared = Prepared.open(load_task(str(fields), bands=("B4", "B3", "B2")), make_encoder())
    mixed = 0.4 if kind is TaskKind.SINGLE_LABEL else 0.0
    settings = replace(FAST, network="linear" if kind.is_dense else "auto", epochs=1, base_learning_rate=1e-6)
    settings = replace(settings, mixup=mixed, cutmix=mixed, clip_norm=None)
    results = []
    for at_once in (4, 16):
        torch.manual_seed(0)
        objective = objective_of(prepared)
        network = make_network(settings, make_encoder(), kind, objective.outputs)
        gradients: list[dict[str, torch.Tensor]] = []
        passed: list[int] = []

        def note(*_: int, network: Head = network, gradients: list[dict[str, torch.Tensor]] = gradients) -> None:
            gradients.append({name: weight.grad.clone() for name, weight in network.named_parameters()})

        network.register_forward_pre_hook(lambda _, inputs, passed=passed: passed.append(len(inputs[0])))
        module = FinetuneModule(network, objective, prepared, replace(settings, at_once=at_once), seed=0, progress=note)
        finetune_file._fit(module, torch.device("cpu"))
        assert max(passed) == at_once
        assert len(gradients) == module.steps_per_epoch
        results.append((gradients[0], network.state_dict(), module.outcome.arrays()))
    for parts, whole in zip(*results, strict=True):
        for name in whole:
            torch.testing.assert_close(
                torch.as_tensor(parts[name]), torch.as_tensor(whole[name]), rtol=1e-4, atol=1e-5, msg=name
            )


def test_the_average_is_that_of_the_steps(surface: Prepared) -> None:
    module, seen = watch(surface, replace(FAST, ema=0.7, keep="last"))
    average = seen[1]  # the average begins with the weights of the first step
    for weights in seen[2:]:
        average = {name: 0.7 * average[name] + 0.3 * weights[name] for name in average}
    scored = dict(module.scored.named_parameters())
    for name in average:
        torch.testing.assert_close(scored[name].detach(), average[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(average["head.weight"], seen[-1]["head.weight"])


def test_drop_path_is_off_where_the_encoder_is_frozen_unless_asked_for(surface: Prepared) -> None:
    frozen = replace(FAST, trained="head", flips=False, epochs=1, drop_path=0.5)
    runs = [
        finetune(make_encoder(), surface, settings, seed=0).outcome.arrays()["scores"]
        for settings in (replace(frozen, drop_path=0), frozen, replace(frozen, drop_path_when_frozen=True))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("trained", ["head", "norms", "lora"])
def test_few_parameters_can_be_trained(surface: Prepared, trained: str) -> None:
    run = finetune(make_encoder(), surface, replace(FAST, trained=trained, lora_rank=2, epochs=1), seed=0)
    assert run.facts["trainable_parameters"] < run.facts["parameters"] / 20


def test_the_best_epoch_is_kept_or_the_last(surface: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.2, 0.9, 0.9, 0.1]
    for keep, epoch in (("best", 2), ("last", 4)):
        module, seen = watch_values(surface, replace(FAST, epochs=4, keep=keep), values, monkeypatch)
        assert module.kept_epoch == epoch
        kept = dict(module.scored.named_parameters())
        assert torch.equal(kept["head.weight"], seen[2 * epoch]["head.weight"])


def test_while_nothing_is_predicted_the_later_epoch_is_the_better_one(
    surface: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values, epoch in (([0.0, 0.0, 0.0], 3), ([0.0, 0.2, 0.2], 2), ([-1.0, -0.5, -0.5], 2)):
        module, seen = watch_values(surface, replace(FAST, epochs=3, patience=1), values, monkeypatch)
        assert module.kept_epoch == epoch
        kept = dict(module.scored.named_parameters())
        assert torch.equal(kept["head.weight"], seen[2 * epoch]["head.weight"])


def test_training_ends_when_patience_does_and_not_while_the_encoder_is_frozen(
    surface: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    module, _ = watch_values(surface, replace(FAST, epochs=6, patience=2), falling, monkeypatch)
    assert len(module.values) == 3
    settings = replace(FAST, epochs=6, patience=2, frozen_epochs=3, trained="all")
    module, _ = watch_values(surface, settings, falling, monkeypatch)
    assert len(module.values) == 5


def watch_values(
    prepared: Prepared, settings: FinetuneSettings, values: list[float], monkeypatch: pytest.MonkeyPatch
) -> tuple[FinetuneModule, list[dict[str, torch.Tensor]]]:
    """As ``watch``, with these numbers for the validation split."""
    coming = iter([*values, 0.0])
    objective = objective_of(prepared)
    whole = type(objective).outcome

    class Told:
        def __init__(self, outcome: object) -> None:
            self.outcome = outcome

        def __len__(self) -> int:
            return 1

        def weighted(self, *_: object) -> list[float]:
            return [next(coming)]

    monkeypatch.setattr(type(objective), "outcome", lambda self, parts: Told(whole(self, parts)))
    result = watch(prepared, settings)
    monkeypatch.undo()
    return result


def test_a_loss_that_is_not_finite_is_refused_with_its_step(surface: Prepared) -> None:
    with pytest.raises(NonFiniteError, match=r"step 2: the (loss|gradient) of fine-tuning is not finite") as caught:
        finetune(make_encoder(), surface, replace(FAST, base_learning_rate=1e38, clip_norm=None), seed=0)
    assert "base_learning_rate" in caught.value.hint


def test_a_metric_that_validation_leaves_undefined_is_refused(store: Store) -> None:
    task = few(store_task(store, "biomass"))
    task = replace(task, labels=np.where(np.isin(np.arange(len(task.labels)), task.val)[:, None], 5.0, task.labels))
    with pytest.raises(InputError, match="r2 is undefined on the validation split"):
        finetune(make_encoder(), Prepared.open(task, make_encoder()), replace(FAST, epochs=1), seed=0)


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        (TaskKind.REGRESSION, {"mixup": 0.2}, "mixup is 0.2, and the task is regression"),
        (TaskKind.SEGMENTATION, {"cutmix": 1.0}, "cutmix is 1, and the task is segmentation"),
        (TaskKind.REGRESSION, {"label_smoothing": 0.1}, "labels of regression are no classes"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(kind: TaskKind, change: dict, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check_settings(replace(FAST, **change), kind)


def test_networks_fit_the_kind_of_task() -> None:
    encoder = make_encoder()
    settings = FinetuneSettings(drop_path=0.3, head_scale=1e-5)
    network = make_network(settings, encoder, TaskKind.MULTI_LABEL, 5)
    assert isinstance(network, Classifier)
    assert network.encoder.settings.drop_path == 0.3
    assert network.encoder.stages[3][0].drop_path == pytest.approx(0.3)
    assert float(network.head.weight.detach().std()) == pytest.approx(1e-5, rel=0.2)
    assert torch.equal(network.encoder.stem[0].weight, encoder.network.stem[0].weight)
    assert network.encoder.stem[0].weight is not encoder.network.stem[0].weight
    unet = make_network(settings, encoder, TaskKind.SEGMENTATION, 2)
    assert isinstance(unet, UNet)
    assert float(unet.head.weight.detach().std()) == pytest.approx(1e-5, rel=0.5)
    for kind in (TaskKind.SEGMENTATION, TaskKind.CHANGE_DETECTION):
        linear = make_network(replace(settings, network="linear"), encoder, kind, 2)
        small = [float(layer.weight.detach().std()) for layer in linear.decoder.convolutions]
        assert small == pytest.approx([1e-5] * 4, rel=0.5)
        others = linear.mixers if kind is TaskKind.CHANGE_DETECTION else []
        assert all(float(layer.weight.detach().std()) > 1e-3 for layer in others)
    padded = make_network(replace(settings, padding="published-classifier"), encoder, TaskKind.SINGLE_LABEL, 2)
    assert padded.encoder.settings.dense_padding == "published-classifier"
    for name, kind in (("unet", TaskKind.SINGLE_LABEL), ("classifier", TaskKind.SEGMENTATION)):
        with pytest.raises(RecipeError, match=f"network '{name}' does not fit {kind}") as caught:
            make_network(replace(settings, network=name), encoder, kind, 2)
        assert "auto" in caught.value.hint


@pytest.mark.parametrize("label", ["surface", "biomass"])
def test_a_saved_bundle_predicts_the_same(store: Store, label: str, tmp_path: Path) -> None:
    task = few(store_task(store, label))
    encoder = make_encoder()
    prepared = Prepared.open(task, encoder)
    settings = replace(FAST, epochs=1, trained="lora", lora_rank=2, ema=0.5)
    run = finetune(encoder, prepared, settings, seed=5, save=tmp_path / "bundle")
    network = load_head(tmp_path / "bundle")
    images, labels = prepared.batch(task.test)
    objective = objective_of(prepared)
    with torch.no_grad():
        again = objective.outcome([objective.collect(network(images), labels)])
    np.testing.assert_allclose(again.arrays()["scores"], run.outcome.arrays()["scores"], rtol=1e-4, atol=1e-6)
    saved = Encoder.from_pretrained(tmp_path / "bundle")
    assert saved.statistics == encoder.statistics
    assert saved.recipe["trained"] == "lora"
    assert saved.recipe["seed"] == 5
    assert saved.recipe["image_height"] == saved.recipe["image_width"] == prepared.feed.window.height
    assert saved.metrics["validation"] == run.validation
    assert saved.metrics[f"test_{task.metric}"] == run.outcome.measure(task.metric)


def test_a_bundle_tuned_on_pictures_knows_what_standardised_them(fields: Path, tmp_path: Path) -> None:
    """8-bit pictures are standardised by the task's own statistics; the bundle must not claim reflectances."""
    encoder = make_encoder()
    task = load_task(str(fields), bands=("B4", "B3", "B2"))
    prepared = Prepared.open(task, encoder)
    assert prepared.feed.record["statistics"] == "dataset"
    finetune(encoder, prepared, replace(FAST, epochs=1), seed=0, save=tmp_path / "bundle")
    saved = Encoder.from_pretrained(tmp_path / "bundle")
    assert saved.unit != encoder.unit
    assert trained_input(prepared, encoder)[1] == saved.statistics
    again = Prepared.open(task, saved)
    assert again.feed.record["statistics"] == "bundle"
    torch.testing.assert_close(again.batch(task.test)[0], prepared.batch(task.test)[0])


def test_pairs_have_one_scale_and_a_bundle_tuned_on_them_knows_it(fields: Path, tmp_path: Path) -> None:
    """The later pictures are brighter: a scale of their own would hide it, and no bundle could say it."""
    pillow = pytest.importorskip("PIL.Image")
    (fields / "later" / "images").mkdir(parents=True)
    for path in (fields / "images").iterdir():
        brighter = np.asarray(pillow.open(path)).clip(0, 215) + np.uint8(40)
        pillow.fromarray(brighter).save(fields / "later" / "images" / path.name)
    for name in ("masks", "task.yaml"):
        (fields / "later" / name).symlink_to(fields / name)
    task, later = (load_task(str(folder), bands=("B4", "B3", "B2")) for folder in (fields, fields / "later"))
    task = replace(task, kind=TaskKind.CHANGE_DETECTION, classes=("unchanged", "changed"), later=later.inputs)
    encoder = make_encoder()
    prepared = Prepared.open(task, encoder)
    images, _ = prepared.batch(task.test)
    assert (images[:, 1] - images[:, 0]).mean() > 0.5
    assert prepared.record["later"]["mean"] == prepared.record["mean"]
    assert prepared.record["later"]["scale_of"] == str(fields / "images")
    finetune(encoder, prepared, replace(FAST, network="linear", epochs=1), seed=0, save=tmp_path / "bundle")
    again = Prepared.open(task, Encoder.from_pretrained(tmp_path / "bundle"))
    assert again.record["later"]["statistics"] == "bundle"
    torch.testing.assert_close(again.batch(task.test)[0], images)


def test_pairs_in_different_units_are_refused(fields: Path) -> None:
    task = load_task(str(fields), bands=("B4", "B3", "B2"))
    later = load_task(str(fields), TaskOptions(bands=("B4", "B3", "B2"), unit="unstated")).inputs
    task = replace(task, kind=TaskKind.CHANGE_DETECTION, classes=("unchanged", "changed"), later=later)
    with pytest.raises(UnitError, match="one scale cannot be for both"):
        Prepared.open(task, make_encoder())


def test_nothing_is_written_unless_asked_for(
    surface: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    finetune(make_encoder(), surface, replace(FAST, epochs=1), seed=0)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_bfloat16_is_close_to_float32(surface: Prepared) -> None:
    runs = [
        finetune(make_encoder(), surface, replace(FAST, epochs=1, precision=precision), seed=0)
        for precision in ("float32", "bfloat16")
    ]
    scores = [run.outcome.arrays()["scores"] for run in runs]
    assert (scores[0] != scores[1]).any()
    np.testing.assert_allclose(*scores, atol=0.15)
