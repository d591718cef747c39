"""Images of the synthetic Earth as items of an archive: Sentinel-2 of both levels, Sentinel-1 of both orbits.

Collections, asset names and properties are those of the Planetary Computer, with Earth Search's flag where it says
more. Processing baselines take turns, so that a reader has to look at each item:

====== ============== =========================================================================================
turn   baseline       numbers
====== ============== =========================================================================================
0      05.00          10000 x reflectance + 1000, as ESA's Collection 1 has them
1      02.12          10000 x reflectance
2      05.00          10000 x reflectance, and ``earthsearch:boa_offset_applied`` says so (L2A; L1C as in turn 1)
====== ============== =========================================================================================
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.build.synthetic_calendar import ORBITS, local_time
from geopretext.build.synthetic_cogs import native
from geopretext.build.synthetic_granules import Granule
from geopretext.build.synthetic_items import EO, PROJECTION, SAR, SATELLITE, Draft
from geopretext.build.synthetic_truth import LEVELS, MIDYEAR
from geopretext.data.offset import OFFSET
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.synthetic.optics import BANDS, RESOLUTION
from geopretext.data.tiles import Array
from geopretext.modality import PUBLISHED

_CLOUDED = (8, 9, 10)
"""scene classes that count as cloud"""
_MASKS = {
    "L1C": {"QA60": ("sentinel2_cloudmask", 60)},
    "L2A": {
        "QA60": ("sentinel2_cloudmask", 60),
        "SCL": ("sentinel2_scl", 20),
        "cloud": ("sentinel2_cloudprod", 20),
    },
}
"""assets that describe an image: modality, and metres a pixel"""
_RADAR_NODATA = -32768.0
_TITLES = {band.name: band.title for band in PUBLISHED["sentinel2"].bands}


def render(
    seed: int, grid: Grid, names: Collection[str], *, day: np.datetime64 = MIDYEAR, level: str = "L2A"
) -> dict[str, Array]:
    """Maps of a grid by modality, (C, H, W), as stored."""
    return SyntheticEarth(seed).render(
        crs=grid.crs,
        x0=grid.left,
        y0=grid.top,
        height=grid.height,
        width=grid.width,
        date=day,
        level=level,
        names=names,
    )


def asset_name(band: str) -> str:
    """Name of a Sentinel-2 band in archives: ``B02`` for ``B2``."""
    return f"B0{band[1:]}" if len(band) == 2 else band


def optical_names(granule: Granule, turn: int) -> list[tuple[str, str]]:
    """(collection, item) of what ``optical_items`` makes."""
    return [(f"sentinel-2-{level.lower()}", _optical_name(granule, turn, level)) for level in LEVELS]


def radar_name(granule: Granule, orbit: str, day: np.datetime64) -> tuple[str, str]:
    """(collection, item) of what ``radar_item`` makes."""
    return "sentinel-1-rtc", f"S1A_IW_GRDH_{_stamp(_time(orbit, granule, day))}_T{granule.name}_{orbit}_rtc"


def optical_items(seed: int, granule: Granule, turn: int) -> list[Draft]:
    """An image of Sentinel-2 at both levels, each band at its native resolution in a file of its own.

    Args:
        seed: which planet.
        granule: where.
        turn: number of its date.
    """
    names = ["sentinel2", *(modality for modality, _ in _MASKS["L2A"].values())]
    maps = {level: render(seed, granule.grid, names, day=granule.days[turn], level=level) for level in LEVELS}
    classes = maps["L2A"]["sentinel2_scl"][0]
    cloud = 100 * np.isin(classes, _CLOUDED).sum() / max(1, (classes > 0).sum())
    unseen = 100 * np.mean(classes == 0)
    shares = {"eo:cloud_cover": round(float(cloud), 4), "s2:nodata_pixel_percentage": round(float(unseen), 4)}
    return [_optical_item(granule, turn, level, maps[level], shares) for level in LEVELS]


def _optical_item(
    granule: Granule, turn: int, level: str, maps: Mapping[str, Array], shares: Mapping[str, float]
) -> Draft:
    added, facts = _baseline(turn, level)
    layers = {
        asset_name(band): native(
            _with_offset(maps["sentinel2"][BANDS.index(band)], added),
            granule.grid,
            metres=metres,
            nodata=0,
            title=_TITLES[band],
        )
        for metres, bands in RESOLUTION.items()
        for band in bands
        if (level, band) != ("L2A", "B10")
    }
    for key, (modality, metres) in _MASKS[level].items():
        layers[key] = native(
            maps[modality][0],
            granule.grid,
            metres=metres,
            overviews="nearest",
            title=PUBLISHED[modality].title,
            roles=("data", "mask"),
        )
    time = _time("optical", granule, granule.days[turn])
    return Draft(
        collection=f"sentinel-2-{level.lower()}",
        item=_optical_name(granule, turn, level),
        outline=granule.grid.outline(),
        span=(time, time),
        layers=layers,
        properties={
            **facts,
            **shares,
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "s2:product_type": f"S2MSI{level[1:]}",
            "sat:orbit_state": "descending",
            "sat:relative_orbit": _orbit(granule),
            **_extent(granule.grid),
        },
        extensions=(EO, PROJECTION, SATELLITE),
    )


def radar_item(seed: int, granule: Granule, orbit: str, day: np.datetime64) -> Draft:
    """A pass of Sentinel-1 in linear power on a grid of 10 m, as radiometrically terrain-corrected archives have it.

    Args:
        seed: which planet.
        granule: where.
        orbit: ``asc`` or ``desc``.
        day: of the pass.
    """
    maps = render(seed, granule.grid, ["sentinel1"], day=day)
    layers = {}
    for name, decibel in zip(PUBLISHED["sentinel1"].band_names, maps["sentinel1"], strict=True):
        group, polarisation = name.split("_")
        if group == orbit and np.isfinite(decibel).any():
            power = np.where(np.isfinite(decibel), 10.0 ** (decibel.astype(np.float64) / 10), _RADAR_NODATA)
            layers[polarisation.lower()] = native(
                power.astype(np.float32), granule.grid, metres=10, nodata=_RADAR_NODATA, title=f"{polarisation}, gamma0"
            )
    time = _time(orbit, granule, day)
    collection, item = radar_name(granule, orbit, day)
    return Draft(
        collection=collection,
        item=item,
        outline=granule.grid.outline(),
        span=(time, time),
        layers=layers,
        properties={
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:product_type": "GRD",
            "sar:polarizations": [key.upper() for key in layers],
            "sat:orbit_state": dict(zip(ORBITS, ("ascending", "descending"), strict=True))[orbit],
            **_extent(granule.grid),
        },
        extensions=(PROJECTION, SAR, SATELLITE),
    )


def _optical_name(granule: Granule, turn: int, level: str) -> str:
    stamp = _stamp(_time("optical", granule, granule.days[turn]))
    version = _baseline(turn, level)[1]["s2:processing_baseline"].replace(".", "")
    return f"S2A_MSI{level}_{stamp}_N{version}_R{_orbit(granule):03d}_T{granule.name}"


def _time(purpose: str, granule: Granule, day: np.datetime64) -> np.datetime64:
    time: np.datetime64 = local_time(purpose, granule.grid.crs, np.array([day]))[0]
    return time


def _orbit(granule: Granule) -> int:
    """A relative orbit of Sentinel-2, 1 to 143."""
    return 1 + sum(map(ord, granule.name)) % 143


def _baseline(turn: int, level: str) -> tuple[int, dict[str, Any]]:
    """What is added to the numbers, and what the item says about it."""
    if turn % 3 == 0:
        return OFFSET, {"s2:processing_baseline": "05.00"}
    if turn % 3 == 1 or level == "L1C":
        return 0, {"s2:processing_baseline": "02.12"}
    return 0, {"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True}


def _with_offset(values: npt.NDArray[Any], added: int) -> npt.NDArray[Any]:
    return np.where(values > 0, values + np.uint16(added), values)


def _extent(grid: Grid) -> dict[str, Any]:
    return {
        "gsd": 10,
        "proj:code": f"EPSG:{grid.crs}",
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform),
        "proj:bbox": list(grid.bounds),
    }


def _stamp(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")
