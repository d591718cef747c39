"""The real server as a process of its own, and a real browser that looks at it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
_ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
_DESKTOP, _PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""after them charts have drawn themselves at the size that they were given"""
_SLOW_MS = 60_000
"""longer than any single step on a machine that does other things as well"""


@pytest.fixture(scope="session")
def serve_viewer() -> Iterator[Callable[..., str]]:
    """``serve_viewer(*words)`` starts ``geopretext view`` with these words and returns its address."""
    processes = []

    def start(*words: str | Path) -> str:
        command = [sys.executable, "-m", "geopretext.apps.cli", "view", *map(str, words), "--no-browser"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        return address

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="session")
def viewer(serve_viewer: Callable[..., str], store: Path, bundle: Path) -> str:
    """Address of a viewer that was opened on the small store, with a bundle."""
    return serve_viewer(store, "--bundle", bundle)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if _CHROMIUM is None:
        pytest.skip("needs Chromium or Chrome on the search path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """``open_page(address, phone=False, theme="light")``: a page whose every complaint fails the test.

    It is complete when it comes; ``page.settle()`` waits until it is so again. A request to another host is a failure
    too. ``page.complaints.clear()`` forgives those that a test provokes.
    """
    pages: list[Any] = []

    def start(address: str, *, phone: bool = False, theme: str = "light") -> "Page":
        context = browser.new_context(viewport=_PHONE if phone else _DESKTOP, has_touch=phone, color_scheme=theme)
        page = context.new_page()
        page.set_default_timeout(_SLOW_MS)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        host = "/".join(address.split("/")[:3])
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((host, "blob:", "data:")) else complaints.append(f"asks {request.url}")
            ),
        )
        page.complaints = complaints

        def settle() -> None:
            page.wait_for_selector('main[aria-busy="false"]')
            page.evaluate(_TWO_FRAMES)

        page.settle = settle
        pages.append((page, context))
        page.goto(address)
        page.settle()
        return page

    yield start
    for page, context in pages:
        complaints = page.complaints
        context.close()
        assert complaints == []
