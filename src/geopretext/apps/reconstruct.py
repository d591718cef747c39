"""``geopretext reconstruct``: every modality, predicted from a masked input: a picture of tiles, or maps of a scene."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geopretext.apps.arguments import VerbParser, tile_numbers, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.scene_arguments import add_scene_arguments, door_options, scene_source
from geopretext.apps.task_arguments import names
from geopretext.data.reader import open_tiles
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import InputError, MissingLibraryError
from geopretext.predict.drawing import draw
from geopretext.predict.reconstruct import reconstruct

_EXAMPLE = """\
geopretext reconstruct runs/first/bundle --data tiles.zarr --out picture.png
geopretext reconstruct runs/first/bundle --data tiles.zarr --tiles 0,5,9 --seed 3 --out picture.pdf
geopretext reconstruct runs/first/bundle --scene S2B_MSIL2A_20240830T100559.SAFE.zip --out reconstruction"""

_ABOUT = """\
With --data: hide patches of some tiles, predict every modality from the visible ones, and draw truth, prediction and
error of each, with colour bars, units and legends. Without --tiles, test tiles are taken if there are any.

With --scene: predict every modality for a whole scene from its image alone, and write a folder: MODALITY.tif, a COG on
the grid of the scene, for each map; reconstruction.json with climate, month, biome and all that was done to the input;
reconstruction.png, all of it in one picture. A run that was stopped goes on where it stopped. docs/reconstruction.md
says how far such maps can be believed."""

_USAGE = "geopretext reconstruct BUNDLE (--data STORE --out PICTURE | --scene SCENE --out FOLDER) [options]"
_FORMATS = (".png", ".pdf", ".svg", ".jpg")
_BOTH, _TILES = ("bundle", "data", "scene", "out", "bands_per_modality"), ("tiles", "count", "seed", "inputs")
"""options for a store and for a scene, and those for a store alone"""
PICTURE = "reconstruction.png"


def run(arguments: Sequence[str]) -> None:
    """Predict, draw, print where the picture or the folder is."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    if options.scene is not None:
        _of_scene(options)
    else:
        _of_tiles(options)


def _parser() -> VerbParser:
    parser = VerbParser("reconstruct", about=_ABOUT, example=_EXAMPLE, usage=_USAGE)
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle that pretraining wrote")
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--data", metavar="STORE", help="tile store, or an official MMEarth directory")
    of.add_argument("--scene", metavar="SCENE", help="any raster, a folder of bands, a Sentinel-2 product, a STAC item")
    add("--out", type=Path, required=True, metavar="PATH", help=f"picture of tiles ({', '.join(_FORMATS)}), or folder")
    add("--bands-per-modality", type=whole(1), metavar="N", help="bands drawn of a map; default: 1, of a scene 2")
    tiles = parser.add_argument_group("tiles")
    chosen = tiles.add_mutually_exclusive_group()
    chosen.add_argument("--tiles", type=tile_numbers, metavar="N,N,...", help="numbers of the tiles, from 0")
    chosen.add_argument("--count", type=whole(1), default=2, help="how many tiles; default: %(default)s")
    tiles.add_argument("--seed", type=whole(0), default=0, help="of hidden patches, and of tiles; default: %(default)s")
    tiles.add_argument(
        "--inputs",
        type=names,
        metavar="M,M,...",
        help="of a bundle of several inputs, those that it is shown, as sentinel1; default: all that the store has",
    )
    whole_scene = parser.add_argument_group("maps of a scene")
    add = whole_scene.add_argument
    add("--confidence", action="store_true", help="also write the probability of each pixel's class")
    add(
        "--truth",
        action="append",
        default=[],
        type=_truth,
        metavar="NAME[:BAND,...]=FILE",
        help="a real product on the grid of the scene to compare with, as sentinel1:asc_VV,asc_VH=S1.tif; repeatable",
    )
    add("--workers", type=whole(1), default=1, metavar="N", help="processes; default: 1, or one a device")
    add("--device", default="cpu", metavar="D,D,...", help="cpu, cuda:0, ...; default: %(default)s")
    add_scene_arguments(parser)
    return parser


