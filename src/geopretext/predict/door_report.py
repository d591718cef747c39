"""What the door did, in lines for people; the same stands in ``scores.json``."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from geopretext.predict.input_gate import GateVerdict

PixelSizes: TypeAlias = Mapping[str, float | Sequence[float] | None]
"""Metres a pixel: width and height of ``scene``'s, one number of ``encoder``'s; None where that is not known"""

_NO_MORE = 3
_ALIKE = 1.25
"""times by which sizes of pixels may differ"""


def door_lines(record: Mapping[str, Any]) -> list[str]:
    """A few lines on what was matched, replaced, filled, converted, and whether the result is plausible.

    Args:
        record: of an ``ImageDoor`` or of tiles, with the gate's report under ``"gate"``.
    """
    lines = [*input_lines(record), f"bands matched by name: {_joined(record['matched'])}"]
    if record.get("substituted"):
        pairs = [f"{source} for {name}" for name, source in record["substituted"].items()]
        lines.append(f"bands taken in the place of others: {', '.join(pairs)}")
    if record.get("filled"):
        lines.append(f"bands that are missing everywhere: {_joined(record['filled'])}")
    if record.get("band_names"):
        lines.append(f"names of bands: {record['band_names']}")
    levels = record.get("levels_of_encoder", ())
    by_input = record.get("by_input", {"": record})
    lines += [f"{name}: " * bool(name) + _unit_line(one, levels) for name, one in by_input.items()]
    if record["statistics"] == "bundle" and len(levels) > 1 and not record["level"]:
        lines.append(
            f"warning: the scene's level is not known, and those of {' and '.join(levels)} differ: declare it (--level)"
        )
    if "pixel_sizes" in record:
        lines += _pixel_lines(record["pixel_sizes"])
    return lines + gate_lines(record["gate"])


def input_lines(record: Mapping[str, Any]) -> list[str]:
    """Which inputs of an encoder of several are used, and which it does without; nothing of an encoder of one.

    Args:
        record: with what ``predict.chosen_inputs.inputs_record`` gives.
    """
    if "inputs" not in record:
        return []
    used, absent = record["inputs"]["used"], record["inputs"]["absent"]
    without = f"; without {_joined(absent)}, which the encoder also knows" if absent else ""
    return [f"inputs used: {_joined(used)}{without}"]


def _unit_line(record: Mapping[str, Any], levels: Sequence[str]) -> str:
    """Unit and statistics of one input; ``levels``: of the encoder's statistics."""
    given, wanted = record["unit"], record["unit_of_encoder"]
    statistics = {"bundle": "of the bundle", "dataset": "of the task's training images"}[record["statistics"]]
    if record["statistics"] == "bundle" and (record.get("level") or len(levels) > 1):
        statistics += f", level {record['level']}" if record["level"] else ", all levels"
    unit = f"{given} (as the encoder)" if given == wanted else f"{given} -> {wanted}"
    if given != wanted and record["statistics"] == "dataset":
        unit = f"{given}, not converted to {wanted}"
    return f"unit: {unit}; standardised by means and deviations {statistics}"


def _pixel_lines(sizes: PixelSizes) -> list[str]:
    if lacks := [name for name in ("scene", "encoder") if sizes.get(name) is None]:
        return [f"pixel size was not checked: that of the {' and of the '.join(lacks)} is not known"]
    warning = unlike_pixels(sizes)
    return [f"warning: {warning}"] if warning else []


def unlike_pixels(sizes: PixelSizes) -> str:
    """What is wrong with the size of a scene's pixels; empty if nothing is, or that cannot be told."""
    scene, encoder = sizes.get("scene"), sizes.get("encoder")
    if not isinstance(scene, Sequence) or not isinstance(encoder, int | float):
        return ""
    if all(1 / _ALIKE < side / encoder < _ALIKE for side in scene):
        return ""
    shown = " x ".join(dict.fromkeys(f"{side:.3g}" for side in scene))
    return f"the scene has pixels of {shown} m, the encoder was trained on pixels of {encoder:.3g} m"


def gate_lines(gate: Mapping[str, Any]) -> list[str]:
    """What the sanity gate says."""
    verdict = GateVerdict(gate["verdict"])
    if verdict is GateVerdict.NOT_CHECKED:
        return [f"inputs were not held against the training data: known of it is {gate['reference']}"]
    against = f"held against {gate['reference']}" + (f" at level {gate['level']}" if gate["level"] != "all" else "")
    if verdict is GateVerdict.IMPLAUSIBLE:
        return [f"warning: the inputs are not what they are said to be: {line}" for line in gate["suspicions"]]
    if verdict is GateVerdict.PLAUSIBLE:
        return [f"inputs are plausible ({gate['images']} images {against})"]
    more = len(gate["undecided"]) - _NO_MORE
    questions = "; ".join(gate["undecided"][:_NO_MORE]) + (f"; and {more} more" if more > 0 else "")
    return [f"inputs: nothing speaks against them ({gate['images']} images {against}), but undecided is: {questions}"]


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
