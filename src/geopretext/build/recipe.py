"""Recipes of a build in YAML: which modality comes from which archive, and how it is paired with the others.

::

    name: my-region
    tile_size: 64                      # pixels
    seed: 0                            # of everything that is drawn
    archives:
      earth-search: {kind: stac, url: "https://earth-search.aws.element84.com/v1"}
      worldcover: {kind: rasters}
    modalities:
      sentinel2:
        from: earth-search             # an archive, or a list of them
        pair: {rule: reference, start: 2017-01-01, stop: 2021-01-01, max_cloud: 10, min_clear: 0.9}
        resampling: bilinear
        collection: sentinel-2-l2a     # from here on: options of that kind of archive
        ...
      sentinel2_scl: {from: earth-search, pair: {rule: same, to: sentinel2}, ...}
      sentinel1: {from: earth-search, pair: {rule: nearest, days: 15}, ...}
      esa_worldcover: {from: worldcover, pair: {rule: static}, ...}
      lat: {derive: lat}

``docs/building.md`` explains every key.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from geopretext.build.source import Resampling
from geopretext.data.fields import read_settings
from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED, Modality

_KINDS_WITH_SERIES = frozenset({"stac", "synthetic"})
"""of archives whose images each have a date and can be asked for one by one"""
DERIVED = ("lat", "lon", "month", "biome", "ecoregion")
"""Modalities that follow from the place and the date alone."""


@dataclass(frozen=True)
class Pairing:
    """The rule by which one modality's observation is chosen for a tile."""

    rule: Literal["reference", "same", "nearest", "year", "month", "static", "series"] = "static"
    """``reference``: the image whose date and grid all others follow, drawn by a seed made of the place; ``same``: of
    the very item that another modality was read from; ``nearest``: nearest in time to the reference, one of each
    group (orbit); ``year``: of the reference's calendar year; ``month``: of its month; ``static``: whatever is there;
    ``series``: all clear images of the year around the reference, one a day, for modalities that are series"""
    start: str = "2017-01-01"
    """of ``reference``: the earliest day, UTC"""
    stop: str = "2021-01-01"
    """of ``reference``: the day after the last"""
    max_cloud: float = 100.0
    """of ``reference`` and ``series``: percent of the whole scene that may be clouded"""
    min_clear: float = 0.0
    """of ``reference`` and ``series``: share of the tile's pixels, 0 to 1, that must be clear by ``clear_by``"""
    min_covered: float = 1.0
    """of ``reference`` and ``series``: share of the tile's pixels, 0 to 1, that must be observed in any band"""
    clear_by: str = ""
    """of ``reference`` and ``series``: the modality, paired as ``same``, whose classes tell clear pixels
    (``sentinel2_scl``); of a series it is looked at for each image, and not stored"""
    clear_classes: tuple[int, ...] = (2, 4, 5, 6, 7, 11)
    """codes of ``clear_by`` that count as clear: by default of SCL all but no data, defective, shadow, cloud, cirrus"""
    tries: int = 8
    """of ``reference``: images to look at before a place is given up as cloudy"""
    days: float = 15.0
    """of ``nearest``: farthest in time, days"""
    to: str = ""
    """of ``same``: the other modality"""
    window: Literal["around", "year"] = "around"
    """of ``series``: ``around``: from 182 days before the reference to 182 days after; ``year``: its calendar year"""
    max_dates: int = 24
    """of ``series``: images of a tile at most; if there are more clear ones, those are taken that lie evenly"""
    min_dates: int = 1
    """of ``series``: images below which the series is missing at a tile"""
    one_orbit: bool = False
    """of ``series``: only images of the orbit that has most of them, as radar from two sides differs"""
    hide_clouds: bool = False
    """of ``series``: pixels that are not clear by ``clear_by`` are missing; otherwise they stay as they are"""

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            try:
                np.datetime64(getattr(self, name), "s")
            except ValueError:
                raise RecipeError(f"{name} is {getattr(self, name)!r}", hint="a day, as 2017-01-01") from None
        if np.datetime64(self.start) >= np.datetime64(self.stop):
            raise RecipeError(f"start {self.start} is not before stop {self.stop}")
        for name, low, high in (
            ("max_cloud", 0, 100),
            ("min_clear", 0, 1),
            ("min_covered", 0, 1),
            ("tries", 1, 10_000),
            ("days", 0, 36_600),
            ("max_dates", 1, 400),
            ("min_dates", 1, self.max_dates),
        ):
            if not low <= getattr(self, name) <= high:
                raise RecipeError(f"{name} is {getattr(self, name):g}", hint=f"it is between {low} and {high}")
        if (self.rule == "same") != bool(self.to):
            raise RecipeError("rule 'same' and field 'to' go together", hint="pair: {rule: same, to: sentinel2}")
        if (self.min_clear > 0 or self.hide_clouds) and not self.clear_by:
            key = "min_clear" if self.min_clear > 0 else "hide_clouds"
            raise RecipeError(f"{key} needs clear_by", hint="clear_by: sentinel2_scl")


