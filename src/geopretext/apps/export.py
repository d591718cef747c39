"""``geopretext export``: a bundle for other programs."""

import json
import re
import sys
from argparse import ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import say
from geopretext.errors import InputError

if TYPE_CHECKING:
    from geopretext.nn.export import Exported

_EXAMPLE = """\
geopretext export runs/first/bundle --to hub --out encoder --licence cc-by-4.0
geopretext export runs/first/bundle --to timm --out encoder_timm --level L2A
geopretext export runs/first/bundle --to onnx --out encoder.onnx"""

_ABOUT = """\
Write a bundle's encoder as a folder for the Hugging Face hub, a folder for timm, or one ONNX file, and check that it
gives the same features. An ONNX graph takes numbers in the bands' units and standardises them itself, unless
--no-normalise; a timm folder tells mean and standard deviation in its config.json."""

_TARGETS = ("hub", "timm", "onnx")


def run(arguments: Sequence[str]) -> None:
    """Export, print where to; on stderr, what the reader must know to use it."""
    parser = VerbParser("export", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="folder, or name of a repository on the hub")
    add("--to", choices=_TARGETS, required=True, help="what for")
    add("--out", type=Path, required=True, metavar="PATH", help="folder (hub, timm) or file (onnx) to write")
    add("--licence", type=_licence, metavar="ID", help="of the weights, as the hub spells it: cc-by-4.0, apache-2.0")
    add("--level", metavar="LEVEL", help="timm, onnx: processing level whose statistics are used; default: all levels")
    normalise = "onnx: standardise within the graph; default: yes"
    add("--normalise", action=BooleanOptionalAction, default=None, help=normalise)
    add("--size", type=whole(1), metavar="PIXELS", help="onnx: fix height and width; default: any multiple of a patch")
    add("--overwrite", action="store_true", help="replace an earlier export")
    add("--json", action="store_true", help="print what was written as JSON")
    options = parser.parse_args(arguments)
    _check(parser, options)
    exported = _export(options)
    if options.json:
        print(json.dumps({**asdict(exported), "path": str(exported.path), "to": options.to}, indent=2))
    else:
        print(exported.path)
    _explain(exported)
    _tell_what_is_left_out(options.bundle)


def _check(parser: VerbParser, options: Namespace) -> None:
    applies = {"level": ("timm", "onnx"), "normalise": ("onnx",), "size": ("onnx",)}
    for name, targets in applies.items():
        if vars(options)[name] is not None and options.to not in targets:
            parser.error(f"--{name} is for --to {' and '.join(targets)}")
    if options.normalise is False and options.level is not None:
        parser.error("--level chooses statistics, and --no-normalise leaves them out")
    if options.out.resolve() == Path(options.bundle).resolve():
        raise InputError("is the bundle itself", where=str(options.out), hint="choose another --out")


def _export(options: Namespace) -> "Exported":
    from geopretext.nn.bundle import Encoder
    from geopretext.nn.export import export_hub, export_timm
    from geopretext.nn.onnx_export import export_onnx
    from geopretext.predict.chosen_inputs import maps_only

    encoder = Encoder.from_pretrained(options.bundle)
    encoder.licence = options.licence or encoder.licence
    if options.to == "hub":
        return export_hub(encoder, options.out, overwrite=options.overwrite)
    if encoder.series:
        say(f"note: without {', '.join(one.modality.name for one in encoder.series)}: what is exported takes maps only")
        encoder = maps_only(encoder, f"--to {options.to}", where=options.bundle)
    if options.to == "timm":
        return export_timm(encoder, options.out, level=options.level, overwrite=options.overwrite)
    return export_onnx(
        encoder,
        options.out,
        normalise=options.normalise is not False,
        level=options.level,
        size=options.size,
        overwrite=options.overwrite,
    )


def _explain(exported: "Exported") -> None:
    lines = [f"{key}: {', '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in exported.facts.items()]
    lines.append(f"{exported.bytes / 1e6:.1f} MB")
    if exported.difference is None:
        lines.append("not checked: the library that loads it cannot be imported here")
    else:
        lines.append(f"checked: features differ from the bundle's by {exported.difference:.1e} at most")
    print("\n".join([*lines, "", exported.use]), file=sys.stderr)


def _tell_what_is_left_out(bundle: str) -> None:
    from geopretext.nn.bundle_files import find_bundle, read_config

    head = read_config(find_bundle(bundle)).get("head")
    if head:
        what = f"the bundle's {head['kind']} of {head['classes']} classes"
        say(f"note: only the encoder was exported, without {what}")


def _licence(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", text):
        raise ArgumentTypeError(f"{text!r} is not a licence as the hub spells it, such as cc-by-4.0")
    return text
