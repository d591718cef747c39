"""Coastlines: those of the Earth are where they are."""

import pytest

from geopretext.apps.viewer import land
from geopretext.apps.viewer.land import land_of
from geopretext.apps.viewer.planet import planet_of, seed_of

PLACES = {
    "Paris": (48.86, 2.35, True), "Ouagadougou": (12.37, -1.53, True), "Alice Springs": (-23.7, 133.88, True),
    "Manaus": (-3.1, -60.0, True), "South Pole": (-89.9, 0.0, True), "Null Island": (0.0, 0.0, False),
    "Pacific": (-30.0, -140.0, False), "Caspian Sea": (41.5, 51.0, False), "Lesotho": (-29.5, 28.2, True),
}  # fmt: skip


def is_land(rings, lat: float, lon: float) -> bool:
    """Even-odd rule, as the page fills them."""
    shapely = pytest.importorskip("shapely", reason="needs shapely")
    return bool(sum(shapely.contains_xy(shapely.Polygon(ring), lon, lat) for ring in rings) % 2)


@pytest.mark.parametrize("place", PLACES)
def test_land_of_the_earth(place: str) -> None:
    pytest.importorskip("pyogrio", reason="needs pyogrio")
    lat, lon, expected = PLACES[place]
    found = land_of("earth")
    assert found.source == "Coastlines: Natural Earth 1:110m"
    assert is_land(found.rings, lat, lon) is expected


def test_without_coastlines_the_map_says_why(monkeypatch) -> None:
    monkeypatch.setattr(land, "_OUTLINES", "tests/fixtures/none.shp")
    assert land._earth() == land.Land((), "no coastlines: this version of pyogrio carries none")
    monkeypatch.setattr(land, "find_spec", lambda name: None)
    assert land._earth().source == 'no coastlines: pyogrio is not installed (pip install "geopretext[viewer]")'
    assert land._synthetic(0).source.startswith("no coastlines: contourpy is not installed")


@pytest.mark.parametrize(
    ("recipe", "planet"),
    [
        ({"name": "synthetic earth", "seed": 5}, "synthetic-5"),
        ({"name": "mine", "archives": {"a": {"kind": "stac"}, "b": {"kind": "synthetic", "seed": 3}}}, "synthetic-3"),
        ({"name": "mine", "archives": {"a": {"kind": "stac"}}}, "earth"),
        ({}, "earth"),
    ],
)
def test_which_planet_a_store_is_of(recipe, planet: str, tmp_path) -> None:
    from geopretext.data.store import Store
    from geopretext.data.writer import StoreWriter
    from geopretext.modality import PUBLISHED

    with StoreWriter.create(tmp_path / "t.zarr", [PUBLISHED["month"]], tile_size=8, recipe=recipe):
        pass
    found = planet_of(Store.open(tmp_path / "t.zarr"))
    assert found == planet
    assert seed_of(found) == (None if planet == "earth" else int(planet[-1]))
