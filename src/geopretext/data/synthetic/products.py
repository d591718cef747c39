"""Map products of others about the same ground, with their own classes, smoothness and mistakes.

ESA WorldCover and Dynamic World (both confuse what real maps confuse, Dynamic World more), ETH canopy height, and the
scene classification and cloud masks that come with Sentinel-2.
"""

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.cover import SNOW, WATER, Cover
from geopretext.data.synthetic.grid import Noise, Windows
from geopretext.data.synthetic.noise import uniform
from geopretext.data.synthetic.site import Site
from geopretext.data.synthetic.sky import CLOUDED, Sky

#            water trees shrub grass crops built bare snow wetland mangrove moss
_WORLDCOVER = np.array([80, 10, 20, 30, 40, 50, 60, 70, 90, 95, 100], np.uint8)
_WORLDCOVER_TWIN = np.array([80, 20, 30, 40, 30, 60, 30, 60, 30, 10, 30], np.uint8)
_DYNAMIC = np.array([1, 2, 6, 3, 5, 7, 8, 9, 4, 2, 6], np.uint8)
_DYNAMIC_TWIN = np.array([4, 6, 3, 6, 3, 5, 6, 8, 3, 4, 8], np.uint8)

_MISTAKES = {"WorldCover": Noise(24)}
_DYNAMIC_NOISE = {"mistakes": Noise(15), "no data": Noise(60, 2)}
_CANOPY_NOISE = {"canopy error": Noise(20), "unmapped": Noise(400)}


def worldcover(windows: Windows, cover: Cover) -> npt.NDArray[np.uint8]:
    """Codes (n, 1, H, W): mistakes come in patches of a few hundred metres."""
    mistaken = windows.to_pixels(windows.smooth(_MISTAKES)["WorldCover"]) > 0.36
    return np.where(mistaken, _WORLDCOVER_TWIN[cover.kind], _WORLDCOVER[cover.kind])[:, None]


def dynamic_world(windows: Windows, cover: Cover) -> npt.NDArray[np.uint8]:
    """Codes (n, 1, H, W): blurred to 30 m here and there, more mistakes, and patches without data (0)."""
    kind = cover.kind
    blurred = windows.spread(windows.bits("blur", size=3) & 3 == 0, 3)
    kind = np.where(blurred, windows.spread(kind[:, 1::3, 1::3], 3), kind)
    mistaken = windows.spread(uniform(windows.bits("mistake", size=3)) < 0.05, 3)
    noise = windows.smooth(_DYNAMIC_NOISE)
    mistaken |= windows.to_pixels(noise["mistakes"]) > 0.3
    code = np.where(mistaken, _DYNAMIC_TWIN[kind], _DYNAMIC[kind])
    code[windows.to_pixels(noise["no data"]) > 0.58] = 0
    return code[:, None]


def canopy_height(windows: Windows, site: Site, cover: Cover) -> npt.NDArray[np.uint8]:
    """Height and its standard deviation in m (n, 2, H, W), 255 over water, ice and where nobody mapped."""
    noise = windows.smooth(_CANOPY_NOISE)
    error = windows.to_pixels(noise["canopy error"] * np.float32(0.25))
    height = cover.tree * cover.tree_height * (1 + error) + cover.leaf * np.float32(0.4)
    unsure = windows.spread(uniform(windows.bits("canopy", size=3)), 3)
    spread = np.float32(1.2) + np.float32(0.22) * height + np.float32(1.5) * unsure
    out = np.stack([np.rint(height), np.rint(spread)], axis=1).astype(np.uint8)
    unmapped = (cover.kind == WATER) | (cover.kind == SNOW)
    unmapped |= windows.to_pixels(np.maximum(np.abs(site.macro.lat) - 80, noise["unmapped"] - np.float32(0.6))) > 0
    return np.where(unmapped[:, None], np.uint8(255), out)


def scene_classes(windows: Windows, site: Site, cover: Cover, sky: Sky) -> npt.NDArray[np.uint8]:
    """SCL codes (n, 1, H, W) at 20 m; 255 for L1C, which has none, and beyond the swath 0."""
    conditions = {
        0: sky.unseen,
        9: sky.cloud > 0.75,
        8: sky.cloud > 0.4,
        10: sky.cloud > CLOUDED,
        3: sky.shadow > 0.5,
        11: cover.snow * (1 - cover.tree) > 0.5,
        6: cover.water > 0.5,
        2: windows.to_pixels(site.light) < 0.4,
        4: (cover.leaf > 0.35) | (cover.tree > 0.35),
    }
    code = np.select(list(conditions.values()), [np.uint8(code) for code in conditions], default=np.uint8(5))
    code = windows.spread(code[:, ::2, ::2], 2)
    return np.where((windows.level == 0)[:, None, None], np.uint8(255), code)[:, None]


def cloud_mask(windows: Windows, sky: Sky) -> npt.NDArray[np.uint16]:
    """QA60 bits (n, 1, H, W) at 60 m: bit 10 opaque cloud, bit 11 cirrus."""
    cloud = sky.cloud[:, 3::6, 3::6]
    bits = np.where(cloud > 0.5, 1 << 10, np.where(cloud > 0.2, 1 << 11, 0)).astype(np.uint16)
    return windows.spread(bits, 6)[:, None]


def cloud_probability(windows: Windows, sky: Sky) -> npt.NDArray[np.uint16]:
    """Percent (n, 1, H, W) at 20 m, 65535 for L1C."""
    percent = np.rint(np.clip(sky.cloud * 110, 0, 100)).astype(np.uint16)
    percent = windows.spread(percent[:, ::2, ::2], 2)
    return np.where((windows.level == 0)[:, None, None], np.uint16(65535), percent)[:, None]
