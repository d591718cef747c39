"""``geopretext demo``: the whole idea in minutes, on a synthetic Earth.

Tiles, two pretrainings that differ in their targets only, probes beside baselines, pictures, a page. Every part leaves
a file in ``parts/`` when it is finished, and the same command does only what is missing.
"""

import csv
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.report import write_report
from geopretext.apps.summary import MEAN, Curves, Summary, TaskFacts, score_table
from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.evaluate.charts import Interval

_EXAMPLE = """\
geopretext demo
geopretext demo --quick --out runs/quick           # smaller and faster, scores mean little
geopretext demo --tiles 20000 --steps 5000 --out runs/long"""

_ABOUT = """\
Make a small synthetic Earth; pretrain MP-MAE (all modalities) and a masked autoencoder of Sentinel-2 alone for the same
steps; score both, random weights and band statistics on tasks that pretraining never saw; draw a reconstruction.

Writes DIR/report.html and DIR/summary.json. Run again, it does only what is missing."""

OURS, OPTICAL, RANDOM, BANDS = "mp_mae", "s2_mae", "random_init", "band_statistics"
METHODS = {OURS: "MP-MAE", OPTICAL: "S2-only MAE", RANDOM: "Random weights", BANDS: "Band statistics"}
_RECIPES = {OURS: "mp-mae-demo", OPTICAL: "s2-mae-demo"}
_RANDOM_SEEDS = (0,)
_SHARES = (0.65, 0.1, 0.25)
"""of the splits: many test tiles make short intervals"""
_ON_SHEET = 4
_METRIC_TITLES = {"accuracy": "accuracy", "micro_f1": "micro F1", "r2": "R²"}


_NEXT = (
    "# look at the tiles",
    "geopretext inspect {out}/tiles.zarr --out {out}/look",
    "# longer: more tiles, more steps",
    "geopretext demo --tiles 20000 --steps 5000 --out runs/long",
    "# MMEarth's own recipe on your tiles or on an official MMEarth directory",
    "geopretext pretrain mp-mae-atto-56-8 --data tiles.zarr --out runs/first",
    "geopretext evaluate probe runs/first/bundle --task tiles.zarr:LABEL --out runs/first/probe",
    "geopretext reconstruct runs/first/bundle --data tiles.zarr --out picture.png",
)


@dataclass(frozen=True)
class Settings:
    """How large the demo is."""

    tiles: int = 6000
    """of the synthetic Earth, at least 100: fewer get no split"""
    steps: int = 1200
    """of each pretraining, at least 1"""
    seed: int = 0
    """of planet, split, weights and masks"""
    pictures: int = 3
    """tiles in the reconstruction, at least 1"""


QUICK = Settings(tiles=600, steps=60, pictures=2)


