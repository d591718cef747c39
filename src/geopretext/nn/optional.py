"""Why an optional library cannot be used: it is absent, too old or new, or does not go with the torch that is there."""

from geopretext.errors import MissingLibraryError


def missing(error: ImportError | RuntimeError, library: str, *, extra: str, purpose: str) -> MissingLibraryError:
    """The error to raise when importing a library failed.

    Args:
        error: what the import raised; a RuntimeError is what torchvision raises beside a torch of another build.
        library: what was imported.
        extra: the extra of geopretext that brings it.
        purpose: what it is needed for, as the end of "... is needed to".
    """
    if isinstance(error, ModuleNotFoundError):
        return MissingLibraryError((error.name or library).partition(".")[0], extra=extra, purpose=purpose)
    if isinstance(error, ImportError):
        return MissingLibraryError(
            f"a {library} that fits",
            extra=extra,
            purpose=f"{purpose} ({error})",
            hint=f'pip install --upgrade "geopretext[{extra}]"',
        )
    return MissingLibraryError(
        "a torchvision of the same build as torch",
        extra=extra,
        purpose=f"import {library} ({error})",
        hint="install torch and torchvision in one command, from one index",
    )
