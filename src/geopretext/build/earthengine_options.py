"""What a recipe says about one modality on Earth Engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from geopretext.build.climate_bands import STATISTICS
from geopretext.build.recipe import ModalityRecipe
from geopretext.data.fields import read_settings
from geopretext.errors import RecipeError
from geopretext.modality import Kind

_WITH_OFFSET = ("COPERNICUS/S2", "COPERNICUS/S2_SR")
"""collections whose images from 2022 on carry the +1000 of processing baseline 04.00; the harmonised ones do not"""
_RESAMPLINGS = ("nearest", "bilinear", "cubic")


@dataclass(frozen=True)
class EarthBand:
    """Where one band of the modality is found: ``value = number * scale + offset``."""

    band: str = ""
    """of the image"""
    image: str = ""
    """asset id, if it is not that of the modality"""
    group: str = ""
    """the band exists in images of this group only"""
    scale: float = 1.0
    offset: float = 0.0
    slope: bool = False
    """the slope of this band in degrees, by Earth Engine's ``Terrain.slope`` on the pixels of the asset"""

    def __post_init__(self) -> None:
        if not self.band:
            raise RecipeError("names no band of an image", hint="elevation: b1, or elevation: {band: b1, ...}")


@dataclass(frozen=True)
class EarthProduct:
    """Options of the kind ``earthengine``, at the modality."""

    collections: dict[str, str] = field(default_factory=dict)
    """asset ids of image collections, by processing level or by any name"""
    collection: str = ""
    """asset id, if there is one only"""
    image: str = ""
    """asset id of a single image, for the rule ``static``"""
    bands: dict[str, EarthBand] = field(default_factory=dict)
    """by band of the modality"""
    where: dict[str, str] = field(default_factory=dict)
    """properties that images must have, such as ``instrumentMode: IW``"""
    cloud: str = ""
    """property that holds the percentage of the scene that is clouded"""
    group_by: str = ""
    """property whose values tell groups that complete each other, such as the direction of the orbit"""
    groups: dict[str, str] = field(default_factory=dict)
    """names of the groups by value of that property; images with other values are left out"""
    properties: tuple[str, ...] = ()
    """of images, that the store records"""
    reduce: Literal["", "mode", "median", "mean"] = ""
    """how the images of a year become one, for the rule ``year``"""
    variables: dict[str, str] = field(default_factory=dict)
    """bands by statistic, for vectors of monthly climate"""
    year_months: int = 12
    """how many months, up to the reference's, make the year of a climate vector; MMEarth's code takes 13"""

    @property
    def assets(self) -> dict[str, str]:
        """Collections by level or name."""
        return {"": self.collection} if self.collection else self.collections


def read_product(entry: ModalityRecipe, *, where: str) -> EarthProduct:
    """The options of a modality.

    Raises:
        RecipeError: one is unknown, missing or does not fit the rule or the kind of the modality.
    """
    plain = dict(entry.options)
    bands = plain.pop("bands", None) or {}
    if not isinstance(bands, Mapping):
        raise RecipeError(f"bands is {bands!r}", where=where, hint="a mapping: {B2: B2, B3: B3}")
    product = read_settings(EarthProduct, plain, where=where)
    read = {str(name): _band(name, value, where) for name, value in bands.items()}
    product = EarthProduct(**{**product.__dict__, "bands": read})
    try:
        _check(product, entry)
    except RecipeError as error:
        raise RecipeError(error.what, where=where, hint=error.hint) from None
    return product


def _band(name: Any, value: Any, where: str) -> EarthBand:
    plain = value if isinstance(value, Mapping) else {"band": str(value or name)}
    return read_settings(EarthBand, plain, where=where, prefix=f"bands.{name}.")


def _check(product: EarthProduct, entry: ModalityRecipe) -> None:
    given = [name for name in ("collections", "collection", "image") if getattr(product, name)]
    if len(given) != 1:
        raise RecipeError(f"there is {' and '.join(given) or 'no asset'}", hint="one of collections, collection, image")
    for asset in product.assets.values():
        if asset in _WITH_OFFSET:
            raise RecipeError(f"{asset} carries the +1000 offset since 2022", hint=f"take {asset}_HARMONIZED")
    if entry.modality.kind.is_map:
        _check_map(product, entry.pair.rule, entry.resampling)
    else:
        _check_climate(product, entry)


def _check_map(product: EarthProduct, rule: str, resampling: str) -> None:
    several = len(product.assets) > 1
    refusals = (
        (rule == "month", "the rule 'month' is for climate vectors", "year, nearest, same or static"),
        (not product.bands, "names no bands", "bands: {B2: B2}: bands of the modality to those of the image"),
        (resampling not in _RESAMPLINGS, f"resampling is {resampling}", f"one of {', '.join(_RESAMPLINGS)}"),
        (
            bool(product.image) and rule != "static",
            f"image has no dates for the rule {rule!r}",
            "collection: the id of an image collection",
        ),
        (
            bool(product.reduce) != (rule == "year"),
            f"reduce is {product.reduce!r} with the rule {rule!r}",
            "with the rule year, and only there, one of mode, median, mean",
        ),
        (
            bool(product.groups) != bool(product.group_by),
            "group_by and groups go together",
            "groups: {ASCENDING: asc, DESCENDING: desc}",
        ),
        (bool(product.groups) and rule != "nearest", f"groups are for the rule 'nearest', not {rule!r}", ""),
        (
            several and rule in ("year", "static"),
            f"the rule {rule!r} takes one collection, not {len(product.assets)}",
            "",
        ),
    )
    for refused, what, hint in refusals:
        if refused:
            raise RecipeError(what, hint=hint)
    for name, band in product.bands.items():
        if band.group and band.group not in product.groups.values():
            raise RecipeError(f"bands.{name}.group is {band.group!r}", hint=f"one of {list(product.groups.values())}")
        if (band.image or band.slope) and rule != "static":
            raise RecipeError(f"bands.{name}: image and slope are for the rule 'static', not {rule!r}")


def _check_climate(product: EarthProduct, entry: ModalityRecipe) -> None:
    if entry.modality.kind is not Kind.CONTINUOUS_VECTOR or entry.pair.rule != "month" or not product.collection:
        raise RecipeError(
            f"a {entry.modality.kind} is read by the rule 'month' from one collection",
            hint="pair: {rule: month}, collection: ECMWF/ERA5_LAND/MONTHLY_AGGR",
        )
    unknown = [name for name in product.variables if name not in STATISTICS]
    if unknown or not product.variables:
        raise RecipeError(
            f"variables names {unknown[0]!r}" if unknown else "names no variables",
            hint=f"bands of the collection by {', '.join(STATISTICS)}",
        )
