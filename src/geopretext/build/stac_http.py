"""What pystac-client reads JSON through: with the patience and the limits of all transfers."""

import time
from typing import Any

import requests
import urllib3
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter

from geopretext.build.fetch import FetchError
from geopretext.build.transfer import TransferSettings, shared_transfer
from geopretext.errors import Reason, SourceError

_PIECE = 65_536
"""bytes that are awaited at once"""
_SLOWEST = 16_384.0
"""bytes a second: an answer may take the time-out and what it needs at this rate"""
_LONGEST_WAIT = 120
"""seconds: a server that asks for more is asked again after this"""
_PASSING = {408: Reason.TIMEOUT, 425: Reason.SERVER, 429: Reason.THROTTLED, 504: Reason.TIMEOUT}
"""HTTP statuses after which the same request may succeed, besides those from 500 on"""
_FINAL = {401: Reason.FORBIDDEN, 403: Reason.FORBIDDEN, 404: Reason.NO_FILE, 410: Reason.NO_FILE}
_HINTS = {
    Reason.FORBIDDEN: "the catalogue wants credentials",
    Reason.NO_FILE: "check the archive's url and the collection",
    Reason.THROTTLED: "lower requests_per_second or concurrency of this archive",
    Reason.TIMEOUT: "raise timeout of this archive, or lower limit",
}


class PatientIO(StacApiIO):
    """Reads JSON, again after errors that may pass (429, 5xx, time-outs, broken connections, truncated answers)."""

    def __init__(self, settings: TransferSettings) -> None:
        super().__init__(max_retries=None, timeout=settings.timeout)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(pool_maxsize=settings.concurrency))
        self._settings = settings

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The answer as JSON; each attempt goes through ``request``.

        Raises:
            SourceError: the server refused, or failed as often as ``retries`` allows.
        """
        href = str(getattr(source, "href", source))

        def attempt() -> tuple[dict[str, Any], int]:
            text = self.read_text(source, *args, **kwargs)
            try:
                plain = self.json_loads(text)
            except ValueError:
                raise FetchError("the answer is no JSON", reason=Reason.CORRUPT, where=href) from None
            if not isinstance(plain, dict):
                raise FetchError("the answer is JSON, but no object", reason=Reason.CORRUPT, where=href)
            return plain, len(text)

        return shared_transfer(self._settings).patiently(href, attempt)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """One attempt.

        Raises:
            FetchError: it failed, perhaps for a reason that passes.
            SourceError: the server refused.
        """
        posted, queried = (parameters, None) if method == "POST" else (None, parameters)
        try:
            with self.session.request(
                method or "GET",
                href,
                json=posted,
                params=queried,
                headers=headers,
                timeout=self._settings.timeout,
                stream=True,
            ) as response:
                text = self._receive(response, href)
        except requests.Timeout:
            raise self._late(href) from None
        except requests.ConnectionError as error:
            if error.args and isinstance(error.args[0], urllib3.exceptions.ReadTimeoutError):
                raise self._late(href) from None
            raise FetchError(f"the connection broke: {error}", reason=Reason.SERVER, where=href) from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise FetchError("the answer ended in the middle", reason=Reason.CORRUPT, where=href) from None
        except requests.RequestException as error:
            raise SourceError(f"cannot be asked: {error}", reason=Reason.SERVER, where=href) from None
        if response.status_code >= 400:
            raise _refusal(response, text, href)
        return text

    def _receive(self, response: requests.Response, href: str) -> str:
        pieces, received, start = [], 0, time.monotonic()
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            received += len(piece)
            if time.monotonic() - start > self._settings.timeout + received / _SLOWEST:
                raise self._late(href)
        return b"".join(pieces).decode("utf-8", errors="replace")

    def _late(self, href: str) -> FetchError:
        what = f"no answer within {self._settings.timeout:g} s"
        return FetchError(what, reason=Reason.TIMEOUT, where=href, hint=_HINTS[Reason.TIMEOUT])


def _refusal(response: requests.Response, text: str, href: str) -> SourceError:
    status = response.status_code
    what = f"the server answered {status} {response.reason}: {text[:200].strip()}".rstrip(": ")
    if status not in _PASSING and status < 500:
        reason = _FINAL.get(status, Reason.SERVER)
        return SourceError(what, reason=reason, where=href, hint=_HINTS.get(reason, ""))
    reason = _PASSING.get(status, Reason.SERVER)
    try:
        wait = urllib3.Retry(retry_after_max=_LONGEST_WAIT).get_retry_after(response.raw)
    except urllib3.exceptions.InvalidHeader:
        wait = None
    return FetchError(what, reason=reason, where=href, hint=_HINTS.get(reason, ""), wait=wait or 0.0)
