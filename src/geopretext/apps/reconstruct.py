"""``geopretext reconstruct``: a picture of every modality, predicted from a masked input."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geopretext.apps.arguments import VerbParser, tile_numbers, whole
from geopretext.data.reader import open_tiles
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import InputError
from geopretext.predict.drawing import draw
from geopretext.predict.reconstruct import reconstruct

_EXAMPLE = """\
geopretext reconstruct runs/first/bundle --data tiles.zarr --out picture.png
geopretext reconstruct runs/first/bundle --data tiles.zarr --tiles 0,5,9 --seed 3 --out picture.pdf"""

_ABOUT = """\
Hide patches of some tiles, predict every modality from the visible ones, and draw truth, prediction and error of each,
with colour bars, units and legends. Without --tiles, test tiles are taken if there are any."""

_FORMATS = (".png", ".pdf", ".svg", ".jpg")


def run(arguments: Sequence[str]) -> None:
    """Predict, draw, print where the picture is."""
    parser = VerbParser("reconstruct", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle that pretraining wrote")
    add("--data", required=True, metavar="STORE", help="tile store, or an official MMEarth directory")
    add("--out", type=Path, required=True, metavar="PICTURE", help=f"file to write: {', '.join(_FORMATS)}")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--tiles", type=tile_numbers, metavar="N,N,...", help="numbers of the tiles, from 0")
    chosen.add_argument("--count", type=whole(1), default=2, help="how many tiles; default: %(default)s")
    add("--bands-per-modality", type=whole(1), default=1, metavar="N", help="bands drawn of a map; default: 1")
    add("--seed", type=whole(0), default=0, help="of the hidden patches, and of the tiles; default: %(default)s")
    options = parser.parse_args(arguments)
    if options.out.suffix.lower() not in _FORMATS:
        parser.error(f"--out {options.out} is none of {', '.join(_FORMATS)}")
    reader = open_tiles(options.data)
    tiles = _tiles(reader, options)
    result = reconstruct(options.bundle, reader, tiles, seed=options.seed)
    draw(result, options.out, bands_per_modality=options.bands_per_modality)
    print(f"tiles {', '.join(map(str, tiles))}", file=sys.stderr)
    print(options.out)


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
