"""Takes the pictures of docs/viewer.md: `python docs/images/viewer.py runs/demo`, beside which they are then put.

Needs Chromium and playwright, and a folder that `geopretext demo` made.
"""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
DESKTOP, PHONE = (1280, 800), (390, 844)
_ARGUMENTS = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync"]
_PATIENCE = 240_000  # ms: embeddings and UMAP are computed first

PICTURES = {
    "earth": ("#/earth?tile=5", DESKTOP, "light", ".credit[data-ready]"),
    "earth-dark": ("#/earth?color=date&only_lat=20-39", DESKTOP, "dark", ".credit[data-ready]"),
    "embedding": ("#/embedding?tile=6&layout=umap", DESKTOP, "light", ".found img"),
    "tile": ("#/tile?tile=14&row=20&column=30", DESKTOP, "light", ".readings .value"),
    "tile-phone": ("#/tile?tile=14&row=20&column=30", PHONE, "dark", ".readings .value"),
    "reconstruct": ("#/reconstruct?tile=14", DESKTOP, "light", ".results .part"),
    "training": ("#/training?runs=mp-mae,s2-mae", DESKTOP, "dark", ".chart path.line"),
    "phone": ("#/earth", PHONE, "light", ".credit[data-ready]"),
}
"""address, size, theme, and what is there when a page is complete"""


def take(browser: Browser, address: str, name: str) -> None:
    """One picture, in few colours."""
    link, (width, height), theme, complete = PICTURES[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.set_default_timeout(_PATIENCE)
    page.goto(f"{address}{link}")
    page.wait_for_selector('main[aria-busy="false"]')
    page.wait_for_selector(complete)
    page.wait_for_timeout(2000)  # thumbnails
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB").quantize(160)
    picture.save(HERE / f"viewer-{name}.png", optimize=True)
    page.close()


def main(path: str) -> None:
    """Serve ``path``, take all pictures."""
    command = [sys.executable, "-m", "geopretext.apps.cli", "view", path, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:  # noqa: S603 # our own arguments
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        browser = driver.chromium.launch(executable_path=which("chromium"), args=_ARGUMENTS)
        for name in PICTURES:
            take(browser, address, name)
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main(sys.argv[1])
