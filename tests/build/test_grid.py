import numpy as np
import pytest
import rasterio.warp

from geopretext.build.grid import Grid, utm_zone
from geopretext.errors import Reason, SourceError


def test_a_grid_lies_around_its_place_on_the_pixels_of_the_zone():
    grid = Grid.around(lat=47.37, lon=8.54, crs=32632, size=64)
    lat, lon = grid.center
    # half a pixel off at most: 5 m times the square root of 2
    assert np.hypot((lat - 47.37) * 111_000, (lon - 8.54) * 75_000) < 7.2
    assert grid.left % 10 == 0 == grid.top % 10
    assert grid.bounds == (grid.left, grid.top - 640, grid.left + 640, grid.top)
    (x,), (y,) = rasterio.warp.transform("EPSG:4326", "EPSG:32632", [8.54], [47.37])
    assert grid.left < x < grid.left + 640
    assert grid.top - 640 < y < grid.top


def test_the_outline_holds_what_the_grid_holds():
    grid = Grid.around(lat=60, lon=9.1, crs=32631, size=128)  # a neighbouring zone: turned by some degrees
    outline = grid.outline()
    left, bottom, right, top = grid.bounds
    lon, lat = rasterio.warp.transform(
        "EPSG:32631", "EPSG:4326", [left, right, right, left], [top, top, bottom, bottom]
    )
    for corner in zip(lon, lat, strict=True):
        assert min(np.hypot(*np.subtract(corner, point)) for point in outline.exterior.coords) < 1e-9


def test_the_outline_is_in_two_halves_at_the_antimeridian():
    grid = Grid.around(lat=-17, lon=179.999, crs=32760, size=128)
    west, south, east, north = grid.outline().bounds
    assert (west, east) == (-180, 180)
    assert north - south < 0.02
    assert grid.outline().area == pytest.approx(
        Grid.around(lat=-17, lon=178, crs=32760, size=128).outline().area, rel=0.01
    )


@pytest.mark.parametrize(
    ("lat", "lon", "zone"),
    [
        (47, 8, 32632),
        (-33, 151, 32756),
        (0, 179.99, 32660),
        (0, -180, 32601),
        (0, 180, 32601),
        (60.4, 5.3, 32632),
        (78, 8, 32631),
        (78, 10, 32633),
        (78, 22, 32635),
        (78, 40, 32637),
        (83.9, 45, 32638),
    ],
)
def test_zones_with_the_exceptions_of_norway_and_svalbard(lat, lon, zone):
    assert utm_zone(lat=lat, lon=lon) == zone


def test_polar_places_have_no_zone():
    with pytest.raises(SourceError, match=r"latitude 84\.5") as caught:
        utm_zone(lat=84.5, lon=0)
    assert caught.value.reason is Reason.POLAR
    with pytest.raises(SourceError, match="no position in EPSG:32632"):
        Grid.around(lat=0, lon=98.9999999999, crs=32632, size=64)
