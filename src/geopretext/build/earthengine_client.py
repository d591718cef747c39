"""Requests to Earth Engine through its official client: one project a process, so many at once, tried again.

Credentials and project are the user's own: if the process has called ``ee.Initialize``, that holds; otherwise it is
called here with the project of the recipe and the credentials that the client finds (``earthengine authenticate``, or
Google's application default credentials, such as a service account's key file).

The client itself tries again after HTTP 429 and 5xx and broken connections, waiting up to 2, 4, 8 ... seconds.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.errors import MissingLibraryError, Reason, RecipeError, SourceError

try:
    import ee
    from google.auth.exceptions import GoogleAuthError, TransportError
    from googleapiclient import errors as api  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingLibraryError(error.name or "ee", extra="earthengine", purpose="read from Earth Engine") from error

Result = TypeVar("Result")

MISSING = float(np.finfo(np.float32).min)
"""What pixels without data are sent as: no measurement is so low, and 32-bit floats hold it exactly"""

_DECODING = 3
"""times that pixels are asked for if they cannot be decoded"""
_TOO_MUCH = ("memory limit exceeded", "timed out", "payload size exceeds", "too many nodes")
"""what the service says if a request asks for too much at once"""


@dataclass(frozen=True)
class EarthEngineSettings:
    """Options of the kind ``earthengine``, at the archive."""

    project: str = ""
    """Google Cloud project that is registered for Earth Engine; that of the credentials if empty"""
    url: str = "https://earthengine-highvolume.googleapis.com"
    """of the service; the high-volume one is meant for many small requests"""
    timeout: float = 320.0
    """seconds; the service itself gives up after 300"""
    retries: int = 6
    """of a request that failed for a reason that may pass"""
    concurrency: int = 10
    """requests at once in each process; the client keeps 10 connections. A project may have 40 by default"""
    places_per_request: int = 20
    """places that are searched, or whose climate is read, by one request"""

    def __post_init__(self) -> None:
        ranges = {"timeout": (1, 3600), "retries": (0, 99), "concurrency": (1, 200), "places_per_request": (1, 1000)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise RecipeError(f"{name} is {getattr(self, name):g}", hint=f"from {low} to {high}")
        if not self.url.startswith(("https://", "http://127.0.0.1:")):
            raise RecipeError(f"url is {self.url!r}", hint="https://earthengine-highvolume.googleapis.com")


class EarthEngineClient:
    """The service, for this process; safe from any thread.

    Args:
        settings: of the archive.
    """

    def __init__(self, settings: EarthEngineSettings) -> None:
        self._settings = settings
        self._slots = BoundedSemaphore(settings.concurrency)
        self._lock = Lock()

    def compute(self, expression: Any, *, where: str) -> Any:
        """The value of an expression.

        Raises:
            SourceError: it cannot be had, after retries.
        """
        return self._ask(lambda: ee.data.computeValue(expression), where)

    def pixels(self, image: Any, grid: Grid, bands: tuple[str, ...], *, where: str) -> npt.NDArray[Any]:
        """An image on exactly the pixels of a grid, (band, y, x), with ``MISSING`` where it has none.

        Raises:
            SourceError: it cannot be had, after retries.
        """
        request = {"expression": image, "fileFormat": "NPY", "bandIds": list(bands), "grid": pixel_grid(grid)}
        for attempt in range(_DECODING):
            data = self._ask(lambda: ee.data.computePixels(request), where)
            try:
                return decode(data, grid, bands)
            except ValueError as error:
                if attempt == _DECODING - 1:
                    raise SourceError(
                        f"pixels cannot be decoded: {error}", reason=Reason.CORRUPT, where=where
                    ) from None
        raise AssertionError

    def initialize(self) -> None:
        """Call ``ee.Initialize`` unless this process has done so.

        Raises:
            SourceError: there are no credentials, or the service does not answer.
        """
        with self._lock:
            if ee.data.is_initialized():
                return
            settings = self._settings
            _translated(lambda: ee.Initialize(project=settings.project or None, url=settings.url), settings.url)
            ee.data.setMaxRetries(settings.retries)
            _translated(lambda: ee.data.setDeadline(1000 * settings.timeout), settings.url)

    def _ask(self, call: Callable[[], Result], where: str) -> Result:
        self.initialize()
        with self._slots:
            return _translated(call, where)


@lru_cache(maxsize=8)
def shared_client(settings: EarthEngineSettings) -> EarthEngineClient:
    """The client of this process."""
    return EarthEngineClient(settings)


def pixel_grid(grid: Grid) -> dict[str, Any]:
    """A grid as the service wants it (REST resource ``PixelGrid``)."""
    scale_x, shear_x, left, shear_y, scale_y, top = grid.transform
    return {
        "crsCode": f"EPSG:{grid.crs}",
        "dimensions": {"width": grid.width, "height": grid.height},
        "affineTransform": {
            "scaleX": scale_x,
            "shearX": shear_x,
            "translateX": left,
            "shearY": shear_y,
            "scaleY": scale_y,
            "translateY": top,
        },
    }


def decode(data: bytes, grid: Grid, bands: tuple[str, ...]) -> npt.NDArray[Any]:
    """(band, y, x) from the bytes of an NPY of records, one field a band.

    Raises:
        ValueError: they are something else.
    """
    try:
        records = np.load(io.BytesIO(data), allow_pickle=False)
    except (EOFError, OSError) as error:
        raise ValueError(str(error) or "empty") from None
    if not isinstance(records, np.ndarray) or records.dtype.names is None:
        raise ValueError("no array of records")
    if records.shape != (grid.height, grid.width):
        raise ValueError(f"{records.shape} pixels instead of {(grid.height, grid.width)}")
    lacking = [name for name in bands if name not in records.dtype.names]
    if lacking:
        raise ValueError(f"no band {', '.join(lacking)}")
    return np.stack([records[name] for name in bands])


def asks_too_much(error: SourceError) -> bool:
    """Whether a smaller request may do what this one could not."""
    return any(text in error.what.lower() for text in _TOO_MUCH)


def _translated(call: Callable[[], Result], where: str) -> Result:
    try:
        return call()
    except ee.EEException as error:
        raise _failure(str(error), _status(error.__context__), where) from error
    except api.Error as error:
        raise _failure(str(error), _status(error), where) from error
    except TransportError as error:
        raise SourceError(f"does not answer: {error}", reason=Reason.SERVER, where=where) from error
    except GoogleAuthError as error:
        raise _failure(str(error), 401, where) from error
    except TimeoutError as error:
        raise SourceError(f"does not answer in time: {error}", reason=Reason.TIMEOUT, where=where) from error
    except OSError as error:
        raise SourceError(f"does not answer: {error}", reason=Reason.SERVER, where=where) from error


def _status(error: BaseException | None) -> int:
    """HTTP status; 0 if there is none."""
    return int(error.status_code) if isinstance(error, api.HttpError) else 0


def _failure(message: str, status: int, where: str) -> SourceError:
    """What a failed request means; the client keeps the status only in the cause of its exception."""
    text, hint = message.lower(), ""
    if status == 429:
        reason = Reason.THROTTLED
    elif status in (401, 403) or not status:
        reason = Reason.FORBIDDEN
        hint = "run 'earthengine authenticate', and name your project: archives.NAME.project"
    elif status == 504 or "timed out" in text:
        reason = Reason.TIMEOUT
    elif status >= 500:
        reason = Reason.SERVER
    elif status == 404 or "not found" in text:
        reason = Reason.NO_FILE
    elif "did not match any bands" in text:
        reason = Reason.NO_ASSET
    else:
        reason = Reason.SERVER
    first = message.strip().splitlines()[0][:300] if message.strip() else "no reason is given"
    return SourceError(first, reason=reason, where=where, hint=hint)
