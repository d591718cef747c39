"""The field's known faults of inputs, from a task to a refused evaluation.

Each passes in silence once the guard is blind that sees it: the gate, or the check of units.
What the gate makes of them in numbers is tested in ``tests/predict/test_input_gate.py``.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from geopretext.data.synthetic.earth import SyntheticEarth
from geopretext.errors import InputError, UnitError
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import load_task
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict import image_door
from geopretext.predict.input_gate import GateReport, GateVerdict

L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
B8A_LAST = (*(name for name in L1C if name != "B8A"), "B8A")
Numbers = np.ndarray


@dataclass(frozen=True)
class Array13:
    """Images in memory that are said to have the bands ``L1C``."""

    values: Numbers
    bands: tuple[str, ...] = L1C
    unit: str = "reflectance x 10000"
    where: str = "memory"
    dtype: str = "float32"
    height: int = 32
    width: int = 32

    def __len__(self) -> int:
        return len(self.values)

    def read(self, samples: Numbers, bands: Sequence[str]) -> tuple[Numbers, Numbers]:
        values = self.values[samples][:, [self.bands.index(name) for name in bands]].astype(np.float32)
        return values, values > 0


def exchanged(tiles: Numbers, first: str, second: str) -> Numbers:
    other = {first: second, second: first}
    return tiles[:, [L1C.index(other.get(name, name)) for name in L1C]]


TRAPS: dict[str, tuple[Callable[[Numbers], Numbers], str]] = {
    "B8A last": (lambda tiles: tiles[:, [L1C.index(name) for name in B8A_LAST]], "B8A is last in the files"),
    "offset left in": (lambda tiles: np.where(tiles > 0, tiles + 1000, 0), "the offset of 1000 is still in"),
    "BGR for RGB": (lambda tiles: exchanged(tiles, "B2", "B4"), "B2 and B4 are exchanged"),
    "B8 for B8A": (lambda tiles: exchanged(tiles, "B8", "B8A"), "B8 and B8A are exchanged"),
}


@pytest.fixture(scope="module")
def tiles() -> Numbers:
    """L1C of a planet that typical bands know nothing of."""
    earth = SyntheticEarth(seed=11, tile_size=32)
    places = earth.places(60)
    optical = earth.tiles(places).arrays["sentinel2"][places.levels["sentinel2"] == 0]
    return optical[:, PUBLISHED["sentinel2"].band_indices(L1C)].astype(np.float64)


def make_task(values: Numbers, unit: str = "reflectance x 10000") -> Task:
    numbers = np.arange(len(values))
    return Task(
        name="trap",
        kind=TaskKind.SINGLE_LABEL,
        classes=("odd", "even"),
        inputs=ImageInputs(Array13(values, unit=unit), level="L1C"),
        samples=numbers,
        labels=numbers % 2,
        train=numbers[:-8],
        val=numbers[-8:-4],
        test=numbers[-4:],
        left_out={},
    )


def make_encoder(bands: tuple[str, ...] = L1C) -> Encoder:
    scales = dict.fromkeys(("all", "L1C", "L2A"), ((1500.0,) * len(bands), (1000.0,) * len(bands)))
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=bands))
    return Encoder(network, PUBLISHED["sentinel2"].select(bands), statistics=scales).eval()


def blind(*_: object, **__: object) -> GateReport:
    """What the gate says where it cannot look."""
    return GateReport(GateVerdict.NOT_CHECKED, (), (), 0, "nothing", None)


def run(task: Task, encoder: Encoder | None = None) -> None:
    evaluate(encoder or make_encoder(), task, head="knn", baselines=(), strict=True)


def test_what_is_right_passes(tiles: Numbers) -> None:
    run(make_task(tiles))
    run(make_task(tiles / 1e4, unit="reflectance"))


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_stops_the_evaluation_and_only_the_gate_sees_it(
    trap: str, tiles: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring, what = TRAPS[trap]
    wrong = make_task(spring(tiles))
    with pytest.raises(InputError, match=what):
        run(wrong)
    monkeypatch.setattr(image_door, "judge_inputs", blind)
    run(wrong)


@pytest.mark.parametrize(
    ("factor", "unit", "gate"),
    [(1e-4, "reflectance x 10000", "have to be multiplied by 10000"), (1, "reflectance", "")],
    ids=["So2Sat's 0 to 1 as whole numbers", "whole numbers as 0 to 1"],
)
def test_another_scale_is_refused_by_the_unit_check_before_the_gate_looks(
    factor: float, unit: str, gate: str, tiles: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = make_task(tiles * factor, unit)
    with pytest.raises(UnitError, match=f"band 'B1' cannot be in '{unit}'"):
        run(wrong)
    monkeypatch.setattr(image_door, "check_plausible", lambda *_, **__: None)
    with pytest.raises(InputError, match=gate) if gate else nullcontext():
        run(wrong)


def test_the_published_order_of_eurosat_is_caught(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six files as they ship, read as if B8A stood behind B8; named as they are, they pass."""
    folder = str(test_data / "eurosat_ms_6")
    facts = {"unit": "reflectance x 10000", "level": "L1C"}
    run(load_task(folder, bands=B8A_LAST, **facts))
    wrong = load_task(folder, bands=L1C, **facts)
    with pytest.raises(InputError, match="B8A is last in the files"):
        run(wrong)
    monkeypatch.setattr(image_door, "judge_inputs", blind)
    run(wrong)
