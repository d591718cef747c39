"""The YAML that says what a folder of NetCDF cubes with a time dimension holds, to make series of it.

::

    tile_size: 64
    place: location_id               # attribute of the files that names the place; a file without it is one of its own
    max_dates: 48                    # images of a tile at most, spread over the time if there are more clear ones
    modalities: []                   # modalities of your own, as in `geopretext modalities --help`
    cubes:
      S2_10m:
        files: "*_S2_L2A_10m_*.nc"   # below the folder; the first cube that a place has decides its grid
        modality: sentinel2_series
        bands: {B2: B02, B3: B03}    # band of the modality: variable of the file
        unit: reflectance x 10000
        level: L2A
        nodata: [0]                  # besides the file's own _FillValue
        scale: ignore                # the file's scale_factor and add_offset: apply or ignore
        offset: none                 # of Sentinel-2: none, 1000, or the day from which on there is 1000 to undo
      S2_20m: {files: "*_S2_L2A_20m_*.nc", modality: sentinel2_series, ...}
      S1: {files: "*_S1_*.nc", modality: sentinel1_series, bands: {VV: VV, VH: VH}, unit: dB, scale: apply}
    clear:
      sentinel2_series: {cube: S2_20m, variable: SCL, min_clear: 0.9}

``docs/source-series.md`` explains every key. Nothing is guessed: an unknown key, band or unit is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from geopretext.data.fields import read_settings
from geopretext.data.offset import OFFSET
from geopretext.data.units import REFLECTANCE, check_unit
from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED, Modality, find_modality

_CLEAR = (2, 4, 5, 6, 7, 11)


@dataclass(frozen=True)
class CubeLayer:
    """What the files of one kind hold."""

    files: str = ""
    """pattern of their names, relative to the folder (``*_S2_*.nc``); each place has one of them at most"""
    modality: str = ""
    """name"""
    bands: dict[str, str] = field(default_factory=dict)
    """variables of the files, by band of the modality"""
    unit: str = ""
    """of the numbers, after ``scale`` or ``decibel``"""
    level: str = ""
    """processing level, for modalities that have levels"""
    nodata: tuple[float, ...] = ()
    """numbers of the files that mean "not observed", besides ``_FillValue``"""
    scale: Literal["", "apply", "ignore"] = ""
    """what to do about ``scale_factor`` and ``add_offset`` of the files; without it, a file that has them is refused"""
    decibel: tuple[float, float] | None = None
    """(a, b): the files hold compressed backscatter, a log10(number) + b in dB; WorldCereal's are (20, -83)"""
    offset: str = ""
    """of Sentinel-2 reflectance: ``none``, ``1000``, or the day from which on images carry it (2022-01-25)"""

    @property
    def offset_from(self) -> np.datetime64 | None:
        """The day from which on the Sentinel-2 offset is undone; None: never."""
        if self.offset in ("", "none", "0"):
            return None
        return np.datetime64("0001-01-01" if self.offset == str(OFFSET) else self.offset, "D")


@dataclass(frozen=True)
class ClearRule:
    """Which images of a series are clear. Where a place has no mask all count as clear, and the store says so."""

    cube: str = ""
    """name of the cube with the mask"""
    variable: str = "SCL"
    """of that cube: classes of pixels"""
    classes: tuple[int, ...] = _CLEAR
    """that count as clear; by default of SCL all but no data, defective, shadow, cloud, cirrus"""
    min_clear: float = 0.9
    """share of a tile's pixels, 0 to 1, that must be; other images are left out"""
    hide: bool = False
    """pixels that are not clear are missing; otherwise they stay as they are"""

    def __post_init__(self) -> None:
        if not 0 <= self.min_clear <= 1:
            raise RecipeError(f"min_clear is {self.min_clear:g}", hint="it is between 0 and 1")


@dataclass(frozen=True)
class CubeMapping:
    """The whole mapping. ``load_cube_mapping`` reads and checks it."""

    path: str
    """of the YAML file, for messages"""
    tile_size: int
    """pixels a side"""
    ground_sampling_distance: float
    """metres a pixel of the tiles; coarser cubes are repeated, pixel by pixel"""
    place: str
    """attribute of the files that names the place"""
    max_dates: int
    """images of a series at most"""
    cubes: Mapping[str, CubeLayer]
    """by name, in the order of the file"""
    clear: Mapping[str, ClearRule]
    """by series"""
    modalities: tuple[Modality, ...]
    """what comes out, each with the bands that some cube gives, in published order"""
    plain: Mapping[str, Any]
    """the YAML as plain types, recorded in the store's recipe"""

    def layers(self, modality: str) -> dict[str, CubeLayer]:
        """The cubes that give a modality, by name."""
        return {name: layer for name, layer in self.cubes.items() if layer.modality == modality}


@dataclass(frozen=True)
class _Top:
    tile_size: int = 64
    ground_sampling_distance: float = 10.0
    place: str = ""
    max_dates: int = 48

    def __post_init__(self) -> None:
        if not 8 <= self.tile_size <= 4096:
            raise RecipeError(f"tile_size is {self.tile_size}", hint="8 to 4096 pixels")
        if self.ground_sampling_distance <= 0 or self.max_dates < 1:
            raise RecipeError("ground_sampling_distance and max_dates are positive")