@dataclass(frozen=True)
class ModalityRecipe:
    """Where one modality comes from."""

    modality: Modality
    """bands are those that the recipe names"""
    archives: tuple[str, ...] = ()
    """names in ``BuildRecipe.archives``; candidates of all of them are in one pool. Empty: derived"""
    pair: Pairing = field(default_factory=Pairing)
    """how its observation is chosen"""
    resampling: Resampling = "bilinear"
    """onto the tile's grid; ``nearest`` by default for categories"""
    required: bool = False
    """a place without it is not built (the reference always is); otherwise it is missing there, and that is recorded"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """for the archive's kind: collection, bands, templates"""


@dataclass(frozen=True)
class BuildRecipe:
    """A complete recipe of a build."""

    name: str
    tile_size: int
    """pixels a side"""
    archives: Mapping[str, Mapping[str, Any]]
    """options of each archive by its name, ``kind`` among them"""
    modalities: Mapping[str, ModalityRecipe]
    """by name, in the order of the store"""
    ground_sampling_distance: float = 10.0
    """metres a pixel"""
    seed: int = 0
    """of everything that is drawn"""
    plain: Mapping[str, Any] = field(default_factory=dict)
    """what it was read from, in plain types: the store records it"""

    @property
    def reference(self) -> ModalityRecipe:
        """The modality that decides date and grid."""
        return next(entry for entry in self.modalities.values() if entry.pair.rule == "reference")

    @property
    def dates(self) -> dict[str, int]:
        """Of each series, how many images a tile has at most."""
        return {name: entry.pair.max_dates for name, entry in self.modalities.items() if entry.pair.rule == "series"}


def build_recipe_names() -> tuple[str, ...]:
    """Names of the build recipes that ship with geopretext."""
    folder = files(__package__).joinpath("recipes")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def build_recipe_text(name: str) -> str:
    """The YAML of a build recipe that ships with geopretext, comments and all.

    Raises:
        RecipeError: there is none of this name.
    """
    if name not in build_recipe_names():
        raise RecipeError(
            f"no recipe {name!r} ships with geopretext", hint=f"there are {', '.join(build_recipe_names())}"
        )
    return files(__package__).joinpath("recipes", f"{name}.yaml").read_text("utf-8")


def load_build_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> BuildRecipe:
    """A build recipe that ships with geopretext, or one from a YAML file.

    Args:
        name_or_path: a name of ``build_recipe_names()``, or a path.
        overrides: values by dotted key (``archives.earth-search.url``), which replace those of the file; null drops a
            key.

    Raises:
        RecipeError: there is no such recipe, a key is unknown, or a value does not fit (the message names it).
    """
    name = str(name_or_path)
    if name in build_recipe_names():
        text, where = build_recipe_text(name), f"recipe {name!r}"
    elif Path(name).is_file():
        text, where = Path(name).read_text("utf-8"), name
    else:
        raise RecipeError(
            f"no recipe or file {name!r}", hint=f"there are {', '.join(build_recipe_names())}, and YAML files by path"
        )
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"is not YAML: {error}", where=where) from error
    if not isinstance(plain, Mapping):
        raise RecipeError("is not a mapping of keys", where=where)
    for dotted, value in (overrides or {}).items():
        plain = _override(plain, dotted.split("."), value)
    return read_build_recipe(plain, where=where)


