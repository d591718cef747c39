"""Whether the maps of a tile lie on each other: phase correlation of their edges.

Sensors and map makers disagree about values but agree about where things end. So each map is reduced to how strongly
it changes from pixel to pixel (the boundaries of a class map; of a continuous map the gradient, summed over bands),
and two such pictures are compared by phase correlation (Kuglin and Hines 1975): the inverse Fourier transform of the
phase of their cross-power spectrum has its peak where one picture must be moved to fit the other.

A peak counts only if it stands out, for any two pictures have a highest point somewhere. Of 13,000 tiles of the
synthetic Earth that were held against *other* places, 1 in 2,600 had a peak that counts. Tiles without common
edges (open sea, one crop from rim to rim, gentle slopes) are not judged. What a single tile cannot tell, many can
together: the mean of their correlations has a peak wherever two maps are shifted against each other everywhere, to a
fraction of a pixel.

Shapes: n tiles, C bands, H W pixels.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Array
from geopretext.modality import Modality

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SMALLEST_TILE = 32
"""pixels: smaller tiles have too few edges"""
FARTHEST = 8
"""pixels: larger shifts are not found"""
STANDS_OUT = 8.5
"""height of a peak that counts, in standard deviations of the correlation"""
CLEAR = 1.5
"""how much higher it is than the next peak"""
COMMON = 12.0
"""height of the peak of the mean over tiles from which two modalities are comparable at all"""
MISPLACED = 3.0
"""pixels: a tile farther than this from where the others lie is misregistered; real radar lies 2 pixels off where the
ground rises"""
SYSTEMATIC = 0.4
"""pixels: two modalities farther apart than this over all tiles are misregistered, as by a grid half a pixel off"""

_OBSERVED = 0.6  # share of a tile that both maps must have observed
_LOUDEST = 4.0  # an edge counts at most so many times the mean edge, or one bright field drowns all others
_FINEST = 0.25  # cycles a pixel: finer detail is noise of the sensor or of resampling
_NEIGHBOURHOOD = 2  # pixels around a peak that belong to it


@dataclass(frozen=True)
class Shift:
    """How far a map lies from the reference, in pixels."""

    down: float
    """towards the bottom of the tile (south)"""
    right: float
    """towards the right of the tile (east)"""

    @property
    def pixels(self) -> float:
        """Its length."""
        return float(np.hypot(self.down, self.right))

    def __str__(self) -> str:
        rows = f"{abs(self.down):.1f} px {'south' if self.down >= 0 else 'north'}"
        return f"{rows}, {abs(self.right):.1f} px {'east' if self.right >= 0 else 'west'}"


@dataclass(frozen=True)
class PairRegistration:
    """How one modality lies on the reference, over all tiles looked at."""

    reference: str
    modality: str
    tiles: int
    """that both have observed"""
    peak: float
    """of the mean correlation, in standard deviations; the modalities are comparable from ``COMMON``"""
    shift: Shift | None
    """over all tiles together; None if the modalities are not comparable"""
    judged: npt.NDArray[np.int64]
    """tiles whose own peak stands out"""
    shifts: tuple[Shift, ...]
    """of these"""

    @property
    def is_shifted(self) -> bool:
        """True if the whole modality lies elsewhere."""
        return self.shift is not None and self.shift.pixels >= SYSTEMATIC

    @property
    def misplaced(self) -> list[tuple[int, Shift]]:
        """Tiles that do not lie where the others do, and where they lie."""
        if self.shift is None:
            return []
        usual = self.shift
        return [
            (int(tile), shift)
            for tile, shift in zip(self.judged, self.shifts, strict=True)
            if np.hypot(shift.down - usual.down, shift.right - usual.right) >= MISPLACED
        ]


def edges(modality: Modality, values: Array, valid: Mask) -> tuple[Float, Mask]:
    """How strongly a map changes at each pixel, and where that is known.

    Args:
        modality: of a map kind.
        values: (n, C, H, W), or (n, H, W) class indices.
        valid: the same shape.

    Returns:
        (n, H, W) edges, not negative, 0 where unknown; and where they are known.
    """
    if modality.kind.is_categorical:
        return _boundaries(values, valid)
    total = np.zeros((len(values), *values.shape[-2:]), np.float32)
    known = np.zeros(total.shape, np.bool_)
    for band in range(values.shape[1]):
        if not valid[:, band].any():
            continue
        change, at = _gradient(values[:, band], valid[:, band])
        count = at.sum(axis=(1, 2))
        mean = change.sum(axis=(1, 2)) / np.maximum(count, 1)
        usable = (count >= _OBSERVED * at[0].size) & (mean > 0)
        change /= np.where(usable, mean, np.inf)[:, None, None].astype(np.float32)
        total += np.minimum(change, _LOUDEST, out=change)
        known |= at & usable[:, None, None]
    return total, known


def _boundaries(classes: Array, valid: Mask) -> tuple[Float, Mask]:
    found = np.zeros(classes.shape, np.bool_)
    down = (classes[:, 1:] != classes[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    right = (classes[:, :, 1:] != classes[:, :, :-1]) & valid[:, :, 1:] & valid[:, :, :-1]
    found[:, 1:] |= down
    found[:, :-1] |= down
    found[:, :, 1:] |= right
    found[:, :, :-1] |= right
    return found.astype(np.float32), valid


def _gradient(values: Array, valid: Mask) -> tuple[Float, Mask]:
    """Length of the gradient of slightly smoothed values; the rim, and what touches a missing pixel, is unknown."""
    padded = np.pad(values.astype(np.float32, copy=False), ((0, 0), (1, 1), (1, 1)), mode="edge")
    smooth: Float = np.asarray((padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4, np.float32)
    smooth = np.asarray((smooth[:, :, :-2] + 2 * smooth[:, :, 1:-1] + smooth[:, :, 2:]) / 4, np.float32)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    known = np.zeros(valid.shape, np.bool_)
    known[inner] = valid[inner] & valid[:, 2:, 1:-1] & valid[:, :-2, 1:-1] & valid[:, 1:-1, 2:] & valid[:, 1:-1, :-2]
    change = np.zeros(smooth.shape, np.float32)
    change[inner] = np.hypot(smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1], smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2])
    change[~known] = 0
    return change, known


def correlate(reference: tuple[Float, Mask], other: tuple[Float, Mask]) -> tuple[Float, Mask]:
    """Phase correlation of the edges of some tiles.

    Returns:
        (n, 2 R + 1, 2 R + 1) correlation in its standard deviations, by how far the other map lies down and right of
        the reference (R is ``FARTHEST``, or less on small tiles); and (n,) which tiles have enough in common.
    """
    size = reference[0].shape[-1]
    known = (reference[1] & other[1]).mean(axis=(1, 2)) >= _OBSERVED
    spectra = [_spectrum(*side) for side in (reference, other)]
    cross = np.conj(spectra[0]) * spectra[1]
    cross /= np.maximum(np.abs(cross), np.finfo(np.float32).tiny)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    pass_band = np.exp(-((frequency / _FINEST) ** 2)) * (1 - np.exp(-((frequency * size / 2) ** 2)))
    surface = np.fft.irfft2(cross * pass_band.astype(np.float32), s=(size, size))
    spread = surface.std(axis=(1, 2))
    known &= spread > 0
    surface /= np.where(known, spread, 1)[:, None, None]
    reach = farthest(size)
    near = np.arange(-reach, reach + 1)
    return np.asarray(surface[:, near[:, None], near[None]], np.float32), known


def _spectrum(values: Float, known: Mask) -> npt.NDArray[np.complex64]:
    """Of the edges around their mean, fading out towards the rim, where the transform would see a step."""
    fade = np.hanning(values.shape[-1] + 2)[1:-1].astype(np.float32)
    weight = known * np.outer(fade, fade)
    mean = (values * weight).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1e-6)
    return np.asarray(np.fft.rfft2((values - mean[:, None, None]) * weight), np.complex64)


def farthest(size: int) -> int:
    """The largest shift that is looked for on tiles of ``size`` pixels."""
    return min(FARTHEST, size // 4)


def highest(surface: Float) -> tuple[Shift, float, float]:
    """Where one correlation (2 R + 1, 2 R + 1) peaks, to a fraction of a pixel; how high; how high the next peak is."""
    reach = len(surface) // 2
    row, column = divmod(int(surface.argmax()), len(surface))
    rows, columns = np.ogrid[: len(surface), : len(surface)]
    apart = (abs(rows - row) > _NEIGHBOURHOOD) | (abs(columns - column) > _NEIGHBOURHOOD)
    shift = Shift(row - reach + _vertex(surface[:, column], row), column - reach + _vertex(surface[row], column))
    return shift, float(surface[row, column]), float(surface[apart].max())


def _vertex(line: Float, at: int) -> float:
    """Where the parabola through a highest value and its neighbours has its top, from -0.5 to 0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(value) for value in line[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend


@dataclass
class RegistrationCheck:
    """Takes in tiles, and says how one modality lies on the reference."""

    reference: str
    modality: str
    _sum: Float | None = None
    _tiles: int = 0
    _judged: list[int] = field(default_factory=list)
    _shifts: list[Shift] = field(default_factory=list)

    def add(self, tiles: npt.NDArray[np.int64], reference: tuple[Float, Mask], other: tuple[Float, Mask]) -> None:
        """Take in the edges of some tiles."""
        surface, known = correlate(reference, other)
        for tile, correlation in zip(tiles[known], surface[known], strict=True):
            shift, peak, following = highest(correlation)
            if peak >= STANDS_OUT and peak >= CLEAR * following:
                self._judged.append(int(tile))
                self._shifts.append(shift)
        total = surface[known].sum(axis=0)
        self._sum = total if self._sum is None else self._sum + total
        self._tiles += int(known.sum())

    def finish(self) -> PairRegistration:
        """Over all that was taken in."""
        peak, shift = 0.0, None
        if self._sum is not None and self._tiles:
            # A mean of n correlations that have nothing in common has the standard deviation 1 / sqrt(n).
            found, height, _ = highest(self._sum / np.sqrt(np.float32(self._tiles)))
            peak = height
            shift = found if height >= COMMON else None
        return PairRegistration(
            self.reference,
            self.modality,
            self._tiles,
            peak,
            shift,
            np.array(self._judged, np.int64),
            tuple(self._shifts),
        )
