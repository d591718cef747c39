"""``geopretext evaluate knn|probe``: what a bundle is worth on a downstream task, beside baselines."""

import json
from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.nn.settings import POOLINGS

_EXAMPLE = """\
geopretext evaluate probe runs/first/bundle --task tiles.zarr:crop_calendar --out runs/first/probe
geopretext evaluate knn runs/rgb/bundle --task EuroSAT/2750 --out runs/rgb/eurosat --json"""

_ABOUT = """\
Score a bundle's frozen features on a task, with 95 % bootstrap intervals and baselines (random weights, statistics of
the bands) in the same table. `knn` votes among nearest neighbours, `probe` fits a linear model; settings of both are
chosen on the validation split.

A task is STORE:LABEL (a vector modality of a tile store, on its own split) or a folder with a subfolder of images for
each class. Writes DIR/scores.json."""

_HEADS = ("knn", "probe")
_POOLING = "features of an input: mean and deviation over the cells of all four stages, or the mean of the last stage"
STATISTICS = ("auto", "bundle", "dataset")
"""Choices of ``--statistics``, spelled out so that ``--help`` need not load torch."""


def run(arguments: Sequence[str]) -> None:
    """Score, write, print the table."""
    parser = VerbParser("evaluate", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("head", choices=_HEADS, help="what is fitted to the features")
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("--task", required=True, metavar="TASK", help="STORE:LABEL, or a folder of images by class")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for scores.json")
    add("--pooling", choices=POOLINGS, default="stages", help=f"{_POOLING}; default: %(default)s")
    add("--no-baselines", action="store_true", help="score the bundle only")
    add("--seed", type=whole(0), default=0, help="of the bootstrap and of random splits; default: %(default)s")
    add("--device", default="cpu", help="that encodes: cpu, cuda, mps; default: %(default)s")
    add("--json", action="store_true", help="print what scores.json holds instead of the table")
    images = parser.add_argument_group("folders of images")
    images.add_argument("--split-file", type=Path, metavar="JSON", help='lists of image names: "train", "val", "test"')
    images.add_argument("--bands", metavar="B,B,...", help="bands in file order, where the files do not name them")
    images.add_argument("--unit", help="unit of the images, where it is known, as `reflectance x 10000`")
    images.add_argument("--level", help="processing level of the images, as L1C")
    images.add_argument(
        "--statistics",
        choices=STATISTICS,
        default="auto",
        help="which means and deviations standardise the images; default: %(default)s",
    )
    options = parser.parse_args(arguments)
    # torch loads here, after everything that can be wrong on the command line
    from geopretext.evaluate.evaluation import evaluate
    from geopretext.evaluate.tasks import load_task
    from geopretext.nn.bundle import Encoder

    encoder = Encoder.from_pretrained(options.bundle).to(options.device)
    task = load_task(
        options.task,
        split_file=options.split_file,
        bands=options.bands.split(",") if options.bands else None,
        unit=options.unit,
        level=options.level,
        statistics=options.statistics,
        seed=options.seed,
    )
    lines: dict[str, ProgressLine] = {}

    def report(method: str, done: int, total: int) -> None:
        lines.setdefault(method, ProgressLine(f"features, {method}"))(done, total)

    scores = evaluate(
        encoder,
        task,
        head=options.head,
        pooling=options.pooling,
        baselines=not options.no_baselines,
        seed=options.seed,
        out=options.out,
        progress=report,
    )
    if options.json:
        print(json.dumps(scores.to_dict(), indent=2))
    else:
        from rich.console import Console

        Console(width=None if Console().is_terminal else 140).print(scores.table())
    say(f"wrote {options.out / 'scores.json'}")
