"""``geopretext import-official``: weights that others published -> bundle."""

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from geopretext.apps.arguments import VerbParser, whole

if TYPE_CHECKING:
    from geopretext.nn.official import Official

_EXAMPLE = """\
geopretext import-official pt-all_mod_atto_1M_64_uncertainty_56-8/checkpoint-199.pth --out bundles/mmearth \\
    --statistics data_1M_v001_64/data_1M_v001_64_band_stats.json
geopretext import-official convnextv2_atto_1k_224_fcmae.pt --out bundles/imagenet
geopretext import-official B13_vits14_softcon.pth --out bundles/softcon
geopretext import-official finetuned.pth --out bundles/mine --bands B2,B3,B4"""

_ABOUT = """\
Make a bundle of published weights: MMEarth's pretraining checkpoints, classifiers and U-Nets, ConvNeXt V2's, and the
backbones of SoftCon (ViT-S/14, ViT-B/14, ResNet-50; 13 bands of Sentinel-2 or VV and VH of Sentinel-1).

The file is recognised by its weights. What they do not say (crop, order of bands) is taken from the published name of
its folder, the training options in it, or the options here; sources that contradict each other are an error. Only
weights are read; a file that holds code is refused. docs/published-weights.md describes the layouts."""


def run(arguments: Sequence[str]) -> None:
    """Read, write the bundle, print what was recognised."""
    parser = VerbParser("import-official", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a .pth, .pt or .safetensors file")
    add("--out", type=Path, required=True, metavar="BUNDLE", help="folder to write; a bundle there is replaced")
    add("--statistics", type=Path, metavar="JSON", help="of the data that it was trained on: *_band_stats.json")
    add("--modality", metavar="NAME", help="that it sees: a published modality, or rgb; default: by the layout")
    add("--bands", type=_names, metavar="B,B,...", help="of its input, in the order that it was trained with")
    add("--targets", type=_targets, metavar="YAML", help="bands that it predicts: '{sentinel1: [asc_VV, asc_VH]}'")
    add("--image-size", type=whole(1), metavar="N", help="pixels of the crop that it was trained on")
    add("--patch-size", type=whole(1), metavar="N", help="pixels of a patch; held against the weights")
    add("--as-published", action="store_true", help="without a mask, compute as MMEarth's classifiers do")
    add("--json", action="store_true", help="print what was recognised as JSON")
    options = parser.parse_args(arguments)
    # torch loads here, after everything that can be wrong on the command line
    from geopretext.data.statistics_file import read_statistics
    from geopretext.nn.bundle_files import ensure_replaceable
    from geopretext.nn.official import read_official
    from geopretext.nn.official_input import Told

    ensure_replaceable(options.out)
    told = Told(
        patch_size=options.patch_size,
        image_size=options.image_size,
        modality=options.modality,
        bands=options.bands,
        targets=options.targets,
        statistics=read_statistics(options.statistics).to_dict() if options.statistics else None,
        as_published=options.as_published,
    )
    official = read_official(options.file, told)
    official.save(options.out)
    report = {**_report(official), "bundle": str(options.out)}
    print(json.dumps(report, indent=2) if options.json else _lines(report))
    for remark in official.remarks:
        print(f"note: {remark}", file=sys.stderr)
    if official.statistics is None:
        print(_NO_STATISTICS, file=sys.stderr)


_NO_STATISTICS = """\
warning: the bundle has no statistics, so that inputs cannot be standardised as in training
hint: they come with the data and not with the weights: import again with --statistics FILE"""


def _report(official: "Official") -> dict[str, Any]:
    from geopretext.nn.families import settings_to_plain

    settings, recipe = official.encoder.settings, official.recipe
    plain = settings_to_plain(settings)
    scales = official.statistics["modalities"][official.modality.name]["bands"] if official.statistics else {}
    return {
        "recognised": str(official.layout),
        "name": recipe["name"],
        **{name: plain[name] for name in ("size", "stem", "architecture") if name in plain},
        "parameters": sum(p.numel() for p in official.network.parameters()),
        "parameters_of_encoder": sum(p.numel() for p in official.encoder.parameters()),
        "modality": official.modality.name,
        "bands": list(settings.bands),
        "unit": ", ".join(dict.fromkeys(band.unit for band in official.modality.bands)),
        "patch_size": settings.patch_size,
        "image_size": settings.image_size,
        **{name: plain[name] for name in ("dense_padding", "dense_grn_epsilon") if name in plain},
        "predicts": {name: target.channels for name, target in official.targets.items()},
        "head": official.head,
        "weighting": recipe.get("weighting"),
        "log_variances": recipe.get("log_variances"),
        "statistics": list(scales),
        "unused": list(official.unused),
    }


def _lines(report: Mapping[str, Any]) -> str:
    """A line for each entry, long ones wrapped."""
    width = max(map(len, report)) + 2
    wrap = textwrap.TextWrapper(110, subsequent_indent=" " * width, break_on_hyphens=False, break_long_words=False)
    return "\n".join(wrap.fill(f"{name.replace('_', ' '):{width}}{_text(value)}") for name, value in report.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}={_text(entry)}" for name, entry in value.items()]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else f"{value:,}" if type(value) is int else str(value)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of bands such as B2,B3,B4")
    return names


def _targets(text: str) -> dict[str, tuple[str, ...] | None]:
    """``{sentinel1: [asc_VV, asc_VH], era5: null}``."""
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError:
        plain = None
    if not isinstance(plain, dict) or not all(_are_bands(bands) for bands in plain.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a mapping such as {{sentinel1: [asc_VV, asc_VH]}}")
    return {str(name): None if bands is None else tuple(bands) for name, bands in plain.items()}


def _are_bands(bands: object) -> bool:
    return bands is None or (isinstance(bands, list) and all(isinstance(band, str) for band in bands))
