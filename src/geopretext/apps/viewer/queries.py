"""Numbers in the part of an address after ``?``, checked before anything is made of them."""

import math

from geopretext.apps.viewer.handlers import RefusalError

LARGEST = 10**15
"""that any whole number in an address may be: below 2**53, so that browsers write it exactly"""


def whole_number(name: str, text: str, *, default: int = 0, most: int = LARGEST) -> int:
    """A whole number from 0 to ``most``; ``default`` for an empty text.

    Raises:
        RefusalError: 400, it is something else.
    """
    if not text:
        return default
    # The length is looked at first: Python refuses to read thousands of digits.
    if len(text) > len(str(most)) or not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise RefusalError(400, f"{name!r} is {shortened(text)}", hint=f"a whole number, 0 to {most}")
    return int(text)


def share(name: str, text: str) -> float | None:
    """A number from 0 to 1; None for an empty text.

    Raises:
        RefusalError: 400, it is something else.
    """
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:  # NaN neither
        raise RefusalError(400, f"{name!r} is {shortened(text)}", hint="a number, 0 to 1")
    return number


def shortened(text: str) -> str:
    """A text as an error quotes it: not all of it if it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
