"""``geopretext evaluate curve``: what a bundle is worth with few labels, beside its baselines."""

from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser
from geopretext.apps.suite_run import add_run_options, baselines, names, numbers, run_and_print
from geopretext.nn.settings import POOLINGS

_EXAMPLE = """\
geopretext evaluate curve runs/first/bundle --task tiles.zarr:biome --out runs/first/curve
geopretext evaluate curve runs/first/bundle --task eurosat.yaml --amounts "1 a class,100%" --out runs/first/few"""

_ABOUT = """\
Score a bundle on a task with more and more of its training labels: a suite of one bundle and one task. Subsets are
stratified and nested; each seed draws others. Writes DIR/scores.parquet and DIR/report.html, and goes on where it was
interrupted."""


def run(arguments: Sequence[str]) -> int:
    """Run the curve, print its table; 1 if a cell failed."""
    options = _parser().parse_args(arguments)
    from geopretext.evaluate.suite_settings import read_suite

    fields = ("heads", "representations", "amounts", "seeds", "pooling")
    grid = {name: getattr(options, name) for name in fields}
    return run_and_print(read_suite(None, {"bundles": [options.bundle], "tasks": [options.task], **grid}), options)


def _parser() -> VerbParser:
    parser = VerbParser("evaluate curve", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("--task", required=True, metavar="TASK", help="as for `evaluate probe`; what needs options is a YAML file")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the curve")
    add(
        "--amounts",
        type=names,
        default=("1%", "3%", "10%", "30%", "100%"),
        metavar="A,A,...",
        help="of the training labels, in percent or as `5 a class`; default: 1%%,3%%,10%%,30%%,100%%",
    )
    add("--heads", type=names, default=("probe",), metavar="H,H,...", help="as for `evaluate suite`; default: probe")
    add(
        "--baselines",
        dest="representations",
        type=baselines,
        default=("pretrained", "random_init", "band_statistics", "random_convolutions"),
        metavar="R,R,...",
        help="as for `evaluate suite`",
    )
    add("--seeds", type=numbers, default=(0, 1, 2, 3, 4), metavar="N,N,...", help="of the subsets; default: 0,1,2,3,4")
    add("--pooling", choices=POOLINGS, default="stages", help="features of an input; default: %(default)s")
    add_run_options(parser)
    return parser