def is_cube_mapping(path: str | Path) -> bool:
    """Whether a mapping is of cubes; False if it is anything else, or cannot be read."""
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(content, Mapping) and "cubes" in content


def load_cube_mapping(path: str | Path, modalities: Mapping[str, Modality] = PUBLISHED) -> CubeMapping:
    """Read and check a mapping.

    Args:
        path: the YAML file, of which ``is_cube_mapping`` is true.
        modalities: those that the mapping may name, beside those that it defines itself.

    Raises:
        RecipeError: a key or value is wrong; the message names the file and the key.
        InputError, BandError, UnitError: a modality, band or unit does not fit.
    """
    where = str(path)
    plain: dict[str, Any] = yaml.safe_load(Path(path).read_text("utf-8"))
    entries, clear, own = (plain.get(key) or {} for key in ("cubes", "clear", "modalities"))
    if not isinstance(entries, Mapping) or not entries or not isinstance(clear, Mapping):
        raise RecipeError("'cubes' and 'clear' are mappings of names", where=where, hint="cubes: {S1: {files: ...}}")
    known = {**modalities, **{m.name: m for m in map(Modality.from_dict, own)}}
    top = {key: value for key, value in plain.items() if key not in ("cubes", "clear", "modalities")}
    settings = read_settings(_Top, top, where=where)
    cubes = {str(name): _layer(entry, known, f"{where}: cubes.{name}") for name, entry in entries.items()}
    rules = {str(name): _rule(str(name), entry, cubes, f"{where}: clear.{name}") for name, entry in clear.items()}
    return CubeMapping(
        path=where,
        tile_size=settings.tile_size,
        ground_sampling_distance=settings.ground_sampling_distance,
        place=settings.place,
        max_dates=settings.max_dates,
        cubes=cubes,
        clear=rules,
        modalities=_given(cubes, known, where),
        plain=plain,
    )


def _layer(entry: Any, known: Mapping[str, Modality], where: str) -> CubeLayer:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{entry!r} is not a mapping of keys", where=where)
    plain = dict(entry)
    if isinstance(plain.get("nodata"), int | float):
        plain["nodata"] = [plain["nodata"]]
    if "offset" in plain:  # YAML reads a day as one, and a number as one
        plain["offset"] = str(plain["offset"])
    layer = read_settings(CubeLayer, plain, where=where)
    if not (layer.files and layer.modality and layer.bands):
        raise RecipeError("needs files, modality and bands", where=where)
    modality = find_modality(layer.modality, known)
    if modality.kind.is_vector:
        raise RecipeError(f"{modality.name!r} is a {modality.kind}", where=where, hint="cubes hold series and maps")
    modality.band_indices(tuple(layer.bands))
    if layer.level not in (modality.levels or ("",)):
        raise RecipeError(
            f"level is {layer.level!r}", where=where, hint=f"one of {', '.join(modality.levels) or 'none'}"
        )
    if layer.decibel and layer.scale:
        raise RecipeError("scale and decibel exclude each other", where=where)
    if not modality.kind.is_categorical:
        _check_numbers(layer, modality, where)
    return layer


def _check_numbers(layer: CubeLayer, modality: Modality, where: str) -> None:
    units = {modality.bands[k].unit for k in modality.band_indices(tuple(layer.bands))}
    for unit in units:
        check_unit(layer.unit or ("dB" if layer.decibel else unit), unit, where=where)
    if not layer.unit and units != {"dB" if layer.decibel else "1"}:
        raise RecipeError("lacks the unit of the numbers in the files", where=where, hint=f"as stored: {units.pop()!r}")
    if bool(layer.offset) != (units == {REFLECTANCE} and bool(layer.level)):
        raise RecipeError(
            f"offset is {layer.offset!r}",
            where=where,
            hint="reflectance of Sentinel-2 needs one, and only that: none, 1000, or the day from which on it is there",
        )
    try:
        _ = layer.offset_from
    except ValueError:
        raise RecipeError(f"offset is {layer.offset!r}", where=where, hint="none, 1000, or a day") from None


def _rule(name: str, entry: Any, cubes: Mapping[str, CubeLayer], where: str) -> ClearRule:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{entry!r} is not a mapping of keys", where=where)
    rule = read_settings(ClearRule, entry, where=where)
    if rule.cube not in cubes or name not in {layer.modality for layer in cubes.values()}:
        raise RecipeError(
            f"cube is {rule.cube!r} for {name!r}",
            where=where,
            hint=f"cubes are {', '.join(cubes)}, and give what it is for",
        )
    return rule


def _given(cubes: Mapping[str, CubeLayer], known: Mapping[str, Modality], where: str) -> tuple[Modality, ...]:
    """The modalities with the bands that the cubes give; all cubes of one are of one level."""
    found: dict[str, Modality] = {}
    for name in dict.fromkeys(layer.modality for layer in cubes.values()):
        layers = [layer for layer in cubes.values() if layer.modality == name]
        if len({layer.level for layer in layers}) > 1:
            raise RecipeError(f"its cubes give {name!r} at several levels", where=where, hint="make one store a level")
        modality = find_modality(name, known)
        bands = {band for layer in layers for band in layer.bands}
        found[name] = modality.select([band for band in modality.band_names if band in bands])
    return tuple(found.values())
