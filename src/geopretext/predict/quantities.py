"""Numbers and classes as people read them: degrees, month names, degrees Celsius, names with a probability."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Coordinates
from geopretext.modality import Band, Kind, Modality, Observed

Array = npt.NDArray[Any]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_KELVIN = 273.15
NOT_OBSERVED = "not observed"


@dataclass(frozen=True)
class Row:
    """One line of a table that compares a truth with a prediction."""

    quantity: str
    truth: str
    prediction: str
    error: str


def vector_rows(modality: Modality, truth: Observed[Array], prediction: Array) -> list[Row]:
    """A line for each quantity of one tile's vector modality.

    Args:
        modality: of a vector kind.
        truth: values and valid of one tile: (C,), or () for a categorical vector.
        prediction: (C,) values or label probabilities, or (K,) class probabilities.
    """
    values, valid = truth
    if modality.kind is Kind.CATEGORICAL_VECTOR:
        return [_class_row(modality, int(values), bool(valid), prediction)]
    if modality.kind is Kind.MULTILABEL_VECTOR:
        return [_label_row(*each) for each in zip(modality.bands, values, valid, prediction, strict=True)]
    if modality.band_names == ("sin", "cos"):
        return [_circle_row(modality, values, bool(valid.all()), prediction)]
    return [_number_row(*each) for each in zip(modality.bands, values, valid, prediction, strict=True)]


def truth_rows(modality: Modality, truth: Observed[Array]) -> list[tuple[str, str]]:
    """The quantities of one tile's vector modality and what they are, without a prediction.

    Args:
        modality: of a vector kind.
        truth: values and valid of one tile: (C,), or () for a categorical vector.
    """
    shape = (len(modality.classes),) if modality.kind is Kind.CATEGORICAL_VECTOR else truth.values.shape
    return [(row.quantity, row.truth) for row in vector_rows(modality, truth, np.zeros(shape, np.float32))]


def _class_row(modality: Modality, truth: int, valid: bool, probability: Array) -> Row:
    best = int(probability.argmax())
    names = [label.name for label in modality.classes]
    title = modality.title or modality.name
    predicted = f"{names[best]} ({probability[best]:.0%})"
    if not valid:
        return Row(title, NOT_OBSERVED, predicted, "")
    verdict = "right" if best == truth else f"wrong; the truth got {probability[truth]:.1%}"
    return Row(title, names[truth], predicted, verdict)


def _label_row(band: Band, truth: float, valid: bool, probability: float) -> Row:
    if not valid:
        return Row(band.title or band.name, NOT_OBSERVED, f"{probability:.0%}", "")
    return Row(
        band.title or band.name, "yes" if truth else "no", f"{probability:.0%}", f"{abs(probability - truth):.0%}"
    )


def _circle_row(modality: Modality, truth: Array, valid: bool, prediction: Array) -> Row:
    """An angle stored as sine and cosine; bands titled "sin of 2 pi X / N" mean X in 0..N, others degrees."""
    period = re.search(r"2 pi (\w+) / (\d+)", modality.bands[0].title)
    name, turn = (period[1], float(period[2])) if period else ("degree", 360.0)
    title = modality.title or modality.name
    predicted = _angle(prediction, turn)
    if not valid:
        return Row(title, NOT_OBSERVED, _angle_text(predicted, name), "")
    true = _angle(truth, turn)
    apart = abs((predicted - true + turn / 2) % turn - turn / 2)
    unit = "°" if name == "degree" else f" {name}s"
    return Row(title, _angle_text(true, name), _angle_text(predicted, name), f"{apart:.1f}{unit}")


def _angle(pair: Array, turn: float) -> float:
    """Position on a circle of circumference ``turn``, in (-turn / 2, turn / 2]."""
    return float(np.arctan2(pair[0], pair[1])) * turn / (2 * np.pi)


def _angle_text(value: float, name: str) -> str:
    if name == "degree":
        return f"{value:.1f}°"
    if name == "month":
        return _MONTHS[(round(value) - 1) % 12]
    return f"{value:.1f}"


def _number_row(band: Band, truth: float, valid: bool, prediction: float) -> Row:
    title = (band.title or band.name).replace("2 m temperature", "temperature")
    title = title[0].upper() + title[1:]
    if not valid:
        return Row(title, NOT_OBSERVED, quantity_text(prediction, band.unit), "")
    unit = {"1": "", "K": " K"}.get(band.unit, f" {band.unit}")
    return Row(
        title,
        quantity_text(truth, band.unit),
        quantity_text(prediction, band.unit),
        f"{compact(abs(prediction - truth))}{unit}",
    )


def quantity_text(value: float, unit: str) -> str:
    """A number with its unit; kelvin also as degrees Celsius."""
    if unit == "K":
        return f"{value - _KELVIN:.1f} °C ({value:.1f} K)"
    return compact(value) if unit == "1" else f"{compact(value)} {unit}"


def compact(value: float) -> str:
    """About three significant digits without exponent: 1234, 12.3, 0.0123."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, min(4, 2 - int(np.floor(np.log10(abs(value))))))}f}"


def axis_end(value: float) -> str:
    """The end of an axis or of a scale of colours: as ``compact``, without decimals if it is a whole number."""
    return f"{value:.0f}" if float(value).is_integer() else compact(value)


def place_text(coordinates: Coordinates, tile: int) -> str:
    """Where and when one tile is, as far as it is known: ``T0007 · 46.5° N 8.1° E · 14 Jul 2019 · sentinel2 L2A``."""
    parts = [str(coordinates.tile_id[tile])]
    lat, lon = float(coordinates.lat[tile]), float(coordinates.lon[tile])
    if np.isfinite(lat) and np.isfinite(lon):
        parts.append(f"{abs(lat):.2f}° {'N' if lat >= 0 else 'S'} {abs(lon):.2f}° {'E' if lon >= 0 else 'W'}")
    time = coordinates.time[tile]
    if not np.isnat(time):
        year, month, day = str(time.astype("datetime64[D]")).split("-")
        parts.append(f"{int(day)} {_MONTHS[int(month) - 1]} {year}")
    return "  ·  ".join(parts)
