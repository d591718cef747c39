"""``geopretext split``: divide the tiles of a store into train, val and test."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from geopretext.apps.arguments import VerbParser, positive, shares, whole
from geopretext.data.splits import ecoregion_split, leakage, random_split, spatial_split
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.tiles import SPLITS

_EXAMPLE = """\
geopretext split tiles.zarr --method spatial --block-km 50
geopretext split tiles.zarr --method random --shares 0.7,0.15,0.15 --seed 1"""

_ABOUT = """\
Divide the tiles into train, val and test, keep that in the store, and recompute its statistics over train.

Neighbouring tiles look alike, so that a random split lets test tiles leak into training. `spatial` gives whole blocks
of the globe to one split, `ecoregion` whole ecoregions. How many train tiles lie close to others is reported."""


def run(arguments: Sequence[str]) -> None:
    """Split, store, print the sizes and the leakage."""
    options = _parser().parse_args(arguments)
    store = Store.open(options.store)
    split = _assign(store, options)
    where = store.coordinates
    close = len(leakage(where.lat, where.lon, split, distance_km=options.leakage_km))
    store.set_split(split)
    store.set_statistics(compute_statistics(store))
    sizes = {name: int(np.count_nonzero(split == code)) for code, name in enumerate(SPLITS)}
    if options.json:
        print(json.dumps({"tiles": sizes, "method": options.method, "leaking_train_tiles": close}))
    else:
        print("\n".join(f"{name:5}  {count}" for name, count in sizes.items()))
    share = close / max(1, sizes["train"])
    print(
        f"{close} train tiles ({share:.1%}) are closer than {options.leakage_km:g} km to a val or test tile",
        file=sys.stderr,
    )


def _parser() -> VerbParser:
    parser = VerbParser("split", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("store", help="tile store: a folder, s3:// or gs:// URL")
    add("--method", choices=("spatial", "random", "ecoregion"), default="spatial", help="default: %(default)s")
    add("--shares", type=shares, default=(0.8, 0.1, 0.1), metavar="TRAIN,VAL,TEST", help="default: 0.8,0.1,0.1")
    add("--seed", type=whole(0), default=0, help="same seed, same split; default: %(default)s")
    add("--block-km", type=positive, default=50.0, metavar="KM", help="side of a block of `spatial`; default: 50")
    add("--leakage-km", type=positive, default=5.0, metavar="KM", help="how close is leakage; default: 5")
    add("--json", action="store_true", help="print sizes and leakage as JSON")
    return parser


def _assign(store: Store, options: Namespace) -> npt.NDArray[np.int8]:
    where = store.coordinates
    match options.method:
        case "random":
            return random_split(len(store), options.shares, seed=options.seed)
        case "spatial":
            return spatial_split(
                where.lat, where.lon, block_km=options.block_km, shares=options.shares, seed=options.seed
            )
        case _:
            assert where.ecoregion is not None
            return ecoregion_split(where.ecoregion, options.shares, seed=options.seed)
