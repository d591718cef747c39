"""The YAML that says what a folder of GeoTIFFs holds: which subfolder and band is which modality, unit and no-data.

::

    tile_size: 64                    # tiles are cut on a grid of this many pixels
    reference: S2L2A                 # the subfolder that decides places and grid; default: the first one
    dates: {tag: datetime, folder: LULC}     # or {csv: FILE}, {pattern: REGEX}, {places: {PLACE: DATE}}
    modalities: []                   # modalities of your own, as in `geopretext modalities --help`
    folders:
      S2L2A:
        modality: sentinel2
        bands: [B1, B2, B3]          # in the order of the file; null leaves a band out;
                                     # or {PLACE: [...], others: [...]} if places differ
        unit: reflectance x 10000    # or reflectance; {BAND: UNIT} if bands differ
        level: L2A                   # for modalities that have levels
        nodata: 0                    # a number or a list; a no-data tag in the file counts too
        offset: auto                 # auto, none, 1000, or {PLACE: 1000, others: auto}
      DEM: {modality: aster, bands: [elevation], unit: m, derive: {slope: elevation}}

``docs/data.md`` explains every key. Nothing is guessed: an unknown key, band or unit is an error that names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from geopretext.data.offset import LEVELS, OFFSET
from geopretext.data.units import REFLECTANCE, check_unit
from geopretext.errors import BandError, InputError, RecipeError
from geopretext.modality import PUBLISHED, Modality, find_modality

_TOP_KEYS = ("tile_size", "reference", "dates", "modalities", "folders")
_FOLDER_KEYS = ("modality", "bands", "unit", "level", "nodata", "offset", "derive", "gdal_scale")
_DATE_KEYS = ("tag", "csv", "pattern", "places")


@dataclass(frozen=True)
class OffsetRule:
    """What to do about the Sentinel-2 offset in the files of one folder."""

    others: int | None = 0
    """number to subtract from the files of all places not in ``places``; None: detect it (``auto``)"""
    places: Mapping[str, int | None] = field(default_factory=dict)
    """the same for single places"""

    def of(self, place: str) -> int | None:
        """The number to subtract at ``place``, or None to detect it."""
        return self.places.get(place, self.others)


@dataclass(frozen=True)
class FolderMapping:
    """One subfolder: what its files hold."""

    folder: str
    """name of the subfolder"""
    modality: Modality
    """with all its bands"""
    bands: tuple[str | None, ...]
    """for each band of a file, in order, the band of the modality; None leaves it out"""
    units: Mapping[str, str]
    """unit of the file's numbers, by band"""
    level: str | None = None
    """processing level, one of ``modality.levels``"""
    nodata: tuple[float, ...] = ()
    """numbers that mean "not observed" in the file"""
    offset: OffsetRule = field(default_factory=OffsetRule)
    """what to do about the Sentinel-2 offset"""
    derive: Mapping[str, str] = field(default_factory=dict)
    """bands computed here: slope band -> elevation band"""
    place_bands: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """``bands`` of the places that differ (Sentinel-1 of another orbit)"""
    gdal_scale: str = ""
    """``apply`` or ``ignore`` scale and offset tags of the file; empty: refuse files that have them"""

    @property
    def gives(self) -> tuple[str, ...]:
        """Bands of the modality that come out of this folder, at one place or another."""
        read = [band for bands in (self.bands, *self.place_bands.values()) for band in bands if band is not None]
        return (*dict.fromkeys(read), *self.derive)

    def at(self, place: str) -> "FolderMapping":
        """The same for one place."""
        return replace(self, bands=self.place_bands.get(place, self.bands), place_bands={})


@dataclass(frozen=True)
class DateRule:
    """Where the reference date of a place is written. Exactly one of the four is set."""

    tag: str = ""
    """name of a TIFF tag that holds an ISO date"""
    folder: str = ""
    """the subfolder whose files have the tag"""
    csv: str = ""
    """a CSV file with columns ``place`` and ``date``, relative to the mapping file"""
    pattern: str = ""
    """regular expression found in the place's name; its first group is YYYYMMDD or YYYY-MM-DD"""
    places: Mapping[str, str] = field(default_factory=dict)
    """ISO dates by place"""


