"""One STAC item: what it says about time, place and files, of STAC 1.0 and 1.1 alike, and the candidate it makes."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from sys import intern
from typing import Any

import numpy as np
import pyproj
import shapely
import shapely.geometry

from geopretext.build.bands import missing_numbers
from geopretext.build.source import Asset, Candidate
from geopretext.build.stac_options import ORBITS, BandOptions, LayerOptions, is_reflectance
from geopretext.data.stac_offset import PROPERTIES_READ, is_sentinel2, offset_in
from geopretext.data.units import REFLECTANCE
from geopretext.errors import MissingLibraryError, Reason, SourceError
from geopretext.modality import Band, Modality

try:
    from pystac.utils import make_absolute_href
except ImportError as error:
    raise MissingLibraryError("pystac_client", extra="geo", purpose="search STAC catalogues") from error

_ASSET_KEYS = ("raster:bands", "bands", "raster:scale", "raster:offset", "nodata", "data_type")
_NOTES = {
    "platform": "platform",
    "sat:relative_orbit": "relative_orbit",
    "s2:processing_baseline": "processing_baseline",
    "sar:instrument_mode": "instrument_mode",
}
"""properties that the store records, and under which names"""
_KEPT = frozenset({*_NOTES, *PROPERTIES_READ, "eo:cloud_cover", "sat:orbit_state", "proj:code", "proj:epsg"})
"""properties that are looked at; items have dozens, and a search finds thousands of items"""
_ORBIT = ("sat:orbit_state", "sat:relative_orbit")
_WEB_MERCATOR = 3857


@dataclass(frozen=True, slots=True)
class StacAsset:
    """A file of an item; those of many items share what they have in common."""

    folder: str
    """start of the URL, up to the last slash"""
    name: str
    """the rest of it"""
    fields: Mapping[str, Any]
    """what the item says about the file's numbers"""
    crs: int | None

    @property
    def href(self) -> str:
        """Absolute."""
        return self.folder + self.name


@dataclass(frozen=True)
class StacItem:
    """The part of an item that is needed; small enough to keep thousands."""

    id: str
    time: np.datetime64 | None
    """``datetime``, or the middle of ``start_datetime`` and ``end_datetime``"""
    start: np.datetime64 | None
    stop: np.datetime64 | None
    """the interval that it stands for, both ends inclusive"""
    footprint: Any
    """shapely geometry in degrees, cut at the antimeridian"""
    properties: Mapping[str, Any]
    """those that are looked at"""
    assets: Mapping[str, StacAsset]
    """by key"""

    @property
    def cloud(self) -> float | None:
        """Of the whole scene, percent; None if the item does not say it."""
        said = self.properties.get("eo:cloud_cover")
        return (
            float(said) if isinstance(said, int | float) and not isinstance(said, bool) and np.isfinite(said) else None
        )


@dataclass(frozen=True)
class _Stated:
    """What an item says about the numbers of one band of one asset."""

    scale: float | None
    offset: float | None
    nodata: tuple[float, ...]
    dtype: str


def read_item(plain: Mapping[str, Any], *, base: str, keep: Collection[str] = ()) -> StacItem:
    """An item from its JSON.

    Args:
        plain: the item.
        base: path or URL that relative hrefs start from, if the item has no link to itself.
        keep: properties that are wanted besides those that are always looked at.

    Raises:
        SourceError: ``CORRUPT``: it is no item: it has no id, assets or place, its date is none, or any other part is
            not what it should be.
    """
    try:
        return _read(plain, base, keep)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        name = plain.get("id") if isinstance(plain, Mapping) else plain
        raise _malformed(str(name), f"{type(error).__name__}: {error}") from error


