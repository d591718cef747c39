"""Polygons on disk lie where the pixels are, with areas that an independent computation gives."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("geopandas")

import geopandas
import pyproj
import shapely

from geopretext.errors import GridError, InputError, StoreError
from geopretext.predict.ground_area import Ground, ground_of
from geopretext.predict.polygon_files import write_polygons
from geopretext.predict.polygons import polygonise
from geopretext.predict.scene import Georeference

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
NAMES = {1: "forest", 2: "water"}
CLASSES = np.array([[1, 1, 2], [1, 2, 2], [255, 1, 2]], np.uint8)


def ground(georeference: Georeference = UTM) -> Ground:
    found = ground_of(georeference, height=3, width=3)
    assert found is not None
    return found


def write(path: Path, **options: float) -> int:
    return write_polygons(path, polygonise([CLASSES], nodata=255), ground=ground(), names=NAMES, **options)


def test_a_geopackage_lies_on_the_pixels(tmp_path: Path) -> None:
    assert write(tmp_path / "map.gpkg") == 3
    table = geopandas.read_file(tmp_path / "map.gpkg").sort_values("area_m2")
    assert table.crs.to_epsg() == 32632
    assert table["class"].tolist() == ["forest", "forest", "water"]
    assert table["code"].tolist() == [1, 1, 2]
    assert table["area_m2"].tolist() == [100.0, 300.0, 400.0]
    assert table.geometry.iloc[0].equals(shapely.box(500_010, 4_999_970, 500_020, 4_999_980))
    np.testing.assert_allclose(table.geometry.area, table["area_m2"])


def test_geoparquet_is_in_degrees(tmp_path: Path) -> None:
    assert write(tmp_path / "map.parquet") == 3
    table = geopandas.read_parquet(tmp_path / "map.parquet")
    assert table.crs.to_string() == "OGC:CRS84"
    back = table.to_crs("EPSG:32632")
    np.testing.assert_allclose(back.geometry.area, table["area_m2"], rtol=1e-6)
    np.testing.assert_allclose(back.total_bounds, (500_000, 4_999_970, 500_030, 5_000_000), atol=1e-3)
    geo = json.loads(pq.read_metadata(tmp_path / "map.parquet").metadata[b"geo"])
    np.testing.assert_allclose(geo["columns"]["geometry"]["bbox"], table.total_bounds)
    assert all(shapely.is_ccw(each.exterior) for each in table.geometry)


def test_small_regions_are_left_out(tmp_path: Path) -> None:
    assert write(tmp_path / "map.gpkg", min_area=300.0) == 2


def test_no_region_is_a_file_with_no_rows(tmp_path: Path) -> None:
    for name in ("map.gpkg", "map.parquet"):
        assert write(tmp_path / name, min_area=1e9) == 0
    assert len(geopandas.read_file(tmp_path / "map.gpkg")) == len(geopandas.read_parquet(tmp_path / "map.parquet")) == 0


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    for name in ("map.gpkg", "map.parquet"):
        path = tmp_path / name
        path.write_text("before")

        def regions():
            yield from polygonise([CLASSES], nodata=255)
            raise StoreError("stops here")

        with pytest.raises(StoreError, match="stops here"):
            write_polygons(path, regions(), ground=ground(), names=NAMES)
        assert path.read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["map.gpkg", "map.parquet"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.parquet or \.gpkg"):
        write(tmp_path / "map.shp")


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (1e-4, 0.0, 7.0, 0.0, -1e-4, 60.0)),
        ("EPSG:3857", (20.0, 0.0, 800_000.0, 0.0, -20.0, 8_400_000.0)),
    ],
)
def test_pixels_whose_grid_distorts_areas_are_measured_on_the_ellipsoid(crs: str, transform: tuple[float, ...]) -> None:
    """Against an equal-area projection centred on them, which is another computation."""
    here = ground(Georeference(crs, transform))
    pixel = shapely.box(1, 0, 2, 1)
    (degrees,) = here.in_degrees(np.array([pixel]))
    centre = degrees.centroid
    equal = pyproj.Transformer.from_crs("OGC:CRS84", f"+proj=laea +lat_0={centre.y} +lon_0={centre.x}", always_xy=True)
    expected = shapely.area(shapely.transform(degrees, equal.transform, interleaved=False))
    assert here.pixel_areas(0, 1, columns=3)[0] == pytest.approx(expected, rel=1e-5)
    assert here.areas(np.array([pixel]))[0] == pytest.approx(expected, rel=1e-5)


def test_feet_are_squared() -> None:
    """California zone 3 in US survey feet."""
    here = ground(Georeference("EPSG:2227", (30.0, 0.0, 6_000_000.0, 0.0, -30.0, 2_000_000.0)))
    assert here.pixel_areas(0, 2, columns=3) == pytest.approx([(30 * 1200 / 3937) ** 2] * 2)


def test_across_the_antimeridian_polygons_stay_in_one_piece() -> None:
    """UTM zone 1 from west of 180 degrees to east of it."""
    here = ground_of(
        Georeference("EPSG:32601", (1000.0, 0.0, 270_000.0, 0.0, -1000.0, 5_000_000.0)), height=1, width=60
    )
    assert here is not None
    (polygon,) = here.in_degrees(np.array([shapely.box(0, 0, 60, 1)]))
    west, _, east, _ = polygon.bounds
    assert east - west < 1


def test_an_unknown_place_has_no_ground() -> None:
    assert ground_of(Georeference("", UTM.transform), height=3, width=3) is None
    with pytest.raises(GridError, match="no coordinate reference system"):
        ground_of(Georeference("nonsense", UTM.transform), height=3, width=3)