@dataclass(frozen=True)
class GeoTiffMapping:
    """The whole mapping. ``load_mapping`` reads and checks it."""

    path: str
    """of the YAML file, for messages"""
    folders: Mapping[str, FolderMapping]
    """by subfolder name, in the order of the file"""
    reference: str
    """subfolder that decides the places and the grid"""
    tile_size: int
    """height and width of a tile, in pixels"""
    dates: DateRule | None
    """None: dates are unknown"""
    plain: Mapping[str, Any]
    """the YAML as plain types, recorded in the store's recipe"""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What comes out, each with the bands that some folder gives, in published band order."""
        bands: dict[str, list[str]] = {}
        full: dict[str, Modality] = {}
        for folder in self.folders.values():
            bands.setdefault(folder.modality.name, []).extend(folder.gives)
            full[folder.modality.name] = folder.modality
        return tuple(
            modality.select([band for band in modality.band_names if band in bands[name]])
            for name, modality in full.items()
        )


def load_mapping(path: str | Path, modalities: Mapping[str, Modality] = PUBLISHED) -> GeoTiffMapping:
    """Read and check a mapping.

    Args:
        path: the YAML file.
        modalities: those that the mapping may name, beside those that it defines itself.

    Raises:
        RecipeError: a key or value is wrong; the message names the file and the key.
        BandError: a band is unknown, doubled, or given by two folders.
        UnitError: a unit cannot be converted exactly.
        InputError: no such file, not YAML, or a modality of its own contradicts itself.
    """
    path = Path(path)
    content = _read_yaml(path)
    where = str(path)
    _check_keys(content, _TOP_KEYS, where)
    known = {**modalities, **_own_modalities(content.get("modalities", []), where)}
    tile_size = content.get("tile_size", 64)
    if not isinstance(tile_size, int) or isinstance(tile_size, bool) or not 8 <= tile_size <= 4096:
        raise RecipeError(f"{tile_size!r} is not a number of pixels from 8 to 4096", where=f"{where}: tile_size")
    entries = content.get("folders")
    if not isinstance(entries, Mapping) or not entries:
        raise RecipeError("lists no subfolder", where=f"{where}: folders", hint="folders: {NAME: {modality: ...}}")
    folders = {
        str(name): _folder(str(name), entry, known, f"{where}: folders.{name}") for name, entry in entries.items()
    }
    reference = content.get("reference", next(iter(folders)))
    if reference not in folders:
        raise RecipeError(
            f"{reference!r} is not among the folders",
            where=f"{where}: reference",
            hint=f"there are {', '.join(folders)}",
        )
    _check_overlap(folders, where)
    dates = _dates(content["dates"], folders, reference, f"{where}: dates") if content.get("dates") else None
    return GeoTiffMapping(where, folders, reference, tile_size, dates, content)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is not YAML: {error}", where=str(path)) from error
    if not isinstance(content, Mapping):
        raise RecipeError("is not a mapping of keys", where=str(path), hint="see docs/data.md")
    return content


def _check_keys(entry: Any, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{entry!r} is not a mapping of keys", where=where, hint=f"keys are {', '.join(allowed)}")
    unknown = [str(key) for key in entry if key not in allowed]
    if unknown:
        raise RecipeError(
            f"unknown key {', '.join(map(repr, unknown))}", where=where, hint=f"keys are {', '.join(allowed)}"
        )


def _own_modalities(entries: Any, where: str) -> dict[str, Modality]:
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RecipeError("is not a list of modalities", where=f"{where}: modalities")
    own = [Modality.from_dict(entry) for entry in entries]
    return {modality.name: modality for modality in own}


def _folder(name: str, entry: Any, known: Mapping[str, Modality], where: str) -> FolderMapping:
    _check_keys(entry, _FOLDER_KEYS, where)
    for key in ("modality", "bands"):
        if key not in entry:
            raise RecipeError(f"lacks {key!r}", where=where)
    modality = find_modality(str(entry["modality"]), known)
    if not modality.kind.is_map:
        raise RecipeError(
            f"{modality.name!r} is a {modality.kind}, not a map",
            where=f"{where}.modality",
            hint="rasters hold maps only",
        )
    derive = _derive(entry.get("derive", {}), modality, f"{where}.derive")
    by_place = entry["bands"] if isinstance(entry["bands"], Mapping) else {"others": entry["bands"]}
    if "others" not in by_place:
        raise RecipeError("lacks 'others', the bands of all places that it does not list", where=f"{where}.bands")
    bands = {str(place): _bands(names, modality, derive, f"{where}.bands") for place, names in by_place.items()}
    named = list(dict.fromkeys(band for names in bands.values() for band in names if band))
    level = _level(entry.get("level"), modality, f"{where}.level")
    units = _units(entry.get("unit"), named, modality, f"{where}.unit")
    gdal_scale = entry.get("gdal_scale", "")
    if gdal_scale not in ("", "apply", "ignore"):
        raise RecipeError(f"{gdal_scale!r} is neither apply nor ignore", where=f"{where}.gdal_scale")
    return FolderMapping(
        folder=name,
        modality=modality,
        bands=bands.pop("others"),
        place_bands=bands,
        units=units,
        level=level,
        nodata=_numbers(entry.get("nodata", []), f"{where}.nodata"),
        offset=_offset(entry.get("offset"), modality, level, f"{where}.offset"),
        derive=derive,
        gdal_scale=gdal_scale,
    )


def _bands(entry: Any, modality: Modality, derive: Mapping[str, str], where: str) -> tuple[str | None, ...]:
    if not isinstance(entry, list) or not any(entry):
        raise RecipeError("is not a list of band names", where=where, hint=f"one of {', '.join(modality.band_names)}")
    bands = tuple(None if band is None else str(band) for band in entry)
    try:
        modality.band_indices([*(band for band in bands if band), *derive])
    except BandError as error:
        raise BandError(error.what, where=where, hint=error.hint) from error
    absent = [source for source in derive.values() if source not in bands]
    if absent:
        raise BandError(f"{', '.join(map(repr, derive))} needs band {', '.join(map(repr, absent))}", where=where)
    return bands


def _derive(entry: Any, modality: Modality, where: str) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{entry!r} is not {{SLOPE BAND: ELEVATION BAND}}", where=where)
    units = {band.name: band.unit for band in modality.bands}
    for target, source in entry.items():
        if units.get(target) != "degree" or units.get(source) != "m":
            raise RecipeError(
                f"cannot derive {target!r} from {source!r}",
                where=where,
                hint="a slope band in degree is derived from an elevation band in m of the same modality",
            )
    return {str(target): str(source) for target, source in entry.items()}


def _level(entry: Any, modality: Modality, where: str) -> str | None:
    if not modality.levels:
        if entry is not None:
            raise RecipeError(f"modality {modality.name!r} has no levels", where=where, hint="leave the key out")
        return None
    if entry not in modality.levels:
        raise RecipeError(f"{entry!r} is not a level of {modality.name!r}", where=where, hint=f"{modality.levels}")
    return str(entry)


def _units(entry: Any, bands: list[str], modality: Modality, where: str) -> dict[str, str]:
    wanted = {band.name: band.unit for band in modality.bands}
    if modality.kind.is_categorical:
        if entry is not None:
            raise RecipeError(f"{modality.name!r} holds classes, which have no unit", where=where)
        return {band: wanted[band] for band in bands}
    if entry is None and any(wanted[band] != "1" for band in bands):
        raise RecipeError(
            "lacks the unit of the numbers in the files", where=where, hint=f"as stored: {wanted[bands[0]]!r}"
        )
    given = (
        {str(k): str(v) for k, v in entry.items()} if isinstance(entry, Mapping) else dict.fromkeys(bands, entry or "1")
    )
    if set(given) != set(bands):
        raise RecipeError(f"gives units of {sorted(given)}, not of {sorted(bands)}", where=where)
    for band, unit in given.items():
        check_unit(unit, wanted[band], where=f"{where} ({band})")
    return {band: given[band] for band in bands}


def _numbers(entry: Any, where: str) -> tuple[float, ...]:
    numbers = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise RecipeError(f"{entry!r} is not a number or a list of numbers", where=where)
    return tuple(numbers)


def _offset(entry: Any, modality: Modality, level: str | None, where: str) -> OffsetRule:
    stored = {band.unit for band in modality.bands}
    if entry is None:
        return OffsetRule(others=None if level in LEVELS and stored == {REFLECTANCE} else 0)
    if stored != {REFLECTANCE}:
        raise RecipeError(f"{modality.name!r} is not in {REFLECTANCE!r}", where=where, hint="leave the key out")
    if not isinstance(entry, Mapping):
        return OffsetRule(others=_subtract(entry, level, where))
    others = _subtract(entry.get("others", "auto"), level, f"{where}.others")
    places = {
        str(place): _subtract(value, level, f"{where}.{place}") for place, value in entry.items() if place != "others"
    }
    return OffsetRule(others, places)


def _subtract(value: Any, level: str | None, where: str) -> int | None:
    if value == "auto":
        if level not in LEVELS:
            raise RecipeError(f"'auto' knows levels {', '.join(LEVELS)}, not {level!r}", where=where)
        return None
    if value in ("none", 0):
        return 0
    if value == OFFSET:
        return OFFSET
    raise RecipeError(f"{value!r} is none of auto, none and {OFFSET}", where=where)


def _dates(entry: Any, folders: Mapping[str, FolderMapping], reference: str, where: str) -> DateRule:
    _check_keys(entry, (*_DATE_KEYS, "folder"), where)
    if len([key for key in _DATE_KEYS if key in entry]) != 1:
        raise RecipeError(f"needs exactly one of {', '.join(_DATE_KEYS)}", where=where)
    if "folder" in entry and ("tag" not in entry or entry["folder"] not in folders):
        raise RecipeError("names the subfolder whose files have the tag", where=f"{where}.folder")
    if "places" in entry:
        if not isinstance(entry["places"], Mapping):
            raise RecipeError("is not {PLACE: DATE}", where=f"{where}.places")
        return DateRule(places={str(place): str(date) for place, date in entry["places"].items()})
    if "pattern" in entry:
        try:
            groups = re.compile(str(entry["pattern"])).groups
        except re.error as error:
            raise RecipeError(f"is no regular expression: {error}", where=f"{where}.pattern") from error
        if not groups:
            raise RecipeError("has no group (...) around the date", where=f"{where}.pattern")
        return DateRule(pattern=str(entry["pattern"]))
    if "csv" in entry:
        return DateRule(csv=str(entry["csv"]))
    return DateRule(tag=str(entry["tag"]), folder=str(entry.get("folder", reference)))


def _check_overlap(folders: Mapping[str, FolderMapping], where: str) -> None:
    """Several folders may give one modality (the two orbits of Sentinel-1), but each band once and at one level."""
    first: dict[str, FolderMapping] = {}
    taken: dict[tuple[str, str], str] = {}
    for folder in folders.values():
        name = folder.modality.name
        if first.setdefault(name, folder).level != folder.level:
            raise RecipeError(
                f"{first[name].folder!r} and {folder.folder!r} give {name!r} at two levels",
                where=f"{where}: folders",
                hint="a tile has one level: make one store a level",
            )
        for band in folder.gives:
            other = taken.setdefault((name, band), folder.folder)
            if other != folder.folder:
                raise BandError(f"{other!r} and {folder.folder!r} both give {name} {band}", where=f"{where}: folders")
