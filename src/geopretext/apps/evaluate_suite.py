"""``geopretext evaluate suite``: bundles and baselines on many tasks, in one folder with a table and a report."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser
from geopretext.apps.suite_run import add_run_options, baselines, names, numbers, run_and_print
from geopretext.nn.settings import POOLINGS

_EXAMPLE = """\
geopretext evaluate suite runs/a/bundle runs/b/bundle --tasks tiles.zarr:biome,eurosat.yaml --out runs/suite
geopretext evaluate suite runs/a/bundle --tasks eurosat.yaml --heads probe,finetune:default --out runs/fine --workers 4
geopretext evaluate suite suite.yaml --out runs/suite"""

_ABOUT = """\
Score bundles and baselines on many tasks, with several heads, amounts of labels and seeds.

Writes DIR/scores.parquet (a row for each method, task, head, amount and metric) and DIR/report.html. The same command
goes on where it was interrupted; a larger grid adds its cells. What changed since (images, labels, weights) is computed
again. A cell that fails does not stop the others; then the exit code is 1.

Tasks are named as for `evaluate probe --task`; what needs options is a YAML file (docs/tasks.md). A suite may itself be
a YAML file with the fields of DIR/suite.yaml; options given here replace its fields."""

_FIELDS = ("tasks", "heads", "representations", "amounts", "seeds", "pooling")


def run(arguments: Sequence[str]) -> int:
    """Run the grid, print its table; 1 if a cell failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    from geopretext.evaluate.suite_settings import read_suite

    given = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    if options.names:
        given["names"] = {bundle: name for name, bundle in options.names.items()}
    files = [word for word in options.bundles if Path(word).suffix in (".yaml", ".yml")]
    if files and len(options.bundles) > 1:
        parser.error(f"{files[0]} is a suite: it names its bundles itself")
    if not files and "tasks" not in given:
        parser.error("the following arguments are required: --tasks")
    settings = read_suite(Path(files[0]) if files else None, given if files else {"bundles": options.bundles, **given})
    return run_and_print(settings, options)


def _parser() -> VerbParser:
    parser = VerbParser("evaluate suite", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("bundles", nargs="+", metavar="BUNDLE", help="folders or names on the Hugging Face hub; or FILE.yaml")
    add("--tasks", type=names, metavar="T,T,...", help="what is to be predicted")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the suite")
    add("--heads", type=names, metavar="H,H,...", help="knn, probe, sgd, finetune:PRESET; default: knn,probe")
    add(
        "--baselines",
        dest="representations",
        type=baselines,
        metavar="R,R,...",
        help="random_init, band_statistics, random_convolutions; timm:NAME; or none; default: the first three",
    )
    add("--amounts", type=names, metavar="A,A,...", help="of the training labels, as 1%%,10%%,100%%; default: 100%%")
    add("--seeds", type=numbers, metavar="N,N,...", help="of subsets, heads and random weights; default: 0,1,2")
    add("--pooling", choices=POOLINGS, help="features of an input, see `evaluate probe`; default: stages")
    add("--names", type=_pairs, metavar="NAME=BUNDLE,...", help="what bundles are called in tables")
    add_run_options(parser)
    return parser


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=BUNDLE,...")
    return {name.strip(): bundle.strip() for name, bundle in pairs}
