"""Why an optional library cannot be used: it is not there, or it does not go with the torch that is."""

from geopretext.errors import MissingLibraryError


def missing(error: ImportError | RuntimeError, library: str, *, extra: str, purpose: str) -> MissingLibraryError:
    """The error to raise when importing a library failed.

    Args:
        error: what the import raised; a RuntimeError is what torchvision raises beside a torch of another build.
        library: what was imported.
        extra: the extra of geopretext that brings it.
        purpose: what it is needed for, as the end of "... is needed to".
    """
    if isinstance(error, RuntimeError):
        return MissingLibraryError(
            "a torchvision of the same build as torch",
            extra=extra,
            purpose=f"import {library} ({error})",
            hint="install torch and torchvision in one command, from one index",
        )
    absent = (error.name or library).partition(".")[0]
    return MissingLibraryError(absent, extra=extra, purpose=purpose)
