"""What a modality is: frozen facts about its kind, bands, units, missing values and classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import BandError, ClassError, InputError


class Kind(StrEnum):
    """The kinds of modality; code branches on these and never on a modality's name."""

    CONTINUOUS_MAP = "continuous map"
    CATEGORICAL_MAP = "categorical map"
    CONTINUOUS_VECTOR = "continuous vector"
    CATEGORICAL_VECTOR = "categorical vector"
    MULTILABEL_VECTOR = "multi-label vector"
    CONTINUOUS_SERIES = "continuous series"

    @property
    def is_map(self) -> bool:
        """True if there is one image: a value for each pixel."""
        return self in (Kind.CONTINUOUS_MAP, Kind.CATEGORICAL_MAP)

    @property
    def is_series(self) -> bool:
        """True if there are several images, each of its own date."""
        return self is Kind.CONTINUOUS_SERIES

    @property
    def is_vector(self) -> bool:
        """True if the values are those of the whole tile."""
        return not (self.is_map or self.is_series)

    @property
    def band_axis(self) -> int:
        """Which axis of stored numbers, the first being that of the tiles, is that of the bands."""
        return 2 if self.is_series else 1

    @property
    def is_categorical(self) -> bool:
        """True if each value is exactly one of several classes."""
        return self in (Kind.CATEGORICAL_MAP, Kind.CATEGORICAL_VECTOR)

    @property
    def is_continuous(self) -> bool:
        """True if the values are quantities with a unit."""
        return self in (Kind.CONTINUOUS_MAP, Kind.CONTINUOUS_VECTOR, Kind.CONTINUOUS_SERIES)


class Role(StrEnum):
    """What a modality is there for."""

    PRETEXT = "pretext"
    """may be predicted in pretraining"""
    SIDE = "side"
    """describes another modality (cloud mask, scene classification)"""
    LABEL = "label"
    """a downstream target: never shown to pretraining"""


@dataclass(frozen=True)
class Band:
    """One channel of a modality."""

    name: str
    """unique within its modality, as published (``B8A``, ``asc_VV``, ``elevation``)"""
    unit: str = "1"
    """of the values as stored, after ``scale`` (``reflectance x 10000``, ``dB``, ``m``, ``K``); "1" is dimensionless"""
    valid_min: float | None = None
    """smallest plausible value; anything below counts as missing"""
    valid_max: float | None = None
    """largest plausible value; anything above counts as missing"""
    title: str = ""
    """for people: wavelength, polarisation, meaning"""


@dataclass(frozen=True)
class ClassLabel:
    """One class of a categorical modality."""

    code: int
    """the number in the stored array"""
    name: str
    """as published"""
    color: str = ""
    """published colour as ``#rrggbb``; empty if there is none"""


_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")