def _read(plain: Mapping[str, Any], base: str, keep: Collection[str]) -> StacItem:
    item = plain.get("id")
    properties, assets = plain.get("properties"), plain.get("assets")
    if not isinstance(item, str) or not isinstance(properties, Mapping) or not isinstance(assets, Mapping):
        raise _malformed(str(item), "it lacks an id, properties or assets")
    links = plain.get("links") or ()
    own = next(
        (link["href"] for link in links if link.get("rel") == "self" and isinstance(link.get("href"), str)), base
    )
    start, stop = (_time(properties.get(key), item) for key in ("start_datetime", "end_datetime"))
    time = _time(properties.get("datetime"), item)
    if time is None and start is not None and stop is not None:
        time = start + (stop - start) // 2
    return StacItem(
        id=item,
        time=time,
        start=time if start is None else start,
        stop=time if stop is None else stop,
        footprint=_footprint(plain, item),
        properties={key: value for key, value in properties.items() if key in _KEPT or key in keep},
        assets={
            intern(key): _asset_of(asset, own)
            for key, asset in assets.items()
            if isinstance(asset, Mapping) and isinstance(asset.get("href"), str)
        },
    )


def _asset_of(asset: Mapping[str, Any], own: str) -> StacAsset:
    href = make_absolute_href(asset["href"], own)
    cut = href.rfind("/") + 1
    said = json.dumps({name: asset[name] for name in _ASSET_KEYS if name in asset}, sort_keys=True)
    return StacAsset(intern(href[:cut]), href[cut:], _fields(said), _crs(asset))


@lru_cache(maxsize=1024)
def _fields(said: str) -> Mapping[str, Any]:
    """The same object for all files about which the same is said."""
    plain: Mapping[str, Any] = json.loads(said)
    return plain


def candidate_of(item: StacItem, layer: LayerOptions, modality: Modality) -> Candidate | None:
    """What an item offers to a modality; None if the recipe wants nothing of its orbit.

    An item that cannot be used has ``refused`` among its notes: reading it gives that error, and a build records it.
    """
    orbit = item.properties.get("sat:orbit_state")
    bands = layer.bands_of(orbit)
    if not bands and orbit in ORBITS.values():
        return None
    group = next((name for name, state in ORBITS.items() if state == orbit), "") if layer.is_split else ""
    notes = {name: item.properties[key] for key, name in _NOTES.items() if key in item.properties}
    assets: dict[str, tuple[Asset, ...]] = {}
    try:
        _check_assets(item, bands, is_split=layer.is_split)
        stated = {
            name: _stated(item.assets[band.asset].fields, band.band)
            for name, band in bands.items()
            if band.asset in item.assets
        }
        subtract = _sentinel2_offset(item, layer, modality, stated)
        notes |= {"offset_undone": subtract} if subtract else {}
        assets = {
            name: (_asset(item, name, bands[name], said, layer, modality, subtract),) for name, said in stated.items()
        }
    except SourceError as error:
        notes["refused"] = {"reason": str(error.reason), "what": error.what, "hint": error.hint}
    return Candidate(
        item=item.id,
        time=item.time,
        crs=_grid_crs(_crs(item.properties) or next((asset.crs for asset in item.assets.values() if asset.crs), None)),
        footprint=item.footprint,
        assets=assets,
        group=group,
        cloud=item.cloud,
        level=layer.level,
        orbit=" ".join(str(item.properties[key]) for key in _ORBIT if key in item.properties),
        notes=notes,
    )


def refusal_of(candidate: Candidate) -> SourceError | None:
    """Why a candidate cannot be read, if ``candidate_of`` found a reason."""
    refused = candidate.notes.get("refused")
    if refused is None:
        return None
    return SourceError(refused["what"], reason=Reason(refused["reason"]), where=candidate.item, hint=refused["hint"])


