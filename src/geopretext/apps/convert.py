"""``geopretext convert``: GeoTIFFs, NetCDF cubes, official MMEarth files or the synthetic Earth -> tile store."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine
from geopretext.data.convert import SYNTHETIC, convert
from geopretext.modality import PUBLISHED, load_modalities

_SERIES = ",".join(name for name, modality in PUBLISHED.items() if modality.kind.is_series)

_EXAMPLE = f"""\
geopretext convert data_100k_v001 --out tiles.zarr                          # official MMEarth directory
geopretext convert geotiffs --mapping mapping.yaml --out tiles.zarr         # subfolder = modality, file = place
geopretext convert cubes --mapping mapping.yaml --out tiles.zarr            # NetCDF with a time dimension -> series
geopretext convert {SYNTHETIC} --count 2000 --seed 0 --out tiles.zarr           # procedural planet
geopretext convert {SYNTHETIC} --series {_SERIES} --dates 12 --out tiles.zarr"""

_ABOUT = """\
Write a tile store from an official MMEarth HDF5 directory, a folder of GeoTIFFs or of NetCDF cubes, or the synthetic
Earth.

For GeoTIFFs, the mapping says which subfolder and band is which modality, in which unit, with which no-data number;
the Sentinel-2 offset of processing baseline 04.00 is found, undone and reported. docs/data.md describes the
mapping. NetCDF cubes with a time dimension become time series by a mapping of their own: docs/source-series.md. A
conversion that was stopped goes on when it is started again."""


def run(arguments: Sequence[str]) -> None:
    """Convert, print the report."""
    parser = VerbParser("convert", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("source", metavar="SRC", help=f"a folder, or the word {SYNTHETIC!r}")
    add("--out", required=True, metavar="STORE", help="tile store to write, or to go on with: a folder or URL")
    add("--mapping", type=Path, metavar="YAML", help="what a folder of GeoTIFFs, or of NetCDF cubes, holds")
    add("--modalities", type=Path, metavar="YAML", help="modalities of your own, see `geopretext modalities --help`")
    add("--count", type=whole(1), default=2000, help="tiles of the synthetic Earth; default: %(default)s")
    add("--series", default="", metavar="NAMES", help=f"time series of the synthetic Earth: {_SERIES}; default: none")
    add("--dates", type=whole(1), default=12, help="images that a tile has of each at most; default: %(default)s")
    add("--seed", type=whole(0), default=0, help="of the split, and of the synthetic Earth; default: %(default)s")
    add("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    report = convert(
        options.source,
        options.out,
        mapping=options.mapping,
        modalities=load_modalities(options.modalities) if options.modalities else PUBLISHED,
        count=options.count,
        series=dict.fromkeys(filter(None, options.series.split(",")), options.dates),
        seed=options.seed,
        progress=ProgressLine("tiles written"),
    )
    print(json.dumps(report.to_dict(), indent=2) if options.json else "\n".join(report.lines()))
    print(f"next: geopretext inspect {options.out}", file=sys.stderr)
