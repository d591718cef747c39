"""``geopretext search``: places like this one, in a table of embeddings."""

import argparse
import json
from argparse import Namespace
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.tables import text_table
from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.hits import SUFFIXES, describe_hits, describe_rows, write_hits
from geopretext.predict.neighbours import AGAINST, NeighbourIndex, Neighbours
from geopretext.predict.row_filter import Box, RowFilter, biome_number, named_row, nearest_row
from geopretext.predict.unit_space import Vectors

_EXAMPLE = """\
geopretext search embeddings.parquet --like 8.31,47.05
geopretext search embeddings.parquet --like 14 --like 52 --unlike 7 --biome tundra --count 20 --out hits.geojson
geopretext search embeddings.parquet --like-image pond.tif --bundle runs/first/bundle --level L2A --json
geopretext search embeddings.parquet --like 14 --picture hits.png --data tiles.zarr"""

_ABOUT = """\
Find the rows of a table of embeddings that are most like some examples: places (LON,LAT: the nearest row), tiles
(number or tile_id), or images. `geopretext embed` writes such tables.

Vectors are standardised over the table and compared by their cosine; with several examples the mean counts, less a part
of the mean for counter-examples. Examples are never found. All conditions hold together. A table of 50,000 rows or
more gets an index beside it, on first use."""

_PICTURES = (".png", ".pdf", ".svg", ".jpg")
_SIGNED = ("--like", "--unlike", "--bbox")
_FAR_KM = 50.0  # from which a place is said to be far from the row that stands for it


def run(arguments: Sequence[str]) -> None:
    """Search, print, write what was asked for."""
    parser = _parser()
    options = parser.parse_args(_joined(arguments))
    _check(parser, options)
    table = EmbeddingTable.open(options.table)
    like, unlike = ([_row(table, text) for text in texts] for texts in (options.like, options.unlike))
    vectors = _image_vectors(table, options)
    conditions = RowFilter(
        box=options.bbox,
        first_day=options.first_day,
        last_day=options.last_day,
        biomes=tuple(options.biome),
        splits=tuple(options.split),
    )
    where = conditions.mask(table)
    index = NeighbourIndex.open(
        table, standardised=not options.plain_cosine, notice=say, progress=ProgressLine("rows indexed")
    )
    found = index.like(like, vectors=vectors, unlike=unlike, count=options.count, where=where, against=options.against)
    if len(found) < options.count:
        say(f"only {len(found)} rows fulfil all conditions")
    if options.out:
        write_hits(options.out, table, found)
        say(f"wrote {options.out}")
    if options.picture:
        _draw(table, found, options, like=like, unlike=unlike)
    print(_json(table, found, like, unlike) if options.json else _table(table, found))


def _parser() -> VerbParser:
    parser = VerbParser(
        "search",
        about=_ABOUT,
        example=_EXAMPLE,
        usage="geopretext search TABLE --like PLACE [--like PLACE ...] [--unlike PLACE ...] [options]",
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="GeoParquet that `geopretext embed` wrote")
    place = "LON,LAT, or number or tile_id of a tile"
    add("--like", action="append", default=[], metavar="PLACE", help=f"example: {place}; may be repeated")
    add("--unlike", action="append", default=[], metavar="PLACE", help="counter-example, likewise")
    add(
        "--like-image", action="append", default=[], type=Path, metavar="FILE", help="example: an image; needs --bundle"
    )
    add("--bundle", metavar="BUNDLE", help="that the table was made with, for images")
    add("--bands", type=lambda text: tuple(text.split(",")), metavar="B2,B3,...", help="of the images, in file order")
    add("--unit", help="of the images")
    add("--level", help="processing level of the images, such as L2A")
    add("--against", type=_weight, default=AGAINST, metavar="WEIGHT", help="of counter-examples; default: %(default)s")
    add("--count", type=whole(1), default=10, help="rows wanted; default: %(default)s")
    add("--bbox", type=_box, metavar="W,S,E,N", help="centre within, degrees; W > E goes across the antimeridian")
    add("--from", dest="first_day", type=_day, metavar="DATE", help="taken on this day or later, YYYY-MM-DD")
    add("--to", dest="last_day", type=_day, metavar="DATE", help="taken on this day or earlier")
    add("--biome", action="append", default=[], type=_biome, metavar="NAME", help="number, name or part of it; repeats")
    add("--split", action="append", default=[], choices=SPLITS, help="of the tiles; may be repeated")
    add("--plain-cosine", action="store_true", help="compare vectors as they are, not standardised over the table")
    add("--json", action="store_true", help="print JSON")
    add("--out", type=Path, metavar="FILE", help=f"also write the rows with footprints: {', '.join(SUFFIXES)}")
    add("--picture", type=Path, metavar="PICTURE", help=f"also draw thumbnails: {', '.join(_PICTURES)}")
    add("--data", metavar="STORE", help="of the tiles, for --picture; default: the one the table was made of")
    return parser


