"""URLs that are signed when they are read, because signatures expire."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import requests

from geopretext.build.source import Asset
from geopretext.errors import MissingLibraryError, Reason, SourceError

Signer = Literal["none", "planetary-computer"]


def sign(asset: Asset, signer: Signer) -> Asset:
    """The asset with a URL that its storage accepts now.

    For ``planetary-computer`` the Planetary Computer's own library asks for a token of the storage container, keeps it
    until a minute before it expires, and leaves URLs of other hosts as they are. ``PC_SDK_SUBSCRIPTION_KEY`` in the
    environment, if there is one, is sent along.

    Raises:
        SourceError: there is no token to be had, after retries.
        MissingLibraryError: planetary-computer is not installed.
    """
    if signer == "none":
        return asset
    try:
        return replace(asset, href=_planetary_computer()(asset.href))
    except requests.HTTPError as error:
        refused = error.response is not None and error.response.status_code in (401, 403, 404)
        reason = Reason.FORBIDDEN if refused else Reason.SERVER
        raise _unsigned(asset, error, reason) from error
    except requests.RequestException as error:
        raise _unsigned(asset, error, Reason.SERVER) from error


@lru_cache(maxsize=1)
def _planetary_computer() -> Callable[[str], str]:
    try:
        with warnings.catch_warnings():
            # its models are written in a way that newer versions of pydantic advise against
            warnings.simplefilter("ignore", DeprecationWarning)
            from planetary_computer import sign_url
    except ImportError:
        raise MissingLibraryError(
            "planetary_computer", extra="geo", purpose="read from the Planetary Computer"
        ) from None
    signer: Callable[[str], str] = sign_url
    return signer


def _unsigned(asset: Asset, error: Exception, reason: Reason) -> SourceError:
    return SourceError(
        f"cannot be signed: {error}",
        reason=reason,
        where=asset.href,
        hint="the Planetary Computer gives tokens for its own storage; others need 'sign: none'",
    )
