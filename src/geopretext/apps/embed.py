"""``geopretext embed``: vectors of a scene's patches or tiles, or of a store's tiles."""

import argparse
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.run_arguments import add_run_arguments, refuse_said, run_options, said_to_be_resumable
from geopretext.apps.scene_arguments import SCENES, add_scene_arguments, scene_source
from geopretext.apps.task_arguments import names
from geopretext.nn.settings import POOLINGS

_ABOUT = f"""\
Write what an encoder says of a place, as vectors.

--out FILE.tif: of a scene, one vector a patch, a cloud-optimised GeoTIFF with one band a feature. In int8, the default,
a feature is number * scale + offset, as the file's bands say; the error is printed. Cells that were not observed, or
are under clouds, hold no-data.

--out FILE.parquet: of a store, one row a tile; of a scene, one row a tile that is cut from it (--tile). GeoParquet with
footprint, id and date, for `geopretext search`.

A run that was stopped goes on when the same command is given again.

{SCENES}

For --out FILE.parquet it may also be a tile store or an official MMEarth directory."""

_EXAMPLE = """\
geopretext embed runs/first/bundle S2B_..._T32TPS.SAFE.zip --out embeddings.tif
geopretext embed runs/first/bundle mosaic.tif --unit "reflectance x 10000" --level L2A --workers 4 --out mosaic_emb.tif
geopretext embed runs/first/bundle tiles.zarr --out tiles.parquet"""

_MAPS, _TABLES = (".tif", ".tiff"), (".parquet",)
_OF_SCENES = (
    *("strict", "bands", "unit", "level", "date", "keep_clouds", "also", "allow_no_crs", "substitute", "fill"),
    "statistics",
    *("least_seen", "tile", "workers", "window", "margin", "batch_size"),
)
"""options that mean nothing for a store, whose tiles are what the encoder was trained on"""
_DTYPES = ("int8", "float16", "float32")


def run(arguments: Sequence[str]) -> None:
    """Compute and write; print the path, or what was done as JSON."""
    parser = _parser()
    options = parser.parse_args(arguments)
    suffix = options.out.suffix.lower()
    if suffix not in (*_MAPS, *_TABLES):
        parser.error(f"--out {options.out} is none of {', '.join((*_MAPS, *_TABLES))}")
    if suffix in _TABLES and options.dtype == "int8":
        parser.error("--dtype int8 is for .tif")
    if suffix in _MAPS:
        refuse_said(parser, options, ("tile", "pooling"), "is for .parquet: a map has a vector of each patch")
    else:
        refuse_said(parser, options, ("context",), "is for .tif: the response norms of a tile are over all of it")
    from geopretext.data.reader import holds_tiles

    tiles = holds_tiles(options.scene)
    if tiles and suffix in _MAPS:
        parser.error(f"{options.scene} holds tiles, which make no map: --out FILE.parquet")
    if tiles:
        refuse_said(parser, options, _OF_SCENES, f"is for scenes, and {options.scene} holds tiles")
        if len(options.device) > 1:
            parser.error("--device names several, and one computes the vectors of a store")
    else:
        refuse_said(parser, options, ("inputs",), "is for stores: of a scene, give the files of those inputs (--also)")
    if not tiles and suffix in _TABLES:
        refuse_said(parser, options, ("window", "margin"), "is for .tif: tiles are their own windows (--tile)")
    with said_to_be_resumable():
        record = _embed_store(options) if tiles else _embed_scene(options, table=suffix in _TABLES)
    print(json.dumps({"path": str(options.out), **record}, indent=2) if options.json else options.out)


def _embed_store(options: Namespace) -> dict[str, Any]:
    # torch loads here, after everything that can be wrong on the command line
    from geopretext.data.reader import open_tiles
    from geopretext.nn.bundle import Encoder
    from geopretext.predict.chosen_inputs import given_inputs, inputs_record
    from geopretext.predict.devices import check_device
    from geopretext.predict.door_report import input_lines
    from geopretext.predict.tile_embeddings import embed_tiles

    check_device(options.device[0])
    encoder = Encoder.from_pretrained(options.bundle).to(options.device[0])
    if options.inputs is not None:
        encoder = encoder.given(options.inputs)
    reader = open_tiles(options.scene)
    encoder = given_inputs(encoder, reader.modalities, where=reader.path)
    for line in input_lines(inputs_record(encoder)):
        say(line)
    embed_tiles(
        encoder,
        reader,
        options.out,
        pooling=options.pooling,
        dtype=options.dtype or "float32",
        progress=ProgressLine("tiles"),
    )
    features = encoder.settings.pooled_width(options.pooling)
    return {"rows": len(reader), "features": features, **inputs_record(encoder)}


def _embed_scene(options: Namespace, *, table: bool) -> dict[str, Any]:
    computing = run_options(options)
    source = scene_source(options, options.scene)
    say_progress = ProgressLine("windows")
    if table:
        from geopretext.predict.scene_table import embed_scene_tiles

        record = embed_scene_tiles(
            source,
            options.bundle,
            options.out,
            tile=options.tile,
            pooling=options.pooling,
            dtype=options.dtype or "float32",
            least_seen=options.least_seen,
            run=computing,
            progress=say_progress,
            looked=_say_door,
        )
        say(f"{record['rows']:,} tiles; {record['tiles_without_vector']:,} were not observed enough")
        return record
    from geopretext.predict.embedding_map import EmbeddingOptions, embed_scene

    wanted = EmbeddingOptions(options.dtype or "int8", options.least_seen, options.context)
    record = embed_scene(
        source, options.bundle, options.out, wanted, computing, progress=say_progress, looked=_say_door
    )
    without = record["cells_without_vector"] / record["cells"]
    say(
        f"{record['height']:,} x {record['width']:,} cells of {record['features']} features;"
        f" {without:.1%} have none: not observed, or under clouds"
    )
    say(
        f"stored as {record['dtype']}: mean error {record['mean_error']:.2%} of a feature's standard deviation"
        f" over the scene (root mean square {record['rms_error']:.2%})"
    )
    return record


def _say_door(record: Mapping[str, Any]) -> None:
    from geopretext.predict.door_report import door_lines

    say("\n".join(door_lines(record)))


def _parser() -> VerbParser:
    parser = VerbParser(
        "embed", about=_ABOUT, example=_EXAMPLE, usage="geopretext embed BUNDLE SCENE --out FILE [options]"
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="folder, or a name on the Hugging Face hub")
    add("scene", metavar="SCENE", help="see above")
    add("--out", type=Path, required=True, metavar="FILE", help=f"{', '.join((*_MAPS, *_TABLES))}; replaced when whole")
    add("--dtype", choices=_DTYPES, help="of features in the file; default: int8 in .tif, float32 in .parquet")
    add("--least-seen", type=_share, default=0.5, metavar="SHARE", help="of a cell's pixels; default: %(default)s")
    add("--context", type=whole(1), metavar="PIXELS", help="side of response norms; default: the crop of training")
    add("--tile", type=whole(1), metavar="PIXELS", help="side of a scene's tiles; default: the crop of training")
    add("--pooling", choices=POOLINGS, default="stages", help="of a tile's features; default: %(default)s")
    add(
        "--inputs",
        type=names,
        metavar="M,M,...",
        help="of a bundle of several inputs and a store, maps and time series to use, as sentinel1,sentinel2_series;"
        " default: all that the store has",
    )
    add("--json", action="store_true", help="print what was done instead of the path")
    add_scene_arguments(parser)
    add_run_arguments(parser)
    return parser


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0, at most 1")
    return number
