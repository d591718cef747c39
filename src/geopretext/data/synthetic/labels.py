"""Downstream labels of the synthetic Earth: what imagery structure tells and no pretext modality holds.

Each depends on geometry, on several modalities at once or on the season, so that neither one pixel nor the mean colour
of a tile gives it away. Role ``label``: pretraining never sees them.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.cover import CROPS, Cover
from geopretext.data.synthetic.farmland import CALENDARS, PATTERNS
from geopretext.data.synthetic.settlement import KINDS
from geopretext.data.tiles import Array
from geopretext.modality import Band, ClassLabel, Kind, Modality, Role

ELEMENTS = ("river", "road", "hedgerow", "orchard rows", "clear-cut", "wetland")


def _classes(names: tuple[str, ...]) -> tuple[ClassLabel, ...]:
    return tuple(ClassLabel(code, name) for code, name in enumerate(names))


FIELD_PATTERN = Modality(
    name="field_pattern",
    kind=Kind.CATEGORICAL_VECTOR,
    bands=(Band("pattern"),),
    dtype="int16",
    missing=(-1,),
    classes=_classes(PATTERNS),
    role=Role.LABEL,
    title="Geometry of field parcels",
    source="synthetic Earth",
)
CROP_CALENDAR = Modality(
    name="crop_calendar",
    kind=Kind.CATEGORICAL_VECTOR,
    bands=(Band("calendar"),),
    dtype="int16",
    missing=(-1,),
    classes=_classes(CALENDARS),
    role=Role.LABEL,
    title="Leading crop calendar",
    source="synthetic Earth",
)
SETTLEMENT = Modality(
    name="settlement",
    kind=Kind.CATEGORICAL_VECTOR,
    bands=(Band("structure"),),
    dtype="int16",
    missing=(-1,),
    classes=_classes(KINDS),
    role=Role.LABEL,
    title="Structure of settlements",
    source="synthetic Earth",
)
ELEMENT_PRESENCE = Modality(
    name="elements",
    kind=Kind.MULTILABEL_VECTOR,
    bands=tuple(Band(name.replace("-", "").replace(" ", "_"), title=name) for name in ELEMENTS),
    dtype="uint8",
    missing=(255,),
    role=Role.LABEL,
    title="Landscape elements present",
    source="synthetic Earth",
)
BIOMASS = Modality(
    name="biomass",
    kind=Kind.CONTINUOUS_VECTOR,
    bands=(Band("above_ground", "t/ha", 0, 1000, "above-ground woody biomass, mean of the tile"),),
    dtype="float32",
    role=Role.LABEL,
    title="Biomass",
    source="synthetic Earth",
)
IRRIGATED = Modality(
    name="irrigated",
    kind=Kind.CATEGORICAL_MAP,
    bands=(Band("irrigated"),),
    dtype="uint8",
    missing=(0,),
    classes=(ClassLabel(1, "rain-fed", "#e0c36a"), ClassLabel(2, "irrigated", "#2f7fd0")),
    role=Role.LABEL,
    title="Irrigated fields (cropland only)",
    source="synthetic Earth",
)
LABELS = {m.name: m for m in (FIELD_PATTERN, CROP_CALENDAR, SETTLEMENT, ELEMENT_PRESENCE, BIOMASS, IRRIGATED)}

_FARMED, _SETTLED, _PRESENT = 0.15, 0.01, 0.006
"""shares of a tile from which it counts as farmed, as settled, or an element as present"""


def label_maps(cover: Cover) -> dict[str, Array]:
    """What labels are made of, as maps (n, C, H, W) over whole windows: ``irrigated``, and those of ``tile_labels``."""
    crops = cover.kind == CROPS
    parcels, built = cover.people.parcels, cover.people.built
    maps = {
        IRRIGATED.name: np.where(parcels.irrigated, 2, 1).astype(np.uint8) * crops,
        FIELD_PATTERN.name: parcels.pattern * crops,
        CROP_CALENDAR.name: parcels.calendar * crops,
        SETTLEMENT.name: built.kind * (cover.roof > 0.3),
        BIOMASS.name: cover.biomass,
    }
    elements = np.stack([cover.structures[name] for name in ELEMENTS], axis=1)
    return {**{name: values[:, None] for name, values in maps.items()}, ELEMENT_PRESENCE.name: elements}


def tile_labels(maps: Mapping[str, Array]) -> dict[str, Array]:
    """Labels (n, C) of tiles, from the label maps of the tiles."""
    return {
        FIELD_PATTERN.name: _leading(maps[FIELD_PATTERN.name], len(PATTERNS), _FARMED),
        CROP_CALENDAR.name: _leading(maps[CROP_CALENDAR.name], len(CALENDARS), _FARMED),
        SETTLEMENT.name: _leading(maps[SETTLEMENT.name], len(KINDS), _SETTLED),
        ELEMENT_PRESENCE.name: (maps[ELEMENT_PRESENCE.name].mean(axis=(2, 3)) >= _PRESENT).astype(np.uint8),
        BIOMASS.name: maps[BIOMASS.name].mean(axis=(2, 3), dtype=np.float64).astype(np.float32),
    }


def _leading(codes: Array, count: int, least: float) -> npt.NDArray[np.int16]:
    """(n, 1) the most frequent code above 0, or 0 if those make up less than the share ``least``."""
    shares = np.stack([(codes[:, 0] == code).mean(axis=(1, 2)) for code in range(1, count)], axis=1)
    leading = np.where(shares.sum(axis=1) >= least, shares.argmax(axis=1) + 1, 0)
    return leading.astype(np.int16)[:, None]
