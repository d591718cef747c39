"""Every error that geopretext raises on purpose: what is wrong, where, and what to do next.

::

    GeopretextError
    ├── InputError          (ValueError)    what the caller gave cannot be used
    │   ├── BandError                       a band is missing, unknown, doubled or out of order
    │   ├── UnitError                       a unit, scale or offset does not match
    │   ├── GridError                       sizes, resolutions or georeferences do not agree
    │   ├── ClassError                      a class code that the modality does not define
    │   └── RecipeError                     a configuration field is unknown or out of range
    ├── StoreError          (OSError)       a tile store or dataset on disk cannot be used
    │   └── CorruptError                    bytes on disk do not match their checksum or format
    ├── SourceError         (OSError)       an archive could not give what was asked of it
    ├── ClusterError        (OSError)       the processes that a build runs on cannot be reached
    ├── BundleError         (ValueError)    a bundle or checkpoint does not fit the architecture
    ├── NonFiniteError      (ArithmeticError)  training met a loss that is not finite
    └── MissingLibraryError (ImportError)   an optional library is not installed

This room imports nothing of ours, so that every other room can raise from it.
"""

from enum import StrEnum
from functools import partial
from typing import Any


class GeopretextError(Exception):
    """Base of all errors that geopretext raises on purpose.

    Args:
        what: one sentence that says what is wrong, with the offending values.
        where: the file, field, band or tile that it is about; empty if ``what`` says it.
        hint: what the reader can do next; empty if nothing helps.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\nhint: {self.hint}" if self.hint else text


class InputError(GeopretextError, ValueError):
    """What the caller gave cannot be used."""


class BandError(InputError):
    """A band is missing, unknown, doubled or out of order."""


class UnitError(InputError):
    """A unit, a scale or an offset does not match what is wanted."""


class GridError(InputError):
    """Sizes, resolutions or georeferences do not agree."""


class ClassError(InputError):
    """A class code that the modality does not define."""


class RecipeError(InputError):
    """A configuration field is unknown, missing or out of range."""


class StoreError(GeopretextError, OSError):
    """A tile store or a dataset on disk cannot be used."""


class CorruptError(StoreError):
    """Bytes on disk do not match their checksum or their format."""


class Reason(StrEnum):
    """Why an archive could not give something: what a build records and counts."""

    SERVER = "server"
    """it answered with an error, refused or broke the connection"""
    THROTTLED = "throttled"
    """it asked to be asked less often (HTTP 429)"""
    TIMEOUT = "timeout"
    """it did not answer in time"""
    CORRUPT = "corrupt"
    """bytes are truncated or cannot be decoded"""
    FORBIDDEN = "forbidden"
    """it wants credentials, or others"""
    NO_FILE = "no file"
    """the file is not there"""
    NO_ASSET = "no asset"
    """an item lacks the asset of a band"""
    NO_GEOREFERENCE = "no georeference"
    """a file does not say where it lies, or contradicts its item"""
    UNIT = "unit"
    """numbers cannot be in the unit that they are said to be in"""
    NO_IMAGE = "no image"
    """there is none that covers the tile in the time asked for"""
    CLOUDY = "cloudy"
    """there are images, but none is clear enough over the tile"""
    NO_DATA = "no data"
    """there is an image, but nothing was observed at the tile"""
    POLAR = "polar"
    """the place lies outside the UTM zones, 80 S to 84 N"""
    WORKER = "worker"
    """the process that made the tile died of it, each time it was tried"""
    BUG = "error"
    """making the tile raised what nothing here should raise: a bug, or a file so odd that nobody thought of it"""

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later."""
        return self in (Reason.SERVER, Reason.THROTTLED, Reason.TIMEOUT, Reason.CORRUPT, Reason.WORKER)


class SourceError(GeopretextError, OSError):
    """An archive could not give what was asked of it.

    Args:
        what: one sentence that says what is wrong.
        reason: the kind of failure, for counting and for deciding whether to try again.
        where: URL, item or place.
        hint: what the reader can do next.
    """

    def __init__(self, what: str, *, reason: Reason, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (_source_error, (self.what, self.reason, self.where, self.hint))


def _source_error(what: str, reason: Reason, where: str, hint: str) -> SourceError:
    return SourceError(what, reason=reason, where=where, hint=hint)


class ClusterError(GeopretextError, OSError):
    """The processes that a build runs on cannot be reached, or do not see its files."""


class BundleError(GeopretextError, ValueError):
    """A bundle or a checkpoint does not fit the architecture that it is loaded into."""


class NonFiniteError(GeopretextError, ArithmeticError):
    """Training met a loss or a gradient that is not finite."""


class MissingLibraryError(GeopretextError, ImportError):
    """An optional library is not installed.

    Args:
        library: the import name of the library.
        extra: the extra of geopretext that brings it.
        purpose: what it is needed for, as the end of "... is needed to".
        hint: what the reader can do next, if installing the extra does not help.
    """

    def __init__(self, library: str, *, extra: str, purpose: str, hint: str = "") -> None:
        super().__init__(
            f"{library} is not installed; it is needed to {purpose}",
            hint=hint or f'pip install "geopretext[{extra}]"',
        )
        self._given = {"library": library, "extra": extra, "purpose": purpose, "hint": hint}

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(MissingLibraryError, **self._given), ())
