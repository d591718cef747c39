"""``geopretext modalities``: the table of what geopretext knows about each modality."""

import json
from collections.abc import Sequence
from pathlib import Path

from geopretext.apps.arguments import VerbParser
from geopretext.apps.tables import text_table
from geopretext.modality import PUBLISHED, Modality, load_modalities

_EXAMPLE = """\
geopretext modalities
geopretext modalities --json | jq '.[].name'
geopretext modalities --file my-modalities.yaml"""

_ABOUT = """\
Print the modalities: the twelve pretext tasks of MMEarth, three side products of Sentinel-2, and your own.

A modality of your own is an entry in a YAML file:

  modalities:
    - name: crop_map
      kind: categorical map        # or continuous map / continuous vector / categorical vector / multi-label vector
      dtype: uint8
      missing: [0]                 # stored numbers that mean "not observed"
      bands: [crop]                # or {name: ..., unit: ..., valid_min: ..., valid_max: ...} each
      classes: {1: maize, 2: wheat, 3: soy}"""


def run(arguments: Sequence[str]) -> None:
    """Print the table, or the complete definitions as JSON."""
    parser = VerbParser("modalities", about=_ABOUT, example=_EXAMPLE)
    parser.add_argument("--file", type=Path, metavar="YAML", help="modalities of your own, listed after the published")
    parser.add_argument("--json", action="store_true", help="complete definitions, one object a modality")
    options = parser.parse_args(arguments)
    known = load_modalities(options.file) if options.file else PUBLISHED
    if options.json:
        print(json.dumps([modality.to_dict() for modality in known.values()], indent=2))
        return
    print(text_table(["name", "kind", "role", "bands", "stored as", "missing"], [_row(m) for m in known.values()]))


def _row(modality: Modality) -> list[str]:
    return [
        modality.name,
        str(modality.kind),
        str(modality.role),
        describe_bands(modality),
        describe_storage(modality),
        describe_missing(modality),
    ]


def describe_bands(modality: Modality, longest: int = 62) -> str:
    """Names of the bands, or the number of classes; shortened in the middle to about ``longest`` characters."""
    if modality.kind.is_categorical:
        return f"{len(modality.classes)} classes"
    names = " ".join(modality.band_names)
    if len(names) <= longest:
        return names
    first, *_, last = modality.band_names
    return f"{first} ... {last} ({len(modality.bands)} bands)"


def describe_storage(modality: Modality) -> str:
    """Dtype and units, as ``int16, m, degree``; codes of classes as ``uint8, 1..9``."""
    if modality.kind.is_categorical:
        codes = [label.code for label in modality.classes]
        return f"{modality.dtype}, {min(codes)}..{max(codes)}"
    units = dict.fromkeys(band.unit for band in modality.bands if band.unit != "1")
    return ", ".join([modality.dtype, *units])


def describe_missing(modality: Modality) -> str:
    """The stored numbers that mean "not observed"."""
    numbers = [f"{number:g}" for number in modality.missing]
    if modality.dtype == "float32":
        numbers.append("non-finite")
    return ", ".join(numbers) or "never"
