"""The benchmarks at tiny size: they measure what they say, and print it."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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
    with FlopCounterMode(display=False) as counter:
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


def test_memory_of_a_step_grows_with_what_it_keeps(load: Any) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak of a process")
    pretrain_step = load("pretrain_step")
    options = pretrain_step.Options(size="micro", batch_size=8)
    assert pretrain_step.measure_memory(options, "56/8", "published") > 2**20
