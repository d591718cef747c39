"""The options by which verbs are told of a scene, and of its way into an encoder."""

import argparse
from typing import TYPE_CHECKING

from geopretext.apps.task_arguments import add_door_arguments, names
from geopretext.errors import InputError
from geopretext.predict.open_scene import SceneSource, is_url

if TYPE_CHECKING:
    from geopretext.predict.scene_door import DoorOptions

SCENES = """\
A scene is one of

  FILE.tif, .jp2, https://...   any raster that GDAL reads
  FOLDER                       a file a band: B02.tif, or *_B02_10m.jp2
  NAME.SAFE, NAME.SAFE.zip     a Sentinel-2 product, L1C or L2A
  ITEM.json, https://...       a STAC item
  CUBE.nc, CUBE.zarr           bands as variables, one date (--date)

docs/scenes.md tells what each must say, and what is done about clouds and units."""
"""For the help of a verb."""


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """``--strict``, and the groups of options for a scene and for the encoder's input."""
    parser.add_argument("--strict", action="store_true", help="stop if the inputs are implausible, instead of warning")
    scene = parser.add_argument_group("scene")
    add = scene.add_argument
    add("--bands", type=names, metavar="B,B,...", help="bands in stored order, where the scene does not name them")
    add("--unit", help="unit of the scene, where it does not say it, as `reflectance x 10000`")
    add("--level", help="processing level of the scene, as L1C")
    add("--date", metavar="DATE", help="when it was taken, as 2024-08-30; of a cube, which of its dates")
    add("--keep-clouds", action="store_true", help="use pixels that the scene classification (SCL) calls clouded")
    add(
        "--also",
        action="append",
        default=[],
        metavar="FILE",
        help="another file on the same grid, for another input of the encoder, as `S1.tif?bands=asc_VV,asc_VH&unit=dB`;"
        " may be repeated",
    )
    add("--allow-no-crs", action="store_true", help="take an image that does not say where it lies")
    door = parser.add_argument_group("input of the encoder")
    add_door_arguments(door)


def scene_source(options: argparse.Namespace, path: str) -> SceneSource:
    """What was said of the scene at a path."""
    return SceneSource(
        path,
        bands=options.bands,
        unit=options.unit,
        level=options.level,
        date=options.date,
        clouds="keep" if options.keep_clouds else "mask",
        allow_no_crs=options.allow_no_crs,
        also=tuple(also_source(text, options) for text in options.also),
    )


def also_source(text: str, options: argparse.Namespace) -> SceneSource:
    """What was said of another file of the scene: ``PATH?bands=B,B&unit=U&level=L``.

    Raises:
        InputError: it is said of it what files are not told.
    """
    path, _, said = (text, "", "") if is_url(text) else text.partition("?")
    known = {}
    for pair in said.split("&") if said else ():
        key, _, value = pair.partition("=")
        if key not in ("bands", "unit", "level") or not value:
            raise InputError(f"--also says {pair!r} of {path}", hint="bands=B,B,..., unit=U or level=L, with & between")
        known[key] = value
    return SceneSource(
        path,
        bands=names(known["bands"]) if "bands" in known else None,
        unit=known.get("unit"),
        level=known.get("level"),
        clouds="keep" if options.keep_clouds else "mask",
        allow_no_crs=options.allow_no_crs,
    )


def door_options(options: argparse.Namespace) -> "DoorOptions":
    """What was said of its way into an encoder."""
    from geopretext.predict.scene_door import DoorOptions

    return DoorOptions(
        statistics=options.statistics,
        level=options.level,
        substitutes=tuple((options.substitute or {}).items()),
        fill=options.fill,
        strict=options.strict,
    )
