"""The benchmarks at tiny size: they measure what they say, and print it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.nn.kernels import kernels_enabled

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports a script, or a module beside the scripts, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {path.stem for path in BENCHMARKS.iterdir()}:
            del sys.modules[name]


def test_ratios_are_taken_within_a_round(load: Any) -> None:
    measuring = load("measuring")
    slow, fast = measuring.Timing((2.0, 40.0, 6.0)), measuring.Timing((1.0, 10.0, 2.0))
    assert fast.times_faster_than(slow) == 3
    assert fast.times_faster_than(slow, (1, 2)) == 1.5
    assert slow.rate(12) == 2
    assert slow.spread(12) == (0.3, 6)


def test_variants_take_turns_after_a_round_that_does_not_count(load: Any) -> None:
    turns: list[str] = []
    variants = {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}
    timings = load("measuring").take_turns(variants, rounds=2)
    assert turns == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]


@pytest.mark.parametrize("geometry", ["56/8", "112/16"])
def test_every_variant_of_a_step_computes_the_same(load: Any, geometry: str) -> None:
    pretrain_step = load("pretrain_step")
    method = pretrain_step.make_method("micro", geometry)
    steps = {variant: pretrain_step.Step(variant, method) for variant in pretrain_step.VARIANTS}
    batch = pretrain_step.make_batch(method, 2, torch.device("cpu"))
    differences = pretrain_step.check_agreement(steps, *batch)
    assert max(differences["masked dense"], differences["ours fp32"]) < 1e-4
    assert 1e-5 < differences["ours bf16"] < 0.1


def test_a_variant_that_computes_something_else_is_not_timed(load: Any) -> None:
    pretrain_step = load("pretrain_step")
    method = pretrain_step.make_method("micro", "56/8")
    steps = {variant: pretrain_step.Step(variant, method) for variant in ("published", "ours fp32")}
    with torch.no_grad():
        steps["ours fp32"].network.network.encoder.stages[2][0].grn.gamma.mul_(1.1)
    with pytest.raises(SystemExit, match="'ours fp32' computes something else"):
        pretrain_step.check_agreement(steps, *pretrain_step.make_batch(method, 2, torch.device("cpu")))


def test_counted_operations_are_those_that_torch_counts(load: Any) -> None:
    pretrain_step, operations = load("pretrain_step"), load("measuring.operations")
    method = pretrain_step.make_method("micro", "112/16")
    products = operations.published_products(method)
    step = pretrain_step.Step("published", method)
    fields, seeds = pretrain_step.make_batch(method, 2, torch.device("cpu"))
    with kernels_enabled(False), FlopCounterMode(display=False) as counter:
        step.network(fields, seeds)
    assert counter.get_total_flops() == 2 * 2 * sum(product.forward for product in products)
    with FlopCounterMode(display=False) as counter:
        step.gradients(fields, seeds)
    linear = {"mm", "addmm", "bmm", "baddbmm"}
    counted = sum(
        count for op, count in counter.get_flop_counts()["Global"].items() if str(op).partition(".")[2] in linear
    )
    convolved = {"initial_conv", "downsample 1", "downsample 2", "downsample 3"}
    rest = [product for product in products if not product.is_depthwise and product.name not in convolved]
    assert counted == 2 * 2 * sum(product.total for product in rest)


def test_the_least_is_the_visible_share_of_the_encoder_and_one_decoder(load: Any) -> None:
    pretrain_step, operations = load("pretrain_step"), load("measuring.operations")
    method = pretrain_step.make_method("micro", "56/8")
    all_of = {product.name: product for product in operations.published_products(method)}
    for product in operations.least_products(method):
        whole = all_of[product.name]
        if product.name.startswith(("initial_conv", "stem", "stage", "downsample", "projection")):
            assert product.forward * 49 == whole.forward * 19
        elif product.name.startswith("decoder"):
            assert product.forward * 12 == whole.forward
        elif product.rows > 1:
            assert product.forward * 49 == whole.forward * 30
    assert operations.OwnProducts(all_of.values(), 1, torch.float32, torch.device("cpu")).multiply_adds == (
        operations.multiply_adds(all_of.values())
    )


def test_the_step_benchmark_reports_figures_and_targets(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain_step = load("pretrain_step")
    monkeypatch.setattr(pretrain_step, "_SQUARES", (64,))
    monkeypatch.setattr(pretrain_step, "_memory", lambda *_: dict.fromkeys(pretrain_step.VARIANTS, 2.0**20))
    result = pretrain_step.run(pretrain_step.Options(size="micro", batch_size=1, rounds=1), ("56/8",))
    figures = json.loads(json.dumps(result))["geometries"]["56/8"]["variants"]
    assert figures["published"]["times_baseline"] == 1
    assert 0 < figures["ours fp32"]["share_of_floor"] < 1
    text = pretrain_step.report(result)
    assert "ours bf16 against published" in text
    assert text.count("met") == 4


@pytest.mark.slow
def test_memory_of_a_step_grows_with_what_it_keeps(load: Any) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak of a process")
    pretrain_step = load("pretrain_step")
    options = pretrain_step.Options(size="micro", batch_size=8)
    memory = pretrain_step._memory(options, "56/8")  # each in a process of its own
    assert memory["published"] > memory["masked dense"] > memory["ours fp32"] > 2**18


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few synthetic tiles in several shards."""
    folder = tmp_path_factory.mktemp("benchmark")
    return write_synthetic_store(folder / "tiles.zarr", count=20, shard_size=8, workers=1)


