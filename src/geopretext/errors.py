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
    ├── BundleError         (ValueError)    a bundle or checkpoint does not fit the architecture
    ├── NonFiniteError      (ArithmeticError)  training met a loss that is not finite
    └── MissingLibraryError (ImportError)   an optional library is not installed

This room imports nothing, so that every other room can raise from it.
"""


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
