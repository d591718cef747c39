"""From what was observed to the numbers that a store holds; and the modalities that follow from place and date."""

from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.source import Observation
from geopretext.errors import Reason, SourceError
from geopretext.modality import Modality


def stored(modality: Modality, observation: Observation) -> npt.NDArray[Any]:
    """Numbers as the store holds them: of the modality's dtype, rounded, what is missing as its number for that.

    A real value that would round to a number that means "missing" is stored as the number next to it.

    Raises:
        SourceError: a class code is none of the modality's (``UNIT``).
    """
    values, valid = observation.values, observation.valid
    if modality.dtype == "float32":
        return np.where(valid, values, np.nan).astype(np.float32)
    if modality.kind.is_categorical:
        known = np.array([label.code for label in modality.classes])
        stray = valid & ~np.isin(values, known) & ~np.isin(values, modality.missing)
        if stray.any():
            codes = ", ".join(f"{code:g}" for code in np.unique(values[stray])[:5])
            raise SourceError(f"code {codes} is no class of {modality.name!r}", reason=Reason.UNIT)
    limits = np.iinfo(modality.dtype)
    numbers = np.clip(np.rint(np.where(valid, values, 0)), limits.min, limits.max)
    if modality.kind.is_continuous:
        for number in modality.missing:
            beside = number + 1 if number < limits.max / 2 else number - 1
            numbers = np.where(valid & (numbers == number), beside, numbers)
    if not valid.all():
        numbers = np.where(valid, numbers, modality.fill)
    return numbers.astype(modality.dtype)


def derived(
    name: str, *, lat: float, lon: float, time: np.datetime64, biome: int, ecoregion: int
) -> npt.NDArray[np.float64]:
    """Stored numbers of a modality that follows from place and date (see ``recipe.DERIVED``).

    ``lat`` and ``lon`` are sine and cosine of the angle, ``month`` those of 2 pi month / 12 with January as 1.
    """
    if name in ("biome", "ecoregion"):
        return np.array([biome if name == "biome" else ecoregion], np.float64)
    month = int(time.astype("datetime64[M]").astype(np.int64)) % 12 + 1
    angle = {"lat": np.radians(lat), "lon": np.radians(lon), "month": 2 * np.pi * month / 12}[name]
    return np.array([np.sin(angle), np.cos(angle)])