def test_chunks_of_a_store_decompress_to_its_numbers(load: Any, store: Path) -> None:
    shards, reader = load("measuring.shards"), Store.open(store)
    names = ("sentinel2", "sentinel1", "aster", "esa_worldcover")
    formats = shards.maps_of([reader.modalities[name] for name in names], tile_size=64, shard_size=8)
    chunks = shards.Chunks(store, formats, len(reader))
    order = np.array([3, 19, 0, 8, 7])
    stored = reader.read(names, order)
    assert chunks.raw_bytes == sum(array.nbytes for array in stored.values()) // len(order)
    decompressed: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for name, decode in chunks._decode.items():
        chunks._decode[name] = lambda data, into, name=name, decode=decode: (
            decode(data, into),
            decompressed[name].append(into.copy()),
        )
    chunks.decompress(order, threads=1)
    for name in names:
        np.testing.assert_array_equal(np.stack(decompressed[name]), stored[name])
    decompressed = {name: [] for name in names}
    chunks.decompress(order, threads=2, batch_size=2)
    assert {name: len(tiles) for name, tiles in decompressed.items()} == dict.fromkeys(names, 5)
    assert chunks.read_files() > 20 * sum(chunks.compressed_bytes.values())


def test_the_loader_benchmark_reports_figures_and_targets(
    load: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = load("loader")
    monkeypatch.setattr(loader, "_memory", loader.measure_memory)
    options = loader.Options(tiles=16, rounds=1, batch_size=4, hdf5_tiles=4, hdf5_workers=(0,))
    result = {"machine": "this one", "options": {}, "stores": [loader.measure(store, options)]}
    (found,) = json.loads(json.dumps(result))["stores"]
    assert found["tiles"] == 16
    assert found["variants"]["decompression"]["of_decompression"] == 1
    assert found["variants"]["loader"]["of_decompression"] > 0
    text = loader.report(result)
    assert "loader's threads of bare decompression" in text
    assert text.count("met") == 4


def test_a_benchmark_of_other_tiles_is_refused(load: Any, store: Path, tmp_path: Path) -> None:
    loader, official_files = load("loader"), load("measuring.official_files")
    workload = loader.Workload(Store.open(store), loader.Options(tiles=16, batch_size=4))
    official_files.write_official(tmp_path / "official.h5", workload.store, workload.modalities, 4)
    with h5py.File(tmp_path / "official.h5", "r+") as file:
        file["aster"][2] += 1
    tiles = official_files.OfficialTiles(tmp_path / "official.h5", workload.modalities, workload.store, 4)
    with pytest.raises(SystemExit, match="aster: the HDF5 holds other numbers than the store"):
        loader.check_agreement(workload, tiles)


def test_the_table_of_codecs_covers_codecs_and_shard_sizes(load: Any, store: Path) -> None:
    codecs = load("measuring.codecs")
    rows = list(codecs.measure_codecs(Store.open(store), ["dynamic_world", "aster"], tiles=8, rounds=1))
    own = [row for row in rows if row.modality == "aster" and row.codec == "blosc zstd 2 shuffle"]
    assert sorted(row.shard_size for row in own) == sorted(codecs.SHARD_SIZES)
    assert all(0 < row.bytes_a_tile < 16384 and row.written > 0 and row.read > 0 for row in rows)
    assert {row.codec for row in rows if row.modality == "dynamic_world"} >= {"zstd 1", "zstd 3"}


def test_cost_of_two_processes_follows_from_their_rates(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_parallel = load("data_parallel")
    rates = {"alone": 10, "left": 9, "right": 8, "together": 16}

    def start(_: object, __: Path, out: Path, processes: int) -> "subprocess.Popen[bytes]":
        assert processes == (2 if out.name == "together" else 1)
        out.mkdir(parents=True)
        rows = "".join(f"{rate}\n" for rate in [1, 1, 1, 1, *[rates[out.name]] * 3])
        (out / "metrics.csv").write_text(f"tiles_per_second\n{rows}")
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(data_parallel, "start", start)
    monkeypatch.setattr(data_parallel, "write_synthetic_store", lambda *_, **__: tmp_path)
    result = data_parallel.measure(data_parallel.Options(rounds=2, apart=True), tmp_path)
    assert result["kept"] == {"together": 0.8, "apart": 0.85}
    assert "NOT met  two that train together: 0.8 of twice" in data_parallel.report(result)


def test_a_run_that_fails_stops_the_benchmark_with_its_log(load: Any, tmp_path: Path) -> None:
    data_parallel = load("data_parallel")
    out = tmp_path / "round" / "alone"
    process = data_parallel.start(data_parallel.Options(recipe="no-such-recipe"), tmp_path, out, 1)
    with pytest.raises(SystemExit, match=r"(?s)failed with code 1.*no-such-recipe"):
        data_parallel.rate(out, process)


@pytest.mark.slow
def test_two_processes_are_measured_by_real_runs(load: Any, tmp_path: Path) -> None:
    data_parallel = load("data_parallel")
    options = data_parallel.Options(rounds=1, steps=6, tiles_a_process=4, size="micro", apart=True)
    result = data_parallel.measure(options, tmp_path)
    assert all(rate > 0 for rates in result["tiles_a_second"].values() for rate in rates)


@pytest.mark.slow
def test_the_facts_of_fidelity_come_without_any_ablation(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fidelity = load("fidelity")
    monkeypatch.setattr(sys, "argv", ["fidelity.py", "--quick", "--part", "facts"])
    monkeypatch.setattr(fidelity, "ablations", lambda *_, **__: pytest.fail("an ablation was run"))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # which would hold for other tests as well
    fidelity.main()
    lines = capsys.readouterr().out.splitlines()
    rows = {words[0]: words[1:] for line in lines if (words := line.split())}
    # Dual polarisation: half of Sentinel-1's bands are missing everywhere, and zeros for them halve the loss.
    missing, _, _, valid, _, zeros = (float(number.rstrip("%")) for number in rows["sentinel1"])
    assert missing > 50
    assert 0.4 < zeros / valid < 0.6
    # A fit on zeros for what is missing predicts numbers that are too small, the more so the more is missing.
    ascending, descending = ([float(text.rstrip("%")) for text in rows[f"{orbit}_VH"]] for orbit in ("asc", "desc"))
    assert ascending[0] > descending[0]
    assert ascending[3] < descending[3] <= 1.01
    # The published first weights start with a far larger loss, and divide by zero at a tile without observed pixels.
    assert float(rows["published"][0]) > 3 * float(rows["small"][0])
    assert rows["published"][4] == "nan"
    norms = [line for line in lines if "with gamma of" in line]
    assert [line.split()[0] for line in norms] == ["sample", "batch", "batch"]
    assert "other tiles in the batch 0.00%" in norms[0]
    assert "other tiles in the batch 0.00%" not in norms[2]
    (decayed,) = (line for line in lines if "without a gradient" in line)
    assert decayed == "58,400 steps: x 0.030 without a gradient; 7,535,928 numbers decay, or 7,555,256"


def test_decoders_are_measured_beside_the_encoder(load: Any) -> None:
    decoders = load("decoders")
    text = decoders.report(decoders.Options("micro", image_size=16, batch_size=1, rounds=1))
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()]
    of = {row[0]: row for row in rows}
    assert of["encoder alone"][3] == of["encoder alone"][5] == "1.0"
    network = decoders.networks(decoders.Options("micro"))["unet"]
    wanted = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("encoder."))
    assert of["unet"][1] == f"{wanted / 1e6:.2f} M"


@pytest.mark.slow
def test_a_made_scene_is_embedded_beside_the_bare_encoder(load: Any, tmp_path: Path) -> None:
    inference, made = load("inference"), load("measuring.made_scene")
    options = inference.Options(pixels=320, image_size=32, window=304, rounds=1)
    made.write_made_scene(tmp_path / "scene.tif", height=320, width=320)
    scene = inference.SceneSource(str(tmp_path / "scene.tif"), unit=made.UNIT)
    rates = inference.measure_rates(scene, options)
    assert rates["windows"] == {"size": 304, "margin": 128, "count": 4}
    assert rates["share_of_windows_that_counts"] == pytest.approx(320**2 / (4 * 304**2))
    assert rates["variants"][inference.BARE]["share_of_bare"] == 1
    inference.make_encoder(options).save_pretrained(tmp_path / "bundle")
    whole = inference.measure_whole(scene, tmp_path / "bundle", tmp_path / "out.tif", options)
    assert whole["bytes_written"] > 0
    whole |= {"megapixels_a_second": 1.0, "peak_bytes": 10**9}
    plain = {
        "machine": "m",
        "torch": "t",
        "threads": 1,
        "options": {},
        "scene_bytes": 1,
        "rates": rates,
        "whole": whole,
    }
    assert "limit of memory over its peak: 2 times" in inference.report(json.loads(json.dumps(plain)))


def test_multiply_adds_of_inference_are_those_that_torch_counts(load: Any) -> None:
    inference, operations = load("inference"), load("measuring.operations")
    encoder = inference.make_encoder(inference.Options())
    products = list(operations.encoder_products(encoder.settings, 16))
    with (
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
        load("geopretext.nn.kernels").kernels_enabled(False),
    ):
        encoder(torch.zeros(1, 12, 64, 64))
    assert sum(product.forward for product in products) == counter.get_total_flops() / 2
