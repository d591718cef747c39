"""``geopretext stats``: recompute the statistics of a store."""

import json
import sys
from collections.abc import Sequence

from geopretext.apps.arguments import VerbParser
from geopretext.apps.tables import text_table
from geopretext.data.statistics import Statistics, compute_statistics
from geopretext.data.store import Store

_EXAMPLE = """\
geopretext stats tiles.zarr
geopretext stats tiles.zarr --json > statistics.json"""

_ABOUT = """\
Recompute a store's statistics and keep them in it: per band and level mean, std, min, max, percentiles, missing share.

They are taken over the train tiles if the store is split, else over all tiles; pretraining normalises with them."""

STATISTICS_HEADER = ("modality", "level", "band", "mean", "std", "min", "p2", "p98", "max", "missing")


def run(arguments: Sequence[str]) -> None:
    """Compute, store, print."""
    parser = VerbParser("stats", about=_ABOUT, example=_EXAMPLE)
    parser.add_argument("store", help="tile store: a folder, s3:// or gs:// URL")
    parser.add_argument("--json", action="store_true", help="print everything that was computed")
    options = parser.parse_args(arguments)
    store = Store.open(options.store)
    statistics = compute_statistics(store)
    store.set_statistics(statistics)
    if options.json:
        print(json.dumps(statistics.to_dict(), indent=2))
    else:
        print(statistics_table(statistics))
    print(f"over {statistics.tiles} tiles ({statistics.split}); kept in {options.store}", file=sys.stderr)


def statistics_table(statistics: Statistics) -> str:
    """A row for each modality, level and band that is not of classes."""
    rows = []
    everything = (
        (name, level, band, numbers)
        for name, modality in statistics.modalities.items()
        for level, bands in modality.bands.items()
        for band, numbers in bands.items()
    )
    for name, level, band, numbers in everything:
        total = numbers.count + numbers.missing
        p2, p98 = (numbers.percentiles.get(percent, float("nan")) for percent in (2, 98))
        values = (numbers.mean, numbers.std, numbers.min, p2, p98, numbers.max)
        share = f"{numbers.missing / total:.1%}" if total else "-"
        rows.append([name, level, band, *(f"{value:.5g}" for value in values), share])
    return text_table(STATISTICS_HEADER, rows, right=range(3, len(STATISTICS_HEADER)))
