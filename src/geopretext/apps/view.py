"""``geopretext view``: looks at stores, runs, bundles, embeddings and reports in the browser."""

import sys
import threading
import webbrowser
from collections.abc import Sequence

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import say

_EXAMPLE = """\
geopretext view tiles.zarr
geopretext view runs/demo                                  # tiles, runs and report of a demo
geopretext view embeddings.parquet --data tiles.zarr"""

_ABOUT = """\
Look at what geopretext makes in the browser: the map of all tiles, every modality of a tile, reconstructions, the space
of embeddings, and the curves of a run while it trains.

PATH is a tile store, an official MMEarth directory, a run, a bundle, an embedding table, or a folder that holds several
of these. The server answers to this machine only, reads only what was opened, and needs no network."""


def run(arguments: Sequence[str]) -> None:
    """Find out what is there, serve it, print the address, open the browser."""
    parser = VerbParser("view", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("path", metavar="PATH", help="what to look at")
    add("--port", type=whole(0, 65535), default=0, help="of the server; default: a free one")
    add("--no-browser", action="store_true", help="only serve; the address is printed either way")
    add("--bundle", action="append", default=[], metavar="BUNDLE", help="one more bundle; may be repeated")
    add("--embeddings", action="append", default=[], metavar="FILE", help="one more embedding table; may be repeated")
    add("--data", default="", metavar="STORE", help="tiles of a table or run that lie elsewhere")
    options = parser.parse_args(arguments)

    from geopretext.apps.viewer.opened import look_at
    from geopretext.apps.viewer.server import serve

    opened = look_at(options.path, bundles=options.bundle, embeddings=options.embeddings, data=options.data)
    for note in opened.notes:
        say(note)

    def ready(address: str) -> None:
        print(address)
        sys.stdout.flush()
        say("Ctrl-C here stops the viewer")
        if not options.no_browser:
            # A browser that begins with us may keep the call until it ends, and the server must answer meanwhile.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(opened, port=options.port, ready=ready)
