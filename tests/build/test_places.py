"""Places as a file, and the files that they come from: ecoregions, regions, points."""

import csv
import functools
import json
import shutil
import struct
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from geopretext.build.ecoregions import Ecoregions, read_ecoregions
from geopretext.build.equal_area import areas
from geopretext.build.place_sample import PlaceSample, PointSample, SampleSettings
from geopretext.build.places import Places, read_places, write_places
from geopretext.build.points import read_points
from geopretext.build.polygon_file import read_polygons
from geopretext.build.region import box_region, read_region
from geopretext.data.files import Files
from geopretext.errors import InputError, StoreError
from geopretext.modality import BIOMES, ECOREGIONS

from .ecoregion_file import write_ecoregions


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ecoregions(tmp_path_factory.mktemp("ecoregions") / "ecoregions.shp")


@pytest.fixture(scope="module")
def ecoregions(file: Path) -> Ecoregions:
    return read_ecoregions(file)


@pytest.fixture
def server(file: Path) -> Iterator[str]:
    """The folder of the ecoregions over HTTP."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(file.parent)))
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def some_places(count: int = 3, first: int = 0) -> Places:
    numbers = np.arange(first, first + count)
    return Places(
        place_id=np.array([f"p{number}" for number in numbers]),
        lat=numbers * 10.0 - 20,
        lon=numbers * 20.0 + 0.5,
        biome=np.array([-1, 3, 5], np.int16)[numbers % 3],
        ecoregion=np.array([-1, 0, 845], np.int16)[numbers % 3],
    )


# --- the file of places


def test_places_come_back(tmp_path: Path) -> None:
    path = tmp_path / "places.parquet"
    assert write_places(path, [some_places(), some_places(2, first=3)], facts={"seed": 7}) == 5
    places = read_places(path)
    assert places.place_id.tolist() == ["p0", "p1", "p2", "p3", "p4"]
    assert places.biome.tolist() == [-1, 3, 5, -1, 3]
    assert places.biome_names.tolist() == ["", BIOMES[3], BIOMES[5], "", BIOMES[3]]
    assert places.ecoregion_names.tolist()[:3] == ["", ECOREGIONS[0], ECOREGIONS[845]]
    np.testing.assert_array_equal(places.lat, some_places(5).lat)
    assert json.loads(pq.read_schema(path).metadata[b"geopretext"]) == {"seed": 7}
    assert [entry.name for entry in tmp_path.iterdir()] == ["places.parquet"]


def test_places_are_geoparquet(tmp_path: Path) -> None:
    path = tmp_path / "places.parquet"
    write_places(path, [some_places()])
    frame = geopandas.read_parquet(path)
    assert frame.crs == "OGC:CRS84"
    np.testing.assert_array_equal(frame.geometry.x, frame.lon)
    np.testing.assert_array_equal(frame.geometry.y, frame.lat)
    schema = pq.read_schema(path)
    geo = json.loads(schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert geo["columns"]["geometry"] == {"encoding": "WKB", "geometry_types": ["Point"]}
    assert pq.ParquetFile(path).metadata.metadata[b"geo"] == schema.metadata[b"geo"]  # where other readers look
    assert schema.field("geometry").type == pa.binary()
    wkb = pq.read_table(path).column("geometry")[1].as_py()
    assert struct.unpack("<BIdd", wkb) == (1, 1, 20.5, -10.0)


def test_places_are_read_from_an_object_store(tmp_path: Path) -> None:
    write_places(tmp_path / "places.parquet", [some_places()])
    Files("memory://places/of").write({"places.parquet": (tmp_path / "places.parquet").read_bytes()})
    assert read_places("memory://places/of/places.parquet").place_id.tolist() == ["p0", "p1", "p2"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "places.parquet"
    write_places(path, [some_places()])
    before = path.read_bytes()

    def failing() -> Iterator[Places]:
        yield some_places()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_places(path, failing())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["places.parquet"]


def test_what_is_no_file_of_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_places(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("place_id,lat,lon")
    with pytest.raises(InputError, match="is no Parquet file"):
        read_places(tmp_path / "text.parquet")
    pq.write_table(pa.table({"id": [1], "lat": [2.0]}), tmp_path / "id.parquet")
    with pytest.raises(InputError, match=r"has no column 'place_id', it has id, lat\nhint: .*--points"):
        read_places(tmp_path / "id.parquet")
    pq.write_table(pa.table({"place_id": ["a", "b"], "lat": [1.0, None], "lon": [2.0, 3.0]}), tmp_path / "gap.parquet")
    with pytest.raises(InputError, match=r"gap.parquet, place b: lat nan, lon 3 is no position"):
        read_places(tmp_path / "gap.parquet")
    pq.write_table(pa.table({"place_id": ["a"], "lat": ["north"], "lon": [2.0]}), tmp_path / "words.parquet")
    with pytest.raises(InputError, match="cannot be read as places"):
        read_places(tmp_path / "words.parquet")
    columns = {"place_id": ["a"], "lat": [1.0], "lon": [2.0], "biome": [14]}
    pq.write_table(pa.table(columns), tmp_path / "biome.parquet")
    with pytest.raises(InputError, match="biome 14 is none of the published numbers"):
        read_places(tmp_path / "biome.parquet")
    with pytest.raises(InputError, match="no such folder"):
        write_places(tmp_path / "none" / "places.parquet", [some_places()])
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(StoreError, match=r"folder.parquet: cannot be written"):
        write_places(tmp_path / "folder.parquet", [some_places()])
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(InputError, match="written to a local disk"):
        write_places("s3://bucket/places.parquet", [some_places()])


# --- ecoregions and regions


def test_names_become_published_numbers_whatever_the_files_own(ecoregions: Ecoregions) -> None:
    numbers = dict(zip(ecoregions.name.tolist(), ecoregions.ecoregion.tolist(), strict=True))
    assert numbers["Fiji tropical moist forests"] == ECOREGIONS.index("Fiji tropical moist forests")
    biomes = dict(zip(ecoregions.name.tolist(), ecoregions.biome.tolist(), strict=True))
    assert biomes["Russian Arctic desert"] == BIOMES.index("Tundra")
    assert biomes["Rock and Ice"] == -1  # although the file numbers it as the tundra
    assert ecoregions.name[~ecoregions.classified].tolist() == ["Rock and Ice"]
    assert ecoregions.unknown == []


def test_any_polygons_with_any_fields(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"farm": ["north", "north", "south"], "soil": ["loam", "loam", None]},
        geometry=[shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1), shapely.box(0, -2, 1, -1)],
        crs="EPSG:4326",
    ).to_crs(3857)
    frame.to_file(tmp_path / "farms.gpkg")
    farms = read_ecoregions(tmp_path / "farms.gpkg", name_field="farm", stratum_field="soil")
    assert farms.name.tolist() == ["south", "north"]
    assert farms.classified.tolist() == [False, True]
    assert farms.unknown == ["north"]
    places = next(PlaceSample(SampleSettings(), ecoregions=farms).draw(50))
    assert set(places.ecoregion_names.tolist()) == {"north"}
    assert set(places.biome.tolist()) == {-1}
    assert {lon > 1.5 for lon in places.lon} == {True, False}


@pytest.mark.parametrize("name", ["ecoregions.zip", "ecoregions.parquet", "ecoregions.geojson"])
def test_ecoregions_from_a_url(name: str, server: str, file: Path, ecoregions: Ecoregions) -> None:
    if name.endswith(".zip"):
        folder = file.parent / "zipped"
        folder.mkdir()
        for part in file.parent.glob("ecoregions.[sdpc]*"):
            shutil.copy(part, folder)
        shutil.make_archive(str(file.parent / "ecoregions"), "zip", folder)
    elif name.endswith(".parquet"):
        geopandas.read_file(file).to_parquet(file.parent / name)
    else:
        geopandas.read_file(file).to_file(file.parent / name)
    read = read_ecoregions(f"{server}/{name}")
    assert read.name.tolist() == ecoregions.name.tolist()
    assert shapely.equals(read.geometry, ecoregions.geometry).all()


def test_what_is_no_file_of_polygons(tmp_path: Path, server: str, file: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_polygons(tmp_path / "none.shp")
    with pytest.raises(InputError, match=r"cannot be read as shapes: .*404"):
        read_polygons(f"{server}/none.geojson")
    (tmp_path / "text.shp").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as shapes"):
        read_polygons(tmp_path / "text.shp")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is a table without shapes"):
        read_polygons(tmp_path / "table.csv")
    geopandas.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=4326).to_file(tmp_path / "points.geojson")
    with pytest.raises(InputError, match="holds Points, polygons are needed"):
        read_polygons(tmp_path / "points.geojson")
    geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(5e5, 0, 6e5, 1e5)], crs=32633).to_file(
        tmp_path / "nowhere.shp"
    )
    (tmp_path / "nowhere.prj").unlink()
    with pytest.raises(InputError, match="does not say its projection"):
        read_polygons(tmp_path / "nowhere.shp")
    with pytest.raises(InputError, match=r"has no field 'NAME', it has ECO_NAME, BIOME_NAME, .*\nhint: .*--name-field"):
        read_ecoregions(file, name_field="NAME")
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 85, 1, 86)], crs=4326).to_file(tmp_path / "polar.geojson")
    with pytest.raises(InputError, match="has no area between 80 S and 84 N"):
        read_region(tmp_path / "polar.geojson")


def test_regions_over_the_antimeridian_and_bow_ties(tmp_path: Path) -> None:
    shapes = [shapely.box(170, 0, 190, 10), shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])]
    geopandas.GeoDataFrame(geometry=shapes, crs=4326).to_file(tmp_path / "region.gpkg")
    region = read_region(tmp_path / "region.gpkg")
    assert shapely.is_valid(region)
    assert shapely.bounds(region).tolist() == [-180, 0, 180, 10]
    assert shapely.area(region) == pytest.approx(250)
    box = box_region(west=170, south=0, east=-170, north=10)
    assert shapely.area(shapely.intersection(region, box)) == pytest.approx(200)


# --- labels


def test_labels_within_and_near(ecoregions: Ecoregions) -> None:
    lat = np.array([65.0, 70.05, 70.2, 65.0, 65.0, 5.0, -50.0])
    lon = np.array([10.0, 10.0, 10.0, 20.15, 20.3, 20.15, 100.0])
    rows = ecoregions.locate(lat=lat, lon=lon, reach_km=10)
    taiga = ecoregions.name.tolist().index("Scandinavian and Russian taiga")
    # 0.05 degrees of latitude are 5.6 km; 0.15 of longitude are 7 km at 65 degrees and 16.6 km at 5
    assert (rows == taiga).tolist() == [True, True, False, True, False, False, False]
    assert rows.tolist() == [taiga, taiga, -1, taiga, -1, -1, -1]
    within = ecoregions.locate(lat=lat, lon=lon, reach_km=0)
    assert within.tolist() == [taiga, -1, -1, -1, -1, -1, -1]


def test_uniform_places_in_a_box_are_labelled_and_kept_out_of_the_sea(ecoregions: Ecoregions) -> None:
    box = box_region(west=10, south=0, east=30, north=10)
    free = next(PlaceSample(SampleSettings(strategy="uniform"), ecoregions=ecoregions, region=box).draw(400))
    assert (free.lon > 20.2).mean() == pytest.approx(0.49, abs=0.1)
    assert {name for name, lon in zip(free.biome_names, free.lon, strict=True) if lon > 20.2} == {""}
    dry = SampleSettings(strategy="uniform", no_ocean=True)
    assert next(PlaceSample(dry, ecoregions=ecoregions, region=box).draw(400)).lon.max() <= 20
    with pytest.raises(InputError, match=r"keeping out of the ocean needs polygons(.|\n)*ecoregions.appspot.com"):
        PlaceSample(dry, region=box)
    with pytest.raises(InputError, match=r"strategy 'biome-even' needs polygons(.|\n)*CC-BY 4.0"):
        PlaceSample(SampleSettings(strategy="biome-even"), region=box)
    unlabelled = next(PlaceSample(SampleSettings(strategy="uniform"), region=box).draw(10))
    assert set(unlabelled.biome.tolist()) == {-1}


def test_points_are_labelled_and_the_polar_are_kept(ecoregions: Ecoregions) -> None:
    points = Places(
        place_id=np.array(["a", "b", "c", "d"]),
        lat=np.array([65.0, 65.001, 86.0, -85.0]),
        lon=np.array([10.0, 10.0, 65.0, 0.0]),
        biome=np.zeros(4, np.int16),
        ecoregion=np.zeros(4, np.int16),
    )
    sample = PointSample(points, SampleSettings(min_distance=500), ecoregions=ecoregions)
    places = next(sample.draw())
    assert places.place_id.tolist() == ["a", "c", "d"]
    assert places.biome.tolist() == [BIOMES.index("Boreal Forests/Taiga"), BIOMES.index("Tundra"), -1]
    assert (sample.tally.too_near, sample.tally.polar, sample.tally.count) == (1, 2, 3)
    kept = next(PointSample(points, SampleSettings()).draw(2))
    assert kept.biome.tolist() == [0, 0]


# --- files of points


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.geojson", "p.gpkg", "geo.parquet"])
def test_points_from_any_table(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    lon, lat, ids = [10.5, -170.0], [50.25, -20.0], ["007", "b"]
    if name == "p.csv":
        path.write_text("ID,Longitude,Latitude\n007,10.5,50.25\nb,-170,-20\n")
    elif name == "p.parquet":
        pq.write_table(pa.table({"id": ids, "lon": lon, "lat": lat}), path)
    else:
        frame = geopandas.GeoDataFrame({"id": ids}, geometry=geopandas.points_from_xy(lon, lat), crs=4326)
        frame = frame.to_crs(3857) if name == "p.gpkg" else frame
        frame.to_parquet(path) if name == "geo.parquet" else frame.to_file(path)
    places = read_points(path)
    np.testing.assert_allclose(places.lon, lon)
    np.testing.assert_allclose(places.lat, lat)
    assert places.place_id.tolist() == ids


def test_points_without_ids_are_numbered_and_labels_are_kept(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lat,lon,biome\n1,2,3\n4,5,-1\n")
    places = read_points(tmp_path / "p.csv")
    assert places.place_id.tolist() == ["0000000", "0000001"]
    assert places.biome.tolist() == [3, -1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,lat\na,1\n", r"has no column 'lon', it has id, lat\nhint: name the columns of degrees lon and lat"),
        ("lon,lat\n1,2\nx,3\n", "cannot be read as places"),
        ("lon,lat\n10,2\n,3\n", "place 0000001: lat 3, lon nan is no position"),
        ("lon,lat\n10,120\n", r"lat 120, lon 10 is no position on the Earth\nhint: .*swapped"),
        ("id,lon,lat\na,1,2\na,3,4\n", "place id 'a' is doubled"),
        ("lon,lat\n", "holds no points"),
        ("", "cannot be read as CSV"),
    ],
)
def test_what_is_no_file_of_points(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        read_points(tmp_path / "p.csv")
    assert "p.csv" in caught.value.where


def test_polygons_are_no_points(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="points are needed"):
        read_points(file)
    for name in ("none.csv", "none.parquet", "none.geojson"):
        with pytest.raises(InputError, match="no such file"):
            read_points(tmp_path / name)


# --- the real thing


def test_real_areas_are_those_that_mmearth_published(test_data: Path) -> None:
    ecoregions = read_ecoregions(test_data / "resolve_ecoregions" / "Ecoregions2017.shp")
    published = json.loads((test_data / "mmearth_metadata" / "total_area_biome.json").read_text())
    area = areas(ecoregions.geometry)
    for biome, km2 in published.items():
        # The file's polygons are simplified, which costs the narrow mangroves most.
        tolerance = 0.16 if biome == "Mangroves" else 0.025
        assert area[ecoregions.stratum == biome].sum() == pytest.approx(km2, rel=tolerance)


def test_real_labels_agree_with_bigearthnet(test_data: Path) -> None:
    with (test_data / "bigearthnet_v2_120" / "ben120_meta.csv").open(newline="") as file:
        patches = list(csv.DictReader(file))
    lat, lon = (np.array([float(patch[name]) for patch in patches]) for name in ("lat", "lon"))
    theirs = np.array([patch["ECO_NAME"] for patch in patches])
    ecoregions = read_ecoregions(test_data / "resolve_ecoregions" / "Ecoregions2017.shp")
    ours = np.append(ecoregions.name, "")
    np.testing.assert_array_equal(ours[ecoregions.locate(lat=lat, lon=lon, reach_km=0)], theirs)
    near = ours[ecoregions.locate(lat=lat, lon=lon, reach_km=SampleSettings().reach_km)]
    at_sea = np.array([patch["labels"] == "Marine waters" for patch in patches])
    assert at_sea.sum() == 11
    assert (near[~at_sea] != "").all()  # one of them lies outside the simplified coast
