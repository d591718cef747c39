"""A STAC item, of STAC 1.0 or 1.1: which of its assets is which band, and what it says about their numbers."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from geopretext.data.stac_offset import is_sentinel2
from geopretext.errors import BandError, CorruptError, InputError, Reason, SourceError
from geopretext.predict.band_files import Sighting, band_in, choose
from geopretext.predict.open_scene import is_url
from geopretext.predict.scene_clouds import SCENE_CLASSES

COMMON_NAMES = {
    "coastal": "B1",
    "blue": "B2",
    "green": "B3",
    "red": "B4",
    "rededge1": "B5",
    "rededge2": "B6",
    "rededge3": "B7",
    "nir": "B8",
    "nir08": "B8A",
    "nir09": "B9",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
    "scl": SCENE_CLASSES,
}
"""Keys of Earth Search's assets of Sentinel-2 (stac-utils/stac-sentinel). Of another satellite they are other bands."""

_NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}
"""roles of assets that hold no numbers of bands"""
_RASTERS = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff")
_SCHEMES = ("http", "https", "s3", "gs", "az")
"""of addresses from which assets are read"""
_MOST_BYTES = 32 * 2**20
_SECONDS = 60.0
_RESOLUTIONS = ("raster:spatial_resolution", "spatial_resolution", "gsd")
_LEVEL = re.compile(r"(?:[-_]|MSI)(L1C|L2A)(?![A-Z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class ItemBand:
    """A band of an item, and what is said about its numbers."""

    href: str
    """path or address"""
    index: int
    """of the band in the file, from 1"""
    scale: float | None
    offset: float | None
    nodata: float | None
    unit: str | None


@dataclass(frozen=True)
class StacItem:
    """The part of an item that is needed."""

    id: str
    properties: Mapping[str, Any]
    bands: Mapping[str, ItemBand]
    """by name; ``SCL`` among them"""
    level: str | None
    """L1C or L2A, by its collection, its product or its id"""


def read_item(path: str) -> StacItem:
    """An item from a file or an address.

    Args:
        path: of its JSON.

    Raises:
        InputError: it is no item, or none with bands.
        CorruptError: it is no JSON.
        SourceError: the address does not answer.
    """
    content = _fetch(path) if is_url(path) else Path(path).read_bytes()
    try:
        plain = json.loads(content)
    except ValueError as error:
        raise CorruptError(f"is no JSON: {error}", where=path, hint="copy or download it again") from error
    try:
        kind, name, properties, assets = plain["type"], plain["id"], plain["properties"], plain["assets"]
        if kind != "Feature" or not isinstance(name, str):
            raise TypeError(f"type {kind}")
        assets = {key: asset for key, asset in assets.items() if isinstance(asset["href"], str)}
        ours = is_sentinel2(properties, item=name)
        selves = [link.get("href") for link in plain.get("links", ()) if link.get("rel") == "self"]
        link = next((href for href in selves if isinstance(href, str) and is_url(href)), None)
        bands = _bands(assets, places=_Places(path, link), ours=ours)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is no STAC item: {error!r}", where=path, hint="give the JSON of one item") from error
    if not any(name != SCENE_CLASSES for name in bands):
        raise InputError(f"has no asset with a band; there are {', '.join(assets)}", where=path)
    said = " ".join(str(text) for text in (plain.get("collection"), properties.get("s2:product_uri"), name))
    level = _LEVEL.search(said)
    return StacItem(name, properties, bands, level[1].upper() if level else None)


def _fetch(url: str) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError("is no address that items are fetched from", where=url, hint="http(s), or a file of its JSON")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310, its scheme has just been checked
            content: bytes = answer.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        reason = {401: Reason.FORBIDDEN, 403: Reason.FORBIDDEN, 404: Reason.NO_FILE}.get(error.code, Reason.SERVER)
        raise SourceError(f"answers {error.code} {error.reason}", reason=reason, where=url) from error
    except (OSError, HTTPException) as error:
        raise SourceError(f"does not answer: {error}", reason=Reason.SERVER, where=url) from error
    if len(content) > _MOST_BYTES:
        raise CorruptError(f"has more than {_MOST_BYTES} bytes: no item has", where=url)
    return content


@dataclass(frozen=True)
class _Places:
    """What the places of assets are relative to."""

    path: str
    """where the item was read from"""
    link: str | None
    """the address that it calls its own"""

    def absolute(self, href: str) -> str:
        """Path or address of an asset; an item from the network cannot name files of this machine.

        What lies beside an item on this machine goes before what it calls its own address: it may have been copied.

        Raises:
            InputError: it does; or names a file system of GDAL's, which would be read past all checks.
        """
        if href.startswith("/vsi"):
            raise InputError(
                f"names a file system of GDAL's: {href}", where=self.path, hint="give a path or an address"
            )
        if is_url(self.path):
            href = urljoin(self.link or self.path, href)
            if urlsplit(href).scheme not in _SCHEMES:
                raise InputError(f"names a file that is no address: {href}", where=self.path)
            return href
        if is_url(href):
            return href if not href.startswith("file://") else url2pathname(urlsplit(href).path)
        beside = Path(self.path).parent / href
        if self.link is not None and not beside.exists() and urlsplit(self.link).scheme in _SCHEMES:
            return urljoin(self.link, href)
        return str(beside)


def _bands(assets: Mapping[str, Mapping[str, Any]], *, places: _Places, ours: bool | None) -> dict[str, ItemBand]:
    """By name; of several copies of a band of Sentinel-2, the one at its own resolution.

    Args:
        assets: by key.
        places: what theirs are relative to.
        ours: the item is of Sentinel-2, of another satellite, or does not say.
    """
    found: dict[tuple[str, str], ItemBand] = {}
    sightings = []
    for key, asset in assets.items():
        for name, band in _bands_of(key, asset, places, ours):
            found.setdefault((name, band.href), band)
            sightings.append(Sighting(name, _resolution(key, asset), band.href))
    if ours is not False:
        chosen = choose(_without_copies(sightings), where=places.path)
        return {name: found[name, href] for name, href in chosen.items()}
    names = [name for name, _ in found]
    if len(set(names)) != len(names):
        raise BandError(f"several assets have the same band: {', '.join(names)}", where=places.path)
    return {name: band for (name, _), band in found.items()}


def _without_copies(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Without JPEG 2000 where the same band is there as GeoTIFF, as Earth Search has both."""
    tiffs = {one.band for one in sightings if not one.href.lower().endswith(".jp2")}
    return [one for one in sightings if one.band not in tiffs or not one.href.lower().endswith(".jp2")]


def _bands_of(key: str, asset: Mapping[str, Any], places: _Places, ours: bool | None) -> Iterator[tuple[str, ItemBand]]:
    """Bands of an asset; none of one that holds no numbers, or more colours than names."""
    kind = str(asset.get("type", "image/tiff"))
    if set(asset.get("roles") or ()) & _NOT_DATA or key in _NOT_DATA or not kind.startswith(_RASTERS):
        return
    described = _described(asset)
    for index, said in enumerate(described, start=1):
        name = _name(key, said, alone=len(described) == 1, ours=ours)
        if name is not None:
            yield name, _item_band(asset, said, index, places.absolute(asset["href"]))


def _described(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is said of each band: ``eo:bands`` and ``raster:bands`` of STAC 1.0, ``bands`` of 1.1."""
    lists = [asset[key] for key in ("eo:bands", "raster:bands", "bands") if isinstance(asset.get(key), list)]
    count = max([1, *map(len, lists)])
    merged: list[dict[str, Any]] = [{} for _ in range(count)]
    for entries in lists:
        for place, entry in enumerate(entries):
            merged[place] |= {name: value for name, value in entry.items() if value is not None}
    return merged


def _name(key: str, said: Mapping[str, Any], *, alone: bool, ours: bool | None) -> str | None:
    """A band's name; of Sentinel-2 only if it is one of its bands."""
    names = [str(said["name"])] if "name" in said else []
    names += [key] if alone else []
    if ours is False:
        return names[0] if names else None
    for name in names:
        band = band_in(name)
        if band is not None:
            return band[0]
        if ours and alone and name.removesuffix("-jp2") in COMMON_NAMES:
            return COMMON_NAMES[name.removesuffix("-jp2")]
    return None


def _item_band(asset: Mapping[str, Any], said: Mapping[str, Any], index: int, href: str) -> ItemBand:
    def number(*names: str) -> float | None:
        values = (place.get(name) for place in (said, asset) for name in names)
        return next((float(value) for value in values if isinstance(value, int | float)), None)

    unit = said.get("unit", asset.get("unit"))
    return ItemBand(
        href,
        index,
        scale=number("raster:scale", "scale"),
        offset=number("raster:offset", "offset"),
        nodata=number("nodata"),
        unit=str(unit) if unit is not None else None,
    )


def _resolution(key: str, asset: Mapping[str, Any]) -> int | None:
    said = next(iter(_described(asset)))
    values = (place.get(name) for place in (said, asset) for name in _RESOLUTIONS)
    stated = next((round(value) for value in values if isinstance(value, int | float)), None)
    named = band_in(key)
    return named[1] if named is not None and named[1] else stated
