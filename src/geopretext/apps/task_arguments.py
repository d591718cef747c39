"""The options by which verbs are told of a task, its images and its other sources."""

import argparse
from pathlib import Path
from typing import Any

TASKS = """\
A task is one of

  STORE:LABEL                  a vector modality of a tile store, on its own split
  TABLE:COLUMN --data STORE    labels in CSV or GeoParquet, by tile_id or by place
  geobench:PATH[:PARTITION]    GEO-Bench v1 on disk, or its name with GEO_BENCH_DIR set
  torchgeo:NAME                a dataset of torchgeo
  FOLDER                       a subfolder of images a class; or images/ and masks/
  FILE.py:FUNCTION, FILE.yaml  a task of your own (docs/tasks.md)"""
"""For the help of a verb."""
STATISTICS = ("auto", "bundle", "dataset")
"""Choices of ``--statistics``, spelled out so that ``--help`` need not load torch."""


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """``--strict``, and the groups of options for images and for other tasks."""
    parser.add_argument("--strict", action="store_true", help="stop if the inputs are implausible, instead of warning")
    parser.add_argument(
        "--inputs",
        type=names,
        metavar="M,M,...",
        help="of a bundle of several inputs, maps and time series to use, as sentinel1,sentinel2_series;"
        " default: all that the task has",
    )
    images = parser.add_argument_group("images")
    add = images.add_argument
    add("--split-file", type=Path, metavar="JSON", help='lists of image names: "train", "val", "test"')
    add("--bands", type=names, metavar="B,B,...", help="bands in stored order, where the images do not name them")
    add("--unit", help="unit of the images, where it is known, as `reflectance x 10000`")
    add("--level", help="processing level of the images, as L1C")
    add_door_arguments(images)
    others = parser.add_argument_group("other tasks")
    add = others.add_argument
    add("--data", type=Path, metavar="STORE", help="the tiles that a table of labels is about")
    add("--max-distance", type=float, metavar="M", help="from a row's place to its tile's centre; default: 640 metres")
    add("--as-shipped", action="store_true", help="GEO-Bench: names of bands as published, even if known to be wrong")
    add("--root", type=Path, metavar="DIR", help="torchgeo: folder of the dataset's files")
    add("--download", action="store_true", help="torchgeo: fetch what is missing")


def add_door_arguments(group: argparse._ArgumentGroup) -> None:
    """``--substitute``, ``--fill`` and ``--statistics``: how what is given becomes what an encoder sees."""
    add = group.add_argument
    add("--substitute", type=pairs, metavar="B1=B2,...", help="for a band that is not there, the one to take instead")
    add("--fill", type=names, default=(), metavar="B,...", help="bands that may be missing everywhere")
    add(
        "--statistics",
        choices=STATISTICS,
        default="auto",
        help="which means and deviations standardise it: the bundle's, or its own (dataset); default: %(default)s",
    )


def task_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the task, as ``evaluate.tasks.TaskOptions`` takes it; what was not is left to its default."""
    said = {
        name: getattr(options, name)
        for name in ("split_file", "bands", "unit", "level", "statistics", "fill", "as_shipped", "data", "root")
    }
    said |= {"substitutes": options.substitute, "max_distance": options.max_distance, "download": options.download}
    return {name: value for name, value in said.items() if value is not None}


def names(text: str) -> tuple[str, ...]:
    """An argument type: words separated by commas."""
    return tuple(name.strip() for name in text.split(","))


def pairs(text: str) -> dict[str, str]:
    """An argument type: ``WANTED=GIVEN`` separated by commas."""
    parts = [part.split("=") for part in text.split(",")]
    if any(len(part) != 2 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not WANTED=GIVEN,...")
    return {wanted.strip(): given.strip() for wanted, given in parts}