def _check_assets(item: StacItem, bands: Mapping[str, BandOptions], *, is_split: bool) -> None:
    """Refuse an item without its assets; of a radar image one polarisation is enough, since none has them all."""
    wanted = {band.asset for band in bands.values()}
    lacking = sorted(wanted - set(item.assets))
    if is_split and not wanted:
        raise SourceError(
            f"sat:orbit_state is {item.properties.get('sat:orbit_state')!r}",
            reason=Reason.NO_ASSET,
            where=item.id,
            hint=f"it tells {' from '.join(ORBITS.values())}; without it, leave the orbits out of the recipe's bands",
        )
    if lacking and (not is_split or len(lacking) == len(wanted)):
        raise SourceError(
            f"has no asset {', '.join(map(repr, lacking))}",
            reason=Reason.NO_ASSET,
            where=item.id,
            hint=f"its assets are {', '.join(sorted(item.assets)) or 'none'}: correct 'bands' in the recipe",
        )


def _sentinel2_offset(
    item: StacItem, layer: LayerOptions, modality: Modality, stated: Mapping[str, _Stated]
) -> int | None:
    """What is to be subtracted from numbers of reflectance; None if they are of another satellite.

    The recipe's ``offset`` decides, else what the item says. An image that does not say where it is from is taken for
    one of Sentinel-2, unless ``item_scale`` says what to do about its numbers.

    Raises:
        SourceError: ``UNIT``: what the item says leaves it open.
    """
    concerned = [said for name, said in stated.items() if is_reflectance(_band(modality, name))]
    if not concerned:
        return None
    if layer.added is not None:
        return round(-layer.added)
    properties = item.properties
    if not layer.level:
        ours = is_sentinel2(properties, item=item.id)
        if ours is False or (ours is None and layer.item_scale):
            return None
        if ours is None:  # versions of another product say nothing about baselines
            properties = {key: value for key, value in properties.items() if key != "processing:version"}
    found = {round(said.offset / (said.scale or 1.0), 3) for said in concerned if said.offset is not None}
    if len(found) > 1:
        raise SourceError(
            f"its bands state different offsets: {', '.join(f'{offset:g}' for offset in sorted(found))}",
            reason=Reason.UNIT,
            where=item.id,
            hint="decide for all items of the collection: offset: none, or offset: -1000",
        )
    return offset_in(properties, item=item.id, time=item.time, declared=next(iter(found), None))[0]


def _asset(
    item: StacItem,
    name: str,
    band: BandOptions,
    said: _Stated,
    layer: LayerOptions,
    modality: Modality,
    subtract: int | None,
) -> Asset:
    own = _band(modality, name)
    unit = band.unit or layer.unit or own.unit
    scale, offset = 1.0, 0.0
    is_sentinel2_band = subtract is not None and is_reflectance(own)
    if is_sentinel2_band:
        if unit == REFLECTANCE and said.dtype in ("uint8", "int8"):
            raise _unit_refusal(item, f"asset {band.asset!r} is {said.dtype}: a rendered picture, not reflectance")
        scale = (said.scale or 1.0) if layer.item_scale == "apply" else 1.0
        offset = -(subtract or 0) * (scale if unit == REFLECTANCE or scale != 1.0 else 1e-4) + 0.0
    elif (said.scale or 1.0) != 1.0 or (said.offset or 0.0) != 0.0:
        if not layer.item_scale:
            raise _unit_refusal(
                item,
                f"asset {band.asset!r} states scale {said.scale or 1:g} and offset {said.offset or 0:g}",
                hint="item_scale: apply (unit is meant after scaling) or ignore (before)",
            )
        if layer.item_scale == "apply":
            scale, offset = said.scale or 1.0, said.offset or 0.0
    if is_sentinel2_band:  # whatever is done to it, a number of 0 is none in the product itself
        missing = missing_numbers(modality, own, unit=own.unit, scale=1.0, offset=0.0)
    else:
        missing = missing_numbers(modality, own, unit=unit, scale=scale, offset=offset)
    return Asset(
        href=item.assets[band.asset].href,
        band=band.band,
        scale=scale,
        offset=offset,
        nodata=tuple(sorted({*layer.nodata, *said.nodata, *missing})),
    )


