"""``geopretext serve-synthetic``: an archive of the synthetic Earth on disk, and a server of it."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say

_EXAMPLE = """\
geopretext serve-synthetic archive --places 500
geopretext build archive/places.parquet --recipe archive/recipe.yaml --out tiles.zarr        # from its files
geopretext serve-synthetic archive --serve                                                   # by HTTP and a STAC API"""

_ABOUT = """\
Write an archive of the synthetic Earth as real ones are: cloud-optimised GeoTIFFs of Sentinel-2 (with and without the
offset of processing baseline 04.00), Sentinel-1, land cover, canopy height and elevation, STAC items of all of them,
monthly climate, and a recipe that reads them. For tests, tutorials and benchmarks without a network.

An archive that was interrupted is finished when the same words are typed again; for one that is there already, only
--places and --serve are needed. With --serve it is served on 127.0.0.1 until Ctrl-C."""


def run(arguments: Sequence[str]) -> None:
    """Write the archive, print where everything is, and serve it."""
    parser = VerbParser(
        "serve-synthetic", about=_ABOUT, example=_EXAMPLE, usage="geopretext serve-synthetic DIR [options]"
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="archive to write, to go on with, or to serve")
    add("--seed", type=whole(0), help="which planet; default: 0")
    add("--granules", type=whole(1), metavar="N", help="squares that are observed; default: 4")
    add("--size", type=whole(1), metavar="PX", help="their sides in pixels of 10 m, a multiple of 6; default: 1098")
    add("--dates", type=whole(1), metavar="N", help="images of Sentinel-2 of each granule; default: 4")
    add("--years", type=_years, metavar="FIRST-LAST", help="over which the dates are spread; default: 2019-2020")
    add(
        "--center",
        type=_position,
        metavar="LAT,LON",
        help="granules lie around it (--center=-9.5,12); default: scattered over the land",
    )
    add("--places", type=whole(0), metavar="N", help="also write places.parquet of N places in the granules")
    add("--tile-size", type=whole(1), metavar="PX", help="of the tiles that must fit around places; default: 64")
    add("--workers", type=whole(1), default=2, metavar="N", help="processes that render; default: %(default)s")
    add("--serve", type=whole(0), nargs="?", const=0, metavar="PORT", help="serve it afterwards; default: a free port")
    options = parser.parse_args(arguments)

    from geopretext.build.synthetic_archive import PLACES, RECIPE, archive_settings, write_archive
    from geopretext.build.synthetic_granules import ArchiveSettings

    folder: Path = options.folder
    begun = archive_settings(folder)
    given = {key: getattr(options, key) for key in asdict(ArchiveSettings()) if getattr(options, key) is not None}
    settings = ArchiveSettings(**{**(asdict(begun) if begun else {}), **given})
    summary = write_archive(folder, settings, workers=options.workers, progress=ProgressLine("pieces written"))
    say(f"{summary.items:,} items, {summary.bytes / 1e6:,.0f} MB; {summary.written:,} items are new")
    print(folder / RECIPE)
    command = f"geopretext build {folder / PLACES} --recipe {folder / RECIPE} --out tiles.zarr"
    if not (folder / PLACES).exists():
        say(f"next: geopretext serve-synthetic {folder} --places 500")
    elif options.serve is None:
        say(f"next: {command}")
    if options.serve is not None:
        _serve(folder, options.serve, places=folder / PLACES)


def _serve(folder: Path, port: int, *, places: Path) -> None:
    """Until Ctrl-C."""
    from geopretext.build.synthetic_server import serve_archive

    with serve_archive(folder, port=port) as served:
        print(f"files  {served.files}")
        print(f"STAC   {served.stac or f'{served.files}/catalog.json (static; rustac would serve an API)'}")
        sys.stdout.flush()
        say(f"next: geopretext build {places} --recipe {served.recipe} --out tiles.zarr   # Ctrl-C here stops serving")
        while True:
            time.sleep(3600)


def _years(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not years such as 2019-2020") from None


def _position(text: str) -> tuple[float, float]:
    try:
        lat, lon = (float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LAT,LON in degrees such as 47.5,8.25") from None
    return lat, lon
