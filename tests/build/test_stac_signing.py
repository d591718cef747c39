"""Signing: by the Planetary Computer's own library, against a token server of its protocol, when files are read."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from geopretext.build.source import Asset
from geopretext.build.stac_signing import sign
from geopretext.errors import Reason, SourceError

BLUE = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/B02.tif"


class TokenServer:
    """Gives tokens that hold for some seconds, or a status."""

    def __init__(self) -> None:
        self.status, self.seconds = 200, 3600.0
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    state = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            expiry = (datetime.now(UTC) + timedelta(seconds=state.seconds)).isoformat()
            body = json.dumps({"token": f"sig=t{len(state.asked)}", "msft:expiry": expiry}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/token"
        sign(Asset("warm-up.tif"), "planetary-computer")
        from planetary_computer import sas, settings

        monkeypatch.setenv("PC_SDK_SAS_URL", state.url)
        monkeypatch.setattr(sas, "TOKEN_CACHE", {})
        settings.Settings.get.cache_clear()
        yield state
        settings.Settings.get.cache_clear()
        server.shutdown()
        thread.join()


def test_only_files_of_its_own_storage_are_signed_and_a_token_serves_many(tokens: TokenServer) -> None:
    signed = [sign(Asset(BLUE, band=2, scale=0.5), "planetary-computer") for _ in range(3)]
    assert signed == [Asset(f"{BLUE}?sig=t1", band=2, scale=0.5)] * 3
    assert tokens.asked == ["/token/sentinel2l2a01/sentinel2-l2"]
    for href in ("https://example.org/B02.tif", "s3://bucket/B02.tif", "/data/B02.tif"):
        assert sign(Asset(href), "planetary-computer").href == href
    assert sign(Asset(BLUE), "none").href == BLUE


def test_a_token_that_is_about_to_expire_is_renewed(tokens: TokenServer) -> None:
    tokens.seconds = 30
    assert [sign(Asset(BLUE), "planetary-computer").href[-2:] for _ in range(2)] == ["t1", "t2"]


def test_a_refused_token_says_for_what(tokens: TokenServer) -> None:
    tokens.status = 403
    with pytest.raises(SourceError, match="cannot be signed") as caught:
        sign(Asset(BLUE), "planetary-computer")
    assert caught.value.reason is Reason.FORBIDDEN
    assert BLUE in str(caught.value)
