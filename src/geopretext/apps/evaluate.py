"""``geopretext evaluate knn|probe``: what a bundle is worth on a downstream task, beside baselines.

``suite`` and ``curve`` stand in the modules of their names.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.nn.settings import POOLINGS

_EXAMPLE = """\
geopretext evaluate probe runs/first/bundle --task tiles.zarr:crop_calendar --out runs/first/probe
geopretext evaluate knn runs/rgb/bundle --task EuroSAT/2750 --out runs/rgb/eurosat --json
geopretext evaluate probe runs/s2/bundle --task geobench:m-so2sat:0.05x_train --strict --out runs/s2/so2sat"""

_ABOUT = """\
Score a bundle's frozen features on a task, with 95 % bootstrap intervals and baselines (random weights, statistics of
the bands, random convolutions) in the same table. `knn` votes among nearest neighbours, `probe` fits a linear model;
settings of both are chosen on the validation split.

A task is one of

  STORE:LABEL                  a vector modality of a tile store, on its own split
  TABLE:COLUMN --data STORE    labels in CSV or GeoParquet, by tile_id or by place
  geobench:PATH[:PARTITION]    GEO-Bench v1 on disk, or its name with GEO_BENCH_DIR set
  torchgeo:NAME                a dataset of torchgeo
  FOLDER                       a subfolder of images a class; or images/ and masks/
  FILE.py:FUNCTION, FILE.yaml  a task of your own (docs/tasks.md)

It says what was done to the inputs: bands matched by name, replaced, filled, units converted, and whether the numbers
are plausible for the bundle. Writes DIR/scores.json, which holds all of that too."""

_HEADS = ("knn", "probe")
_POOLING = "features of an input: mean and deviation over the cells of all four stages, or the mean of the last stage"
_BASELINES = (
    "what else is scored: random_init, band_statistics, random_convolutions, timm:NAME (a model of timm),"
    " timm:NAME?pretrained=false, bundle:PATH (another bundle), or none"
)
STATISTICS = ("auto", "bundle", "dataset")
"""Choices of ``--statistics``, spelled out so that ``--help`` need not load torch."""


def run(arguments: Sequence[str]) -> int | None:
    """Score, write, print the table."""
    if arguments and arguments[0] == "suite":
        from geopretext.apps import evaluate_suite

        return evaluate_suite.run(arguments[1:])
    if arguments and arguments[0] == "curve":
        from geopretext.apps import evaluate_curve

        return evaluate_curve.run(arguments[1:])
    options = _parser().parse_args(arguments)
    # torch loads here, after everything that can be wrong on the command line
    from geopretext.evaluate.evaluation import evaluate
    from geopretext.evaluate.tasks import TaskOptions, load_task
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.door_report import door_lines

    encoder = Encoder.from_pretrained(options.bundle).to(options.device)
    task = load_task(options.task, TaskOptions(**_task_options(options)), seed=options.seed)
    lines: dict[str, ProgressLine] = {}

    def report(method: str, done: int, total: int) -> None:
        lines.setdefault(method, ProgressLine(f"features, {method}"))(done, total)

    scores = evaluate(
        encoder,
        task,
        head=options.head,
        pooling=options.pooling,
        **_baselines(options),
        strict=options.strict,
        seed=options.seed,
        out=options.out,
        save_features=options.save_features,
        progress=report,
        looked=lambda record: say("\n".join(door_lines(record))),
    )
    if options.json:
        print(json.dumps(scores.to_dict(), indent=2))
    else:
        from rich.console import Console

        Console(width=None if Console().is_terminal else 140).print(scores.table())
    say(f"wrote {options.out / 'scores.json'}")
    return None


def _parser() -> VerbParser:
    parser = VerbParser("evaluate", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("head", choices=_HEADS, help="what is fitted to the features")
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("--task", required=True, metavar="TASK", help="see above")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json")
    add("--pooling", choices=POOLINGS, default="stages", help=f"{_POOLING}; default: %(default)s")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--baselines", type=_names, metavar="A,B,...", help=f"{_BASELINES}; default: the first three")
    group.add_argument("--no-baselines", action="store_true", help="score the bundle only, as `--baselines none`")
    add("--save-features", action="store_true", help="also write DIR/features.parquet, for heads of your own")
    add("--strict", action="store_true", help="stop if the inputs are implausible, instead of warning")
    add("--seed", type=whole(0), default=0, help="of the bootstrap and of random splits; default: %(default)s")
    add("--device", default="cpu", help="that encodes: cpu, cuda, mps; default: %(default)s")
    add("--json", action="store_true", help="print what scores.json holds instead of the table")
    images = parser.add_argument_group("images")
    add = images.add_argument
    add("--split-file", type=Path, metavar="JSON", help='lists of image names: "train", "val", "test"')
    add("--bands", type=_names, metavar="B,B,...", help="bands in stored order, where the images do not name them")
    add("--unit", help="unit of the images, where it is known, as `reflectance x 10000`")
    add("--level", help="processing level of the images, as L1C")
    add("--substitute", type=_pairs, metavar="B1=B2,...", help="for a band that is not there, the one to take instead")
    add("--fill", type=_names, default=(), metavar="B,...", help="bands that may be missing everywhere")
    add(
        "--statistics",
        choices=STATISTICS,
        default="auto",
        help="which means and deviations standardise the images; default: %(default)s",
    )
    others = parser.add_argument_group("other tasks")
    add = others.add_argument
    add("--data", type=Path, metavar="STORE", help="the tiles that a table of labels is about")
    add("--max-distance", type=float, metavar="M", help="from a row's place to its tile's centre; default: 640 metres")
    add("--as-shipped", action="store_true", help="GEO-Bench: names of bands as published, even if known to be wrong")
    add("--root", type=Path, metavar="DIR", help="torchgeo: folder of the dataset's files")
    add("--download", action="store_true", help="torchgeo: fetch what is missing")
    return parser


def _baselines(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the baselines; nothing if nothing was said."""
    if options.no_baselines or options.baselines == ("none",):
        return {"baselines": ()}
    return {} if options.baselines is None else {"baselines": options.baselines}


def _task_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the task; what was not is left to its default."""
    said = {
        name: getattr(options, name)
        for name in ("split_file", "bands", "unit", "level", "statistics", "fill", "as_shipped", "data", "root")
    }
    said |= {"substitutes": options.substitute, "max_distance": options.max_distance, "download": options.download}
    return {name: value for name, value in said.items() if value is not None}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.split("=") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not WANTED=GIVEN,...")
    return {wanted.strip(): given.strip() for wanted, given in pairs}
