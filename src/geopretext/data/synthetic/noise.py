"""Hashed noise: the only source of chance on the synthetic Earth, a pure function of a key and of where one stands.

Every number comes from mixing integers, so that it does not depend on which tiles are rendered together, in what order
or by which process. Smooth noise is gradient noise (Perlin 1985, with the quintic fade of Perlin 2002) on lattices
that are fixed to the world.

Shapes: all arguments broadcast; keys are uint32, usually (n, 1, 1) for n windows.
"""

from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.floating[Any]]
"""float32 at run time, which numpy's types lose in mixed arithmetic"""
Bits = npt.NDArray[np.uint32]
Key = npt.NDArray[np.uint32]

_PRIMES = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D))
_SALT = np.uint32(0x27D4EB2F)
_EDGES = np.array(
    [
        [1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 1, -1, 0, 0],
        [1, 1, -1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 1, 1, -1, -1],
        [0, 0, 0, 0, 1, 1, -1, -1, 1, 1, -1, -1, 0, 0, 1, -1],
    ],
    np.float32,
)


def mix(bits: Bits) -> Bits:
    """Scramble 32 bits so that neighbouring inputs share nothing (the "lowbias32" constants of C. Wellons)."""
    high = bits >> 16
    bits = np.bitwise_xor(bits, high)
    bits *= np.uint32(0x7FEB352D)
    bits ^= np.right_shift(bits, 15, out=high)
    bits *= np.uint32(0x846CA68B)
    bits ^= np.right_shift(bits, 16, out=high)
    return bits


def stir(bits: Bits, purpose: str) -> Bits:
    """Other bits made from these, for each purpose other ones."""
    return mix(bits + np.uint32(crc32(purpose.encode())))


def key_of(*parts: int | npt.NDArray[Any]) -> Key:
    """A key from integers, one after the other; each part may be an array (at least one dimension comes out)."""
    key: Key = np.full(1, 0x5BD1E995, np.uint32)
    for part in parts:
        key = mix(key + _PRIMES[0] * np.atleast_1d(np.asarray(part)).astype(np.int64).astype(np.uint32) + _SALT)
    return key


def lattice_hash(key: Key, *position: npt.NDArray[np.int64]) -> Bits:
    """32 random bits at an integer position."""
    bits = key
    for axis, prime in zip(position, _PRIMES, strict=False):
        bits = bits + axis.astype(np.uint32) * prime
    return mix(bits)


def uniform(bits: Bits, part: int = 0) -> Float:
    """Hashed bits as a number in [0, 1); ``part`` 0 and 1 use the upper and the lower half of the bits."""
    half = (bits >> 16) if part == 0 else (bits & np.uint32(0xFFFF))
    return half.astype(np.float32) * np.float32(1 / 65536)


def gradient_noise(key: Key, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Float:
    """Smooth noise in about [-0.7, 0.7] with one bump a unit square; ``x`` and ``y`` in lattice units."""
    column, row = np.floor(x), np.floor(y)
    fx, fy = (x - column).astype(np.float32), (y - row).astype(np.float32)
    across = column.astype(np.int64).astype(np.uint32) * _PRIMES[0]
    down = row.astype(np.int64).astype(np.uint32) * _PRIMES[1] + key
    one = np.float32(1)
    # All four corners at once: axis 0 is the lower or upper row of the lattice, axis 1 the left or right column.
    bits = mix(np.stack([down, down + _PRIMES[1]])[:, None] + np.stack([across, across + _PRIMES[0]]))
    # The two halves of the bits are the two components of a gradient.
    gradient = bits.view(np.int16).astype(np.float32)
    value = gradient[..., ::2] * np.stack([fx, fx - one])
    value += gradient[..., 1::2] * np.stack([fy, fy - one])[:, None]
    left: Float = value[:, 0]
    right: Float = value[:, 1]
    right -= left
    right *= fade(fx)
    right += left
    top: Float = right[0]
    bottom: Float = right[1]
    bottom -= top
    bottom *= fade(fy)
    top += bottom
    top *= np.float32(1.25 / 32768)
    return top


def gradient_noise_3d(key: Key, x: npt.NDArray[Any], y: npt.NDArray[Any], z: npt.NDArray[Any]) -> Float:
    """Smooth noise in about [-0.9, 0.9] in three dimensions, for fields on the globe."""
    cells = [np.floor(axis) for axis in (x, y, z)]
    f = [(axis - cell).astype(np.float32) for axis, cell in zip((x, y, z), cells, strict=True)]
    index = [cell.astype(np.int64).astype(np.uint32) * prime for cell, prime in zip(cells, _PRIMES, strict=True)]
    weight = [fade(fraction) for fraction in f]
    one = np.float32(1)
    total = np.zeros(np.broadcast_shapes(key.shape, f[0].shape), np.float32)
    for corner in range(8):
        d = (corner & 1, corner >> 1 & 1, corner >> 2 & 1)
        bits = key
        for axis in range(3):
            bits = bits + (index[axis] + _PRIMES[axis] if d[axis] else index[axis])
        bits = mix(bits) & np.uint32(15)
        value = np.take(_EDGES[0], bits) * (f[0] - one if d[0] else f[0])
        for axis in (1, 2):
            value += np.take(_EDGES[axis], bits) * (f[axis] - one if d[axis] else f[axis])
        for axis in range(3):
            value *= weight[axis] if d[axis] else one - weight[axis]
        total += value
    return total


def fractals_3d(
    seed: int, point: tuple[npt.NDArray[Any], ...], fields: dict[str, tuple[float, int]]
) -> dict[str, Float]:
    """Several fields of fractal noise on the unit sphere, all octaves in one go.

    Args:
        seed: of the planet.
        point: x, y, z.
        fields: name -> (bumps a radian of the first octave, octaves); the weight of octaves halves.
    """
    octaves = [(f, k) for f, (_, count) in enumerate(fields.values()) for k in range(count)]
    lead = (slice(None), *(None,) * point[0].ndim)
    scale = np.array([list(fields.values())[f][0] * 2.03**k for f, k in octaves])[lead]
    key = key_of(seed, np.array([100 * f + k for f, k in octaves]))[lead]
    noise = gradient_noise_3d(key, *(axis * scale for axis in point))
    result: dict[str, Float] = {}
    for name, (f, k), values in zip((list(fields)[f] for f, _ in octaves), octaves, noise, strict=True):
        del f
        result[name] = result[name] + np.float32(0.5**k) * values if k else values
    return result


def fade(t: Float) -> Float:
    """Quintic step from 0 to 1 with flat ends."""
    bend: Float = t * np.float32(6)
    bend -= np.float32(15)
    bend *= t
    bend += np.float32(10)
    cube: Float = t * t
    cube *= t
    cube *= bend
    return cube


def step(low: float, high: float, value: npt.NDArray[Any]) -> Float:
    """Smooth step: 0 at ``low``, 1 at ``high`` and beyond (``low`` > ``high`` steps down)."""
    t = np.asarray(value, np.float32) - np.float32(low)
    t *= np.float32(1 / (high - low))
    np.maximum(t, np.float32(0), out=t)
    np.minimum(t, np.float32(1), out=t)
    bend: Float = t * np.float32(-2)
    bend += np.float32(3)
    t *= t
    t *= bend
    return t
