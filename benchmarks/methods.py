"""Pretext methods and encoders beside each other: the same tiles, the same compute, the same probes.

Each recipe for a laptop (``NAME-demo``) is pretrained on a synthetic Earth twice:

- seen tiles: every recipe sees the same number of tiles;
- wall time: every recipe trains for as many seconds. How many steps that is follows from the rate of a short run, taken
  when all workers are busy as they are later; what it really took is in the table.

Then linear probes on the labels of that Earth, with all labels and with few, beside the same architecture at random
weights. A planet is one repetition: other tiles, other weights, other masks; intervals are over planets (Student's t).

What it says holds for encoders of about a million weights after minutes of training, on images made by rules. It says
little about the methods at the size that they were made for.

Writes DIR/table.md, DIR/scores.parquet and DIR/curves.svg. Run again, it does only what is missing.

Run: OMP_NUM_THREADS=1 python benchmarks/methods.py --out runs/methods [--seen 16000] [--seconds 60] [--planets 0,1,2]
[--recipes A,B] [--tiles 3000] [--seen-only] [--workers 2] [--quick]
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.apps.progress import say
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import SPLITS
from geopretext.errors import GeopretextError
from geopretext.evaluate.seed_difference import SeedDifference, seed_difference
from geopretext.evaluate.suite import run_suite
from geopretext.evaluate.suite_settings import SuiteSettings
from geopretext.modality import Role
from geopretext.nn.bundle import load_settings
from geopretext.pretext.methods import find_method
from geopretext.train.recipe import load_recipe, recipe_names
from geopretext.train.run import pretrain
from measuring import machine, table

SEEN, WALL = "seen tiles", "wall time"
AMOUNTS = ("5%", "100%")
"""of the labels"""
_RATE = "rate"
_RATE_SHARE = 8  # of the tiles that a recipe sees one in so many is enough to measure its rate
_SHARES = (0.65, 0.1, 0.25)  # the demo's: many test tiles make short intervals


@dataclass(frozen=True)
class Options:
    """How much is done."""

    out: Path
    recipes: tuple[str, ...]
    planets: tuple[int, ...] = (0, 1, 2)
    tiles: int = 3000
    """of each planet"""
    seen: int = 16_000
    """tiles that each recipe sees"""
    seconds: float = 60.0
    """that each recipe trains"""
    workers: int = 1
    budgets: tuple[str, ...] = (SEEN, WALL)


@dataclass(frozen=True)
class Result:
    """One recipe on one planet, with one budget."""

    budget: str
    recipe: str
    planet: int
    bundle: str
    tiles: float
    """seen"""
    seconds: float
    """of training"""


@dataclass(frozen=True)
class Score:
    """Mean over the tasks of a planet."""

    budget: str
    recipe: str
    planet: int
    amount: str
    pretrained: float
    random: float
    """of the same architecture at random weights"""
    parameters: int
    """of the encoder"""


def main() -> None:
    """Parse, do what is missing, print and write the table."""
    options = _parse()
    results: list[Result] = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for budget in options.budgets:
            rates = _rates(options, pool) if budget == WALL else None
            jobs = [
                pool.submit(_train, options, budget, planet, recipe, _steps(options, recipe, rates))
                for planet in _with_stores(options)
                for recipe in options.recipes
                if rates is None or recipe in rates
            ]
            results += [result for job in jobs if (result := job.result()) is not None]
    scores = [score for planet in options.planets for score in _score(options, planet, results)]
    pq.write_table(pa.Table.from_pylist([asdict(score) for score in scores]), options.out / "scores.parquet")
    text = "\n\n".join([machine(), *(_table(budget, results, scores) for budget in options.budgets)])
    (options.out / "table.md").write_text(text + "\n", encoding="utf-8")
    _draw(options.budgets, scores, options.out / "curves.svg")
    print(text)


def _with_stores(options: Options) -> tuple[int, ...]:
    for planet in options.planets:
        folder = options.out / f"planet{planet}"
        folder.mkdir(parents=True, exist_ok=True)
        write_synthetic_store(folder / "tiles.zarr", count=options.tiles, seed=planet, shares=_SHARES, workers=1)
    return options.planets


def _rates(options: Options, pool: Executor) -> dict[str, float]:
    """Tiles a second of each recipe that trains."""
    planet = _with_stores(options)[0]
    jobs = {
        name: pool.submit(_train, options, _RATE, planet, name, _steps(options, name) // _RATE_SHARE)
        for name in options.recipes
    }
    return {name: got.tiles / got.seconds for name, job in jobs.items() if (got := job.result()) is not None}


def _steps(options: Options, name: str, rates: Mapping[str, float] | None = None) -> int:
    """To the same number of tiles; with rates, to the same time."""
    return round((options.seen if rates is None else options.seconds * rates[name]) / load_recipe(name).batch_size)


def _train(options: Options, budget: str, planet: int, name: str, steps: int) -> Result | None:
    folder = options.out / f"planet{planet}"
    store = folder / "tiles.zarr"
    recipe, steps = load_recipe(name), max(2, steps)
    train = int(np.count_nonzero(Store.open(store).coordinates.split == SPLITS.index("train")))
    warmup = min(recipe.warmup_epochs, 0.1 * steps / (train // recipe.batch_size))
    recipe = replace(recipe, seed=planet, max_steps=steps, warmup_epochs=warmup, checkpoint_every_steps=10 * steps)
    try:
        result = pretrain(recipe, data=store, out=folder / budget.replace(" ", "_") / name, progress=False)
    except GeopretextError as error:
        say(f"{name}, planet {planet}: {error}")
        return None
    say(f"{budget}, planet {planet}, {name}: {result.seconds:.0f} s, {result.tiles_per_second:.0f} tiles/s")
    return Result(budget, name, planet, str(result.bundle), result.metrics["tiles"], result.seconds)


def _score(options: Options, planet: int, results: Sequence[Result]) -> list[Score]:
    """Linear probes of every bundle of a planet."""
    store = options.out / f"planet{planet}" / "tiles.zarr"
    labels = [m.name for m in Store.open(store).modalities.values() if m.role is Role.LABEL and not m.kind.is_map]
    mine = {result.bundle: result for result in results if result.planet == planet}
    settings = SuiteSettings(
        bundles=tuple(mine),
        tasks=tuple(f"{store}:{label}" for label in labels),
        heads=("probe",),
        representations=("pretrained", "random_init"),
        amounts=AMOUNTS,
        seeds=(planet,),
        names={bundle: f"{result.recipe}, {result.budget}" for bundle, result in mine.items()},
    )
    outcome = run_suite(settings, options.out / f"planet{planet}" / "scores", workers=options.workers)
    for failure in outcome.failures:
        say(f"no result: {failure.cell}: {failure.what}")
    assert outcome.scores is not None, "no cell has a result"
    found: dict[tuple[str, str, str], list[float]] = {}
    sizes: dict[str, int] = {}
    for row in pq.read_table(outcome.scores).to_pylist():
        if row["headline"]:
            found.setdefault((row["bundle"], row["amount"], row["representation"]), []).append(row["value"])
            sizes[row["bundle"]] = row["parameters"]
    # A suite scores an architecture at random weights once, whatever bundles have it.
    settings_of = {bundle: load_settings(bundle) for bundle in mine}
    scored = [bundle for bundle in mine if (bundle, AMOUNTS[0], "random_init") in found]
    alike = {b: next(other for other in scored if settings_of[other] == settings_of[b]) for b in mine}
    return [
        Score(
            result.budget,
            result.recipe,
            planet,
            amount,
            float(np.mean(found[bundle, amount, "pretrained"])),
            float(np.mean(found[alike[bundle], amount, "random_init"])),
            sizes[bundle],
        )
        for bundle, result in mine.items()
        for amount in AMOUNTS
        if (bundle, amount, "pretrained") in found
    ]


def _table(budget: str, results: Sequence[Result], scores: Sequence[Score]) -> str:
    rows = []
    for name in dict.fromkeys(score.recipe for score in scores):
        ran = [result for result in results if (result.budget, result.recipe) == (budget, name)]
        mine = [score for score in scores if (score.budget, score.recipe) == (budget, name)]
        if not mine:
            continue
        cells = [name, f"{mine[0].parameters / 1e6:.2f}"]
        cells += [f"{np.mean([result.tiles for result in ran]):,.0f}"]
        cells += [f"{np.mean([result.seconds for result in ran]):.0f}"]
        for amount in AMOUNTS:
            of_amount = {score.planet: score for score in mine if score.amount == amount}
            cells += [f"{np.mean([score.pretrained for score in of_amount.values()]):.3f}", _gain(of_amount)]
        rows.append(cells)
    head = ["recipe", "million weights", "tiles", "seconds"]
    head += [text for amount in AMOUNTS for text in (f"probes, {amount}", f"minus random, {amount}")]
    return f"{budget}:\n\n{table(head, rows)}"


def _gain(scores: Mapping[int, Score]) -> str:
    if len(scores) < 2:
        return "one planet"
    gain: SeedDifference = seed_difference(
        {planet: score.pretrained for planet, score in scores.items()},
        {planet: score.random for planet, score in scores.items()},
    )
    return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _draw(budgets: Sequence[str], scores: Sequence[Score], path: Path) -> None:
    """Mean probe score over amounts of labels, a line a recipe, a panel a budget; dashed: random weights."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(score.recipe for score in scores))
    figure, axes = plt.subplots(
        1, len(budgets), figsize=(5 * len(budgets) + 2, 5), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, budget in zip(axes[0], budgets, strict=True):
        for number, name in enumerate(names):
            mine = [score for score in scores if (score.budget, score.recipe) == (budget, name)]
            if not mine:
                continue
            means = {
                kind: [
                    np.mean([getattr(score, kind) for score in mine if score.amount == amount]) for amount in AMOUNTS
                ]
                for kind in ("pretrained", "random")
            }
            style = {"color": f"C{number % 10}", "marker": "os^Dv<>PX*"[number % 10]}
            panel.plot(AMOUNTS, means["pretrained"], label=name, **style)
            panel.plot(AMOUNTS, means["random"], linestyle=":", alpha=0.5, **style)
        panel.set(title=f"the same {budget}", xlabel="labels")
    axes[0, 0].set_ylabel("mean of the probes; dotted: random weights")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize="small", loc="outside right upper")
    figure.savefig(path)


