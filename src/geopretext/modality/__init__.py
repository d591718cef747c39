"""Frozen facts about modalities: names, kinds, bands, units, valid ranges, dtypes, missing values, classes, order.

What may live here: data about data, and the pure rules that follow from it (decoding stored numbers to values and
validity). No file formats, no tensors, no I/O other than reading a modality's own YAML. Imports only ``errors``.
"""

from geopretext.modality.acquisition import Acquisition
from geopretext.modality.catalogue import (
    BIOMES,
    ECOREGIONS,
    GROUND_SAMPLING_DISTANCE,
    MMEARTH,
    PRETEXT,
    PUBLISHED,
    SERIES,
)
from geopretext.modality.custom import find_modality, load_modalities
from geopretext.modality.joined import join_modalities
from geopretext.modality.observed import Observed
from geopretext.modality.scales import POOLED, choose_scale, known_scales
from geopretext.modality.spec import Band, ClassLabel, Kind, Modality, Role

__all__ = [
    "BIOMES",
    "ECOREGIONS",
    "GROUND_SAMPLING_DISTANCE",
    "MMEARTH",
    "POOLED",
    "PRETEXT",
    "PUBLISHED",
    "SERIES",
    "Acquisition",
    "Band",
    "ClassLabel",
    "Kind",
    "Modality",
    "Observed",
    "Role",
    "choose_scale",
    "find_modality",
    "join_modalities",
    "known_scales",
    "load_modalities",
]
