"""A bundle and a task in, a table of what fine-tuning reaches out, beside training from scratch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from geopretext.errors import InputError
from geopretext.evaluate.baselines import random_encoder
from geopretext.evaluate.cells import TaskFacts
from geopretext.evaluate.finetune import check_settings, finetune
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.outcome import Run
from geopretext.evaluate.prepared import MEMORY, Prepared
from geopretext.evaluate.presets import settings_to_plain
from geopretext.evaluate.scores import Scores
from geopretext.evaluate.task import Task
from geopretext.nn.bundle import Encoder
from geopretext.predict.chosen_inputs import maps_only

FINETUNED, FROM_SCRATCH = "finetuned", "from_scratch"
"""Names of the methods in the table."""
SEEDS = (0, 1, 2)
HEAD = "finetune"
Report: TypeAlias = Callable[[str, int, int, int], None]
"""called with (method, seed, steps done, steps in all)"""


def evaluate_finetuning(
    encoder: Encoder | str | Path,
    task: Task,
    settings: FinetuneSettings,
    *,
    seeds: Sequence[int] = SEEDS,
    methods: Sequence[str] = (FINETUNED, FROM_SCRATCH),
    strict: bool = False,
    memory: int = MEMORY,
    bootstrap_seed: int = 0,
    out: str | Path | None = None,
    save: str | Path | None = None,
    progress: Report | None = None,
    looked: Callable[[Mapping[str, Any]], None] | None = None,
) -> Scores:
    """What a pretrained encoder reaches on a task when it is trained further, and what random weights reach.

    Args:
        encoder: or a bundle's folder or hub name. Training runs on the device where it is.
        task: of any kind.
        settings: the same for all methods.
        seeds: a run of each method for each; their scores are averaged.
        methods: of "finetuned" (starts from the bundle) and "from_scratch" (starts from random weights).
        strict: refuse inputs that are implausible for the encoder, see ``predict.input_gate``.
        memory: bytes of images and labels that may be kept; beyond that they are read anew in every epoch.
        bootstrap_seed: of the bootstrap.
        out: folder for ``scores.json``; None: nothing is written.
        save: folder for a bundle of the first method's first run, encoder and head; None: none.
        progress: told how far training is.
        looked: told what is done to the inputs and how plausible they are, before anything is trained.

    Raises:
        BundleError: there is no such bundle.
        BandError, UnitError, GridError, InputError: the inputs do not fit the encoder, or are implausible for it (with
            ``strict``).
        RecipeError, NonFiniteError, CorruptError, ClassError: as ``finetune``.
    """
    if not methods or not seeds:
        raise InputError("no method or no seed is given", hint=f"methods: {FINETUNED}, {FROM_SCRATCH}; seeds: 0,1,2")
    if not isinstance(encoder, Encoder):
        encoder = Encoder.from_pretrained(encoder)
    encoder = maps_only(task.suited(encoder), "fine-tuning", where=f"task {task.name!r}")
    check_settings(settings, task.kind)
    prepared = Prepared.open(task, encoder, memory=memory)
    if looked is not None:
        looked(prepared.record)
    if strict:
        for feed in (prepared.feed, prepared.later):
            if feed is not None:
                feed.gate.require_plausible(where=f"task {task.name!r}")
    runs: dict[str, dict[int, Run]] = {}
    for method in methods:
        for seed in seeds:
            first = not runs
            start = encoder if method == FINETUNED else random_encoder(encoder, seed)
            run = finetune(
                start,
                prepared,
                settings,
                seed=seed,
                progress=None if progress is None else _report(progress, method, seed),
                save=Path(save) if save is not None and first else None,
            )
            runs.setdefault(method, {})[seed] = run
    record = {
        "inputs": prepared.record,
        "encoder": encoder.settings.title,
        "finetune": settings_to_plain(settings),
        "seeds": list(seeds),
        "facts": {method: [dict(run.facts) for run in by_seed.values()] for method, by_seed in runs.items()},
    }
    facts = TaskFacts(task.name, task.kind, task.classes, task.counts)
    scores = Scores.of_runs(facts, HEAD, runs, seed=bootstrap_seed, settings=record)
    if out is not None:
        scores.write(out)
    return scores


def _report(progress: Report, method: str, seed: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(method, seed, done, total)