def run(arguments: Sequence[str]) -> None:
    """Run all parts that are missing, print the table and where the report is."""
    parser = VerbParser("demo", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: %(default)s")
    add("--tiles", type=whole(100), help=f"of the synthetic Earth; default: {Settings.tiles}, quick {QUICK.tiles}")
    add("--steps", type=whole(1), help=f"of each pretraining; default: {Settings.steps}, quick {QUICK.steps}")
    add("--seed", type=whole(0), help="of planet, split, weights and masks; default: 0")
    add("--quick", action="store_true", help="a small version in well under a minute")
    add("--json", action="store_true", help="print what summary.json holds instead of the table")
    options = parser.parse_args(arguments)
    chosen = {name: getattr(options, name) for name in ("tiles", "steps", "seed") if getattr(options, name) is not None}
    summary = demo(options.out, replace(QUICK if options.quick else Settings(), **chosen))
    if options.json:
        print((options.out / "summary.json").read_text(encoding="utf-8"), end="")
    else:
        print(score_table(summary))
        print(f"\nreport: {options.out / 'report.html'}")


def demo(out: Path, settings: Settings) -> Summary:
    """Do what is missing in ``out``; writes ``report.html`` and ``summary.json``.

    Raises:
        InputError: the folder holds a demo of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, settings)
    store = out / "tiles.zarr"
    parts = {"tiles": _part(out, "tiles", partial(_make_tiles, store, settings))}
    tiles = parts["tiles"]["splits"]["train"]
    for method in _RECIPES:
        parts[method] = _part(out, method, partial(_pretrain, method, store, out, settings, tiles))
    parts["scores"] = _part(out, "scores", partial(_score, store, out))
    parts["pictures"] = _part(out, "pictures", partial(_draw, store, out, settings))
    summary = _summarise(out, settings, parts)
    _write(out / "summary.json", json.dumps(summary.to_plain(), indent=2) + "\n")
    write_report(
        out / "report.html",
        summary,
        contact_sheet=out / "tiles.png",
        reconstruction=out / "reconstruction.png",
    )
    return summary


def _claim(out: Path, settings: Settings) -> None:
    """Keep the settings of the first call, and refuse to mix others into its folder."""
    path = out / "settings.json"
    wanted = asdict(settings)
    if not path.exists():
        _write(path, json.dumps(wanted, indent=2) + "\n")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{name} {there.get(name)} -> {value}" for name, value in wanted.items() if there.get(name) != value]
    if changed:
        raise InputError(
            f"holds a demo of other settings: {', '.join(changed)}",
            where=str(out),
            hint="choose another --out, or delete the folder",
        )


def _part(out: Path, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a part, from its file if it is finished already; ``seconds`` is added."""
    path = out / "parts" / f"{name}.json"
    if path.exists():
        finished: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        say(f"{name}: finished before")
        return finished
    start = perf_counter()
    result = work()
    # A part that went on from an earlier, interrupted call knows its own time better.
    result["seconds"] = round(max(perf_counter() - start, result.get("seconds", 0.0)), 2)
    path.parent.mkdir(exist_ok=True)
    _write(path, json.dumps(result, indent=2) + "\n")
    say(f"{name}: {result['seconds']:.1f} s")
    return result


def _write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _make_tiles(path: Path, settings: Settings) -> dict[str, Any]:
    from geopretext.data.store import Store
    from geopretext.data.synthetic import write_synthetic_store

    write_synthetic_store(
        path, count=settings.tiles, seed=settings.seed, shares=_SHARES, progress=ProgressLine("tiles")
    )
    store = Store.open(path)
    sizes = {name: int(np.count_nonzero(store.coordinates.split == code)) for code, name in enumerate(SPLITS)}
    return {"tiles": len(store), "tile_size": store.tile_size, "splits": sizes}


def _pretrain(method: str, store: Path, out: Path, settings: Settings, tiles: int) -> dict[str, Any]:
    """One of the two runs, on ``tiles`` training tiles."""
    from geopretext.train.recipe import load_recipe
    from geopretext.train.run import pretrain

    recipe = load_recipe(_RECIPES[method], {"max_steps": settings.steps, "seed": settings.seed})
    batch_size = min(recipe.batch_size, tiles)
    warmup = min(recipe.warmup_epochs, 0.1 * settings.steps / (tiles // batch_size))
    recipe = replace(recipe, batch_size=batch_size, warmup_epochs=warmup)
    result = pretrain(recipe, data=store, out=out / method)
    return {
        "seconds": result.seconds,
        "tiles_per_second": result.tiles_per_second,
        "loss": result.metrics.get("loss"),
        "batch_size": recipe.batch_size,
        "encoder": recipe.encoder.size,
    }


def _score(store: Path, out: Path) -> dict[str, Any]:
    """Scores of all methods on all tasks of the store under both heads, and on their mean."""
    from geopretext.data.store import Store
    from geopretext.evaluate.bootstrap import Score, difference, mean_score
    from geopretext.evaluate.evaluation import Head, evaluate_many
    from geopretext.evaluate.tasks import store_task
    from geopretext.modality import Role

    reader = Store.open(store)
    features = _features(reader, out)
    labels = [m for m in reader.modalities.values() if m.role is Role.LABEL and m.kind.is_vector]
    tasks = {modality.name: store_task(reader, modality.name) for modality in labels}
    result: dict[str, Any] = {
        "tasks": {
            modality.name: asdict(
                TaskFacts(
                    title=modality.title or modality.name,
                    kind=str(task.kind),
                    metric=_METRIC_TITLES.get(str(task.metric), str(task.metric)),
                    train=len(task.train),
                    val=len(task.val),
                    test=len(task.test),
                )
            )
            for modality, task in zip(labels, tasks.values(), strict=True)
        }
    }
    heads: tuple[Head, ...] = ("probe", "knn")
    for head in heads:
        scores: dict[str, dict[str, Score]] = {method: {} for method in METHODS}
        for name, task in tasks.items():
            at_task = {method: [run[task.samples] for run in runs] for method, runs in features.items()}
            # One seed for all tasks: they share their test tiles, so the interval of their mean needs shared resamples.
            for method, score in evaluate_many(at_task, task, head=head, seed=0).scores.items():
                scores[method][name] = score
            say(f"{head}, {name}: " + ", ".join(f"{METHODS[m]} {s[name].value:.3f}" for m, s in scores.items()))
        for by_task in scores.values():
            by_task[MEAN] = mean_score(list(by_task.values()))
        result[head] = {m: {n: score.to_dict() for n, score in s.items()} for m, s in scores.items()}
        if head == "probe":
            ours = scores[OURS][MEAN]
            result["differences"] = {
                method: difference(ours, scores[method][MEAN]).to_dict() for method in METHODS if method != OURS
            }
    return result


def _features(reader: Any, out: Path) -> dict[str, list[Any]]:
    """Features of all tiles: of one run or several for each method."""
    from geopretext.evaluate.baselines import band_statistics, random_encoder
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.features import tile_blocks, tile_features

    encoders = {method: Encoder.from_pretrained(out / method / "bundle") for method in _RECIPES}
    ours = encoders[OURS]
    features = {
        method: [tile_features(encoder, reader, progress=ProgressLine(f"features, {METHODS[method]}"))]
        for method, encoder in encoders.items()
    }
    features[RANDOM] = [
        tile_features(random_encoder(ours, seed), reader, progress=ProgressLine(f"features, {METHODS[RANDOM]} {seed}"))
        for seed in _RANDOM_SEEDS
    ]
    blocks = tile_blocks(reader, ours.modality, np.arange(len(reader)))
    features[BANDS] = [band_statistics(blocks)]
    return features


def _draw(store: Path, out: Path, settings: Settings) -> dict[str, Any]:
    from geopretext.data.store import Store
    from geopretext.predict.contact_sheet import draw_contact_sheet
    from geopretext.predict.drawing import draw
    from geopretext.predict.reconstruct import reconstruct

    reader = Store.open(store)
    tiles = _varied_tiles(reader, settings.pictures, split="test")
    draw_contact_sheet(reader, _varied_tiles(reader, _ON_SHEET, split="train"), out / "tiles.png")
    draw(reconstruct(out / OURS / "bundle", reader, tiles, seed=settings.seed), out / "reconstruction.png")
    return {"reconstructed_tiles": tiles}


def _varied_tiles(reader: Any, count: int, *, split: str) -> list[int]:
    """Tiles of a split in which many classes of land cover meet, of different biomes as far as there are."""
    cover = next(m for m in reader.modalities.values() if m.kind.is_map and m.kind.is_categorical)
    pool = np.flatnonzero(reader.coordinates.split == SPLITS.index(split))[:300]
    codes = reader.read([cover.name], pool)[cover.name].reshape(len(pool), -1)
    shares = np.stack([(codes == label.code).mean(axis=1) for label in cover.classes], axis=1)
    disorder = -(shares * np.log(shares + 1e-9)).sum(axis=1)
    ranked = pool[np.argsort(-disorder, kind="stable")]
    first_of_biome = np.sort(np.unique(reader.coordinates.biome[ranked], return_index=True)[1])
    others = np.setdiff1d(np.arange(len(ranked)), first_of_biome)
    return [int(tile) for tile in ranked[[*first_of_biome, *others][:count]]]


def _summarise(out: Path, settings: Settings, parts: Mapping[str, Mapping[str, Any]]) -> Summary:
    scores, ours = parts["scores"], parts[OURS]
    titles = {"tiles": "Making the tiles", **{m: f"Pretraining, {METHODS[m]}" for m in _RECIPES}}
    titles |= {"scores": "Features, probes and neighbours", "pictures": "Pictures"}
    heads = {
        head: {m: {n: Interval(**score) for n, score in s.items()} for m, s in scores[head].items()}
        for head in ("probe", "knn")
    }
    return Summary(
        settings={
            **asdict(settings),
            "tile_size": parts["tiles"]["tile_size"],
            "batch_size": ours["batch_size"],
            "encoder": ours["encoder"],
        },
        methods=METHODS,
        tasks={name: TaskFacts(**facts) for name, facts in scores["tasks"].items()},
        probe=heads["probe"],
        knn=heads["knn"],
        differences={method: Interval(**score) for method, score in scores["differences"].items()},
        curves={method: _read_curves(out / method / "metrics.csv") for method in _RECIPES},
        seconds={titles[name]: part["seconds"] for name, part in parts.items()},
        tiles_per_second={method: parts[method]["tiles_per_second"] for method in _RECIPES},
        versions={name: version(name) for name in ("geopretext", "torch", "lightning", "numpy")},
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        commands=tuple(line.format(out=out) for line in _NEXT),
    )


def _read_curves(path: Path) -> Curves:
    """Loss of every pretext task over the steps."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = [name for name in rows[0] if name.startswith("loss/")] if rows else []
    return {
        name.removeprefix("loss/"): [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        for name in tasks
    }
