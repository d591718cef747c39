import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from geopretext.data.store import Store
from geopretext.errors import BundleError, GridError, InputError, NonFiniteError, RecipeError
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import load_reconstructor
from geopretext.train.recipe import Recipe, load_recipe
from geopretext.train.run import PretrainResult, count_steps, pretrain, training_tiles

from .conftest import FIELDS, TILES, write_store

Maker = Callable[..., Recipe]
TIMES = {"seconds", "tiles_per_second"}


def rows(folder: Path) -> list[dict[str, str]]:
    """``metrics.csv`` without what depends on the clock."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def same_weights(one: Path, other: Path) -> bool:
    names = ("model.safetensors", "pretext.safetensors")
    pairs = [(load_file(one / "bundle" / name), load_file(other / "bundle" / name)) for name in names]
    return all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in pairs)


@pytest.fixture(scope="module")
def finished(store: Path, small_recipe: Maker, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainResult]:
    """A run that was never interrupted, with a checkpoint of each step: 3 epochs of 3 steps of 2 parts."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    recipe = small_recipe(accumulate=2, checkpoint_every_steps=1, keep_every_steps=1, clip_norm=1.0)
    return folder, pretrain(recipe, data=store, out=folder, progress=False)


def test_a_run_leaves_everything_in_its_folder(finished: tuple[Path, PretrainResult], store: Path) -> None:
    folder, result = finished
    events = {"events"} if find_spec("tensorboard") else set()
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    assert names == {"config", "metrics", "checkpoints", "bundle"} | events
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["tiles"] == TILES
    recipe = load_recipe(folder / "config.yaml")
    assert recipe.encoder.bands == ("B2", "B3", "B4")
    assert recipe.keep_every_steps == 1
    assert result.bundle == folder / "bundle"
    assert result.seconds > 0
    assert result.tiles_per_second == pytest.approx(9 * 8 / result.seconds)
    encoder = Encoder.from_pretrained(result.bundle)
    assert encoder.modality.band_names == ("B2", "B3", "B4")
    assert encoder.recipe["name"] == "mp-mae-demo"
    assert encoder.metrics["loss"] == result.metrics["loss"]
    assert set(encoder.statistics) == {"L1C", "L2A", "all"}
    assert list(load_reconstructor(result.bundle).targets) == ["sentinel2", "dynamic_world", "month", "biome"]


def test_rows_hold_losses_and_weights_of_every_task(finished: tuple[Path, PretrainResult]) -> None:
    found = rows(finished[0])
    assert [row["step"] for row in found] == [str(step) for step in range(1, 10)]
    tasks = ("sentinel2", "dynamic_world", "month", "biome")
    for row in found:
        losses = [float(row[f"loss/{task}"]) for task in tasks]
        weights = [float(row[f"weight/{task}"]) for task in tasks]
        # exp(-s) L + s
        total = sum(w * loss - np.log(w) for w, loss in zip(weights, losses, strict=True))
        assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
    rates = [float(row["learning_rate"]) for row in found]
    peak = 4e-3 * 8 / 256
    assert rates[:4] == pytest.approx([0, peak / 3, 2 * peak / 3, peak])
    assert rates[-1] == pytest.approx(peak * 0.5 * (1 + np.cos(np.pi * 5 / 6)))


def test_it_learns(store: Path, small_recipe: Maker, tmp_path: Path) -> None:
    recipe = small_recipe(epochs=20, base_learning_rate=0.2, warmup_epochs=2)
    pretrain(recipe, data=store, out=tmp_path / "run", progress=False)
    losses = [float(row["loss"]) for row in rows(tmp_path / "run")]
    assert np.mean(losses[-6:]) < 0.92 * np.mean(losses[:3])