def read_build_recipe(plain: Mapping[str, Any], *, where: str = "recipe") -> BuildRecipe:
    """A recipe from plain values, as YAML gives them; a store's attribute ``recipe`` holds such.

    Raises:
        RecipeError: a key is unknown or missing, or a value does not fit.
    """
    plain = _plain_copy(plain)
    known = ("name", "tile_size", "ground_sampling_distance", "seed", "archives", "modalities", "define", "notes")
    refuse_unknown(plain, known, where)
    archives, entries = plain.get("archives") or {}, plain.get("modalities") or {}
    for key, value in (("archives", archives), ("modalities", entries)):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key} is {value!r}", where=where, hint="a mapping of names to mappings")
        for name, entry in value.items():
            if not isinstance(entry, Mapping):
                raise RecipeError(f"{key}.{name} is {entry!r}", where=where, hint="a mapping of its keys to values")
    defined = [Modality.from_dict(entry) for entry in plain.get("define") or ()]
    modalities = {**PUBLISHED, **{modality.name: modality for modality in defined}}
    numbers = read_settings(
        _Numbers,
        {key: plain[key] for key in ("name", "tile_size", "ground_sampling_distance", "seed") if key in plain},
        where=where,
    )
    recipe = BuildRecipe(
        name=numbers.name,
        tile_size=numbers.tile_size,
        ground_sampling_distance=numbers.ground_sampling_distance,
        seed=numbers.seed,
        archives=archives,
        modalities={
            name: _read_modality(name, entry, modalities, archives, where=f"{where}, modality {name!r}")
            for name, entry in entries.items()
        },
        plain=plain,
    )
    _check(recipe, where)
    return recipe


@dataclass(frozen=True)
class _Numbers:
    name: str = "unnamed"
    tile_size: int = 64
    ground_sampling_distance: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tile_size < 1 or self.ground_sampling_distance <= 0:
            raise RecipeError(
                f"tile_size {self.tile_size} and ground_sampling_distance {self.ground_sampling_distance:g}",
                hint="both are positive",
            )


def _read_modality(
    name: str,
    entry: Mapping[str, Any],
    modalities: Mapping[str, Modality],
    archives: Mapping[str, Any],
    *,
    where: str,
) -> ModalityRecipe:
    if name not in modalities:
        close = get_close_matches(name, modalities, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(modalities)}"
        raise RecipeError("there is no such modality", where=where, hint=f"{hint}; others are listed under 'define'")
    modality = modalities[name]
    if "derive" in entry:
        refuse_unknown(entry, ("derive",), where)
        if entry["derive"] not in DERIVED:
            raise RecipeError(f"cannot derive {entry['derive']!r}", where=where, hint=f"one of {', '.join(DERIVED)}")
        return ModalityRecipe(modality, options={"derive": entry["derive"]})
    source = entry.get("from")
    names = tuple([source] if isinstance(source, str) else source or ())
    unknown = [archive for archive in names if archive not in archives]
    if not names or unknown:
        raise RecipeError(
            f"from is {source!r}", where=where, hint=f"an archive, or a list of them: {', '.join(archives) or 'none'}"
        )
    own = ("from", "pair", "resampling", "required")
    settings = {key: entry[key] for key in own[1:] if key in entry}
    settings.setdefault("resampling", "nearest" if modality.kind.is_categorical else "bilinear")
    read = read_settings(_Choices, settings, where=where)
    if modality.kind.is_categorical and read.resampling not in ("nearest", "mode"):
        raise RecipeError(
            f"resampling is {read.resampling}, but its values are classes", where=where, hint="nearest or mode"
        )
    options = {key: value for key, value in entry.items() if key not in own}
    bands = options.get("bands")
    if isinstance(bands, Mapping):
        modality = modality.select(tuple(band for band in modality.band_names if band in bands) or tuple(bands))
        modality.band_indices(tuple(bands))
    return ModalityRecipe(modality, names, read.pair, read.resampling, read.required, options)


