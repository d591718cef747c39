"""Maps of whole scenes: no seams, the same by one process or several, and after being killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.errors import ClusterError, CorruptError, InputError, StoreError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.local_norm import local_norms
from geopretext.nn.settings import EncoderSettings
from geopretext.predict import disk_space
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_crew import compute_in_processes
from geopretext.predict.scene_door import DoorOptions, open_scene_door
from geopretext.predict.scene_maps import SceneNetwork, Strip, compute_strips
from geopretext.predict.scene_outputs import Output
from geopretext.predict.scene_run import RunOptions, run_scene
from geopretext.predict.windows import Windows

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
BANDS = ("B2", "B3", "B4")
SMALL = RunOptions(window=96, margin=16)


def make_encoder(seed: int = 0) -> Encoder:
    """An encoder in which response norms matter."""
    torch.manual_seed(seed)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("grn.gamma", "grn.beta")):
                parameter.normal_(std=0.3)
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    return Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=statistics).eval()


def make_scene(height: int, width: int, seed: int = 0) -> ArrayScene:
    """Fields of some size, so that neither windows nor their surroundings look alike."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(200, 3000, (3, height // 20 + 1, width // 20 + 1)).repeat(20, 1).repeat(20, 2)
    values = fields[:, :height, :width] * rng.uniform(0.9, 1.1, (3, height, width))
    return ArrayScene(values.astype(np.uint16), BANDS, "reflectance x 10000", UTM, level="L2A")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    make_encoder().save_pretrained(folder)
    return folder


def read(scene, network, parts, options=SMALL, **said):
    with run_scene(scene, network, parts, options, **said) as run:
        rows = list(run.rows())
        values, seen = np.concatenate([r.values for r in rows]), np.concatenate([r.seen for r in rows])
        assert values.shape == (run.height, run.columns, run.width)
        return values, seen


@dataclass(frozen=True)
class Failing:
    """An encoder that fails, or whose process dies, on windows that are bright somewhere."""

    inner: EmbeddingSource
    how: str

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __reduce__(self):
        return (Failing, (self.inner, self.how))

    def load(self, device: str) -> SceneNetwork:
        network = self.inner.load(device)
        how = self.how

        class Network:
            cell, width = network.cell, network.width

            def __call__(self, x):
                if x.max() > 10:
                    if how == "die":
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise CorruptError("cannot be decoded", where="the third file")
                return network(x)

        return Network()


def bright(scene: ArrayScene) -> ArrayScene:
    values = scene.values.copy()
    values[:, -5:, -5:] = 20_000
    return replace(scene, values=values)


def test_windows_are_as_one_pass_over_the_whole_scene():
    encoder, scene = make_encoder(), make_scene(237, 230)
    network = EmbeddingSource(encoder)
    windowed, _ = read(scene, network, None, RunOptions(window=200))
    whole = np.zeros((3, 240, 232), np.float32)
    whole[:, :237, :230] = (scene.values.astype(np.float32) - 1000) / 500
    with torch.inference_mode(), local_norms(encoder, 32):
        once = encoder(torch.from_numpy(whole)[None])[0].permute(1, 2, 0).numpy()
    away = slice(1, -1)
    difference = np.abs(windowed - once)[away, away] / once.std((0, 1))
    assert difference.max() < 1e-3
    # without the margin, or with norms over each window, it is not so
    close, _ = read(scene, network, None, RunOptions(window=200, margin=0))
    assert (np.abs(close - once) / once.std((0, 1))).max() > 0.1
    other, _ = read(scene, EmbeddingSource(encoder, context=168), None, RunOptions(window=168, margin=48))
    assert (np.abs(other - once) / once.std((0, 1))).max() > 0.1


@pytest.mark.slow
def test_two_processes_find_what_one_does(bundle, tmp_path):
    scene, network = make_scene(200, 150), EmbeddingSource(bundle)
    told: list[tuple[int, int]] = []
    alone = read(scene, network, tmp_path / "one")
    pair = read(scene, network, tmp_path / "two", replace(SMALL, workers=2), progress=lambda *said: told.append(said))
    np.testing.assert_allclose(pair[0], alone[0], atol=1e-5)
    np.testing.assert_array_equal(pair[1], alone[1])
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == told[0][1]