def _band(modality: Modality, name: str) -> Band:
    return modality.bands[modality.band_indices((name,))[0]]


def _stated(asset: Mapping[str, Any], band: int) -> _Stated:
    """``raster:bands`` of STAC 1.0, or ``bands`` of 1.1, whose entries inherit from the asset."""
    of_band: dict[str, Any] = {}
    for key in ("bands", "raster:bands"):
        entries = asset.get(key)
        if isinstance(entries, list) and len(entries) >= band and isinstance(entries[band - 1], Mapping):
            of_band |= entries[band - 1]

    def said(*names: str) -> Any:
        return next((place[name] for place in (of_band, asset) for name in names if place.get(name) is not None), None)

    scale, offset, nodata = said("raster:scale", "scale"), said("raster:offset", "offset"), said("nodata")
    return _Stated(
        scale=float(scale) if isinstance(scale, int | float) else None,
        offset=float(offset) if isinstance(offset, int | float) else None,
        nodata=(float(nodata),) if isinstance(nodata, int | float) and np.isfinite(nodata) else (),
        dtype=str(said("data_type") or ""),
    )


def _time(value: Any, item: str) -> np.datetime64 | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _malformed(item, f"its date is {value!r}") from None
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "s")


def _footprint(plain: Mapping[str, Any], item: str) -> Any:
    geometry, box = plain.get("geometry"), plain.get("bbox")
    try:
        if geometry:
            shape = shapely.geometry.shape(geometry)
        elif box:
            west, south, east, north = (float(box[number]) for number in (0, 1, len(box) // 2, len(box) // 2 + 1))
            shape = shapely.box(west, south, east + 360 * (east < west), north)
        else:
            raise _malformed(item, "it has neither a geometry nor a bbox")
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise _malformed(item, f"its geometry cannot be read: {error}") from None
    if shape.is_empty:
        raise _malformed(item, "its geometry is empty")
    parts = [_cut(part) for part in getattr(shape, "geoms", (shape,))]
    whole = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    return whole if whole.is_valid else shapely.make_valid(whole)


def _cut(polygon: Any) -> Any:
    """A polygon that crosses the antimeridian, as two halves within -180 to 180 degrees.

    Archives write such polygons beyond 180 degrees, or jump from one side to the other as if around the Earth.
    """
    polygon = shapely.force_2d(polygon)
    lon = shapely.get_coordinates(polygon)[:, 0]
    jumps = np.abs(np.diff(lon))
    if jumps.size and 180 < jumps.max() < 360:
        polygon = shapely.transform(polygon, lambda points: np.where([True, False], points % 360, points))
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return polygon
    polygon = polygon if polygon.is_valid else shapely.make_valid(polygon)
    around = [
        shapely.transform(
            polygon.intersection(shapely.box(edge, -90, edge + 360, 90)), lambda points, e=edge: points - [e + 180, 0]
        )
        for edge in (-540, -180, 180)
    ]
    return shapely.union_all(around)


def _crs(fields: Mapping[str, Any]) -> int | None:
    code = fields.get("proj:code") or fields.get("proj:epsg")
    try:
        return int(str(code).upper().removeprefix("EPSG:"))
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _grid_crs(code: int | None) -> int | None:
    """The code if a tile's grid can be in it: a projection in metres that are metres on the ground."""
    if code is None or code == _WEB_MERCATOR:
        return None
    try:
        crs = pyproj.CRS.from_epsg(code)
    except pyproj.exceptions.CRSError:
        return None
    return code if crs.is_projected and crs.axis_info[0].unit_name == "metre" else None


def _malformed(item: str, what: str) -> SourceError:
    return SourceError(f"is no STAC item: {what}", reason=Reason.CORRUPT, where=f"item {item}")


def _unit_refusal(item: StacItem, what: str, *, hint: str = "correct 'bands' in the recipe") -> SourceError:
    return SourceError(what, reason=Reason.UNIT, where=item.id, hint=hint)