@dataclass(frozen=True)
class Modality:
    """One aligned source at a tile: a map (band, y, x), a vector (band,) or a series of images (date, band, y, x).

    A categorical modality has one band, whose stored values are the ``code`` of its ``classes``. A multi-label vector
    has a band for each label, stored as 0 or 1. The dates of a series lie beside it, a row for each tile, since each
    tile was seen at other times; tiles that were seen less often are padded with images of the missing number.

    Raises:
        InputError: the fields contradict each other (the message names the field).
    """

    name: str
    """identifier: lower-case letters, digits and underscores"""
    kind: Kind
    bands: tuple[Band, ...]
    """in stored order; always addressed by name"""
    dtype: str
    """of the stored array: uint8, uint16, uint32, int8, int16, int32 or float32"""
    missing: tuple[float, ...] = ()
    """stored numbers that mean "not observed"; the first one is written. float32 stores NaN, and any non-finite
    number is missing without being listed"""
    classes: tuple[ClassLabel, ...] = ()
    """of a categorical modality, in class-index order"""
    role: Role = Role.PRETEXT
    levels: tuple[str, ...] = ()
    """processing levels with statistics of their own (``L1C``, ``L2A``); empty if there is one level only"""
    title: str = ""
    """for people"""
    source: str = ""
    """where the published data come from"""
    official_name: str = ""
    """its name in MMEarth's files, if that differs"""

    def __post_init__(self) -> None:
        where = f"modality {self.name!r}"
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise InputError("a name is lower-case letters, digits and underscores", where=where)
        if self.dtype not in _DTYPES:
            raise InputError(f"dtype {self.dtype!r} is none of {', '.join(_DTYPES)}", where=where)
        if not self.bands:
            raise InputError("has no bands", where=where, hint="name at least one band")
        if len(set(self.band_names)) != len(self.bands):
            raise BandError(f"band names repeat: {', '.join(self.band_names)}", where=where)
        if self.kind.is_categorical != bool(self.classes):
            needs = "needs classes" if self.kind.is_categorical else "cannot have classes"
            raise InputError(f"a {self.kind} {needs}", where=where, hint="fields 'kind' and 'classes'")
        if self.kind.is_categorical and len(self.bands) != 1:
            raise InputError(f"a {self.kind} has one band, not {len(self.bands)}", where=where)
        if self.kind.is_series and self.dtype != "float32" and not self.missing:
            raise InputError(f"a {self.kind} needs a number for 'missing'", where=where, hint="its padding is missing")
        codes = [label.code for label in self.classes]
        if len(set(codes)) != len(codes) or set(codes) & set(self.missing):
            raise ClassError("class codes repeat or are also missing values", where=where)

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in stored order."""
        return tuple(band.name for band in self.bands)

    @property
    def fill(self) -> float:
        """The number written where nothing was observed: NaN, or the first of ``missing``."""
        if self.dtype == "float32":
            return math.nan
        if self.missing:
            return self.missing[0]
        raise InputError("cannot say 'missing'", where=f"modality {self.name!r}", hint="list a number in 'missing'")

    @property
    def channels(self) -> int:
        """Numbers that a prediction of one place needs: bands, or classes if categorical."""
        return len(self.classes) if self.kind.is_categorical else len(self.bands)

    @property
    def image(self) -> "Modality":
        """Of a series: the map that each of its images is. Anything else is itself."""
        return replace(self, kind=Kind.CONTINUOUS_MAP) if self.kind.is_series else self

    def select(self, bands: Sequence[str]) -> "Modality":
        """The same modality with only ``bands``, in that order.

        Raises:
            BandError: a band is unknown or asked for twice.
        """
        self.band_indices(bands)
        by_name = {band.name: band for band in self.bands}
        return replace(self, bands=tuple(by_name[name] for name in bands))

    def band_indices(self, bands: Sequence[str]) -> tuple[int, ...]:
        """Positions of ``bands`` in the stored order.

        Raises:
            BandError: a band is unknown or asked for twice.
        """
        where = f"modality {self.name!r}"
        unknown = [name for name in bands if name not in self.band_names]
        if unknown:
            raise BandError(
                f"no band {', '.join(map(repr, unknown))}", where=where, hint=f"it has {', '.join(self.band_names)}"
            )
        if len(set(bands)) != len(bands):
            raise BandError(f"bands repeat: {', '.join(bands)}", where=where)
        return tuple(self.band_names.index(name) for name in bands)

    @cached_property
    def class_index(self) -> Mapping[int, int]:
        """Class index 0..K-1 by stored code."""
        return {label.code: index for index, label in enumerate(self.classes)}

    def decode(self, raw: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Stored numbers -> (values, valid), as ``Observed`` lays them out; (B, C, H, W), (B, C) or (B, T, C, H, W).

        Anything missing, non-finite or outside the valid range is not valid, and its value is 0.

        Raises:
            ClassError: a stored code is neither a class nor missing.
        """
        if self.kind.is_categorical:
            return self._decode_classes(raw[:, 0])
        values = raw.astype(np.float32)
        valid = np.isfinite(values)
        for number in self.missing:
            valid &= raw != number
        trailing = (1,) * (raw.ndim - self.kind.band_axis - 1)
        low = np.array([-np.inf if b.valid_min is None else b.valid_min for b in self.bands], np.float32)
        high = np.array([np.inf if b.valid_max is None else b.valid_max for b in self.bands], np.float32)
        with np.errstate(invalid="ignore"):
            valid &= (values >= low.reshape(-1, *trailing)) & (values <= high.reshape(-1, *trailing))
        return np.where(valid, values, np.float32(0)), valid

    def _decode_classes(self, codes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        known = np.array(sorted(self.class_index), np.int64)
        index = np.array([self.class_index[int(code)] for code in known], np.int64)
        codes = codes.astype(np.int64)
        position = np.searchsorted(known, codes).clip(max=len(known) - 1)
        valid = known[position] == codes
        stray = ~valid & ~np.isin(codes, np.array(self.missing, np.int64))
        if stray.any():
            raise ClassError(
                f"code {', '.join(map(str, np.unique(codes[stray])[:5]))} is not a class of modality {self.name!r}",
                hint=f"its codes are {', '.join(map(str, known[:20]))}; list others under 'missing' or 'classes'",
            )
        return np.where(valid, index[position], 0), valid

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON and YAML; ``Modality.from_dict`` reads it back. Defaults are left out."""
        defaults = {f.name: f.default for f in fields(self)}
        plain = asdict(self)
        plain = {key: value for key, value in plain.items() if getattr(self, key) != defaults[key]}
        plain["kind"] = str(self.kind)
        plain["role"] = str(self.role)
        plain["bands"] = [{k: v for k, v in band.items() if v not in (None, "")} for band in plain["bands"]]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Modality":
        """Read what ``to_dict`` wrote, or what a user wrote in YAML.

        Raises:
            InputError: a field is unknown, missing or of the wrong type (the message names it).
        """
        where = f"modality {plain.get('name', '?')!r}"
        known = {f.name for f in fields(cls)}
        unknown = set(plain) - known
        if unknown:
            raise InputError(
                f"unknown field {', '.join(sorted(map(repr, unknown)))}",
                where=where,
                hint=f"fields are {', '.join(f.name for f in fields(cls))}",
            )
        absent = {"name", "kind", "bands", "dtype"} - set(plain)
        if absent:
            raise InputError(f"lacks {', '.join(sorted(absent))}", where=where)
        try:
            return cls(
                **{
                    **plain,
                    "kind": Kind(plain["kind"]),
                    "role": Role(plain.get("role", Role.PRETEXT)),
                    "bands": tuple(_band(entry) for entry in plain["bands"]),
                    "missing": tuple(plain.get("missing", ())),
                    "levels": tuple(plain.get("levels", ())),
                    "classes": _classes(plain.get("classes", ())),
                }
            )
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(str(error), where=where) from error


def _band(entry: str | Mapping[str, Any]) -> Band:
    """A band is written as its name, or as a mapping of the fields of ``Band``."""
    return Band(entry) if isinstance(entry, str) else Band(**entry)


def _classes(entries: Mapping[int, str] | Sequence[Mapping[str, Any]]) -> tuple[ClassLabel, ...]:
    """Classes are written as ``{code: name}``, or as a list of the fields of ``ClassLabel``."""
    if isinstance(entries, Mapping):
        return tuple(ClassLabel(int(code), str(name)) for code, name in entries.items())
    return tuple(ClassLabel(**entry) for entry in entries)
