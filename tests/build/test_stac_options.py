"""Options of the kind ``stac``: each that does not fit is refused by name."""

import re
from dataclasses import fields
from typing import Any

import pytest

from geopretext.build.archives import open_sources
from geopretext.build.recipe import read_build_recipe
from geopretext.build.stac import StacSource
from geopretext.build.stac_options import CatalogueOptions
from geopretext.build.transfer import TransferSettings
from geopretext.errors import RecipeError

ARCHIVE = {"kind": "stac", "url": "http://127.0.0.1:9/"}
SENTINEL2 = {"collection": "s2", "level": "L2A", "bands": {"B2": "blue"}}
SENTINEL1 = {"collection": "s1", "unit": "linear power", "bands": {"asc_VV": "vv", "desc_VV": "vv"}}
DEM = {"collection": "dem", "bands": {"elevation": "data", "slope": {"slope_of": "elevation"}}}


def opened(modality: str, options: dict[str, Any], archive: dict[str, Any]) -> StacSource:
    entry = {"from": "a", "pair": {"rule": "reference"}, **options}
    source = open_sources(read_build_recipe({"archives": {"a": archive}, "modalities": {modality: entry}}))[modality][0]
    assert isinstance(source, StacSource)
    return source


def test_options_of_the_archive_for_a_modality_come_before_the_modality_s_own() -> None:
    own = {"sentinel2": {"collection": "s2-c1", "bands": {"B2": {"asset": "all", "band": 2}}, "where": {"x": [1, 2]}}}
    layer = opened("sentinel2", SENTINEL2, {**ARCHIVE, "modalities": own}).options.layer
    assert (layer.collection, layer.level, layer.bands["B2"].asset, layer.bands["B2"].band) == (
        "s2-c1",
        "L2A",
        "all",
        2,
    )
    assert layer.where == {"x": (1, 2)}


def test_transfer_settings_are_keys_of_the_archive() -> None:
    options = opened("sentinel2", SENTINEL2, {**ARCHIVE, "retries": 2, "requests_per_second": 3.5, "limit": 7}).options
    assert (options.transfer.retries, options.transfer.requests_per_second, options.catalogue.limit) == (2, 3.5, 7)


def test_no_key_means_two_things() -> None:
    assert not {f.name for f in fields(TransferSettings)} & {f.name for f in fields(CatalogueOptions)}


def test_orbits_follow_from_names_of_bands_unless_said() -> None:
    layer = opened("sentinel1", SENTINEL1, ARCHIVE).options.layer
    assert {name: band.orbit for name, band in layer.bands.items()} == {"asc_VV": "ascending", "desc_VV": "descending"}
    plain = {**SENTINEL1, "bands": {"asc_VV": {"asset": "vv", "orbit": ""}}}
    assert not opened("sentinel1", plain, ARCHIVE).options.layer.is_split


@pytest.mark.parametrize(
    ("modality", "options", "archive", "what"),
    [
        ("sentinel2", {}, {"url": "", "items": ""}, "either url or items"),
        ("sentinel2", {}, {"items": "x.json"}, "either url or items"),
        ("sentinel2", {}, {"limit": 0}, "limit is 0"),
        ("sentinel2", {}, {"square": 90}, "square is 90"),
        ("sentinel2", {}, {"sign": "me"}, "sign is 'me'"),
        ("sentinel2", {}, {"retires": 3}, "no key 'retires'.*did you mean retries"),
        ("sentinel2", {}, {"retries": "often"}, "retries is 'often'"),
        ("sentinel2", {}, {"modalities": 3}, "modalities is 3"),
        ("sentinel2", {"collection": ""}, {}, "names no collection"),
        ("sentinel2", {"bands": None}, {}, "names no bands"),
        ("sentinel2", {"bands": {"B2": 3}}, {}, "bands.B2 is 3"),
        ("sentinel2", {"bands": {"B2": {"band": 1}}}, {}, "either asset or slope_of"),
        ("sentinel2", {"bands": {"B2": {"asset": "a", "band": 0}}}, {}, "band is 0"),
        ("sentinel2", {"bands": {"B2": {"asset": "a", "bnad": 1}}}, {}, "no field bands.B2.bnad"),
        ("sentinel2", {}, {"modalities": {"sentinel2": {"bands": {"B3": "g"}}}}, "'B3' is no band"),
        ("sentinel2", {"level": ""}, {}, "level is ''.*L1C, L2A"),
        ("sentinel2", {"level": "L3"}, {}, "level is 'L3'"),
        ("sentinel2", {"offset": "maybe"}, {}, "offset is 'maybe'"),
        ("sentinel2", {"unit": "dB"}, {}, "unit: .*'dB'"),
        ("sentinel2", {"item_scale": "apply"}, {}, "item_scale and level"),
        ("sentinel2", {"item_scale": "perhaps"}, {}, "item_scale is 'perhaps'"),
        ("sentinel2", {"nodata": "zero"}, {}, "nodata is 'zero'"),
        ("sentinel2", {"where": [1]}, {}, r"where is \[1\]"),
        ("sentinel2", {"bnads": {}}, {}, "no field bnads"),
        ("sentinel1", {"offset": -1000}, {}, "only for Sentinel-2"),
        ("sentinel1", {"level": "L2A"}, {}, "has no levels"),
        ("sentinel1", {"unit": "amplitude"}, {}, "unit: .*'amplitude'"),
        ("aster", {"bands": {"slope": {"slope_of": "elevation"}}}, {}, "slope.slope_of is 'elevation'"),
        (
            "aster",
            {"bands": {"elevation": {"slope_of": "slope"}, "slope": "data"}},
            {},
            "elevation.slope_of is 'slope'",
        ),
    ],
)
def test_what_does_not_fit_is_named(modality: str, options: dict[str, Any], archive: dict[str, Any], what: str) -> None:
    base = {"sentinel2": SENTINEL2, "sentinel1": SENTINEL1, "aster": DEM}[modality]
    with pytest.raises(RecipeError) as caught:
        opened(modality, {**base, **options}, {**ARCHIVE, **archive})
    assert re.search(what, str(caught.value), re.DOTALL)
    assert modality in str(caught.value)