def _check(parser: VerbParser, options: Namespace) -> None:
    """What argparse cannot know: which options need each other, and endings of files."""
    if not options.like and not options.like_image:
        parser.error("one of --like and --like-image is required")
    if options.like_image and not options.bundle:
        parser.error("--like-image needs --bundle")
    for name, endings in (("out", SUFFIXES), ("picture", _PICTURES)):
        path = getattr(options, name)
        if path is not None and path.suffix.lower() not in endings:
            parser.error(f"--{name} {path} is none of {', '.join(endings)}")
        if path is not None and path.is_dir():
            parser.error(f"--{name} {path} is a folder")


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--like -55.1,4.2`` as one word: argparse takes a value that starts with a minus for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] in _SIGNED and not word.startswith("--"):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined


def _row(table: EmbeddingTable, text: str) -> int:
    """The row that an example means; what was chosen for a place is said."""
    numbers = _numbers(text)
    if len(numbers) != 2:
        return named_row(table, text)
    row, away = nearest_row(table, lat=numbers[1], lon=numbers[0])
    far = "; the table has nothing closer" if away > _FAR_KM else ""
    say(f"{text}: tile {table.tile[row]}, whose centre is {away:,.1f} km away{far}")
    return row


def _image_vectors(table: EmbeddingTable, options: Namespace) -> Vectors | None:
    if not options.like_image:
        return None
    from geopretext.data.statistics import POOLED
    from geopretext.nn.bundle import Encoder  # torch takes a while to import
    from geopretext.predict.door_report import door_lines
    from geopretext.predict.image_examples import image_vectors

    encoder = Encoder.from_pretrained(options.bundle)
    levels = sorted(set(encoder.statistics) - {POOLED})
    if options.level is None and len(levels) > 1:
        say(
            f"warning: the bundle knows levels {', '.join(levels)}, and no --level is given: images are standardised"
            " over all of them, the rows of the table each by its own"
        )
    return image_vectors(
        table,
        encoder,
        options.like_image,
        bands=options.bands,
        unit=options.unit,
        level=options.level,
        looked=lambda record: say("\n".join(door_lines(record))),
    )


def _draw(table: EmbeddingTable, found: Neighbours, options: Namespace, *, like: list[int], unlike: list[int]) -> None:
    from geopretext.data.reader import open_tiles
    from geopretext.predict.hit_sheet import draw_hits

    store = options.data or table.facts.get("source")
    if store is None:
        raise InputError("does not say what it was made of", where=str(table.path), hint="name the store with --data")
    draw_hits(table, open_tiles(store), found, options.picture, like=like, unlike=unlike)
    say(f"wrote {options.picture}")


def _json(table: EmbeddingTable, found: Neighbours, like: list[int], unlike: list[int]) -> str:
    examples, others = (describe_rows(table, np.array(rows, np.int64)) for rows in (like, unlike))
    answer = {"table": str(table.path), "like": examples, "unlike": others, "hits": describe_hits(table, found)}
    return json.dumps(answer, indent=2)


def _table(table: EmbeddingTable, found: Neighbours) -> str:
    header = ["rank", "similarity", "tile", "id", "lat", "lon", "date", "biome"]
    rows = [
        [
            str(hit["rank"]),
            f"{hit['similarity']:.4f}",
            str(hit["tile"]),
            hit["tile_id"],
            *("" if hit[name] is None else f"{hit[name]:.4f}" for name in ("lat", "lon")),
            hit["date"] or "",
            hit["biome"] or "",
        ]
        for hit in describe_hits(table, found)
    ]
    return text_table(header, rows, right=[0, 1, 2, 4, 5])


def _numbers(text: str) -> list[float]:
    """Numbers separated by commas; none if it is anything else."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return []


def _argument(make: Any) -> Any:
    """An argument type whose refusals are errors of the command line."""

    def parse(text: str) -> Any:
        try:
            return make(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(f"{error.what} ({error.hint})" if error.hint else error.what) from error

    return parse


def _box_of(text: str) -> Box:
    numbers = _numbers(text)
    if len(numbers) != 4:
        raise InputError(f"{text!r} is not four numbers W,S,E,N")
    west, south, east, north = numbers
    return Box(west=west, south=south, east=east, north=north)


def _day(text: str) -> np.datetime64:
    try:
        return np.datetime64(date.fromisoformat(text), "D")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2020-07-31") from None


def _weight(text: str) -> float:
    (number, *rest) = _numbers(text) or [-1.0]
    if rest or not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return number


_box, _biome = _argument(_box_of), _argument(biome_number)
