"""Modalities with one answer for a whole place (climate, month, biome), predicted for a scene.

Each window of the size that the network was trained on has its own answer; a scene's is their mean.

Shapes: C bands, K classes, n windows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.derived import derived_vectors
from geopretext.data.normalise import Normaliser
from geopretext.data.statistics import Statistics
from geopretext.data.tiles import Coordinates
from geopretext.modality import Modality, Observed
from geopretext.predict.modality_maps import ModalityMaps
from geopretext.predict.scene_door import SceneDoor
from geopretext.predict.windows import Windows

Array = npt.NDArray[Any]

_WINDOWS = 64
"""that are asked, spread over the scene; more change the mean by less than windows differ"""
_TRIED = 4 * _WINDOWS
"""that are read to find so many of which something was observed"""
_BATCH = 8
_SEEN = 0.5
"""of a window that must have been observed"""


@dataclass(frozen=True)
class PredictedVector:
    """A modality with one answer for the whole scene."""

    modality: Modality
    values: Array
    """(C,) in its unit, or probabilities of labels; (K,) probabilities of classes: means over windows"""
    spread: Array
    """the same shape: standard deviation over windows"""
    truth: Observed[Array]
    """what the scene itself says, of its position and month; not observed of anything else"""
    windows: int
    """n"""


def predict_vectors(
    door: SceneDoor, maps: ModalityMaps, windows: Windows, statistics: Statistics, coordinates: Coordinates
) -> dict[str, PredictedVector]:
    """Every vector modality of a scene.

    Args:
        door: to the scene.
        maps: the network, on the CPU.
        windows: of the scene, of the size that the network was trained on.
        statistics: of the data that it was trained on.
        coordinates: of the one scene.

    Returns:
        By modality, in the order of the network; empty if hardly anything was observed in any window.

    Raises:
        CorruptError: the scene cannot be decoded.
    """
    targets = {name: each for name, each in maps.network.targets.items() if not each.kind.is_map}
    if not targets:
        return {}
    with torch.inference_mode():
        answers = [maps.vectors(x) for x in _some_windows(door, windows)]
    if not answers:
        return {}
    known = derived_vectors(coordinates)
    found = {}
    for name, modality in targets.items():
        values = torch.cat([each[name] for each in answers])
        values = Normaliser.of(modality, statistics).inverse(values)
        spread, mean = torch.std_mean(values, 0, correction=0)
        truth = _truth(modality, known.get(name))
        found[name] = PredictedVector(modality, mean.numpy(), spread.numpy(), truth, len(values))
    return found


def _some_windows(door: SceneDoor, windows: Windows) -> Iterator[Tensor]:
    """Standardised windows of which enough was observed, the same at every call."""
    order = np.random.default_rng(0).permutation(len(windows))[:_TRIED]
    found = 0
    for start in range(0, len(order), _BATCH):
        x, observed = door.read(windows, [int(number) for number in order[start : start + _BATCH]])
        x = x[observed.float().mean((1, 2)) >= _SEEN][: _WINDOWS - found]
        found += len(x)
        if len(x):
            yield x
        if found == _WINDOWS:
            return


def _truth(modality: Modality, known: Array | None) -> Observed[Array]:
    bands = () if modality.kind.is_categorical else (len(modality.bands),)
    if known is None or known.shape[1:] != bands:
        return Observed(np.zeros(bands, np.float32), np.zeros(bands, np.bool_))
    valid = np.isfinite(known[0])
    return Observed(np.where(valid, known[0], np.float32(0)), valid)
