"""``geopretext regress``: a map of quantities by a fine-tuned bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geopretext.apps.arguments import VerbParser, positive
from geopretext.apps.progress import ProgressLine, say
from geopretext.apps.run_arguments import add_run_arguments, run_options, said_to_be_resumable
from geopretext.apps.scene_arguments import SCENES, add_scene_arguments, scene_source
from geopretext.apps.tables import text_table

if TYPE_CHECKING:
    from geopretext.predict.regress import QuantityMap

_EXAMPLE = """\
geopretext regress runs/height/bundle S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS.SAFE --out height.tif
geopretext regress runs/height/bundle scene.tif --out height.tif --step 0.1"""

_ABOUT = f"""\
Map the quantities that a bundle was fine-tuned on (`geopretext evaluate finetune --save-bundle`, a quantity a pixel): a
cloud-optimised GeoTIFF with a band each, in its unit. Prints what each comes to. Nothing is clipped: heights may come
out below 0. The same command goes on where a stopped one was.

{SCENES}"""


def run(arguments: Sequence[str]) -> None:
    """Map, print what the map comes to."""
    parser = VerbParser(
        "regress", about=_ABOUT, example=_EXAMPLE, usage="geopretext regress BUNDLE SCENE --out MAP [options]"
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="bundle of an encoder and a decoder of quantities")
    add("scene", metavar="SCENE", help="see above")
    add("--out", type=Path, required=True, metavar="MAP", help="GeoTIFF to write")
    add("--step", type=positive, metavar="S", help="write whole numbers of this step (int16), as 0.1; default: float32")
    add("--json", action="store_true", help="print all that is known of the map")
    add_scene_arguments(parser)
    add_run_arguments(parser)
    options = parser.parse_args(arguments)
    # torch and GDAL load here, after everything that can be wrong on the command line
    from geopretext.predict.door_report import door_lines
    from geopretext.predict.regress import regress

    with said_to_be_resumable():
        result = regress(
            options.bundle,
            scene_source(options, options.scene),
            options.out,
            step=options.step,
            options=run_options(options),
            progress=ProgressLine("windows"),
            looked=lambda record: say("\n".join(door_lines(record))),
        )
    print(json.dumps(result.to_dict(), indent=2) if options.json else quantity_table(result))
    say(f"{result.observed:.1%} of {result.height} x {result.width} pixels were observed")
    if result.beyond:
        say(f"warning: {result.beyond:,} values are too large for steps of {result.step:g} and are missing in the map")
    say(f"wrote {result.path}")


def quantity_table(result: "QuantityMap") -> str:
    """A line for each quantity."""
    from geopretext.predict.summaries import QUANTILES

    header = ["quantity", "unit", "mean", "min", *(f"{level:.0%}" for level in QUANTILES), "max"]
    rows = [
        [each.name, each.unit, *(f"{number:.4g}" for number in (each.mean, each.least, *each.quantiles, each.most))]
        for each in result.quantities
    ]
    return text_table(header, rows, right=range(2, len(header)))
