"""What a raster says of itself: its grid, its bands' names, its unit; and the refusal of what cannot be used."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from geopretext.data.units import CONVERSIONS, REFLECTANCE
from geopretext.errors import BandError, GridError, InputError, MissingLibraryError, UnitError
from geopretext.modality import PUBLISHED
from geopretext.predict.images import DIGITAL_NUMBER, RGB_BANDS, UNSTATED, band_name
from geopretext.predict.scene import Georeference

try:
    from rasterio.enums import ColorInterp
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

LEFT_OUT = "-"
"""in place of the name of a band that is not wanted"""
OFFSET_UNIT = f"{REFLECTANCE} + 1000"
"""as processing baseline 04.00 of Sentinel-2 writes it"""
UNITS = frozenset({UNSTATED, "K", "m", "degree", *(unit for pair in CONVERSIONS for unit in pair)})
"""that can be declared or stated"""

_OURS = frozenset(PUBLISHED["sentinel2"].band_names)
_PRODUCT = re.compile(r"_MSIL(1C|2A)_(\d{8}T\d{5,6})(?:_|$)")
_COLOURS = dict(zip((ColorInterp.red, ColorInterp.green, ColorInterp.blue), RGB_BANDS, strict=True))


@dataclass(frozen=True)
class Numbers:
    """What the numbers of a file mean."""

    unit: str
    """after scale and offset"""
    known_from: str
    """in words, for the record"""
    scale: float = 1.0
    offset: float = 0.0


def georeference_of(dataset: Any, *, where: str, allow_no_crs: bool) -> Georeference:
    """Where an open raster lies.

    Raises:
        GridError: it does not say where, or its rows do not run from west to east and from north to south.
    """
    a, b, c, d, e, f = (float(number) for number in tuple(dataset.transform)[:6])
    if dataset.crs is None:
        if not allow_no_crs:
            by_points = bool(dataset.gcps[0]) or bool(dataset.rpcs)
            raise GridError(
                "does not say where on the Earth it lies: it has no CRS" + (", only control points" * by_points),
                where=where,
                hint="gdalwarp it onto a grid"
                if by_points
                else "write one into it with gdal_edit -a_srs EPSG:CODE,"
                " or allow that positions are pixels (allow_no_crs=True, --allow-no-crs)",
            )
        return Georeference("", (a, b, c, d, e, f))
    check_north_up((a, b, c, d, e, f), where=where)
    return Georeference(dataset.crs.to_string(), (a, b, c, d, e, f))


def check_north_up(transform: tuple[float, float, float, float, float, float], *, where: str) -> None:
    """Refuse pixels that are turned or mirrored.

    Raises:
        GridError: shows the transform.
    """
    a, b, _, d, e, _ = transform
    if b or d or a <= 0 or e >= 0:
        turned = "turned" if b or d else "mirrored"
        raise GridError(
            f"its pixels are {turned}: the transform is {', '.join(f'{number:.10g}' for number in transform)}",
            where=where,
            hint="encoders have seen images with north at the top: gdalwarp it onto such a grid",
        )


def names_of(dataset: Any, declared: Sequence[str] | None, *, where: str) -> dict[str, int]:
    """Indexes of an open raster's bands by name.

    Args:
        dataset: open.
        declared: names in file order, or None: those that it describes, or the colours of an 8-bit picture. An alpha
            band has no name: it is a mask.
        where: for messages.

    Raises:
        BandError: it does not name its bands, or not as declared.
    """
    colours = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    indexes = [index for index, colour in colours.items() if colour is not ColorInterp.alpha]
    described = [(dataset.descriptions[index - 1] or "").strip() for index in indexes]
    is_picture = all(dataset.dtypes[index - 1] == "uint8" for index in indexes)
    if declared is not None:
        if len(declared) != len(indexes):
            raise BandError(
                f"has {len(indexes)} bands, but {len(declared)} are declared ({', '.join(declared)})",
                where=where,
                hint=f"name every band of the file in its order; {LEFT_OUT} leaves one out",
            )
        named = [band_name(name) for name in declared]
        _check_descriptions(named, [band_name(name) for name in described], where=where)
    elif is_picture and {colours[index] for index in indexes} == set(_COLOURS):
        named = [_COLOURS[colours[index]] for index in indexes]
    elif all(described):
        named = [band_name(name) for name in described]
    else:
        raise BandError(
            f"does not name its {len(indexes)} band{'s' * (len(indexes) != 1)}",
            where=where,
            hint="declare them in file order, for example --bands B2,B3,B4,B8",
        )
    found = {name: index for name, index in zip(named, indexes, strict=True) if name != LEFT_OUT}
    if len(found) != sum(name != LEFT_OUT for name in named) or not found:
        raise BandError(f"band names repeat: {', '.join(named)}", where=where, hint="declare them with --bands")
    return found


def _check_descriptions(named: Sequence[str], described: Sequence[str], *, where: str) -> None:
    """Refuse a declaration that the file contradicts: by names of Sentinel-2, or by the same names in another order."""
    wrong = [f"{name} for {there}" for name, there in zip(named, described, strict=True) if name not in (there, "-")]
    if wrong and (set(described) <= _OURS or set(named) - {LEFT_OUT} <= set(described)):
        raise BandError(
            f"calls its bands {', '.join(described)}; declared is {', '.join(wrong)}",
            where=where,
            hint="leave --bands out, or correct the descriptions in the file",
        )


def numbers_of(dataset: Any, indexes: Sequence[int], declared: str | None, *, where: str) -> Numbers:
    """What the numbers of an open raster mean, by its scale and offset tags, its unit, or as declared.

    Raises:
        UnitError: it does not say what they mean, or contradicts what is declared.
    """
    check_unit_name(declared, where=where)
    kinds = {dataset.dtypes[index - 1] for index in indexes}
    if any(kind.startswith("complex") for kind in kinds):
        raise UnitError("its numbers are complex", where=where, hint="give amplitude, power or dB")
    tags = {(dataset.scales[index - 1], dataset.offsets[index - 1]) for index in indexes}
    if tags != {(1.0, 0.0)}:
        return scaled_numbers(tags, declared, where=where, stated_in="scale and offset in its tags")
    if declared is not None:
        return Numbers(declared, "declared")
    if kinds == {"uint8"}:
        return Numbers(DIGITAL_NUMBER, "an 8-bit picture")
    stated = {dataset.units[index - 1] for index in indexes}
    unit = next(iter(stated)) if len(stated) == 1 else None
    if unit in UNITS:
        return Numbers(unit, "the unit that the file states")
    raise unit_missing(where)


def scaled_numbers(tags: set[tuple[float, float]], declared: str | None, *, where: str, stated_in: str) -> Numbers:
    """What numbers mean whose scales and offsets are stated.

    0.0001, with or without the offset of -0.1 that baseline 04.00 of Sentinel-2 has, is reflectance whatever else is
    said; other ones are applied, and the unit must be declared.

    Raises:
        UnitError: they differ between bands, contradict the declared unit, or leave it open.
    """
    if len(tags) > 1:
        raise UnitError(f"its bands differ in {stated_in}: {sorted(tags)}", where=where, hint="give one file a unit")
    scale, offset = next(iter(tags))
    if np.isclose(scale, 1e-4) and round(offset / scale) in (0, -1000):
        if declared not in (None, REFLECTANCE, "reflectance"):
            raise UnitError(
                f"{stated_in} is {scale:g} and {offset:g}, that is reflectance; declared is {declared!r}",
                where=where,
                hint="leave the unit out, or remove the tags",
            )
        return Numbers(REFLECTANCE, stated_in, offset=float(round(offset / scale)))
    if declared is None:
        raise UnitError(
            f"{stated_in} is {scale:g} and {offset:g}, and it does not say the unit of what comes out",
            where=where,
            hint="declare the unit after scaling, for example --unit reflectance",
        )
    return Numbers(declared, f"declared, after {stated_in}", scale, offset)


def check_unit_name(declared: str | None, *, where: str) -> None:
    """Refuse a unit that nobody knows.

    Raises:
        UnitError: lists those that there are.
    """
    if declared is not None and declared not in UNITS:
        raise UnitError(
            f"there is no unit {declared!r}", where=where, hint=f"one of {', '.join(map(repr, sorted(UNITS)))}"
        )


def unit_missing(where: str) -> UnitError:
    """The refusal of numbers of which nobody says what they are."""
    return UnitError(
        "does not say what its numbers are",
        where=where,
        hint=f"declare it: --unit '{REFLECTANCE}' (with Sentinel-2's offset of baseline 04.00: '{OFFSET_UNIT}'), or"
        f" --unit {UNSTATED} to standardise it by its own means, so that other scenes cannot be compared with it",
    )


def missing_numbers(unit: str, dtypes: Sequence[str]) -> tuple[float, ...]:
    """Numbers that mean no data by the unit alone: whole numbers of reflectance leave 0 to what was not observed."""
    is_whole = all(np.issubdtype(np.dtype(dtype), np.integer) for dtype in dtypes)
    return (0.0,) if is_whole and unit in (REFLECTANCE, OFFSET_UNIT) else ()


def product_facts(name: str) -> tuple[str | None, np.datetime64 | None]:
    """Level and sensing time by the name of a Sentinel-2 product or of what was cut out of one."""
    found = _PRODUCT.search(name)
    if found is None:
        return None, None
    try:
        return f"L{found[1]}", np.datetime64(datetime.strptime(found[2], "%Y%m%dT%H%M%S").replace(tzinfo=None), "s")
    except ValueError:
        return f"L{found[1]}", None


def read_date(text: str | None, *, where: str) -> np.datetime64 | None:
    """A declared date.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not a date", where=where, hint="as 2024-08-30 or 2024-08-30T10:06:21") from error
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "s")
