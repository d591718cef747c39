"""What a suite computes: its grid of cells, in one typed place and one YAML file; no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from geopretext import __version__
from geopretext.data.fields import read_settings
from geopretext.data.local_file import replace_file
from geopretext.errors import RecipeError
from geopretext.evaluate.cells import Cell
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.representations import BASELINES, CONVOLUTIONS, PRETRAINED, RANDOM, TIMM
from geopretext.evaluate.timm_features import TimmSettings
from geopretext.nn.settings import POOLINGS

SUITE_FILE = "suite.yaml"
ALL = "100%"
"""The amount that is the whole training split."""
FINETUNE = "finetune:"
"""Prefix of heads that train on images; a preset or a file follows."""
FEATURE_HEADS = ("knn", "probe", "sgd")
"""Heads on frozen features."""
_DETERMINISTIC = ("knn", "probe")
"""Heads whose result does not depend on the seed, but through subset and features."""
_GRID = ("bundles", "tasks", "heads", "representations", "amounts", "seeds")
_FIXED = ("pooling", "split_seed")


@dataclass(frozen=True)
class SuiteSettings:
    """The grid of a suite.

    Raises:
        RecipeError: an axis is empty or names something twice, a head is unknown, two bundles have one name.
    """

    bundles: tuple[str, ...] = ()
    """folders or hub names; the first is what the others are compared with"""
    tasks: tuple[str, ...] = ()
    """as ``--task`` takes them; what needs options is a YAML file, see docs/tasks.md"""
    heads: tuple[str, ...] = ("knn", "probe")
    """"knn", "probe", "sgd", or "finetune:PRESET" with the name or the file of a preset"""
    representations: tuple[str, ...] = (PRETRAINED, *BASELINES)
    """what turns images into features, see ``evaluate.representations``: "pretrained" is the bundle itself, all others
    are baselines. Other bundles stand among ``bundles``, each behind its own door"""
    amounts: tuple[str, ...] = (ALL,)
    """of the training labels: "1%", "5 a class" """
    seeds: tuple[int, ...] = (0, 1, 2)
    """of subsets, of the training of heads and of random weights; at least 0"""
    pooling: str = "stages"
    """how a grid of features becomes one vector: "stages" or "mean" """
    split_seed: int = 0
    """of random splits, where a task has none; the same for all cells"""
    names: dict[str, str] = field(default_factory=dict)
    """of bundles in tables, where one wants others than ``bundle_names`` gives them"""
    version: str = __version__
    """of the package that wrote this"""

    def __post_init__(self) -> None:
        for axis in _GRID:
            entries = getattr(self, axis)
            if not entries:
                raise RecipeError(f"{axis} is empty", hint=f"give at least one of the {axis}")
            twice = sorted({str(entry) for entry in entries if entries.count(entry) > 1})
            if twice:
                raise RecipeError(f"{axis} has {', '.join(twice)} twice")
        for head in self.heads:
            if head not in FEATURE_HEADS and not head.removeprefix(FINETUNE) != head:
                raise RecipeError(f"no head {head!r}", hint=f"one of {', '.join(FEATURE_HEADS)}, {FINETUNE}PRESET")
        for representation in self.representations:
            if representation not in (PRETRAINED, *BASELINES) and not representation.startswith(TIMM):
                known = ", ".join((PRETRAINED, *BASELINES))
                raise RecipeError(
                    f"no representation {representation!r} in a suite",
                    hint=f"one of {known}, {TIMM}NAME; other bundles stand among the bundles",
                )
            is_seeded(representation)  # refuses options of timm that there are not
        if min(self.seeds) < 0:
            raise RecipeError(f"a seed is {min(self.seeds)}", hint="at least 0")
        if self.pooling not in POOLINGS:
            raise RecipeError(f"pooling is {self.pooling!r}", hint=f"one of {', '.join(POOLINGS)}")
        self._check_names()

    def _check_names(self) -> None:
        strangers = [bundle for bundle in self.names if bundle not in self.bundles]
        if strangers:
            raise RecipeError(
                f"names has {strangers[0]!r}, which is none of the bundles", hint=f"bundles: {', '.join(self.bundles)}"
            )
        given = list(self.names.values())
        taken = [name for name in given if _is_baseline(name)]
        if taken:
            raise RecipeError(f"a bundle has the name {taken[0]!r} of a baseline", hint="give it another")
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise RecipeError(f"two bundles have the name {twice[0]!r}", hint="name them: --names A=PATH,B=PATH")

    def write(self, path: Path) -> None:
        """To a YAML file, whole or not at all."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        replace_file(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())

    def joined(self, earlier: "SuiteSettings", where: str) -> "SuiteSettings":
        """The grid that a folder holds after this one was computed into it: entries of both, the earlier ones first.

        Raises:
            RecipeError: the two differ in what is no axis of the grid, so that their cells cannot stand in one table.
        """
        for name in _FIXED:
            old, new = getattr(earlier, name), getattr(self, name)
            if old != new:
                raise RecipeError(
                    f"the cells in this folder have {name} {old!r}, not {new!r}",
                    where=where,
                    hint=f"give {name} {old!r} again, or another --out",
                )
        axes: dict[str, Any] = {
            axis: tuple(dict.fromkeys((*getattr(earlier, axis), *getattr(self, axis)))) for axis in _GRID
        }
        return replace(self, **axes, names={**earlier.names, **self.names})


