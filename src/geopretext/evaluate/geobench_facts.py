"""What must be known of GEO-Bench v1 (Lacoste et al. 2023) beyond its files: band names, units, levels, known faults.

Names and wavelengths are those of the package's ``dataset.py`` (``sentinel2_13_bands``). Units and levels follow from
its converters and the datasets they read: BigEarthNet and the two crop sets are L2A in parts of 10000; EuroSAT is L1C
in parts of 10000; So2Sat is L1C reflectance from 0 to 2.8 without B1, B9 and B10.

Two of the published sets name their bands wrongly:

* m-eurosat: B8A is last in EuroSAT's files, and the converter named them by wavelength (issue 28 of the package);
* m-brick-kiln: the converter took the thirteen channels for the thirteen bands, while the source exported B1 to B5, B7,
  B8A, B8, B11, B12 and a rendered picture (issue 29). The published samples bear it out: "10 - SWIR - Cirrus" is
  0.102 times red, with correlation 0.997 to 1.000 in five samples of five.

The right names are used unless ``as_shipped`` asks for the published ones, to compare with scores that were made so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geopretext.data.units import REFLECTANCE
from geopretext.predict.images import DIGITAL_NUMBER, UNSTATED

WAVELENGTHS = {
    "B1": 0.443,
    "B2": 0.490,
    "B3": 0.560,
    "B4": 0.665,
    "B5": 0.705,
    "B6": 0.740,
    "B7": 0.783,
    "B8": 0.842,
    "B8A": 0.865,
    "B9": 0.945,
    "B10": 1.375,
    "B11": 1.610,
    "B12": 2.190,
}
"""Central wavelengths of Sentinel-2 in micrometres, as GEO-Bench writes them."""
TOLERANCE = 0.008
"""micrometres; no two bands are closer than 23 nm"""

SENTINEL2_PREFIXES = {
    "01": "B1",
    "02": "B2",
    "03": "B3",
    "04": "B4",
    "05": "B5",
    "06": "B6",
    "07": "B7",
    "08": "B8",
    "08A": "B8A",
    "09": "B9",
    "10": "B10",
    "11": "B11",
    "12": "B12",
}
"""The band that a name such as "08A - Vegetation Red Edge" begins with."""
COLOURS = {"Red": "B4", "Green": "B3", "Blue": "B2", "NIR": "B8"}
"""Bands of aerial pictures by the Sentinel-2 band that is nearest."""


@dataclass(frozen=True)
class Facts:
    """What is known of one published set."""

    unit: str = REFLECTANCE
    """of its optical bands"""
    level: str | None = None
    """processing level of Sentinel-2"""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """true band by published prefix, where that is wrong"""
    reason: str = ""
    """of the renaming"""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """what MMEarth puts in the place of bands that the set lacks"""
    ignored: str = ""
    """name of the class that means "not labelled" """
    classes: tuple[str, ...] = ()
    """names, where the files of a sample do not give them"""


FACTS: Mapping[str, Facts] = {
    "m-bigearthnet": Facts(level="L2A"),
    "m-so2sat": Facts(unit="reflectance", level="L1C", substitutes={"B1": "B2", "B9": "B8A"}),
    "m-eurosat": Facts(
        level="L1C",
        renamed={"08A": "B9", "09": "B10", "10": "B11", "11": "B12", "12": "B8A"},
        reason="B8A is last in EuroSAT's files (GEO-Bench issue 28)",
    ),
    "m-brick-kiln": Facts(
        level="L2A",
        renamed={
            "06": "B7",
            "07": "B8A",
            "08": "B8",
            "08A": "B11",
            "09": "B12",
            "10": "TCI_R",
            "11": "TCI_G",
            "12": "TCI_B",
        },
        reason="the source exported other bands than the thirteen of Sentinel-2 (GEO-Bench issue 29)",
        classes=("not brick kiln", "brick kiln"),
    ),
    "m-cashew-plant": Facts(level="L2A", ignored="no data"),
    "m-cashew-plantation": Facts(level="L2A", ignored="no data"),
    "m-SA-crop-type": Facts(level="L2A", ignored="No Data"),
    "m-pv4ger": Facts(unit=DIGITAL_NUMBER),
    "m-pv4ger-seg": Facts(unit=DIGITAL_NUMBER),
    "m-chesapeake": Facts(unit=DIGITAL_NUMBER),
    "m-chesapeake-landcover": Facts(unit=DIGITAL_NUMBER),
    "m-NeonTree": Facts(unit=DIGITAL_NUMBER),
    "m-nz-cattle": Facts(unit=DIGITAL_NUMBER),
    "m-forestnet": Facts(unit=UNSTATED),
}
"""By name of the folder; others are read with their own names and an unstated unit."""
UNKNOWN = Facts(unit=UNSTATED)
