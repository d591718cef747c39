"""Statistics from a file: a store's ``statistics.json``, or an official ``_band_stats.json`` of MMEarth.

The official file holds mean, std, min and max of each band in stored order, Sentinel-2's by processing level
(``sentinel2_l1c``, ``sentinel2_l2a``). Published encoders were trained with these numbers, although they count some
missing numbers as data (``data.mmearth`` lists which); for anything else compute statistics anew.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geopretext.data.band_statistics import BandStatistics
from geopretext.data.statistics import POOLED, ModalityStatistics, Statistics
from geopretext.errors import BandError, InputError
from geopretext.modality import PRETEXT, Modality

_WANTED = "a statistics.json of a store or of a bundle, or an official *_band_stats.json"


def read_statistics(path: str | Path) -> Statistics:
    """Read either kind of file.

    Of official statistics, ``count`` is 1 wherever there is a mean, since the file does not say over how many values it
    was taken, and there are none over all levels together.

    Raises:
        InputError: there is no such file, or it holds no statistics.
        BandError: an official file has another number of bands.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), hint=f"wanted: {_WANTED}") from error
    except IsADirectoryError as error:
        raise InputError("is a folder", where=str(path), hint=f"wanted: {_WANTED}") from error
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", where=str(path), hint=f"wanted: {_WANTED}") from error
    if not isinstance(content, Mapping):
        raise InputError("holds no statistics", where=str(path), hint=f"wanted: {_WANTED}")
    try:
        if "modalities" in content:
            return Statistics.from_dict(content)
        modalities = {m.name: found for m in PRETEXT if (found := _official(m, content, str(path)))}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BandError):
            raise
        raise InputError(f"holds no statistics: {error!r}", where=str(path), hint=f"wanted: {_WANTED}") from error
    if not modalities:
        raise InputError("holds no statistics of a published modality", where=str(path), hint=f"wanted: {_WANTED}")
    return Statistics(modalities, tiles=0, split="train")


def _official(modality: Modality, content: Mapping[str, Any], where: str) -> ModalityStatistics | None:
    """Of one modality by level; None if the file has none."""
    name = modality.official_name or modality.name
    keys = {level: f"{name}_{level.lower()}" for level in modality.levels} or {POOLED: name}
    bands = {level: _bands(modality, content[key], f"{where}: {key}") for level, key in keys.items() if key in content}
    return ModalityStatistics(bands, class_counts={}, missing=0) if bands else None


def _bands(modality: Modality, plain: Mapping[str, Any], where: str) -> dict[str, BandStatistics]:
    columns = {name: plain[name] for name in ("mean", "std", "min", "max")}
    for name, numbers in columns.items():
        if len(numbers) != len(modality.bands):
            raise BandError(
                f"has {len(numbers)} numbers under {name!r} for the {len(modality.bands)} bands"
                f" {', '.join(modality.band_names)}",
                where=where,
                hint="take the file that came with the data",
            )
    return {
        band: _band(*(float(columns[name][number]) for name in ("mean", "std", "min", "max")))
        for number, band in enumerate(modality.band_names)
    }


def _band(mean: float, std: float, low: float, high: float) -> BandStatistics:
    """A band that was never observed has no finite mean (B10 at level L2A)."""
    observed = math.isfinite(mean) and math.isfinite(std)
    if not observed:
        mean = std = low = high = math.nan
    return BandStatistics(mean, std, low, high, percentiles={}, count=int(observed), missing=0)
