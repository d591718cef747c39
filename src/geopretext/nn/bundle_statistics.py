"""Statistics of a bundle's input: from those of a store, and as the JSON of ``config.json``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from geopretext.errors import BundleError
from geopretext.modality import POOLED, Modality

Scales: TypeAlias = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""mean and standard deviation of each band, by processing level; "all" is over all levels"""

Relations: TypeAlias = dict[str, dict[str, Any]]
"""how the bands of an input vary together, by processing level, as ``data.band_relations.BandRelations.to_dict`` gives
it; of several inputs, that of each by its name"""


class Input(NamedTuple):
    """One input of an encoder, and what its training data were like."""

    modality: Modality
    statistics: Scales
    relations: Relations


def input_scales(statistics: Mapping[str, Any], inputs: Modality | Sequence[Modality]) -> Scales:
    """Mean and standard deviation of the bands of inputs by level, from statistics as plain data.

    Of several inputs, one that has no statistics of a level has those over all levels there.

    Raises:
        BundleError: the statistics lack an input or one of its bands.
    """
    inputs = (inputs,) if isinstance(inputs, Modality) else inputs
    each = [_scales_of(statistics, modality) for modality in inputs]
    levels = dict.fromkeys(level for scales in each for level in scales)
    joined: Scales = {}
    for level in levels:
        parts = [scales[level] if level in scales else scales[POOLED] for scales in each]
        joined[level] = (
            tuple(number for mean, _ in parts for number in mean),
            tuple(number for _, std in parts for number in std),
        )
    return joined


def _scales_of(statistics: Mapping[str, Any], modality: Modality) -> Scales:
    try:
        levels = statistics["modalities"][modality.name]["bands"]
        return {
            level: (
                tuple(_number(bands[name]["mean"]) for name in modality.band_names),
                tuple(_number(bands[name]["std"]) for name in modality.band_names),
            )
            for level, bands in levels.items()
        }
    except KeyError as error:
        raise BundleError(
            f"the statistics lack {error.args[0]!r} of the input modality {modality.name!r}",
            hint="compute them over the store that the network was trained on",
        ) from error


def input_relations(statistics: Mapping[str, Any], inputs: Modality | Sequence[Modality]) -> Relations:
    """How the bands of inputs vary together, from statistics as plain data; empty if that was not kept.

    Bands of different inputs are not compared with each other.

    Returns:
        As ``Encoder`` takes it: by level, or of several inputs by their names.
    """
    inputs = (inputs,) if isinstance(inputs, Modality) else inputs
    each = {modality.name: _relations_of(statistics, modality) for modality in inputs}
    if len(inputs) == 1:
        return each[inputs[0].name]
    return {name: relations for name, relations in each.items() if relations}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def scales_to_plain(scales: Scales) -> dict[str, dict[str, list[float | None]]]:
    """As JSON, which has no NaN: null stands for it."""
    return {
        level: {
            key: [value if math.isfinite(value) else None for value in values]
            for key, values in (("mean", mean), ("std", std))
        }
        for level, (mean, std) in scales.items()
    }


def scales_from_plain(plain: Mapping[str, Mapping[str, list[float | None]]]) -> Scales:
    """What ``scales_to_plain`` wrote; null is NaN."""
    return {
        level: (tuple(_number(v) for v in entry["mean"]), tuple(_number(v) for v in entry["std"]))
        for level, entry in plain.items()
    }


def _relations_of(statistics: Mapping[str, Any], modality: Modality) -> Relations:
    entry = statistics.get("modalities", {}).get(modality.name, {})
    wanted = list(modality.band_names)
    found = {}
    for level, plain in entry.get("relations", {}).items():
        if not set(wanted) <= set(plain["bands"]):
            continue
        rows = [plain["bands"].index(name) for name in wanted]
        found[level] = {
            "bands": wanted,
            "contrast": [plain["contrast"][row] for row in rows],
            **{
                name: [[plain[name][row][column] for column in rows] for row in rows]
                for name in ("correlation", "contrast_correlation")
            },
        }
    return found
