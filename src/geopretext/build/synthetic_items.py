"""Items of an archive on disk: a folder with the files of its assets and what it says about them, as STAC.

::

    DIR/catalog.json                                 a static catalogue, hrefs relative to each file
    DIR/COLLECTION/collection.json
    DIR/COLLECTION/ITEM/ITEM.json
    DIR/COLLECTION/ITEM/ASSET.tif
    DIR/items.json                                   all items in one file, hrefs absolute, for `rustac serve`
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geopretext.build.synthetic_cogs import Layer, write_cog
from geopretext.errors import MissingLibraryError

try:
    import pystac
    from pystac.extensions import eo, projection, sar, sat
except ImportError as error:
    raise MissingLibraryError(error.name or "pystac", extra="geo", purpose="write STAC items") from error

EO, PROJECTION, SAR, SATELLITE = eo.SCHEMA_URI, projection.SCHEMA_URI, sar.SCHEMA_URI, sat.SCHEMA_URI
COLLECTIONS = {
    "sentinel-2-l1c": "Sentinel-2 top-of-atmosphere reflectance",
    "sentinel-2-l2a": "Sentinel-2 surface reflectance",
    "sentinel-1-rtc": "Sentinel-1 backscatter, linear power",
    "dynamic-world": "Land cover of each year, Dynamic World's classes as 1 to 9",
    "esa-worldcover": "Land cover of 2020, ESA WorldCover's classes",
    "cop-dem-glo-30": "Elevation, 1 arc second",
    "eth-canopy-height": "Canopy height of 2020 and its standard deviation",
}
"""What each collection holds, by id; those that the Planetary Computer has too are called as there"""
CATALOGUE = "catalog.json"
UNFINISHED = ".unfinished-"
"""what folders begin with until all of their files are written"""


@dataclass(frozen=True)
class Draft:
    """An item before it is written."""

    collection: str
    """a key of ``COLLECTIONS``"""
    item: str
    """id, unique within the collection"""
    outline: Any
    """what it covers, in degrees (shapely polygon)"""
    span: tuple[np.datetime64, np.datetime64]
    """first and last second; equal for an image"""
    layers: Mapping[str, Layer]
    """by key of the asset, which is also the name of its file"""
    properties: Mapping[str, Any]
    extensions: tuple[str, ...]
    """schemas that the properties follow"""


def write_item(root: Path, draft: Draft) -> None:
    """Write an item's folder, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    folder = root / draft.collection / draft.item
    unfinished = folder.with_name(f"{UNFINISHED}{draft.item}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for key, layer in draft.layers.items():
        write_cog(unfinished / f"{key}.tif", layer)
    text = json.dumps(stac_item(draft).to_dict(include_self_link=False), indent=1)
    (unfinished / f"{draft.item}.json").write_text(text, encoding="utf-8")
    for path in unfinished.iterdir():
        _sync(path)
    unfinished.rename(folder)


def stac_item(draft: Draft) -> pystac.Item:
    """The item as STAC, its assets beside it."""
    start, stop = (_utc(time) for time in draft.span)
    item = pystac.Item(
        id=draft.item,
        geometry=shapely.geometry.mapping(draft.outline),
        bbox=[round(side, 9) for side in draft.outline.bounds],
        datetime=start if start == stop else None,
        start_datetime=None if start == stop else start,
        end_datetime=None if start == stop else stop,
        properties=dict(draft.properties),
        stac_extensions=list(draft.extensions),
        collection=draft.collection,
    )
    for key, layer in draft.layers.items():
        item.add_asset(
            key,
            pystac.Asset(
                href=f"./{key}.tif",
                title=layer.title or None,
                media_type=pystac.MediaType.COG,
                roles=list(layer.roles),
                extra_fields=dict(layer.facts),
            ),
        )
    return item


def write_catalogue(root: Path, *, title: str) -> None:
    """Write the catalogue and its collections about the items that are there.

    Raises:
        OSError: they cannot be written.
    """
    catalogue = pystac.Catalog("geopretext-synthetic", title)
    for name, description in COLLECTIONS.items():
        found = [pystac.Item.from_file(str(path)) for path in sorted((root / name).glob("[!.]*/*.json"))]
        if not found:
            continue
        extent = pystac.Extent.from_items(found)
        collection = pystac.Collection(name, description, extent, title=description, license="CC0-1.0")
        catalogue.add_child(collection)
        for item in found:
            item.clear_links()
            collection.add_item(item)
    catalogue.normalize_and_save(str(root), pystac.CatalogType.SELF_CONTAINED)


def item_collection(root: Path, base: str) -> dict[str, Any]:
    """All items as one GeoJSON feature collection without links, hrefs of assets below ``base`` (path or URL)."""
    features = []
    for path in sorted(path for name in COLLECTIONS for path in (root / name).glob("[!.]*/*.json")):
        plain = json.loads(path.read_text(encoding="utf-8"))
        folder = "/".join((base.rstrip("/"), *path.parent.relative_to(root).parts))
        for asset in plain["assets"].values():
            asset["href"] = f"{folder}/{asset['href'].removeprefix('./')}"
        features.append({**plain, "links": []})
    return {"type": "FeatureCollection", "features": features}


def collections(root: Path) -> list[dict[str, Any]]:
    """The collections that there are, without links."""
    paths = [root / name / "collection.json" for name in COLLECTIONS]
    return [{**json.loads(path.read_text("utf-8")), "links": []} for path in paths if path.exists()]


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    _sync(unfinished)
    unfinished.replace(path)


def _sync(path: Path) -> None:
    """Have a file on the disk before its name is: a machine that stops must not leave a name without its bytes."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _utc(time: np.datetime64) -> datetime:
    return datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), UTC)
