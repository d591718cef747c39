"""``geopretext places``: what it writes, prints and refuses."""

import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from geopretext.apps.cli import main
from geopretext.build.places import read_places
from geopretext.modality import BIOMES

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def ecoregions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ecoregions, one name that is none of MMEarth's, and land of no biome."""
    path = tmp_path_factory.mktemp("ecoregions") / "ecoregions.geojson"
    rows = [
        ("Central Congolian lowland forests", BIOMES[1], shapely.box(0, 0, 20, 10)),
        ("Scandinavian and Russian taiga", BIOMES[5], shapely.box(0, 60, 20, 70)),
        ("Atlantis", BIOMES[5], shapely.box(-40, 30, -30, 35)),
        ("Rock and Ice", "N/A", shapely.box(-60, 70, -40, 80)),
    ]
    columns = {"ECO_NAME": [row[0] for row in rows], "BIOME_NAME": [row[1] for row in rows]}
    geopandas.GeoDataFrame(columns, geometry=[row[2] for row in rows], crs=4326).to_file(path)
    return path


def sample(tmp_path: Path, *words: object, name: str = "places.parquet") -> Path:
    path = tmp_path / name
    assert main(["places", "--out", str(path), *map(str, words)]) == 0
    return path


def refused(capsys: Capture, tmp_path: Path, *words: object, code: int = 1) -> str:
    """stderr of a command line that is refused and leaves nothing."""
    assert main(["places", "--out", str(tmp_path / "places.parquet"), *map(str, words)]) == code
    assert not list(tmp_path.glob("*places.parquet*"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "\nhint: " in printed.err
    return printed.err


def test_prints_shares_and_what_was_left_out(ecoregions: Path, tmp_path: Path, capsys: Capture) -> None:
    path = sample(tmp_path, "--count", 200, "--strategy", "biome-even", "--ecoregions", ecoregions)
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.startswith(("Tropical", "Boreal"))]
    assert [row[-4] for row in rows] == ["1", "5"]
    assert [row[-1] for row in rows] == ["50.00%", "50.00%"]
    assert sum(int(row[-3]) for row in rows) == 200
    assert all(abs(int(row[-3]) - 100) <= 2 for row in rows)
    assert "200 places in 3 ecoregions written to" in printed.err
    assert "left out, since of no biome: Rock and Ice" in printed.err
    assert "not among MMEarth's names, so numbered -1: Atlantis" in printed.err
    places = read_places(path)
    assert len(places) == 200
    assert set(places.biome.tolist()) == {1, 5}
    facts = json.loads(pq.read_schema(path).metadata[b"geopretext"])
    assert {"strategy": "biome-even", "seed": 0, "ecoregions": str(ecoregions)}.items() <= facts.items()


def test_json_holds_the_same(ecoregions: Path, tmp_path: Path, capsys: Capture) -> None:
    sample(tmp_path, "--count", 50, "--ecoregions", ecoregions, "--json")
    summary = json.loads(capsys.readouterr().out)
    assert (summary["places"], summary["strategy"], summary["left_out"]) == (50, "biome-area", ["Rock and Ice"])
    entry = summary["biomes"][0]
    assert {"name": BIOMES[1], "number": 1, "rule": 0.5, "share": entry["places"] / 50}.items() <= entry.items()
    assert sum(entry["places"] for entry in summary["biomes"]) == 50


def test_same_arguments_same_bytes_and_prefixes(ecoregions: Path, tmp_path: Path) -> None:
    words = ("--ecoregions", ecoregions, "--seed", 3, "--no-overlap")
    first = sample(tmp_path, "--count", 300, *words).read_bytes()
    assert sample(tmp_path, "--count", 300, *words).read_bytes() == first
    many = read_places(tmp_path / "places.parquet")
    few = read_places(sample(tmp_path, "--count", 100, *words, name="few.parquet"))
    for name in ("place_id", "lat", "lon", "ecoregion"):
        np.testing.assert_array_equal(getattr(many, name)[:100], getattr(few, name))
    other = read_places(sample(tmp_path, "--count", 100, *words[:2], "--seed", 4, name="other.parquet"))
    assert not np.isin(other.place_id, few.place_id).any()


def test_one_process_and_another_write_the_same(ecoregions: Path, tmp_path: Path) -> None:
    here = sample(tmp_path, "--count", 100, "--ecoregions", ecoregions).read_bytes()
    words = ["places", "--count", "100", "--ecoregions", str(ecoregions), "--out", str(tmp_path / "there.parquet")]
    subprocess.run([sys.executable, "-m", "geopretext.apps.cli", *words], check=True, capture_output=True)
    assert (tmp_path / "there.parquet").read_bytes() == here


@pytest.mark.parametrize("words", [["--box", "-170,-20,-160,-10"], ["--box=-170,-20,-160,-10"]])
def test_a_box_without_polygons_is_sampled_evenly(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    places = read_places(sample(tmp_path, "--count", 40, *words))
    assert (places.lon.min() >= -170) & (places.lon.max() <= -160)
    assert set(places.biome.tolist()) == {-1}
    assert "40 places of no known biome" in capsys.readouterr().err


def test_a_box_over_the_antimeridian(tmp_path: Path) -> None:
    places = read_places(sample(tmp_path, "--count", 200, "--box", "170,-20,-160,-10"))
    assert (np.abs(places.lon) >= 160).all()
    assert (places.lon > 0).mean() == pytest.approx(1 / 3, abs=0.12)


def test_a_polygon_and_no_ocean(ecoregions: Path, tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.box(10, 0, 30, 10)], crs=4326).to_file(tmp_path / "region.geojson")
    words = ("--count", 60, "--polygon", tmp_path / "region.geojson", "--ecoregions", ecoregions)
    assert read_places(sample(tmp_path, *words)).lon.max() <= 20
    assert read_places(sample(tmp_path, *words, "--strategy", "uniform")).lon.max() > 21
    assert read_places(sample(tmp_path, *words, "--strategy", "uniform", "--no-ocean")).lon.max() <= 20


def test_points_of_a_file_are_labelled(ecoregions: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "points.csv").write_text("id,lon,lat\na,5,5\nb,5,65\nc,5,65.001\nd,-100,0\ne,0,88\n")
    words = ("--points", tmp_path / "points.csv", "--ecoregions", ecoregions, "--no-overlap")
    places = read_places(sample(tmp_path, *words))
    assert places.place_id.tolist() == ["a", "b", "d", "e"]
    assert places.biome.tolist() == [1, 5, -1, -1]
    remarks = capsys.readouterr().err
    assert "1 place left out, since too near to an earlier one" in remarks
    assert "1 place outside the UTM zones (80 S to 84 N)" in remarks
    assert len(read_places(sample(tmp_path, *words, "--count", 2))) == 2


def test_figure(ecoregions: Path, tmp_path: Path) -> None:
    sample(tmp_path, "--count", 100, "--ecoregions", ecoregions, "--figure", tmp_path / "all" / "world.png")
    sample(tmp_path, "--count", 1, "--box=179,0,-179,2", "--figure", tmp_path / "all" / "one.png")
    for picture in (tmp_path / "all").iterdir():
        assert picture.read_bytes()[:4] == b"\x89PNG"


def test_without_polygons_it_says_where_to_get_them(tmp_path: Path, capsys: Capture) -> None:
    message = refused(capsys, tmp_path, "--count", 10)
    assert "strategy 'biome-area' needs polygons of ecoregions" in message
    assert "https://ecoregions.appspot.com" in message
    assert "CC-BY 4.0" in message
    assert "--strategy uniform within a --box or --polygon" in message


def test_no_room_says_how_many_fit(tmp_path: Path, capsys: Capture) -> None:
    message = refused(capsys, tmp_path, "--count", 500, "--box=5,50,5.1,50.1", "--no-overlap", "--tile-size", 64)
    fits = int(message.split()[1])
    assert 50 < fits < 200  # 80 km² of 0.41 km² each
    places = read_places(sample(tmp_path, "--count", fits, "--box=5,50,5.1,50.1", "--no-overlap", "--tile-size", 64))
    assert len(places) == fits


def test_bad_input(ecoregions: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.geojson").write_text("{}")
    (tmp_path / "points.csv").write_text("id,lat\na,1\n")
    cases: list[tuple[list[object], str]] = [
        (["--count", 5, "--ecoregions", tmp_path / "none.shp"], "none.shp: no such file"),
        (["--count", 5, "--ecoregions", tmp_path / "text.geojson"], "cannot be read as shapes"),
        (["--count", 5, "--ecoregions", ecoregions, "--name-field", "NAME"], "has no field 'NAME'"),
        (["--count", 5, "--box=10,50,20,40"], "south 50 is not below north 40"),
        (["--count", 5, "--box=20,40,10,50"], "350 degrees wide"),
        (["--count", 5, "--box=-50,-60,-40,-50", "--ecoregions", ecoregions], "no ecoregion of a known biome"),
        (["--count", 5, "--box=0,0,1,1", "--no-ocean"], "keeping out of the ocean needs polygons"),
        (["--points", tmp_path / "points.csv"], "has no column 'lon', it has id, lat"),
        (["--points", tmp_path / "points.csv", "--strategy", "uniform"], "--strategy has no meaning with --points"),
        (["--ecoregions", ecoregions], "no number of places"),
    ]
    for words, what in cases:
        assert what in refused(capsys, tmp_path, *words)
    wrong: list[tuple[list[object], str]] = [
        (["--count", 0], "0 is below 1"),
        (["--count", 5, "--box=1,2,3"], "is not four numbers W,S,E,N"),
        (["--count", 5, "--box"], "expected one argument"),
        (["--count", 5, "--strategy", "biomes"], "invalid choice: 'biomes'"),
        (["--count", 5, "--figure", "x.xcf"], "does not end in .png"),
        (["--count", 5, "--min-distance", "-3"], "-3 is not a distance"),
        (["--count", 5, "--box=0,0,1,1", "--polygon", "x"], "not allowed with argument"),
    ]
    for words, what in wrong:
        assert what in refused(capsys, tmp_path, *words, code=2)


def test_help_needs_no_geospatial_library() -> None:
    absent = "import sys; sys.modules.update(pyproj=None, shapely=None, geopandas=None)"
    code = f"{absent}; from geopretext.apps.cli import main; main(['places', '--help'])"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--ecoregions FILE" in text
    code = f"{absent}; from geopretext.apps.cli import main; main(['places', '--count', '1', '--out', 'x.parquet'])"
    error = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert 'hint: pip install "geopretext[geo]"' in error