def _parse() -> Options:
    parser = argparse.ArgumentParser(description="pretext methods beside each other", epilog="see the head of the file")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"), help="default: %(default)s")
    parser.add_argument("--planets", default="0,1,2", help="seeds; default: %(default)s")
    parser.add_argument("--recipes", help="default: all for a laptop, but those that want a store of time series")
    parser.add_argument("--tiles", type=int, default=Options.tiles, help="of each planet; default: %(default)s")
    parser.add_argument("--seen", type=int, default=Options.seen, help="tiles; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="default: %(default)s")
    parser.add_argument(
        "--seen-only", action="store_true", help="leave out equal time, for which a machine must be alone"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="two planets of 300 tiles, a few steps")
    given = parser.parse_args()
    recipes = tuple(given.recipes.split(",")) if given.recipes else _recipes()
    planets = tuple(map(int, given.planets.split(",")))
    options = Options(given.out.absolute(), recipes, planets, given.tiles, given.seen, given.seconds, given.workers)
    options = replace(options, budgets=(SEEN,)) if given.seen_only else options
    return replace(options, planets=planets[:2], tiles=300, seen=160, seconds=3.0) if given.quick else options


def _recipes() -> tuple[str, ...]:
    """All for a laptop that train on tiles without time series."""
    names = [name for name in recipe_names() if name.endswith("-demo") and "series" not in name]
    return tuple(name for name in names if find_method(load_recipe(name).method).data is None)


if __name__ == "__main__":
    main()
