"""What Sentinel-2 sees: reflectance of mixed materials, light on slopes, air in between, and the sensor itself.

Spectra are typical values at the band centres, rounded by hand from what public spectral libraries show for such
surfaces (USGS Spectral Library version 7; ECOSTRESS Spectral Library). The air is a small two-term model:
path reflectance that falls with wavelength, and transmittance; it is nearly removed at L2A.

Shapes: n windows, pixels (n, H, W); H and W are multiples of 6, so that 20 m and 60 m detectors fit.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.cover import Cover
from geopretext.data.synthetic.grid import Noise, Windows, block_mean
from geopretext.data.synthetic.noise import Float, step
from geopretext.data.synthetic.site import Site
from geopretext.data.synthetic.sky import Sky
from geopretext.data.synthetic.surface import MATERIALS

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B10", "B11", "B12")
RESOLUTION = {10: ("B2", "B3", "B4", "B8"), 20: ("B5", "B6", "B7", "B8A", "B11", "B12"), 60: ("B1", "B9", "B10")}
"""metres a detector sees, as the instrument has it"""

SPECTRA = np.array(
    [
        # B1     B2     B3     B4     B5     B6     B7     B8A    B8     B9     B10    B11    B12
        [0.016, 0.022, 0.050, 0.028, 0.095, 0.290, 0.370, 0.410, 0.395, 0.400, 0.300, 0.205, 0.090],  # broadleaf
        [0.012, 0.016, 0.032, 0.020, 0.055, 0.150, 0.190, 0.215, 0.205, 0.210, 0.150, 0.095, 0.042],  # conifer
        [0.028, 0.036, 0.080, 0.045, 0.135, 0.340, 0.430, 0.470, 0.450, 0.465, 0.350, 0.250, 0.130],  # grass
        [0.065, 0.085, 0.135, 0.185, 0.225, 0.255, 0.275, 0.315, 0.300, 0.330, 0.340, 0.370, 0.265],  # straw
        [0.055, 0.065, 0.090, 0.120, 0.140, 0.155, 0.170, 0.205, 0.190, 0.215, 0.240, 0.285, 0.240],  # brown soil
        [0.045, 0.055, 0.095, 0.190, 0.215, 0.230, 0.245, 0.275, 0.265, 0.285, 0.310, 0.370, 0.320],  # red soil
        [0.130, 0.165, 0.240, 0.320, 0.345, 0.365, 0.385, 0.415, 0.400, 0.425, 0.450, 0.500, 0.455],  # sand
        [0.100, 0.115, 0.140, 0.165, 0.175, 0.185, 0.195, 0.210, 0.205, 0.215, 0.220, 0.250, 0.225],  # rock
        [0.045, 0.040, 0.028, 0.012, 0.009, 0.007, 0.006, 0.004, 0.005, 0.004, 0.003, 0.003, 0.002],  # clear water
        [0.060, 0.075, 0.105, 0.095, 0.085, 0.048, 0.044, 0.028, 0.034, 0.020, 0.005, 0.008, 0.005],  # turbid water
        [0.930, 0.930, 0.920, 0.900, 0.880, 0.860, 0.840, 0.800, 0.820, 0.720, 0.200, 0.110, 0.090],  # snow
        [0.150, 0.180, 0.215, 0.240, 0.255, 0.265, 0.275, 0.295, 0.285, 0.300, 0.310, 0.325, 0.305],  # concrete
        [0.060, 0.070, 0.100, 0.195, 0.220, 0.235, 0.250, 0.285, 0.270, 0.300, 0.320, 0.360, 0.335],  # tiles
        [0.070, 0.076, 0.085, 0.092, 0.097, 0.101, 0.106, 0.114, 0.110, 0.117, 0.122, 0.135, 0.132],  # asphalt
    ],
    np.float32,
)
"""reflectance of each of ``MATERIALS`` in each of ``BANDS``"""

_HAZE = {"haze": Noise(900, 2)}
_WAVELENGTH = np.array([443, 490, 560, 665, 705, 740, 783, 865, 842, 945, 1375, 1610, 2190], np.float32)
_RAYLEIGH = 0.17 * (443 / _WAVELENGTH) ** 4
_NOISE = {10: 0.0022, 20: 0.0018, 60: 0.0010}
_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)
_CLOUD, _CLOUD_INFRARED = np.float32(0.62), np.float32(0.34)
_DARKEST, _BRIGHTEST = np.float32(1), np.float32(20000)


@dataclass(frozen=True)
class _Air:
    """What lies between the ground and the sensor, at the resolution of some detectors."""

    scatter: Float
    """how much air scatters towards the sensor: 1 / (0.35 + cosine of the sun's zenith angle) at L1C, 0 at L2A"""
    haze_scatter: Float
    """the same times the optical depth of aerosol"""
    haze: Float
    """optical depth of aerosol, about 0.02..0.4, at L1C, 0 at L2A"""
    left_over: Float
    """aerosol that the correction to the surface missed or overdid at L2A, 0 at L1C"""
    vapour: Float
    """0 dry .. 1 tropical"""
    cloud: Float
    """cover by cloud"""
    top: Float
    """(n, 1, 1) 1 at the top of the atmosphere, 0 corrected to the surface"""

    def mean(self, size: int) -> "_Air":
        """The same at a resolution ``size`` times coarser."""
        coarse = {name: block_mean(field, size) for name, field in vars(self).items() if name != "top"}
        return _Air(**coarse, top=self.top)


def _air(windows: Windows, site: Site, sky: Sky) -> _Air:
    haze = np.float32(0.10) + windows.smooth(_HAZE, dated=True)["haze"] * np.float32(0.16)
    haze = np.clip(haze, 0.02, 0.4)
    top = (windows.level == 0).astype(np.float32)[:, None, None]
    scatter = top / (np.float32(0.35) + site.sun.up)
    up = windows.to_pixels
    return _Air(
        scatter=up(scatter),
        haze_scatter=up(haze * scatter),
        haze=up(haze * top),
        left_over=up((haze - np.float32(0.1)) * (1 - top)),
        vapour=up(step(-15, 28, site.macro.warmth)),
        cloud=sky.cloud,
        top=top,
    )


def sentinel2(windows: Windows, site: Site, cover: Cover, sky: Sky) -> npt.NDArray[np.uint16]:
    """Stored numbers (n, 13, H, W): reflectance x 10000, 0 where nothing was observed."""
    air = _air(windows, site, sky)
    factor = windows.to_pixels(site.light) * cover.brightness * (1 - np.float32(0.4) * sky.shadow)
    layers = [cover.materials[name] * factor for name in MATERIALS]
    out = np.zeros((len(windows.row), len(BANDS), windows.height, windows.width), np.uint16)
    finer = 10
    for metres, names in RESOLUTION.items():
        size = metres // 10
        if metres > finer:
            layers = [block_mean(layer, metres // finer) for layer in layers]
            air, finer = air.mean(metres // finer), metres
        for place, name in enumerate(names):
            band = BANDS.index(name)
            if place % 4 == 0:
                # The four bytes of a pixel's bits are noise for four bands.
                chance = windows.bits(f"sensor noise {name}", dated=True, size=size).view(np.uint8)
            noise = np.take(_QUANTILES, chance[..., place % 4 :: 4])
            value = _through_air(_mixed(layers, band), band, air)
            value += noise * (np.float32(_NOISE[metres]) + value * np.float32(0.006))
            value *= np.float32(10000)
            value += np.float32(0.5)
            stored = np.clip(value, _DARKEST, _BRIGHTEST, out=value).astype(np.uint16)
            out[:, band] = windows.spread(stored, size) if size > 1 else stored
    out[windows.level == 1, BANDS.index("B10")] = 0
    out *= ~sky.unseen[:, None]
    return out


def _mixed(layers: list[Float], band: int) -> Float:
    """Reflectance of the ground in one band."""
    total: Float = layers[0] * SPECTRA[0, band]
    part = np.empty_like(total)
    for layer, reflectance in zip(layers[1:], SPECTRA[1:, band], strict=True):
        total += np.multiply(layer, reflectance, out=part)
    return total


def _through_air(ground: Float, band: int, air: _Air) -> Float:
    """Reflectance as delivered: at the top of the atmosphere, or corrected to the surface."""
    wavelength = float(_WAVELENGTH[band])
    aerosol = (550 / wavelength) ** 1.3
    ground += air.cloud * ((_CLOUD if wavelength < 1300 else _CLOUD_INFRARED) - ground)
    if wavelength == 1375:
        # Water vapour swallows nearly all light from the ground.
        return np.float32(0.0014) + air.cloud * np.float32(0.012) + ground * np.float32(0.002) * (1 - air.vapour)
    path = air.scatter * np.float32(_RAYLEIGH[band] * 0.55) + air.haze_scatter * np.float32(aerosol * 0.16)
    lost = air.top * np.float32(_RAYLEIGH[band] * 0.9) + air.haze * np.float32(aerosol * 0.25)
    if wavelength == 945:
        lost += air.top * (np.float32(0.28) + np.float32(0.5) * air.vapour) * (1 - lost)
    path += air.left_over * np.float32(aerosol * 0.03)
    path -= ground * lost
    path += ground
    return path