@pytest.mark.parametrize("step", range(1, 9))
def test_resuming_at_any_step_gives_the_same_bits(
    finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker, tmp_path: Path, step: int
) -> None:
    folder, _ = finished
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(folder / "checkpoints" / f"step-{step}.ckpt", run / "checkpoints" / "last.ckpt")
    shutil.copy(folder / "config.yaml", run)
    # Rows that a killed process wrote after its last checkpoint, the last one cut short.
    whole = (folder / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(whole[:-25])
    recipe = small_recipe(accumulate=2, checkpoint_every_steps=3, keep_every_steps=None, clip_norm=1.0)
    pretrain(recipe, data=store, out=run, progress=False)
    assert rows(run) == rows(folder)
    assert same_weights(run, folder)


def test_killed_and_resumed(
    finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker, tmp_path: Path
) -> None:
    folder, _ = finished
    run = tmp_path / "run"
    changes = {"accumulate": 2, "checkpoint_every_steps": 2, "clip_norm": 1.0}
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, time\n"
        "from geopretext.train import run\n"
        "from geopretext.train.recipe import load_recipe\n"
        "step = run.PretrainModule.training_step\n"
        "run.PretrainModule.training_step = lambda *a: (time.sleep(0.1), step(*a))[1]  # time to be killed in\n"
        f"recipe = load_recipe('mp-mae-demo', {FIELDS | changes!r})\n"
        f"run.pretrain(recipe, data={str(store)!r}, out={str(run)!r})\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.DEVNULL)
    last = 5  # the kill then falls anywhere within the next step
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((run / "metrics.csv").exists() and len(rows(run)) >= last):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "bundle").exists()
    pretrain(small_recipe(**changes), data=store, out=run, progress=False)
    assert rows(run) == rows(folder)
    assert same_weights(run, folder)


def test_stochastic_depth_is_resumed_too(store: Path, small_recipe: Maker, tmp_path: Path) -> None:
    changes = {"encoder.drop_path": 0.5, "epochs": 2, "keep_every_steps": 1, "checkpoint_every_steps": 1}
    one, other = tmp_path / "one", tmp_path / "other"
    pretrain(small_recipe(**changes), data=store, out=one, progress=False)
    (other / "checkpoints").mkdir(parents=True)
    shutil.copy(one / "checkpoints" / "step-4.ckpt", other / "checkpoints" / "last.ckpt")
    torch.rand(7)  # the generator stands elsewhere than it did
    pretrain(small_recipe(**changes), data=store, out=other, progress=False)
    assert rows(other)[-2:] == rows(one)[-2:]
    assert same_weights(one, other)


def test_a_finished_run_is_left_alone(finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker) -> None:
    folder, result = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = pretrain(small_recipe(accumulate=2, clip_norm=1.0), data=store, out=folder, progress=False)
    assert again == result
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_recipe_on_the_same_folder_is_refused(
    finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker, tmp_path: Path
) -> None:
    folder, _ = finished
    with pytest.raises(RecipeError, match=r"config.yaml: the run in this folder was started otherwise") as error:
        pretrain(
            small_recipe(accumulate=2, clip_norm=1.0, seed=1, **{"pretext.mask_ratio": 0.5}), data=store, out=folder
        )
    assert "recipe.seed 0 -> 1" in error.value.what
    assert "recipe.pretext.mask_ratio 0.6 -> 0.5" in error.value.what
    assert "another --out" in error.value.hint
    moved = shutil.copytree(store, tmp_path / "moved.zarr")
    pretrain(small_recipe(accumulate=2, clip_norm=1.0), data=moved, out=folder, progress=False)
    other = write_store(tmp_path / "other.zarr", seed=1)
    with pytest.raises(RecipeError, match=r"data.digest"):
        pretrain(small_recipe(accumulate=2, clip_norm=1.0), data=other, out=folder)


