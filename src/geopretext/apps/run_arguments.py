"""The options by which verbs are told how a scene is computed."""

import argparse
from typing import TYPE_CHECKING

from geopretext.apps.arguments import whole
from geopretext.apps.scene_arguments import door_options
from geopretext.apps.task_arguments import names

if TYPE_CHECKING:
    from geopretext.predict.scene_run import RunOptions


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The group of options for computing."""
    add = parser.add_argument_group("computing").add_argument
    add("--device", type=names, default=("cpu",), metavar="D,D", help="where, as cuda or cuda:0,cuda:1; default: cpu")
    add("--workers", type=whole(1), default=1, metavar="N", help="processes, by strips; default: %(default)s")
    add("--window", type=whole(1), metavar="N", help="pixels on a side of what is computed at once")
    add("--margin", type=whole(0), metavar="N", help="pixels at inner edges of windows that are not used")
    add("--batch", type=whole(1), metavar="N", help="windows at a time")


def run_options(options: argparse.Namespace) -> "RunOptions":
    """What was said of computing, and of the input (``scene_arguments.door_options``)."""
    from geopretext.predict.scene_run import RunOptions

    return RunOptions(
        door=door_options(options),
        window=options.window,
        margin=options.margin,
        devices=options.device,
        workers=options.workers,
        batch=options.batch,
    )
