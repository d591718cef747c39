"""``geopretext evaluate knn|probe``: what a bundle is worth on a downstream task, beside baselines.

``finetune``, ``curve`` and ``suite`` stand in modules of their own.
"""

import argparse
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.task_arguments import TASKS, add_task_arguments, names, task_options
from geopretext.nn.settings import POOLINGS

_EXAMPLE = """\
geopretext evaluate probe runs/first/bundle --task tiles.zarr:crop_calendar --out runs/first/probe
geopretext evaluate knn runs/rgb/bundle --task EuroSAT/2750 --out runs/rgb/eurosat --json
geopretext evaluate probe runs/s2/bundle --task geobench:m-so2sat:0.05x_train --strict --out runs/s2/so2sat"""

_ABOUT = f"""\
Score a bundle's frozen features on a task, with 95 % bootstrap intervals and baselines (random weights, statistics of
the bands, random convolutions) in the same table. `knn` votes among nearest neighbours, `probe` fits a linear model;
settings of both are chosen on the validation split.

`geopretext evaluate finetune` trains the encoder itself, also for labels of pixels; `curve` scores over amounts of
labels; `suite` scores many bundles on many tasks and writes a report. Each has its own --help.

{TASKS}

It says what was done to the inputs: bands matched by name, replaced, filled, units converted, and whether the numbers
are plausible for the bundle. Writes DIR/scores.json, which holds all of that too."""

_HEADS = ("knn", "probe")
_OTHERS = {name: f"geopretext.apps.evaluate_{name}" for name in ("finetune", "curve", "suite")}
_POOLING = "features of an input: mean and deviation over the cells of all four stages, or the mean of the last stage"
_BASELINES = (
    "what else is scored: random_init, band_statistics, random_convolutions, timm:NAME (a model of timm),"
    " timm:NAME?pretrained=false, bundle:PATH (another bundle), or none"
)


def run(arguments: Sequence[str]) -> int | None:
    """Score, write, print the table."""
    if arguments and arguments[0] in _OTHERS:
        other: int | None = import_module(_OTHERS[arguments[0]]).run(arguments[1:])
        return other
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.head in _OTHERS:
        parser.error(f"{options.head} comes first: geopretext evaluate {options.head} ...")
    # torch loads here, after everything that can be wrong on the command line
    from geopretext.evaluate.evaluation import evaluate
    from geopretext.evaluate.feature_file import FEATURES_FILE
    from geopretext.evaluate.tasks import TaskOptions, load_task
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.door_report import door_lines

    encoder = Encoder.from_pretrained(options.bundle).to(options.device)
    if options.inputs is not None:
        encoder = encoder.given(options.inputs)
    task = load_task(options.task, TaskOptions(**task_options(options)), seed=options.seed)
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
    if options.save_features:
        say(f"wrote {options.out / FEATURES_FILE}")
    return None


def _parser() -> VerbParser:
    parser = VerbParser("evaluate", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("head", choices=(*_HEADS, *_OTHERS), help="what is fitted to the features; for the last three see above")
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("--task", required=True, metavar="TASK", help="see above")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json")
    add("--pooling", choices=POOLINGS, default="stages", help=f"{_POOLING}; default: %(default)s")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--baselines", type=names, metavar="A,B,...", help=f"{_BASELINES}; default: the first three")
    group.add_argument("--no-baselines", action="store_true", help="score the bundle only, as `--baselines none`")
    add("--save-features", action="store_true", help="also write DIR/features.parquet, for heads of your own")
    add("--seed", type=whole(0), default=0, help="of the bootstrap and of random splits; default: %(default)s")
    add("--device", default="cpu", help="that encodes: cpu, cuda, mps; default: %(default)s")
    add("--json", action="store_true", help="print what scores.json holds instead of the table")
    add_task_arguments(parser)
    return parser


def _baselines(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the baselines; nothing if nothing was said."""
    if options.no_baselines or options.baselines == ("none",):
        return {"baselines": ()}
    return {} if options.baselines is None else {"baselines": options.baselines}