def _check(parser: VerbParser, options: Namespace) -> None:
    """What argparse cannot know: options of the other of both modes, and what ``--out`` must be."""
    mode = "--data" if options.scene is None else "--scene"
    for name, value in vars(options).items():
        own = name in _BOTH or (name in _TILES) == (mode == "--data")
        if not own and value != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} is not for {mode}")
    if mode == "--data" and options.out.suffix.lower() not in _FORMATS:
        parser.error(f"--out {options.out} is none of {', '.join(_FORMATS)}")
    if mode == "--data" and options.out.is_dir():
        parser.error(f"--out {options.out} is a folder")


def _of_tiles(options: Namespace) -> None:
    reader = open_tiles(options.data)
    tiles = _tiles(reader, options)
    result = reconstruct(options.bundle, reader, tiles, seed=options.seed, inputs=options.inputs)
    if result.absent or len(result.used) > 1:
        absent = f"; without {', '.join(result.absent)}" if result.absent else ""
        say(f"inputs used: {', '.join(result.used)}{absent}")
    draw(result, options.out, bands_per_modality=options.bands_per_modality or 1)
    say(f"tiles {', '.join(map(str, tiles))}")
    print(options.out)


def _of_scene(options: Namespace) -> None:
    from geopretext.predict.door_report import door_lines
    from geopretext.predict.scene_drawing import draw_scene
    from geopretext.predict.scene_reconstruction import reconstruct_scene
    from geopretext.predict.scene_run import RunOptions
    from geopretext.predict.scene_truth import TruthFile

    try:
        found = reconstruct_scene(
            options.bundle,
            scene_source(options, options.scene),
            options.out,
            options=RunOptions(
                door=door_options(options), devices=tuple(options.device.split(",")), workers=options.workers
            ),
            confidence=options.confidence,
            truth={name: TruthFile(path, bands) for name, bands, path in options.truth},
            progress=ProgressLine("windows"),
            looked=lambda record: say("\n".join(door_lines(record))),
        )
    except KeyboardInterrupt:
        say("stopped; what is finished is kept, and the same command goes on from there")
        raise
    for what, why in found.left_out.items():
        say(f"not predicted: {what}: {why}")
    for name, compared in found.compared.items():
        if compared.unknown:
            say(f"{name}: {compared.unknown:,} pixels of {compared.truth.path} have codes of no class and do not count")
    try:
        draw_scene(found, options.out / PICTURE, bands_per_modality=options.bands_per_modality or 2)
    except MissingLibraryError as error:  # the maps are there
        say(f"no picture: {error}")
    print(options.out)


def _truth(text: str) -> tuple[str, tuple[str, ...], Path]:
    """An argument type: ``sentinel1:asc_VV,asc_VH=S1.tif``."""
    left, equals, path = text.partition("=")
    name, _, bands = left.partition(":")
    if not (name and equals and path):
        raise ArgumentTypeError(f"{text!r} is no NAME=FILE such as sentinel1:asc_VV,asc_VH=S1.tif")
    return name, tuple(bands.split(",")) if bands else (), Path(path)


def _tiles(reader: TileReader, options: Namespace) -> npt.NDArray[np.int64]:
    if options.tiles is not None:
        beyond = [number for number in options.tiles if number >= len(reader)]
        if beyond:
            raise InputError(
                f"there is no tile {beyond[0]}", where=reader.path, hint=f"its tiles are 0 to {len(reader) - 1}"
            )
        return np.array(options.tiles, np.int64)
    return choose_tiles(reader, options.count, options.seed)


def choose_tiles(reader: TileReader, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Some test tiles, or some of all tiles if there is no test split; in order of their number."""
    split = reader.coordinates.split
    assert split is not None
    pool = np.flatnonzero(split == SPLITS.index("test"))
    if not len(pool):
        pool = np.arange(len(reader))
    return np.sort(np.random.default_rng(seed).choice(pool, min(count, len(pool)), replace=False))
