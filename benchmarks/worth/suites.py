"""Which encoders are scored on which tasks, with which heads and how many labels. Every suite resumes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geopretext.apps.demo import QUICK as QUICK_EARTH
from geopretext.apps.demo import Settings
from geopretext.apps.progress import say
from geopretext.data.store import Store
from geopretext.evaluate.suite import SuiteProgress, run_suite
from geopretext.evaluate.suite_settings import SuiteSettings
from geopretext.modality import Role
from worth.encoders import RECIPES, Earth

_HERE = Path(os.path.relpath(Path(__file__).parent))  # so that a suite says the same in every clone
_TASKS = _HERE.parent / "real_tasks.py"
FROZEN_LINEAR, UNET = (f"finetune:{_HERE / name}" for name in ("frozen_linear.yaml", "unet.yaml"))
BASELINES = ("random_init", "random_convolutions", "band_statistics")


@dataclass(frozen=True)
class RealTask:
    """How a real task is scored."""

    bands: str
    """key of ``encoders.BANDS``: which encoders see it"""
    heads: tuple[str, ...] = ("probe", "knn")
    amounts: tuple[str, ...] = ("100%",)

    @property
    def is_dense(self) -> bool:
        """True if its heads are trained on images."""
        return self.heads[0] == FROZEN_LINEAR


REAL: Mapping[str, RealTask] = {
    "eurosat_rgb": RealTask("rgb", amounts=("2 a class", "5 a class", "20 a class", "25%", "100%")),
    "bigearthnet_labels": RealTask("bgrn", amounts=("25%", "100%")),
    "bigearthnet_corine": RealTask("bgrn", heads=(FROZEN_LINEAR, UNET)),
    "worldcereal_crops": RealTask("bgrn", heads=(FROZEN_LINEAR, UNET)),
}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    planets: tuple[int, ...] = (0, 1, 2, 3, 4)
    """seeds of planet, split, weights and masks"""
    earth: Settings = field(default_factory=Settings)
    """its seed is that of the planet"""
    amounts: tuple[str, ...] = ("1%", "5%", "25%", "100%")
    """of the labels of a synthetic Earth"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of subsets and of random weights"""
    real: Mapping[str, RealTask] = field(default_factory=lambda: REAL)
    workers: int = 1


QUICK = Size(
    planets=(0, 1),
    earth=QUICK_EARTH,
    amounts=("25%", "100%"),
    seeds=(0,),
    real={"eurosat_rgb": RealTask("rgb", amounts=("5 a class",)), "bigearthnet_labels": RealTask("bgrn")},
)


def score_synthetic(earth: Earth, out: Path, size: Size) -> Path:
    """The two encoders with all bands, and baselines, on the five label tasks of their planet.

    Returns:
        the table of scores.
    """
    reader = Store.open(earth.tiles)
    labels = [m.name for m in reader.modalities.values() if m.role is Role.LABEL and not m.kind.is_map]
    return _run(
        out,
        size,
        bundles={method: earth.bundle(method) for method in RECIPES},
        tasks=[f"{earth.tiles}:{label}" for label in labels],
        heads=("probe",),
        amounts=size.amounts,
        representations=("pretrained", "random_init", "band_statistics"),
    )


def score_real(earths: Mapping[int, Earth], out: Path, size: Size) -> Path:
    """The encoders of all planets on the real tasks, and baselines beside those of the first.

    Returns:
        the table of scores.
    """
    scores = Path()
    for name, task in size.real.items():
        bundles = {
            f"{method}, planet {planet}": earth.bundle(method, task.bands)
            for planet, earth in earths.items()
            for method in RECIPES
        }
        shared: dict[str, Any] = {"tasks": [f"{_TASKS}:{name}"], "heads": task.heads, "amounts": task.amounts}
        names = {f"{task.bands}: {label}": bundle for label, bundle in bundles.items()}
        first = dict(list(names.items())[:1])
        baselines = ("random_init",) if task.is_dense else BASELINES
        # Planets repeat what is trained on images already; subsets of labels are repeated beside them.
        repeats = replace(size, seeds=size.seeds[:1]) if task.is_dense else size
        _run(out, repeats, bundles=names, representations=("pretrained",), **shared)
        scores = _run(out, size, bundles=first, representations=baselines, **shared)
    return scores


def _run(
    out: Path,
    size: Size,
    *,
    bundles: Mapping[str, Path],
    tasks: Sequence[str],
    heads: tuple[str, ...],
    amounts: tuple[str, ...],
    representations: tuple[str, ...],
) -> Path:
    settings = SuiteSettings(
        bundles=tuple(str(path) for path in bundles.values()),
        tasks=tuple(tasks),
        heads=heads,
        representations=representations,
        amounts=amounts,
        seeds=size.seeds,
        names={str(path): name for name, path in bundles.items()},
    )

    def tell(progress: SuiteProgress) -> None:
        say(f"{out.name}: {progress.done} of {progress.cells} cells, {progress.doing}")

    outcome = run_suite(settings, out, workers=size.workers, progress=tell)
    for failure in outcome.failures:
        say(f"no result: {failure.cell}: {failure.what}")
    assert outcome.scores is not None, "no cell has a result"
    return outcome.scores
