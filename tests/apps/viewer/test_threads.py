"""What takes long leaves the others their turn: requests to a server in this process, with networks that hang."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geopretext.apps.viewer import reconstruct_api, training_api
from geopretext.apps.viewer.handlers import HOST
from geopretext.apps.viewer.opened import BundleEntry, RunEntry
from geopretext.errors import BundleError, StoreError

pytest.importorskip("tornado", reason="needs tornado")

THREADS, POOL = 4, "pool"


class Tiles:
    """A store far away: who opens it is remembered."""

    def __init__(self) -> None:
        self.openers: list[str] = []

    @property
    def reader(self) -> object:
        self.openers.append(threading.current_thread().name)
        raise StoreError("is far away")


def ask(opened: Any, talk: Any) -> Any:
    """Start a server and hand ``talk(get)`` a way to ask it; ``await get(path)`` gives the status."""
    from tornado.httpclient import AsyncHTTPClient
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application

    async def serve() -> Any:
        sockets = bind_sockets(0, HOST)
        port = sockets[0].getsockname()[1]
        routes = [*reconstruct_api.routes(opened), *training_api.routes(opened)]
        with ThreadPoolExecutor(THREADS, thread_name_prefix=POOL) as pool:
            server = HTTPServer(Application(routes, port=port, pool=pool))
            server.add_sockets(sockets)
            client = AsyncHTTPClient(force_instance=True, max_clients=20)

            async def get(path: str) -> int:
                address = f"http://{HOST}:{port}/api/{path}"
                return (await client.fetch(address, raise_error=False, request_timeout=20)).code

            try:
                return await talk(get)
            finally:
                server.stop()
                client.close()

    # In a thread of its own: a browser of other tests may have its event loop in this one.
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(lambda: asyncio.run(serve())).result()


def test_networks_that_load_do_not_hold_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    opened: Any = SimpleNamespace(
        bundles={"one": BundleEntry("one", "one", tmp_path)},
        runs={"run": RunEntry("run", "run", tmp_path, None, None)},
    )
    go_on = threading.Event()
    loads: list[str] = []

    def hang(*_: object) -> None:
        loads.append(threading.current_thread().name)
        go_on.wait(60)
        raise BundleError("came to nothing")

    monkeypatch.setattr(reconstruct_api.Networks, "load", hang)

    async def talk(get: Any) -> None:
        try:
            waiting = [asyncio.ensure_future(get("bundles/one/pretext")) for _ in range(2 * THREADS)]
            while not loads:
                await asyncio.sleep(0.01)
            assert await get("runs/run/config") == 200
            assert not any(each.done() for each in waiting)
        finally:
            go_on.set()
        assert set(await asyncio.gather(*waiting)) == {422}

    ask(opened, talk)
    assert len(loads) == 2 * THREADS
    assert all(name.startswith(POOL) for name in loads)


def test_a_store_is_opened_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles: Any = Tiles()
    opened: Any = SimpleNamespace(stores={"far": tiles}, bundles={"one": BundleEntry("one", "one", tmp_path)})
    monkeypatch.setattr(reconstruct_api.Networks, "load", lambda *_: None)

    async def talk(get: Any) -> Any:
        return await get("bundles/one/reconstruct/far/0")

    assert ask(opened, talk) == 422
    assert tiles.openers
    assert all(name.startswith(POOL) for name in tiles.openers)
