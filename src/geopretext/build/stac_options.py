"""What a recipe says about a STAC catalogue, and about one modality in it.

::

    archives:
      earth-search:
        kind: stac
        url: https://earth-search.aws.element84.com/v1     # or items: FILE, an item collection or stac-geoparquet
        sign: none                                         # or planetary-computer
        limit: 250                                         # items a page
        square: 1.0                                        # degrees: places this near are searched together
        requests_per_second: 5                             # and the other keys of TransferSettings
        modalities:                                        # what is called otherwise in this archive than in others
          sentinel2: {collection: sentinel-2-c1-l2a, bands: {B2: blue, B3: green, B4: red}}
    modalities:
      sentinel2:
        from: earth-search
        collection: sentinel-2-l2a
        bands: {B2: blue, B3: {asset: data, band: 2}}
        level: L2A
        offset: auto                                       # auto, none, or a number that is added (-1000)

``docs/source-stac.md`` explains every key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from geopretext.build.recipe import ModalityRecipe, refuse_unknown
from geopretext.build.stac_signing import Signer
from geopretext.build.transfer import TransferSettings
from geopretext.data.fields import read_settings
from geopretext.data.units import REFLECTANCE, check_unit
from geopretext.errors import GeopretextError, RecipeError
from geopretext.modality import Band, Modality

ORBITS = {"asc": "ascending", "desc": "descending"}
"""Groups of bands by the direction of the orbit: prefix of their names, value of ``sat:orbit_state``."""


@dataclass(frozen=True)
class CatalogueOptions:
    """How a catalogue is asked."""

    url: str = ""
    """root of a STAC API"""
    items: str = ""
    """instead of ``url``: path or URL of an item collection, an item, a static catalogue (JSON), or stac-geoparquet"""
    limit: int = 250
    """items a page, 1 to 10000"""
    square: float = 1.0
    """degrees, 0.01 to 30: places in one square of this side are asked for by one search"""
    sign: Signer = "none"
    """how URLs are signed when they are read"""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.items):
            raise RecipeError("needs either url or items", hint="url: https://..., the root of a STAC API")
        if not 1 <= self.limit <= 10_000:
            raise RecipeError(f"limit is {self.limit}", hint="items a page, 1 to 10000")
        if not 0.01 <= self.square <= 30:
            raise RecipeError(f"square is {self.square:g}", hint="degrees, 0.01 to 30")

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.url or self.items


@dataclass(frozen=True)
class BandOptions:
    """Where one band of the modality is found in an item."""

    asset: str = ""
    """key of the asset"""
    band: int = 1
    """of the asset's file, from 1"""
    unit: str = ""
    """of the numbers; by default that of ``LayerOptions``"""
    orbit: Literal["", "ascending", "descending"] = ""
    """only of items with this ``sat:orbit_state``; by default told by the band's name (``asc_VV``)"""
    slope_of: str = ""
    """instead of ``asset``: the slope, in degrees, of this other band, an elevation in metres"""

    def __post_init__(self) -> None:
        if bool(self.asset) == bool(self.slope_of):
            raise RecipeError("needs either asset or slope_of", hint="{asset: data, band: 1} or {slope_of: elevation}")
        if self.band < 1:
            raise RecipeError(f"band is {self.band}", hint="bands of a file are counted from 1")


@dataclass(frozen=True)
class LayerOptions:
    """One modality in a catalogue."""

    collection: str = ""
    """id; may be left out for a file of items"""
    unit: str = ""
    """of the numbers in the files; by default that of each band"""
    level: str = ""
    """processing level, for modalities that have levels"""
    offset: str = "auto"
    """of Sentinel-2: ``auto`` (by what each item says), ``none``, or the number that is added, as -1000"""
    item_scale: Literal["", "apply", "ignore"] = ""
    """what to do about a scale and offset that items state; by default such an item is refused. Not with ``level``"""
    nodata: tuple[float, ...] = ()
    """numbers that mean "not observed", besides those that items and files state"""
    bands: Mapping[str, BandOptions] = field(default_factory=dict)
    """by name of the modality"""
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """only items whose properties have one of these values"""

    def __post_init__(self) -> None:
        if self.offset not in ("auto", "none"):
            try:
                float(self.offset)
            except ValueError:
                raise RecipeError(
                    f"offset is {self.offset!r}", hint="auto, none, or the number that is added, as -1000"
                ) from None

    @property
    def added(self) -> float | None:
        """The number that is added to every number; None: told by each item."""
        return None if self.offset == "auto" else 0.0 if self.offset == "none" else float(self.offset)

    @property
    def is_split(self) -> bool:
        """Whether ascending and descending orbits are different bands."""
        return any(band.orbit for band in self.bands.values())

    @property
    def slopes(self) -> dict[str, str]:
        """Bands that are computed, and from which others."""
        return {name: band.slope_of for name, band in self.bands.items() if band.slope_of}

    def bands_of(self, orbit: str | None) -> dict[str, BandOptions]:
        """Bands that are read from an item of this ``sat:orbit_state``."""
        return {
            name: band for name, band in self.bands.items() if band.asset and (not band.orbit or band.orbit == orbit)
        }


