"""segment and regress: what they write, print and refuse."""

import json
from pathlib import Path

import pytest

pytest.importorskip("rasterio")
pytest.importorskip("geopandas")

import geopandas
import rasterio

from geopretext.apps.cli import main

from ..predict.small_heads import BANDS, CLASSES, HEIGHTS, make_scene, write_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of classes and of heights, and a scene of 64 x 72 pixels that names its bands."""
    made = tmp_path_factory.mktemp("maps")
    write_bundle(made / "classes", CLASSES)
    write_bundle(made / "heights", HEIGHTS)
    scene = make_scene(64, 72)
    with rasterio.open(
        made / "scene.tif",
        "w",
        driver="GTiff",
        height=64,
        width=72,
        count=3,
        dtype="uint16",
        crs=scene.georeference.crs,
        transform=rasterio.Affine(*scene.georeference.transform),
        nodata=0,
    ) as file:
        file.write(scene.values * scene.valid)
        file.descriptions = BANDS
    return made


def words(folder: Path, verb: str, bundle: str, out: Path, *more: str) -> list[str]:
    scene = [str(folder / "scene.tif"), "--unit", "reflectance x 10000", "--level", "L2A"]
    return [verb, str(folder / bundle), *scene, "--out", str(out), *more]


def test_segment_maps_and_says_what_the_map_comes_to(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, polygons = tmp_path / "map.tif", tmp_path / "map.parquet"
    (tmp_path / "colors.yaml").write_text('cropland: "#123456"\n')
    more = ("--polygons", str(polygons), "--min-area", "200", "--colors", str(tmp_path / "colors.yaml"))
    assert main(words(folder, "segment", "classes", out, *more)) == 0
    printed = capsys.readouterr()
    header, _, *rows = printed.out.splitlines()
    assert header.split() == ["code", "class", "share", "hectares"]
    shares = [float(row.split()[-2].rstrip("%")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    assert "windows: 1 of 1" in printed.err
    assert "of 64 x 72 pixels were observed" in printed.err
    assert printed.err.splitlines()[-2:] == [f"wrote {out}", f"wrote {polygons}"]
    with rasterio.open(out) as file:
        assert file.colormap(1)[40] == (0x12, 0x34, 0x56, 255)
    assert geopandas.read_parquet(polygons)["area_m2"].min() >= 200


def test_segment_prints_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, probabilities = tmp_path / "map.tif", tmp_path / "p.tif"
    more = ("--probabilities", str(probabilities), "--json")
    assert main(words(folder, "segment", "classes", out, *more)) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["map"] == str(out)
    assert plain["probabilities"] == str(probabilities)
    assert [each["name"] for each in plain["classes"]] == list(CLASSES.names)
    assert plain["record"]["unit"] == "reflectance x 10000"


def test_regress_maps_and_says_what_the_map_comes_to(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.tif"
    assert main(words(folder, "regress", "heights", out, "--step", "0.0001")) == 0
    printed = capsys.readouterr()
    header, _, first, second = printed.out.splitlines()
    assert header.split() == ["quantity", "unit", "mean", "min", "5%", "25%", "50%", "75%", "95%", "max"]
    numbers = [float(word) for word in first.split()[2:]]
    assert first.split()[:2] == ["elevation", "m"]
    assert second.split()[:2] == ["age", "years"]
    assert numbers[1:] == sorted(numbers[1:])
    assert "are too large for steps of 0.0001 and are missing in the map" in printed.err
    assert printed.err.splitlines()[-1] == f"wrote {out}"


def test_what_cannot_be_is_said_in_a_line_and_a_hint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.tif"
    assert main(words(folder, "segment", "heights", out)) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {folder / 'heights'}: its head is for dense regression, not for segmentation"
    assert hint == "hint: `geopretext regress` makes maps of quantities"
    (tmp_path / "colors.yaml").write_bytes(b"\xff\xfe\x00")
    assert main(words(folder, "segment", "classes", out, "--colors", str(tmp_path / "colors.yaml"))) == 1
    assert "colors.yaml: is no text" in capsys.readouterr().err
    assert main(words(folder, "segment", "classes", out, "--polygons", "p.gpkg", "--min-area", "-3")) == 2
    assert "-3 is not above 0" in capsys.readouterr().err
    assert main(words(folder, "segment", "classes", out, "--min-area", "3")) == 2
    assert "--min-area is for --polygons" in capsys.readouterr().err
    assert main(["segment", str(folder / "classes"), str(tmp_path / "gone.tif"), "--out", str(out)]) == 1
    assert "nothing is there" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colors.yaml"]


def test_the_example_of_the_documentation_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "maps-of-labels.md").read_text()
    example = text.split("```python")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "corine").mkdir(parents=True)
    (tmp_path / "runs" / "corine" / "bundle").symlink_to(folder / "classes")
    (tmp_path / "scene.tif").symlink_to(folder / "scene.tif")
    exec(example, {})
    assert {line.rsplit(maxsplit=2)[0] for line in capsys.readouterr().out.splitlines()} == set(CLASSES.names)
    assert len(geopandas.read_file("map.gpkg"))
