"""Where pixels lie: windows on the 10 m grid of a UTM zone, and lattices inside them.

Columns and rows count 10 m pixels of the zone: ``column = easting / 10``, ``row = -northing / 10`` (rows grow
southwards). A window starts at a multiple of ``BLOCK`` in both, so that lattices of any spacing that divides ``BLOCK``
lie alike in all windows and rendering is the same number for number wherever a window is cut.

Shapes: n windows; pixels (n, H, W); the 30 m lattice (n, Y, X), whose first node is the first pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.noise import Float, Key, gradient_noise, key_of, lattice_hash, stir

BLOCK = 48
"""pixels: windows are aligned to this, and lattice spacings divide it"""
PIXEL = 10.0
"""metres"""
LATTICE = 3
"""pixels between the nodes of the 30 m lattice, on which smooth things are computed"""


LATTICES = (24, 12, 6, 3)
"""pixels between the nodes of the lattices on which noise is computed"""
_PORTION = 8


class Noise(NamedTuple):
    """A fractal noise field, in about +-0.7 for one octave."""

    size: float
    """of the largest bumps, pixels"""
    octaves: int = 1
    """of about halving size"""
    gain: float = 0.5
    """weight of an octave relative to the one before"""


class _Octave(NamedTuple):
    field: str
    purpose: str
    size: float
    weight: float
    spacing: int


def _octaves(fields: Mapping[str, Noise]) -> list[_Octave]:
    octaves = []
    for name, noise in fields.items():
        for k in range(noise.octaves):
            size = noise.size / 2.03**k
            spacing = next((s for s in LATTICES if s <= size / 3.5), LATTICE)
            octaves.append(_Octave(name, f"{name} {k}", size, noise.gain**k, spacing))
    return octaves


@dataclass(frozen=True)
class Windows:
    """``n`` windows of one size, each with its zone, date and level."""

    seed: int
    """of the planet"""
    epsg: npt.NDArray[np.int64]
    """(n,) 326zz north, 327zz south"""
    column: npt.NDArray[np.int64]
    """(n,) first column, a multiple of ``BLOCK``"""
    row: npt.NDArray[np.int64]
    """(n,) first row, a multiple of ``BLOCK``"""
    height: int
    """pixels, a multiple of 6"""
    width: int
    """pixels, a multiple of 6"""
    date: npt.NDArray[np.datetime64]
    """(n,) ``datetime64[D]``"""
    level: npt.NDArray[np.int8]
    """(n,) 0 = L1C, 1 = L2A"""

    @cached_property
    def _zone_key(self) -> Key:
        return key_of(self.seed, self.epsg)[:, None, None]

    @cached_property
    def _dated_key(self) -> Key:
        return key_of(self.seed, self.epsg, self.date.astype("datetime64[D]").astype(np.int64))[:, None, None]

    def key(self, purpose: str, *, dated: bool = False) -> Key:
        """(n, 1, 1) key of one kind of chance, the same all over a zone (and a date, if ``dated``)."""
        return stir(self._dated_key if dated else self._zone_key, purpose)

    def nodes(
        self, spacing: int = LATTICE, *, margin: int = 0, beyond: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Columns (n, 1, X) and rows (n, Y, 1) of the lattice that covers the windows, in pixels.

        Args:
            spacing: pixels between nodes.
            margin: nodes more on each side.
            beyond: nodes more on the far sides.
        """
        across = np.arange(-margin, (self.width - 1) // spacing + 2 + margin + beyond) * spacing
        down = np.arange(-margin, (self.height - 1) // spacing + 2 + margin + beyond) * spacing
        return self.column[:, None, None] + across[None, None, :], self.row[:, None, None] + down[None, :, None]

    def smooth(self, fields: Mapping[str, Noise], *, margin: int = 0, dated: bool = False) -> dict[str, Float]:
        """Fractal noise on the 30 m lattice by purpose, each octave computed on a lattice that just resolves it.

        Args:
            fields: purpose -> which noise.
            margin: nodes more on each side.
            dated: other noise on other days.
        """
        columns, rows = self.nodes(margin=margin)
        high, wide = rows.shape[1], columns.shape[2]
        total = {name: np.zeros((len(self.row), high, wide), np.float32) for name in fields}
        for spacing in LATTICES:
            octaves = [octave for octave in _octaves(fields) if octave.spacing == spacing]
            # In small portions, which stay in the cache.
            for portion in (octaves[i : i + _PORTION] for i in range(0, len(octaves), _PORTION)):
                fine = self._octaves_on_lattice(portion, spacing, margin, high, wide, dated)
                for octave, values in zip(portion, fine, strict=True):
                    total[octave.field] += values
        return total

    def _octaves_on_lattice(
        self, octaves: Sequence[_Octave], spacing: int, margin: int, high: int, wide: int, dated: bool
    ) -> Float:
        """(octaves, n, Y, X) on the 30 m lattice, computed on one of ``spacing`` pixels."""
        step = spacing // LATTICE
        outside = -(-margin // step)
        skip = outside * step - margin
        columns, rows = self.nodes(spacing, margin=outside, beyond=step > 1)
        key = np.stack([self.key(octave.purpose, dated=dated) for octave in octaves])
        size = np.array([octave.size for octave in octaves])[:, None, None, None]
        values = gradient_noise(key, columns / size, rows / size)
        values *= np.array([octave.weight for octave in octaves], np.float32)[:, None, None, None]
        flat = values.reshape(-1, *values.shape[2:])
        fine = upsample(flat, step, skip + high, skip + wide)[:, skip:, skip:]
        return fine.reshape(len(octaves), -1, high, wide)

    def to_pixels(self, values: npt.NDArray[Any]) -> Float:
        """Bilinear from the 30 m lattice to pixels."""
        return upsample(values, LATTICE, self.height, self.width)

    def bits(self, purpose: str, *, size: int = 1, dated: bool = False) -> npt.NDArray[np.uint32]:
        """32 random bits for each square of ``size`` pixels (a divisor of ``BLOCK``)."""
        rows, columns = -(-self.height // size), -(-self.width // size)
        across = (self.column // size)[:, None, None] + np.arange(columns)
        down = (self.row // size)[:, None, None] + np.arange(rows)[:, None]
        return lattice_hash(self.key(purpose, dated=dated), across, down)

    def spread(self, values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
        """A number for each square of ``size`` pixels, to all of its pixels."""
        wide = np.empty((*values.shape[:-1], values.shape[-1] * size), values.dtype)
        for k in range(size):
            wide[..., k::size] = values
        return wide.repeat(size, axis=-2)[..., : self.height, : self.width]


def noise_at(
    fields: Mapping[str, Noise],
    seed: int,
    *,
    epsg: int,
    dates: npt.NDArray[np.datetime64],
    columns: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> dict[str, Float]:
    """Fractal noise of some days at single points, by purpose, (dates, points): what ``Windows.smooth`` gives there.

    Args:
        fields: purpose -> which noise.
        seed: which planet.
        epsg: of the zone.
        dates: (d,) days.
        columns: (p,) multiples of 24, which are nodes of all lattices.
        rows: (p,) likewise.
    """
    key = key_of(seed, epsg, dates.astype("datetime64[D]").astype(np.int64))[:, None]
    total = {name: np.zeros((len(dates), len(columns)), np.float32) for name in fields}
    for octave in _octaves(fields):
        x, y = (np.broadcast_to(at / octave.size, (len(dates), len(at))) for at in (columns, rows))
        total[octave.field] += np.float32(octave.weight) * gradient_noise(stir(key, octave.purpose), x, y)
    return total


def upsample(values: npt.NDArray[Any], spacing: int, height: int, width: int) -> Float:
    """Bilinear from nodes (n, Y, X), ``spacing`` apart, to (n, height, width); the first node is the first pixel."""
    values = np.asarray(values, np.float32)
    if spacing == 1:
        return np.ascontiguousarray(values[:, :height, :width])
    share = np.arange(spacing, dtype=np.float32) / np.float32(spacing)
    down = np.empty((len(values), (values.shape[1] - 1) * spacing, values.shape[2]), np.float32)
    top, rise = values[:, :-1], values[:, 1:] - values[:, :-1]
    down[:, ::spacing] = top
    for k in range(1, spacing):
        np.multiply(rise, share[k], out=down[:, k::spacing])
        down[:, k::spacing] += top
    down = down[:, :height]
    cells = values.shape[2] - 1
    out = np.empty((len(values), height, cells * spacing), np.float32)
    left, rise = np.ascontiguousarray(down[..., :-1]), down[..., 1:] - down[..., :-1]
    if spacing <= cells:
        out[..., ::spacing] = left
        part = np.empty_like(left)
        for k in range(1, spacing):
            np.add(left, np.multiply(rise, share[k], out=part), out=out[..., k::spacing])
    else:
        for cell in range(cells):
            piece = out[..., cell * spacing : (cell + 1) * spacing]
            np.multiply(rise[..., cell, None], share, out=piece)
            piece += left[..., cell, None]
    return np.ascontiguousarray(out[..., :width])


def block_mean(values: Float, size: int) -> Float:
    """Mean of squares of ``size`` pixels: (n, H, W) -> (n, H / size, W / size)."""
    rows = values[:, ::size].copy()
    for k in range(1, size):
        rows += values[:, k::size]
    total = rows[..., ::size].copy()
    for k in range(1, size):
        total += rows[..., k::size]
    total *= np.float32(1 / size**2)
    return total