def read_suite(path: Path | None, fields: Mapping[str, Any] | None = None) -> SuiteSettings:
    """Settings from a YAML file and single fields.

    Args:
        path: of the file; None: there is none.
        fields: instead of those of the file. Names of bundles are added to the file's.

    Raises:
        RecipeError: there is no such file, it is no YAML, or a field does not fit.
    """
    plain = {} if path is None else _read_yaml(path)
    if fields:
        plain |= {name: value for name, value in fields.items() if name != "names"}
        plain["names"] = {**(plain.get("names") or {}), **fields.get("names", {})}
    return read_settings(SuiteSettings, plain, where="" if path is None else str(path))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError("no such file", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"is no YAML: {error}", where=str(path)) from error
    if not isinstance(plain, dict):
        raise RecipeError("holds no settings of a suite", where=str(path), hint="bundles: [...], tasks: [...]")
    return plain


def bundle_names(bundles: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """What bundles are called in tables: as they were given a name, or the last part of their path.

    It is as short as it can be unlike any other, and no baseline is called so; ``RUN/bundle`` is called ``RUN``.
    """
    parts = {}
    for bundle in bundles:
        words = [word for word in bundle.replace("\\", "/").split("/") if word not in ("", ".")]
        parts[bundle] = words[:-1] if words[-1:] == ["bundle"] and len(words) > 1 else words
    names = {}
    for bundle, words in parts.items():
        others = [other for key, other in parts.items() if key != bundle]
        short = ("/".join(words[-n:]) for n in range(1, len(words) + 1) if all(o[-n:] != words[-n:] for o in others))
        free = (name for name in short if name not in given.values() and not _is_baseline(name))
        names[bundle] = given.get(bundle) or next(free, bundle)
    return names


def _is_baseline(name: str) -> bool:
    """True if a table may call a baseline so; "random_init (a)" is one behind the door of a."""
    return name.partition(" (")[0] in BASELINES or name.startswith(TIMM)


@dataclass(frozen=True)
class Opened:
    """What is known of a task behind the door of a bundle, and what its cells rest on."""

    task: str
    bundle: str
    kind: TaskKind
    parameters: int
    """of the bundle's encoder"""
    images: str
    """sign of the images, of which of them are for training, and of what the door does to them"""
    labels: str
    """sign of labels and splits"""
    door: str
    """sign of bands, units, statistics and patch size: bundles that share it read the same numbers"""
    architecture: str
    """sign of the door and of the network without its weights"""
    weights: str
    """sign of the door and of the network with them"""
    record: Mapping[str, Any]
    """what the door does, and whether the inputs are plausible, in plain types"""


LeftOut: TypeAlias = dict[str, int]
"""how many cells the grid has no room for, by reason"""


def plan_cells(
    settings: SuiteSettings, opened: Iterable[Opened], held: SuiteSettings | None = None
) -> tuple[dict[Cell, Opened], LeftOut]:
    """The cells of the grid on what could be opened, and why others make no sense.

    Baselines do not depend on the bundle's weights: they stand once behind each door (random weights: once for each
    architecture), the first bundle's that has it. Seeds that can change nothing are not repeated: the first one stands.

    Args:
        settings: the grid.
        opened: its tasks behind the doors of its bundles, and of earlier ones whose baselines serve as well.
        held: the grid of the folder with this one in it, which says what is first; by default this one.
    """
    held = held or settings
    opened = list(opened)
    owners: dict[tuple[str, str, str], Opened] = {}
    for representation in settings.representations:
        for task in sorted(opened, key=lambda task: held.bundles.index(task.bundle)):
            owners.setdefault((task.task, representation, _door(task, representation)), task)
    asked = [task for task in opened if task.bundle in settings.bundles]
    places = [
        (owners[task.task, representation, _door(task, representation)], representation)
        for task in asked
        for representation in settings.representations
    ]
    cells: dict[Cell, Opened] = {}
    left_out: LeftOut = {}
    seen: set[tuple[str, str, str]] = set()
    for task, representation in places:
        if (task.task, task.bundle, representation) in seen:
            continue
        seen.add((task.task, task.bundle, representation))
        for head in settings.heads:
            reason = _unfit(task.kind, representation, head)
            for amount in settings.amounts:
                seeds = _seeds(settings, held, representation, head, amount)
                if reason:
                    left_out[reason] = left_out.get(reason, 0) + len(seeds)
                    continue
                for seed in seeds:
                    cells[Cell(task.task, task.bundle, representation, head, amount, seed)] = task
    return cells, left_out


def _door(task: Opened, representation: str) -> str:
    """What a representation of a task depends on: where it is the same, so are its results."""
    return {PRETRAINED: task.bundle, RANDOM: task.architecture}.get(representation, task.door)


def lost_cells(settings: SuiteSettings, held: SuiteSettings, task: str, bundle: str, *, baselines: bool) -> list[Cell]:
    """The cells of a task that could not be opened for a bundle; with or without the baselines behind its door."""
    representations = settings.representations if baselines else (PRETRAINED,)
    return [
        Cell(task, bundle, representation, head, amount, seed)
        for representation in representations
        if representation in settings.representations
        for head in settings.heads
        for amount in settings.amounts
        for seed in _seeds(settings, held, representation, head, amount)
        if not (head.startswith(FINETUNE) and representation not in (PRETRAINED, RANDOM))
    ]


def _unfit(kind: TaskKind, representation: str, head: str) -> str:
    """Why a head cannot be had here; empty if it can."""
    if head.startswith(FINETUNE):
        return "" if representation in (PRETRAINED, RANDOM) else f"{representation} is nothing that can be fine-tuned"
    return f"{head} needs one label a sample, not {kind}" if kind.is_dense else ""


def _seeds(
    settings: SuiteSettings, held: SuiteSettings, representation: str, head: str, amount: str
) -> tuple[int, ...]:
    """Those of the grid, or where a seed changes nothing the first that the folder has."""
    repeats = amount == ALL and head in _DETERMINISTIC and not is_seeded(representation)
    return held.seeds[:1] if repeats else settings.seeds


def is_seeded(representation: str) -> bool:
    """True if features depend on the seed.

    Raises:
        InputError: a model of timm has an option that there is not.
    """
    if representation.startswith(TIMM):
        return not TimmSettings.parse(representation.removeprefix(TIMM)).pretrained
    return representation in (RANDOM, CONVOLUTIONS)