@dataclass(frozen=True)
class _Choices:
    pair: Pairing = field(default_factory=Pairing)
    resampling: Resampling = "bilinear"
    required: bool = False


def _check(recipe: BuildRecipe, where: str) -> None:
    references = [name for name, entry in recipe.modalities.items() if entry.pair.rule == "reference"]
    if len(references) != 1:
        raise RecipeError(
            f"there are {len(references)} modalities with the rule 'reference'",
            where=where,
            hint="exactly one decides the date and the grid of each tile",
        )
    for name, entry in recipe.modalities.items():
        others = [("to", entry.pair.to), ("clear_by", entry.pair.clear_by)]
        for key, other in others:
            if other and other not in recipe.modalities:
                raise RecipeError(
                    f"{key} names {other!r}, which the recipe has not",
                    where=f"{where}, modality {name!r}",
                    hint=f"there are {', '.join(recipe.modalities)}",
                )
        target = recipe.modalities.get(entry.pair.to)
        if target is not None and (not target.archives or target.pair.rule == "same"):
            raise RecipeError(
                f"to names {entry.pair.to!r}, which is not read from an item that was paired by itself",
                where=f"{where}, modality {name!r}",
                hint="name the modality whose item it shares",
            )
        _check_series(entry, recipe, f"{where}, modality {name!r}")
        mask = recipe.modalities.get(entry.pair.clear_by)
        if mask is not None and entry.pair.rule != "series" and mask.pair.to != name:
            raise RecipeError(
                f"clear_by names {entry.pair.clear_by!r}, which is not of the same item",
                where=f"{where}, modality {name!r}",
                hint=f"{entry.pair.clear_by}: pair: {{rule: same, to: {name}}}",
            )
    for name, archive in recipe.archives.items():
        if "kind" not in archive:
            raise RecipeError("has no kind", where=f"{where}, archive {name!r}", hint="kind: stac, for example")


def _check_series(entry: ModalityRecipe, recipe: BuildRecipe, where: str) -> None:
    """Refuse a series without the rule for it, that rule elsewhere, and a mask that is of no image of its own."""
    if (entry.pair.rule == "series") != entry.modality.kind.is_series:
        raise RecipeError(
            f"a {entry.modality.kind} is not paired by the rule {entry.pair.rule!r}",
            where=where,
            hint="the rule 'series' is for series, and only that is",
        )
    kinds = {str(recipe.archives[name].get("kind")) for name in entry.archives}
    if entry.pair.rule == "series" and not kinds <= _KINDS_WITH_SERIES:
        raise RecipeError(
            f"archives of the kind {(kinds - _KINDS_WITH_SERIES).pop()!r} have no series",
            where=where,
            hint=f"series are read from archives of the kinds {' and '.join(sorted(_KINDS_WITH_SERIES))}",
        )
    mask = recipe.modalities.get(entry.pair.clear_by)
    if entry.pair.rule == "series" and mask is not None and mask.pair.rule != "same":
        raise RecipeError(
            f"clear_by names {entry.pair.clear_by!r}, which is not looked up by an image",
            where=where,
            hint=f"{entry.pair.clear_by}: pair: {{rule: same, to: {recipe.reference.modality.name}}}",
        )


def _override(plain: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    if rest:
        inner = plain.get(first)
        return {**plain, first: _override(inner if isinstance(inner, Mapping) else {}, rest, value)}
    if value is None:
        return {key: entry for key, entry in plain.items() if key != first}
    return {**plain, first: value}


def refuse_unknown(plain: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse keys that are not known.

    Raises:
        RecipeError: names the key, and the nearest ones that there are.
    """
    for key in plain:
        if key not in known:
            close = get_close_matches(str(key), known, n=2)
            hint = f"did you mean {' or '.join(close)}?" if close else f"one of {', '.join(sorted(known))}"
            raise RecipeError(f"no key {key!r}", where=where, hint=hint)


def _plain_copy(value: Any) -> Any:
    """Only what JSON knows: YAML may give dates."""
    if isinstance(value, Mapping):
        return {str(key): _plain_copy(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_copy(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