def test_a_run_of_a_version_with_fewer_fields_is_resumed(
    finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker, tmp_path: Path
) -> None:
    folder, result = finished
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["recipe"]["weight_decay_on"], config["recipe"]["encoder"]["initialisation"]
    run = shutil.copytree(folder, tmp_path / "run")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    again = pretrain(small_recipe(accumulate=2, clip_norm=1.0), data=store, out=run, progress=False)
    assert again.metrics == result.metrics
    with pytest.raises(RecipeError, match=r"weight_decay_on 'kernels' -> 'matrices'"):
        pretrain(small_recipe(accumulate=2, clip_norm=1.0, weight_decay_on="matrices"), data=store, out=run)
    for recipe in ("[]", "{name: old, gone: 1}"):
        (run / "config.yaml").write_text(f"data: {{}}\nrecipe: {recipe}\n")
        with pytest.raises(RecipeError, match=r"config.yaml: (is not the configuration of a run|no field gone)"):
            pretrain(small_recipe(accumulate=2, clip_norm=1.0), data=store, out=run)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_state(
    store: Path, small_recipe: Maker, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    recipe = small_recipe(base_learning_rate=1e30, checkpoint_every_steps=1)
    with pytest.raises(NonFiniteError, match=r"step \d+: the (loss|gradient) of .* is not finite") as error:
        pretrain(recipe, data=store, out=run, progress=False)
    assert "non_finite_rank0.pt" in error.value.hint
    assert "clip_norm" in error.value.hint
    state = torch.load(run / "non_finite_rank0.pt", weights_only=True)
    assert len(state["tiles"]) == 8
    assert not (run / "bundle").exists()
    assert [int(row["step"]) for row in rows(run)] == list(range(1, state["step"] + 1))
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == state["step"]
    with pytest.raises(NonFiniteError, match=f"step {state['step'] + 1}:"):  # resumes, and meets it again
        pretrain(recipe, data=store, out=run, progress=False)


def test_the_guilty_task_is_named(
    store: Path, small_recipe: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geopretext.pretext.mp_mae import MPMAE, TaskLoss

    forward = MPMAE.forward

    def poisoned(self: MPMAE, *arguments: Any) -> dict[str, TaskLoss]:
        losses = forward(self, *arguments)
        return losses | {"month": TaskLoss(losses["month"].total * torch.nan, losses["month"].count)}

    monkeypatch.setattr(MPMAE, "forward", poisoned)
    with pytest.raises(NonFiniteError, match="step 1: the loss of month is not finite"):
        pretrain(small_recipe(), data=store, out=tmp_path, progress=False)


def test_a_task_without_targets_is_skipped(small_recipe: Maker, tmp_path: Path) -> None:
    store = write_store(tmp_path / "tiles.zarr", without="biome")
    pretrain(small_recipe(epochs=2), data=store, out=tmp_path / "run", progress=False)
    found = rows(tmp_path / "run")
    assert {row["loss/biome"] for row in found} == {""}
    assert {row["weight/biome"] for row in found} == {"1.0"}
    assert all(row["loss/month"] for row in found)


def test_bfloat16_trains(store: Path, small_recipe: Maker, tmp_path: Path) -> None:
    result = pretrain(small_recipe(epochs=2, precision="bf16"), data=store, out=tmp_path / "run", progress=False)
    weights = load_file(result.bundle / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert np.isfinite(result.metrics["loss"])


def test_only_the_training_split_is_used(small_recipe: Maker, tmp_path: Path) -> None:
    store = Store.open(write_store(tmp_path / "tiles.zarr"))
    assert training_tiles(store).tolist() == list(range(TILES))
    split = np.full(TILES, 1, np.int8)
    split[3:13] = 0
    store.set_split(split)
    store = Store.open(tmp_path / "tiles.zarr")
    assert training_tiles(store).tolist() == list(range(3, 13))
    store.set_split(np.full(TILES, 2, np.int8))
    with pytest.raises(InputError, match="no tile is in the split 'train'"):
        pretrain(small_recipe(), data=tmp_path / "tiles.zarr", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"pretext.targets": "sentinel2,aster"}, InputError, r"no modality 'aster'"),
        ({"encoder.bands": "B2,B8", "pretext.targets": "month"}, ValueError, r"B8"),
        ({"batch_size": 32}, InputError, r"26 tiles do not fill a batch of 32\nhint: a batch_size of at most 26"),
        ({"encoder.image_size": 24}, GridError, r"tiles of 20 px are smaller than encoder.image_size 24"),
        ({"warmup_epochs": 3}, RecipeError, r"warmup_epochs 3 is 9 steps, and the whole run is 9\nhint: .*below 3"),
        ({"max_steps": 2}, RecipeError, r"warmup_epochs 1 is 3 steps, and the whole run is 2"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_anything_is_written(
    store: Path, small_recipe: Maker, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        pretrain(small_recipe(**changes), data=store, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_band_that_was_never_observed_is_no_input(small_recipe: Maker, tmp_path: Path) -> None:
    store = write_store(tmp_path / "tiles.zarr", without="B3")
    with pytest.raises(InputError, match="band B3 of 'sentinel2' was never observed, and the encoder is to see it"):
        pretrain(small_recipe(), data=store, out=tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is an accelerator")
def test_an_accelerator_that_is_not_there(store: Path, small_recipe: Maker, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"accelerator 'gpu' with devices 1 cannot be had here: .*\nhint: accelerator auto"
    ):
        pretrain(small_recipe(accelerator="gpu"), data=store, out=tmp_path)


def test_a_damaged_checkpoint_is_named(
    finished: tuple[Path, PretrainResult], store: Path, small_recipe: Maker, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    whole = (finished[0] / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match=r"last.ckpt: is not a checkpoint of geopretext\nhint: delete it"):
        pretrain(small_recipe(), data=store, out=tmp_path, progress=False)


def test_steps_are_counted_by_whole_batches(small_recipe: Maker) -> None:
    assert count_steps(small_recipe(), 26) == (3, 9)
    assert count_steps(small_recipe(max_steps=5), 26) == (3, 5)


def test_progress_goes_to_stderr(
    store: Path, small_recipe: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(small_recipe(epochs=2), data=store, out=tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "mp-mae-demo: step 6/6" in err
    assert "tiles/s" in err


@pytest.mark.slow
def test_two_processes_train_as_one(finished: tuple[Path, PretrainResult], store: Path, tmp_path: Path) -> None:
    changes = {"accumulate": 2, "clip_norm": 1.0, "devices": 2}
    script = tmp_path / "train.py"
    script.write_text(
        "from geopretext.train.recipe import load_recipe\n"
        "from geopretext.train.run import pretrain\n"
        "if __name__ == '__main__':\n"
        f"    recipe = load_recipe('mp-mae-demo', {FIELDS | changes!r})\n"
        f"    pretrain(recipe, data={str(store)!r}, out={str(tmp_path / 'run')!r})\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=300)
    one, two = rows(finished[0]), rows(tmp_path / "run")
    assert len(one) == len(two) == 9
    for a, b in zip(one, two, strict=True):
        for name in a:
            assert float(a[name] or "nan") == pytest.approx(float(b[name] or "nan"), rel=2e-3, nan_ok=True), name
    for name in ("model.safetensors", "pretext.safetensors"):
        a, b = load_file(finished[0] / "bundle" / name), load_file(tmp_path / "run" / "bundle" / name)
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=2e-3, atol=2e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's compiler about itself
def test_a_compiled_run_learns_the_same(store: Path, small_recipe: Maker, tmp_path: Path) -> None:
    plain = pretrain(small_recipe(), data=store, out=tmp_path / "plain", progress=False)
    counters.clear()
    compiled = pretrain(small_recipe(compile=True), data=store, out=tmp_path / "compiled", progress=False)
    assert counters["stats"]["unique_graphs"] == 1
    for name in ("loss", "loss/sentinel2", "loss/dynamic_world", "loss/biome"):
        assert compiled.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-3)


def test_compiling_without_a_compiler_is_refused(
    store: Path, small_recipe: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RecipeError, match="no C\\+\\+ compiler here") as caught:
        pretrain(small_recipe(compile=True), data=store, out=tmp_path / "run", progress=False)
    assert "install g++" in caught.value.hint
    assert not (tmp_path / "run").exists()
