"""``geopretext segment``: a map of classes by a fine-tuned bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geopretext.apps.arguments import VerbParser, positive
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.run_arguments import add_run_arguments, refuse_said, run_options, said_to_be_resumable
from geopretext.apps.scene_arguments import SCENES, add_scene_arguments, scene_source
from geopretext.apps.tables import text_table
from geopretext.errors import InputError

if TYPE_CHECKING:
    from geopretext.predict.segment import ClassMap

_EXAMPLE = """\
geopretext segment runs/corine/bundle S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS.SAFE --out map.tif
geopretext segment runs/crops/bundle scene.tif --out map.tif --polygons fields.gpkg --min-area 1000"""

_ABOUT = f"""\
Map the classes that a bundle was fine-tuned on (`geopretext evaluate finetune --save-bundle`, labels of pixels): a
cloud-optimised GeoTIFF of class codes with names and colours. Prints the share and the area of each class. The same
command goes on where a stopped one was.

{SCENES}"""


def run(arguments: Sequence[str]) -> None:
    """Map, print what the map comes to."""
    parser = VerbParser(
        "segment", about=_ABOUT, example=_EXAMPLE, usage="geopretext segment BUNDLE SCENE --out MAP [options]"
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle of an encoder and a decoder of classes")
    add("scene", metavar="SCENE", help="see above")
    add("--out", type=Path, required=True, metavar="MAP", help="GeoTIFF to write")
    add("--probabilities", type=Path, metavar="TIF", help="also the probability of each class, a band each")
    add("--polygons", type=Path, metavar="FILE", help="also polygons: .gpkg, or .parquet in degrees")
    add("--min-area", type=positive, default=0.0, metavar="M2", help="leave out polygons that are smaller")
    add("--colors", type=Path, metavar="YAML", help='colours of classes, one a line, as `crop: "#e49635"`')
    add("--json", action="store_true", help="print all that is known of the map")
    add_scene_arguments(parser)
    add_run_arguments(parser)
    options = parser.parse_args(arguments)
    if options.polygons is None:
        refuse_said(parser, options, ("min_area",), "is for --polygons")
    # torch and GDAL load here, after everything that can be wrong on the command line
    from geopretext.predict.door_report import door_lines
    from geopretext.predict.segment import segment

    with said_to_be_resumable():
        result = segment(
            options.bundle,
            scene_source(options, options.scene),
            options.out,
            probabilities=options.probabilities,
            polygons=options.polygons,
            min_area=options.min_area,
            colors=None if options.colors is None else _colors(options.colors),
            options=run_options(options),
            progress=ProgressLine("windows"),
            looked=lambda record: say("\n".join(door_lines(record))),
        )
    print(json.dumps(result.to_dict(), indent=2) if options.json else class_table(result))
    say(f"{result.observed:.1%} of {result.height} x {result.width} pixels were observed")
    for path in (result.path, result.probabilities, result.polygons):
        if path is not None:
            say(f"wrote {path}")


def class_table(result: "ClassMap") -> str:
    """A line for each class that occurs, the largest first."""
    rows = [
        [
            str(each.code),
            each.name,
            f"{each.share:.1%}",
            "-" if each.hectares is None else f"{each.hectares:,.1f}",
        ]
        for each in sorted(result.classes, key=lambda each: -each.pixels)
        if each.pixels
    ]
    return text_table(["code", "class", "share", "hectares"], rows, right=[0, 2, 3])


def _colors(path: Path) -> dict[str, str]:
    from geopretext.predict.legend import read_colors

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("is no text", where=str(path)) from error
    return read_colors(text, where=str(path))