@dataclass(frozen=True)
class StacOptions:
    """Everything that a recipe says about one modality in one catalogue."""

    catalogue: CatalogueOptions
    transfer: TransferSettings
    layer: LayerOptions


def read_options(entry: ModalityRecipe, archive: Mapping[str, Any], *, where: str) -> StacOptions:
    """Options of a modality and of its archive, checked against each other.

    Raises:
        RecipeError: names the key.
    """
    transfer_keys = {f.name for f in fields(TransferSettings)}
    catalogue_keys = {f.name for f in fields(CatalogueOptions)}
    refuse_unknown(archive, {"kind", "modalities", *transfer_keys, *catalogue_keys}, where)
    catalogue = read_settings(CatalogueOptions, _only(archive, catalogue_keys), where=where)
    transfer = read_settings(TransferSettings, _only(archive, transfer_keys), where=where)
    own = _mapping(archive.get("modalities") or {}, "modalities", where).get(entry.modality.name) or {}
    layer = _read_layer({**entry.options, **_mapping(own, f"modalities.{entry.modality.name}", where)}, where)
    _check(layer, catalogue, entry.modality, where)
    return StacOptions(catalogue, transfer, layer)


def _read_layer(plain: Mapping[str, Any], where: str) -> LayerOptions:
    settings = {key: value for key, value in plain.items() if key not in ("bands", "where")}
    if isinstance(settings.get("nodata"), int | float):
        settings["nodata"] = [settings["nodata"]]
    if isinstance(settings.get("offset"), int | float):
        settings["offset"] = str(settings["offset"])
    bands = {}
    for name, value in _mapping(plain.get("bands") or {}, "bands", where).items():
        said = {"asset": value} if isinstance(value, str) else _mapping(value, f"bands.{name}", where)
        orbit = ORBITS.get(name.split("_")[0], "")
        bands[name] = read_settings(BandOptions, {"orbit": orbit, **said}, where=where, prefix=f"bands.{name}.")
    wanted = {
        key: tuple(value) if isinstance(value, list) else (value,)
        for key, value in _mapping(plain.get("where") or {}, "where", where).items()
    }
    return replace(read_settings(LayerOptions, settings, where=where), bands=bands, where=wanted)


def _check(layer: LayerOptions, catalogue: CatalogueOptions, modality: Modality, where: str) -> None:
    if catalogue.url and not layer.collection:
        raise RecipeError("names no collection", where=where, hint="collection: sentinel-2-l2a, for example")
    if not layer.bands:
        raise RecipeError("names no bands", where=where, hint="bands: {B2: blue, B3: {asset: data, band: 2}}")
    _check_bands(layer, modality, where)
    if layer.level not in (modality.levels or ("",)):
        raise RecipeError(
            f"level is {layer.level!r}",
            where=where,
            hint=f"one of {', '.join(modality.levels)}" if modality.levels else "this modality has no levels",
        )
    if layer.offset != "auto" and not any(is_reflectance(band) for band in modality.bands):
        raise RecipeError("offset is only for Sentinel-2 reflectance", where=where, hint="item_scale: apply or ignore")
    if layer.item_scale and layer.level:
        raise RecipeError("item_scale and level exclude each other", where=where, hint="offset: auto, none or -1000")


def _check_bands(layer: LayerOptions, modality: Modality, where: str) -> None:
    units = {band.name: band.unit for band in modality.bands}
    for name, band in layer.bands.items():
        if name not in units:
            raise RecipeError(
                f"{name!r} is no band of modality {modality.name!r} in this recipe",
                where=where,
                hint=f"there are {', '.join(units)}",
            )
        if band.slope_of:
            source = layer.bands.get(band.slope_of)
            if not (source and source.asset and (units[name], units[band.slope_of]) == ("degree", "m")):
                raise RecipeError(
                    f"bands.{name}.slope_of is {band.slope_of!r}",
                    where=where,
                    hint="a slope, in degree, is that of another band, an elevation in m that has an asset",
                )
        elif not modality.kind.is_categorical:
            try:
                check_unit(band.unit or layer.unit or units[name], units[name], where=f"{where}, band {name}")
            except GeopretextError as error:
                raise RecipeError(f"unit: {error.what}", where=error.where, hint=error.hint) from None


def is_reflectance(band: Band) -> bool:
    """Whether a band's numbers may carry the Sentinel-2 offset of baseline 04.00, if an item is such an image."""
    return band.unit in (REFLECTANCE, "reflectance")


def _mapping(value: Any, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{name} is {value!r}", where=where, hint="it is a mapping")
    return value


def _only(plain: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key in keys}
