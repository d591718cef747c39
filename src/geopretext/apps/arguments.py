"""How verbs read their words: one parser style, and the argument types that several verbs share."""

import argparse
import shutil
import textwrap
from collections.abc import Callable
from typing import NoReturn

_WIDEST = 110


class _Formatter(argparse.HelpFormatter):
    """Wraps paragraphs to the terminal, and leaves lines as they are in paragraphs that are indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(_WIDEST, shutil.get_terminal_size().columns - 2))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = [
            part if any(line.startswith(" ") for line in part.splitlines()) else textwrap.fill(part, width)
            for part in text.split("\n\n")
        ]
        return textwrap.indent("\n\n".join(paragraphs), indent)


class VerbParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose help ends with an example and whose errors are one line and a hint.

    Args:
        verb: the words after ``geopretext``.
        about: what the verb does, one or two sentences.
        example: command lines that work, one a line.
        usage: the first line of the help, if the one made of the arguments would be too long to read.
    """

    def __init__(self, verb: str, *, about: str, example: str, usage: str | None = None) -> None:
        super().__init__(
            prog=f"geopretext {verb}",
            usage=usage,
            description=about,
            epilog=f"example:\n{textwrap.indent(example, '  ')}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and leave with exit code 2."""
        self.exit(2, f"error: {message}\nhint: {self.prog} --help\n")


def whole(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """An argument type: a whole number of at least ``minimum``, and at most ``maximum``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is below {minimum}")
        if maximum is not None and number > maximum:
            raise argparse.ArgumentTypeError(f"{number} is above {maximum}")
        return number

    return parse


def tile_numbers(text: str) -> tuple[int, ...]:
    """An argument type: tile numbers separated by commas, ``0,5,9``."""
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of tile numbers such as 0,5,9") from None
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"tile numbers start at 0, not {min(numbers)}")
    return numbers


def shares(text: str) -> tuple[float, float, float]:
    """An argument type: shares of train, val and test separated by commas, ``0.8,0.1,0.1``."""
    try:
        train, val, test = (float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three shares such as 0.8,0.1,0.1") from None
    if min(train, val, test) < 0 or abs(train + val + test - 1) > 1e-6:
        raise argparse.ArgumentTypeError(f"shares {text} are not three numbers from 0 to 1 that sum to 1")
    return train, val, test


def positive(text: str) -> float:
    """An argument type: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number