def test_what_is_finished_is_not_computed_again(bundle, tmp_path):
    scene, network, parts = bright(make_scene(200, 150)), EmbeddingSource(bundle), tmp_path / "parts"
    with pytest.raises(CorruptError, match="the third file"):
        read(scene, Failing(network, "raise"), parts)
    finished = sorted(parts.glob("strip-*.npz"))
    assert finished
    stamps = [path.stat().st_mtime_ns for path in finished]
    told: list[tuple[int, int]] = []
    whole = read(scene, network, parts, progress=lambda *said: told.append(said))
    assert told[0][0] > 0
    assert [path.stat().st_mtime_ns for path in finished] == stamps
    np.testing.assert_array_equal(whole[0], read(scene, network, None)[0])


@pytest.mark.parametrize("changed", ["the scene", "the bundle", "the settings"])
def test_parts_of_another_run_are_refused(bundle, tmp_path, changed):
    scene, parts = make_scene(100, 100), tmp_path / "parts"
    read(scene, EmbeddingSource(bundle), parts)
    network, options = EmbeddingSource(bundle), SMALL
    if changed == "the scene":
        scene = make_scene(100, 100, seed=1)
    elif changed == "the bundle":
        network = EmbeddingSource(make_encoder(seed=1))
    else:
        options = replace(SMALL, window=64)
    with pytest.raises(InputError, match=f"another run: since then changed {changed}\nhint: delete it"):
        read(scene, network, parts, options)


