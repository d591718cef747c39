"""The options by which verbs are told how a scene is computed."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geopretext.apps.arguments import whole
from geopretext.apps.progress import say
from geopretext.apps.scene_arguments import door_options
from geopretext.apps.task_arguments import names

if TYPE_CHECKING:
    from geopretext.predict.scene_run import RunOptions


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The group of options for computing."""
    add = parser.add_argument_group("computing").add_argument
    add("--workers", type=whole(1), default=1, metavar="N", help="processes; default: 1, or one a device")
    add("--device", type=names, default=("cpu",), metavar="D,D,...", help="cpu, cuda:0, ...; default: cpu")
    add("--window", type=whole(1), metavar="PIXELS", help="side of windows: larger is faster, and takes more memory")
    add("--margin", type=whole(0), metavar="PIXELS", help="at inner edges of windows that is not used")
    add("--batch-size", type=whole(1), metavar="N", help="windows at a time")


def run_options(options: argparse.Namespace) -> "RunOptions":
    """What was said of computing, and of the input (``scene_arguments.door_options``)."""
    from geopretext.predict.scene_run import RunOptions

    return RunOptions(
        door=door_options(options),
        window=options.window,
        margin=options.margin,
        devices=options.device,
        workers=options.workers,
        batch=options.batch_size,
    )


def refuse_said(parser: argparse.ArgumentParser, options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Leave with an error if an option was given that would have no effect.

    Args:
        parser: that read the options.
        options: as read.
        names: of attributes of ``options``.
        why: it has none, as the end of a sentence that begins with the option.
    """
    for action in parser._actions:  # argparse has no public list of its arguments
        if action.dest in names and getattr(options, action.dest) != action.default:
            parser.error(f"{action.option_strings[0]} {why}")


@contextmanager
def said_to_be_resumable() -> Iterator[None]:
    """Say, if the user stops it, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; what is finished is kept, and the same command goes on from there")
        raise
