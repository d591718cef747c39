"""Which pixels of Sentinel-2's scene classification (SCL) are not looked at."""

from typing import Any

from geopretext.modality import PUBLISHED

SCENE_CLASSES = "SCL"
"""the name of the band that tells clouds"""
CLOUDED = (0, 1, 3, 8, 9, 10)
"""Classes that are masked: no data, saturated or defective, cloud shadow, cloud of medium and of high probability, thin
cirrus. Dark areas, unclassified pixels, water and snow stay: over dark water and fresh snow the classification errs
more often than it helps."""


def cloud_record(clouds: str, *, found: bool) -> dict[str, Any]:
    """What is done about clouds, for a scene's record."""
    if not found:
        return {"masked": [], "because": "the scene has no scene classification (SCL)"}
    if clouds == "keep":
        return {"masked": [], "because": "asked to keep them"}
    names = {label.code: label.name for label in PUBLISHED["sentinel2_scl"].classes}
    return {"masked": [names[code] for code in CLOUDED], "because": "scene classification (SCL)"}