def test_a_folder_of_something_else_is_left_alone(bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(InputError, match="holds something else"):
        read(make_scene(100, 100), EmbeddingSource(bundle), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_two_runs_of_one_output_are_refused(bundle, tmp_path):
    scene, network = make_scene(60, 60), EmbeddingSource(bundle)
    with (
        run_scene(scene, network, tmp_path / "parts", SMALL),
        pytest.raises(InputError, match="another process computes"),
    ):
        read(scene, network, tmp_path / "parts")


def test_damaged_parts_are_said(bundle, tmp_path):
    scene, network, parts = make_scene(100, 100), EmbeddingSource(bundle), tmp_path / "parts"
    read(scene, network, parts)
    path = sorted(parts.glob("strip-*.npz"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptError, match="is damaged"):
        read(scene, network, parts)


class Swift:
    """A job, and files, of strips that cost nothing."""

    def strips(self, numbers, device):
        nothing = np.zeros((1, 1, 1), np.float32)
        return (Strip(number, number, nothing, nothing[0]) for number in numbers)

    def save(self, strip):
        pass


@pytest.mark.slow
def test_there_may_be_more_strips_than_a_pipe_holds():
    def too_late(*_):
        raise TimeoutError("the processes wait for each other")

    before, told = signal.signal(signal.SIGALRM, too_late), []
    signal.alarm(120)
    try:
        compute_in_processes(Swift(), Swift(), range(0, 16_000, 2), ["cpu"], told.append)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert told == list(range(0, 16_000, 2))


@pytest.mark.slow
def test_a_killed_process_is_said_and_its_run_goes_on(bundle, tmp_path):
    scene, network, parts = bright(make_scene(200, 150)), EmbeddingSource(bundle), tmp_path / "parts"
    with pytest.raises(ClusterError, match="was killed"):
        read(scene, Failing(network, "die"), parts, replace(SMALL, workers=2))
    np.testing.assert_allclose(read(scene, network, parts)[0], read(scene, network, None)[0], atol=1e-5)


@pytest.mark.slow
def test_what_a_process_raises_is_raised_here(bundle, tmp_path):
    scene, network = bright(make_scene(200, 150)), EmbeddingSource(bundle)
    with pytest.raises(CorruptError, match="the third file: cannot be decoded"):
        read(scene, Failing(network, "raise"), tmp_path / "parts", replace(SMALL, workers=2))


def test_nothing_is_computed_where_nothing_was_seen(bundle):
    scene = make_scene(300, 300)
    valid = np.zeros((300, 300), bool)
    valid[:60, :60] = True
    values, seen = read(replace(scene, valid=valid), Failing(EmbeddingSource(bundle), "raise"), None)
    assert (seen[:7, :7] == 1).all()
    assert seen[7, 0] == 0.5  # rows 56 to 59 of 56 to 63
    assert seen[8:].max() == 0
    assert np.abs(values[:7, :7]).min() > 0
    assert np.abs(values[20:, 20:]).max() == 0


def test_a_full_disk_is_said_before_the_work(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        StoreError, match=r"keeping the finished strips and .* takes up to 0\.3 MB, and 0\.0 MB are free"
    ):
        read(make_scene(100, 100), EmbeddingSource(bundle), tmp_path / "parts")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [{"window": 64}, {"margin": 8}, {"ramp": 8}])
def test_tiles_have_windows_of_their_own(bundle, asked):
    scene, network = make_scene(100, 100), EmbeddingSource(bundle, tile=32, pooling="mean")
    with pytest.raises(InputError, match="for tiles of 32"):
        read(scene, network, None, RunOptions(**asked))
    values, _ = read(scene, network, None, RunOptions(window=32, margin=0))
    assert len(np.unique(values.reshape(-1, network.width), axis=0)) == 16


def test_results_of_another_shape_than_said_are_not_spread_over_the_map(bundle):
    scene, windows = make_scene(96, 96), Windows.of(96, 96, patch=32, cell=32, size=96, margin=0, ramp=0)
    network = EmbeddingSource(bundle, tile=32, pooling="mean")
    door = open_scene_door(scene, network.encoder())
    with pytest.raises(ValueError, match=r"\(1, 256, 1, 1\) where \(1, 256, 3, 3\) was wanted"):
        next(compute_strips(door, network.load("cpu"), windows, [0]))


def test_room_for_what_is_written_of_the_parts_is_wanted_too(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    scene, network = make_scene(100, 100), EmbeddingSource(bundle)
    with run_scene(scene, network, tmp_path / "parts", SMALL, outputs=[Output(tmp_path / "a.tif", 100)]) as run:
        cells = run.height * run.columns
    run.discard()
    too_large = [Output(tmp_path / "a.tif", 500_000 / cells), Output(tmp_path / "b.tif", 500_000 / cells)]
    with (
        pytest.raises(StoreError, match=r"up to 1\.3 MB, and 1\.0 MB are free"),
        run_scene(scene, network, tmp_path / "parts", SMALL, outputs=too_large),
    ):
        pytest.fail("it was computed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"level": "L1C"}, {"level": "L2A"}),
        ({"door": DoorOptions(statistics="bundle")}, {"door": DoorOptions(statistics="dataset")}),
    ],
)
def test_parts_of_other_decisions_about_the_numbers_are_refused(tmp_path, first, second):
    encoder, scene, parts = make_encoder(), make_scene(100, 100), tmp_path / "parts"
    scales: Scales = {"L1C": ((2000.0,) * 3, (900.0,) * 3), "L2A": ((1000.0,) * 3, (500.0,) * 3)}
    network = EmbeddingSource(Encoder(encoder.network, encoder.modality, statistics=scales).eval())
    for said, refused in ((first, False), (second, True)):
        of_level = replace(scene, level=said.get("level", "L2A"))
        options = replace(SMALL, door=said.get("door", DoorOptions()))
        if refused:
            with pytest.raises(InputError, match="since then changed the settings"):
                read(of_level, network, parts, options)
        else:
            read(of_level, network, parts, options)


def test_a_file_in_the_place_of_parts_is_left_alone(bundle, tmp_path):
    (tmp_path / "parts").write_text("my notes")
    with pytest.raises(InputError, match="is there already, and is a file"):
        read(make_scene(100, 100), EmbeddingSource(bundle), tmp_path / "parts")
    assert (tmp_path / "parts").read_text() == "my notes"


@pytest.mark.parametrize("name", ["banana", "", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_said(name):
    with pytest.raises(InputError, match=f"there is no device '{name}'\nhint: PyTorch has here: cpu"):
        RunOptions(devices=("cpu", name))


def test_several_processes_want_a_folder(bundle):
    with pytest.raises(InputError, match="want a folder"):
        read(make_scene(60, 60), EmbeddingSource(bundle), None, replace(SMALL, workers=2))


_SCRIPT = """
import sys
from pathlib import Path
from test_scene_run import SMALL, EmbeddingSource, make_scene, replace
from geopretext.predict.embedding_map import embed_scene
if __name__ == "__main__":
    bundle, out, workers = sys.argv[1:]
    embed_scene(make_scene(1500, 120), bundle, Path(out), run=replace(SMALL, workers=int(workers)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_killed_at_work_ends_in_the_same_bytes(bundle, tmp_path, workers):
    script = tmp_path / "embed.py"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parent}"}

    def start(out: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, script, bundle, out, str(workers)], env=environment)

    assert start(tmp_path / "whole.tif").wait() == 0
    out, parts = tmp_path / "out.tif", tmp_path / "out.tif.parts"
    process = start(out)
    while len(list(parts.glob("strip-*.npz"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not out.exists()
    finished = {path: path.stat().st_mtime_ns for path in parts.glob("strip-*.npz")}
    assert start(out).wait() == 0
    assert finished
    assert not parts.exists()
    assert out.read_bytes() == (tmp_path / "whole.tif").read_bytes()
