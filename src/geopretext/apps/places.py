"""``geopretext places``: where tiles are to be, by a rule over ecoregions, in a region, or from a file of points."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geopretext import __version__
from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.tables import text_table
from geopretext.errors import InputError, MissingLibraryError
from geopretext.modality import BIOMES

if TYPE_CHECKING:
    from geopretext.build.place_sample import PlaceSample, PointSample

_EXAMPLE = """\
geopretext places --count 100000 --strategy biome-area --ecoregions Ecoregions2017.shp --out places.parquet
geopretext places --count 5000 --box=-10,36,4,44 --ecoregions Ecoregions2017.shp --no-overlap --out iberia.parquet
geopretext places --count 2000 --polygon fields.geojson --out places.parquet           # evenly over an area
geopretext places --points plots.csv --ecoregions Ecoregions2017.shp --out places.parquet"""

_ABOUT = """\
Sample places and write them, with biome and ecoregion, as GeoParquet.

Strategies: biome-area, as many places in each biome and within it by the area of its ecoregions; biome-even, as many in
each biome and within it in each ecoregion; ecoregion-even, as many in each ecoregion (MMEarth's three); uniform, by
area alone. Areas are true areas of the Earth. Place number i depends on the seed and on i alone: the first 1000 of
10000 places are those of --count 1000. docs/places.md says where to get the ecoregions."""

_STRATEGIES = ("biome-area", "biome-even", "ecoregion-even", "uniform")  # those of build.strata
_NEAREST = """places outside every polygon, as on simplified coasts, are labelled by one that is at most this far away;
default: %(default)g"""
_MOST_NAMES = 8
_GROUND_SAMPLING_DISTANCE = 10.0  # metres a pixel


def run(arguments: Sequence[str]) -> None:
    """Sample, write, print the shares."""
    options = _parser().parse_args(_joined(arguments))
    try:
        from geopretext.build.places import write_places

        sample = _sample(options)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(str(error.name), extra="geo", purpose="sample places") from error
    write_places(options.out, sample.draw(options.count), facts=_facts(options, sample))
    summary = _summary(options, sample)
    print(json.dumps(summary, indent=2) if options.json else _table(summary["biomes"]))
    for line in _remarks(summary):
        print(line, file=sys.stderr)
    if options.figure:
        from geopretext.apps.places_figure import draw_places_figure  # needs matplotlib

        draw_places_figure(options.out, options.figure, rule=sample.rule, ecoregions=sample.ecoregions)


def _parser() -> VerbParser:
    parser = VerbParser("places", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="places.parquet to write")
    add("--count", type=whole(1), metavar="N", help="places; of --points: only the first N")
    add("--strategy", choices=_STRATEGIES, help=f"default: {_STRATEGIES[0]}; uniform if a region but no ecoregions")
    add("--seed", type=whole(0), default=0, help="another seed gives other places; default: %(default)s")
    add = parser.add_argument_group("polygons of ecoregions").add_argument
    add("--ecoregions", metavar="FILE", help="RESOLVE Ecoregions 2017, or any polygons with names; path or URL")
    add("--name-field", default="ECO_NAME", metavar="FIELD", help="of the ecoregion's name; default: %(default)s")
    add("--stratum-field", default="BIOME_NAME", metavar="FIELD", help="of the biome's name; default: %(default)s")
    add("--nearest", type=_distance, default=15.0, metavar="KM", help=_NEAREST)
    add = parser.add_argument_group("where").add_mutually_exclusive_group().add_argument
    add("--box", type=_box, metavar="W,S,E,N", help="degrees; W > E goes across the antimeridian")
    add("--polygon", metavar="FILE", help="within the polygons of a file or URL")
    add("--points", metavar="FILE", help="take the places of a file: lon, lat and id in CSV, Parquet, GeoJSON ...")
    add = parser.add_argument_group("what to leave out").add_argument
    add("--no-ocean", action="store_true", help="with uniform in a region: only where there is a polygon")
    add("--min-distance", type=_distance, default=0.0, metavar="METRES", help="between places")
    add("--no-overlap", action="store_true", help="no two tiles of --tile-size share ground")
    add("--tile-size", type=whole(1), default=128, metavar="PX", help="of 10 m; default: %(default)s")
    add = parser.add_argument_group("output").add_argument
    add("--figure", type=_picture, metavar="FILE", help="draw the sample by biome: .png, .pdf or .svg")
    add("--json", action="store_true", help="print the shares as JSON")
    return parser


def _joined(words: Sequence[str]) -> list[str]:
    """``--box -10,36,4,44`` as one word: argparse takes a value that starts with a minus for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--box":
            joined[-1] = f"--box={word}"
        else:
            joined.append(word)
    return joined


def _box(text: str) -> dict[str, float]:
    try:
        west, south, east, north = (float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers W,S,E,N such as -10,36,4,44") from None
    return {"west": west, "south": south, "east": east, "north": north}


def _distance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a distance")
    return number


def _picture(text: str) -> Path:
    if Path(text).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, .pdf or .svg")
    return Path(text)


def _sample(options: argparse.Namespace) -> "PlaceSample | PointSample":
    from geopretext.build.ecoregions import read_ecoregions
    from geopretext.build.place_sample import PlaceSample, PointSample, SampleSettings
    from geopretext.build.points import read_points
    from geopretext.build.region import box_region, read_region

    if options.points is None and options.count is None:
        raise InputError("no number of places", hint="--count N, or --points FILE for places of your own")
    if options.points is not None and (options.strategy or options.no_ocean):
        flag = "--strategy" if options.strategy else "--no-ocean"
        raise InputError(f"{flag} has no meaning with --points", hint="places of a file are taken as they are")
    fields = {"name_field": options.name_field, "stratum_field": options.stratum_field}
    region = read_region(options.polygon) if options.polygon else box_region(**options.box) if options.box else None
    ecoregions = read_ecoregions(options.ecoregions, **fields) if options.ecoregions else None
    default: Any = "biome-area" if ecoregions is not None or region is None else "uniform"
    settings = SampleSettings(
        strategy=options.strategy or default,
        seed=options.seed,
        min_distance=options.min_distance,
        tile_metres=options.tile_size * _GROUND_SAMPLING_DISTANCE if options.no_overlap else 0.0,
        no_ocean=options.no_ocean,
        reach_km=options.nearest,
    )
    if options.points is not None:
        return PointSample(read_points(options.points), settings, ecoregions=ecoregions)
    return PlaceSample(settings, ecoregions=ecoregions, region=region)


def _facts(options: argparse.Namespace, sample: "PlaceSample | PointSample") -> dict[str, Any]:
    """How the places were chosen, without what does not bear on them."""
    given = {name: getattr(options, name) for name in ("ecoregions", "box", "polygon", "points")}
    settings = asdict(sample.settings)
    for name in ("strategy", "seed", "no_ocean") if options.points else ():
        del settings[name]
    return {"version": __version__, **{name: value for name, value in given.items() if value}, **settings}


def _summary(options: argparse.Namespace, sample: "PlaceSample | PointSample") -> dict[str, Any]:
    tally, known = sample.tally, sample.ecoregions
    number = {name: position for position, name in enumerate(BIOMES)}
    names = sorted(
        {name for name in (*tally.by_biome, *sample.rule) if name}, key=lambda name: (number.get(name, 99), name)
    )
    return {
        "out": str(options.out),
        "places": tally.count,
        "strategy": "points" if options.points else sample.settings.strategy,
        "seed": sample.settings.seed,
        "biomes": [
            {
                "name": name,
                "number": number.get(name, -1),
                "places": tally.by_biome[name],
                "share": tally.by_biome[name] / max(1, tally.count),
                "rule": sample.rule.get(name),
            }
            for name in names
        ],
        "ecoregions": sum(1 for name, count in tally.by_ecoregion.items() if name and count),
        "without_biome": tally.by_biome[""],
        "left_out": [] if known is None or not sample.rule else known.name[~known.classified].tolist(),
        "unreached": list(sample.unreached),
        "full": list(tally.full),
        "unknown_names": [] if known is None else known.unknown,
        "too_near": tally.too_near,
        "polar": tally.polar,
    }


def _table(biomes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            entry["name"],
            str(entry["number"]),
            f"{entry['places']:,}",
            f"{entry['share']:.2%}",
            "-" if entry["rule"] is None else f"{entry['rule']:.2%}",
        ]
        for entry in biomes
    ]
    return text_table(["biome", "number", "places", "share", "rule"], rows, right=(1, 2, 3, 4))


def _remarks(summary: Mapping[str, Any]) -> Iterator[str]:
    """Lines for the log: what was written, and what a reader may not expect."""
    yield f"{summary['places']:,} places in {summary['ecoregions']} ecoregions written to {summary['out']}"
    for key, words in (
        ("left_out", "left out, since of no biome"),
        ("unreached", "left out, since they lie outside the UTM zones"),
        ("full", "full at that distance, so that others took their places"),
        ("unknown_names", "not among MMEarth's names, so numbered -1"),
    ):
        if names := summary[key]:
            more = f" and {len(names) - _MOST_NAMES} more (--json lists them)" if len(names) > _MOST_NAMES else ""
            yield f"{words}: {', '.join(names[:_MOST_NAMES])}{more}"
    for key, words in (
        ("without_biome", "of no known biome: numbered -1"),
        ("too_near", "left out, since too near to an earlier one"),
        ("polar", "outside the UTM zones (80 S to 84 N): no tile can be made there"),
    ):
        if count := summary[key]:
            yield f"{count:,} place{'s' if count > 1 else ''} {words}"
    yield f"next: geopretext build {summary['out']} --recipe RECIPE --out tiles.zarr"
