"""Class maps by windows are those of one pass, on their place, and go on where they were stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("rasterio")
pytest.importorskip("geopandas")

import geopandas
import rasterio

from geopretext.errors import ClassError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.settings import HeadLabels
from geopretext.predict import scene_parts
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.head_network import LOCAL, HeadNetwork, open_head
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_door import DoorOptions
from geopretext.predict.scene_outputs import parts_folder
from geopretext.predict.scene_run import RunOptions, run_scene
from geopretext.predict.segment import PROBABILITY_STEP, ClassMap, segment

from .small_heads import CLASSES, HEIGHTS, UTM, make_scene, one_pass, smaller, write_bundle

OPTIONS = RunOptions(window=224)
"""Three strips of two windows for 352 x 248 pixels, with margins of 72"""
TIE = 2e-3
"""probabilities that are closer than this may change places"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"), CLASSES)


@pytest.fixture(scope="module")
def scene() -> ArrayScene:
    return make_scene()


@pytest.fixture(scope="module")
def whole(bundle: Path, scene: ArrayScene) -> np.ndarray:
    """Probabilities of one pass (H, W, 3)."""
    return torch.softmax(torch.from_numpy(one_pass(bundle, scene)), -1).numpy()


@pytest.fixture(scope="module")
def made(bundle: Path, scene: ArrayScene, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassMap, Path]:
    folder = tmp_path_factory.mktemp("maps")
    result = segment(
        bundle,
        scene,
        folder / "map.tif",
        probabilities=folder / "probabilities.tif",
        polygons=folder / "map.gpkg",
        options=OPTIONS,
    )
    return result, folder


def test_the_map_is_that_of_one_pass(made: tuple[ClassMap, Path], scene: ArrayScene, whole: np.ndarray) -> None:
    result, folder = made
    with rasterio.open(folder / "map.tif") as file:
        codes = file.read(1)
    assert scene.valid is not None
    assert (codes[~scene.valid] == 255).all()
    expected = np.array(CLASSES.codes)[whole.argmax(-1)]
    best, second = np.sort(whole, -1)[..., :-3:-1].transpose(2, 0, 1)
    sure = scene.valid & (best - second > TIE)
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(codes[sure], expected[sure])
    unsure = int((scene.valid & ~sure).sum())
    for each in result.classes:
        assert each.pixels == (codes == each.code).sum()
        assert abs(each.pixels - (expected[scene.valid] == each.code).sum()) <= unsure
        assert each.pixels > 1000, "a map of one class tests nothing"
        assert each.hectares == pytest.approx(each.pixels * 0.01)
    assert result.observed == pytest.approx(scene.valid.mean())


def test_probabilities_are_those_of_one_pass(made: tuple[ClassMap, Path], scene: ArrayScene, whole: np.ndarray) -> None:
    with rasterio.open(made[1] / "probabilities.tif") as file:
        assert file.descriptions == CLASSES.names
        assert (file.scales, file.nodata) == ((PROBABILITY_STEP,) * 3, 255)
        stored = file.read()
    valid = scene.valid
    assert valid is not None
    np.testing.assert_allclose(stored[:, valid].T * PROBABILITY_STEP, whole[valid], atol=PROBABILITY_STEP / 2 + 1e-3)
    assert (stored[:, ~valid] == 255).all()


def test_the_map_says_where_it_is_and_what_it_shows(made: tuple[ClassMap, Path]) -> None:
    with rasterio.open(made[1] / "map.tif") as file:
        assert file.crs.to_epsg() == 32632
        assert tuple(file.transform)[:6] == UTM.transform
        assert file.nodata == 255
        assert file.tags(1)["CLASS_40"] == "cropland"
        colours = file.colormap(1)
        tags = file.tags()
    published = {label.code: label.color for label in PUBLISHED["esa_worldcover"].classes}
    for code in CLASSES.codes:
        assert colours[code] == (*bytes.fromhex(published[code][1:]), 255)
    assert colours[255][3] == 0
    assert tags["scene"] == "the array"
    assert "bundle" in tags


def test_a_place_is_found_at_its_coordinates(bundle: Path, tmp_path: Path) -> None:
    """Of a scene that is another's lower right part, the map is that part of the other's map, at its coordinates."""
    large = make_scene(200, 200, hole=False)
    a, b, c, d, e, f = UTM.transform
    part = ArrayScene(
        large.values[:, 40:, 64:], large.bands, large.unit, Georeference(UTM.crs, (a, b, c + 64 * a, d, e, f + 40 * e))
    )
    segment(bundle, large, tmp_path / "large.tif", options=OPTIONS)
    segment(bundle, part, tmp_path / "part.tif", options=OPTIONS)
    with rasterio.open(tmp_path / "large.tif") as first, rasterio.open(tmp_path / "part.tif") as second:
        for x, y in ((501_300, 4_998_850), (501_225, 4_998_695)):
            rows, columns = first.index(x, y), second.index(x, y)
            around = [np.s_[row - 15 : row + 15, column - 15 : column + 15] for row, column in (rows, columns)]
            assert (first.read(1)[around[0]] == second.read(1)[around[1]]).mean() > 0.99


def test_polygons_are_those_of_the_map(made: tuple[ClassMap, Path]) -> None:
    result, folder = made
    table = geopandas.read_file(folder / "map.gpkg")
    assert len(table) == result.polygon_count > 20
    areas = table.groupby("class")["area_m2"].sum() / 10_000
    for each in result.classes:
        assert areas[each.name] == pytest.approx(each.hectares)
    with rasterio.open(folder / "map.tif") as file:
        point = table.geometry.iloc[7].representative_point()
        assert next(file.sample([(point.x, point.y)]))[0] == table["code"].iloc[7]


def test_nothing_but_the_outputs_is_left(made: tuple[ClassMap, Path]) -> None:
    names = {path.name for path in made[1].iterdir()}
    assert names == {"map.tif", "map.tif.aux.xml", "probabilities.tif", "map.gpkg"}


def test_a_stopped_run_goes_on(
    bundle: Path, scene: ArrayScene, made: tuple[ClassMap, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = scene_parts.StripFiles.save, []

    def stop(files: scene_parts.StripFiles, strip: object) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(strip)
        save(files, strip)

    out = tmp_path / "map.tif"
    monkeypatch.setattr(scene_parts.StripFiles, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        segment(bundle, scene, out, options=OPTIONS)
    assert not out.exists()
    assert parts_folder(out).is_dir()
    computed = []
    call = HeadNetwork.__call__
    monkeypatch.setattr(scene_parts.StripFiles, "save", save)
    monkeypatch.setattr(HeadNetwork, "__call__", lambda self, x: (computed.append(len(x)), call(self, x))[1])
    segment(bundle, scene, out, options=OPTIONS)
    assert sum(computed) == 4, "two of three strips"
    assert out.read_bytes() == (made[1] / "map.tif").read_bytes()
    assert not parts_folder(out).exists()


@pytest.mark.parametrize("kind", LOCAL)
def test_decoders_of_neighbourhoods_have_no_seams(kind: str, scene: ArrayScene, tmp_path: Path) -> None:
    if kind.startswith("smp"):
        pytest.importorskip("segmentation_models_pytorch", reason="needs the decoders of segmentation-models-pytorch")
    bundle = write_bundle(tmp_path / "bundle", CLASSES, kind)
    expected = torch.softmax(torch.from_numpy(one_pass(bundle, scene)), -1).numpy()
    with run_scene(scene, open_head(bundle, "segmentation"), None, OPTIONS) as run:
        assert len(run.windows) == 6
        found = np.concatenate([rows.values for rows in run.rows()])
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("kind", ["smp-fpn", "smp-upernet", "smp-dpt"])
def test_decoders_that_see_all_of_a_window_get_windows_as_in_training(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs the decoders of segmentation-models-pytorch")
    bundle = write_bundle(tmp_path / "bundle", CLASSES, kind, extent=64)
    scene = make_scene(104, 64, hole=False)
    result = segment(bundle, scene, tmp_path / "map.tif")
    assert result.record["windows"] == {"size": 64, "margin": 8, "ramp": 16, "cell": 1, "count": 3}
    upper = replace(scene, values=scene.values[:, :64], valid=None)
    expected = np.array(CLASSES.codes)[one_pass(bundle, upper, 64).argmax(-1)]
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1)[:32], expected[:32])


@pytest.mark.parametrize(
    ("labels", "kind", "hint"),
    [
        (HEIGHTS, "linear", "geopretext regress"),
        (HeadLabels("single-label", ("a", "b")), "classifier", "evaluate finetune .*--preset segmentation"),
        (HeadLabels("multi-label", ("a", "b")), "classifier", "one thing of a whole image"),
    ],
)
def test_heads_for_other_tasks_are_refused(labels: HeadLabels, kind: str, hint: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", labels, kind)
    with pytest.raises(InputError, match=f"(?s)for {labels.task}, not for segmentation.*hint: .*{hint}"):
        segment(folder, make_scene(), tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"out": "map.png"}, r"map\.png: cannot be written by its name\nhint: it ends with \.tif"),
        ({"probabilities": "p.jpg"}, r"p\.jpg: cannot be written"),
        ({"polygons": "p.shp"}, r"p\.shp: cannot be written .*\.gpkg, \.parquet"),
        ({"out": "nowhere/map.tif"}, "nowhere: no such folder"),
        ({"probabilities": "map.tif"}, "two outputs are one file"),
        ({"probabilities": "map.tif.parts/p.tif"}, "deleted at the end"),
        ({"out": "."}, r"cannot be written by its name"),
    ],
)
def test_outputs_are_refused_before_anything_is_computed(
    bundle: Path, tmp_path: Path, outputs: dict[str, str], message: str
) -> None:
    paths = {name: tmp_path / path for name, path in {"out": "map.tif", **outputs}.items()}
    if "parts" in str(paths.get("probabilities")):
        paths["probabilities"].parent.mkdir()
    there = list(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"(?s){message}"):
        segment(bundle, make_scene(), **paths)
    assert list(tmp_path.iterdir()) == there


def test_a_folder_in_the_place_of_an_output_is_said_before_anything_is_computed(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(InputError, match=r"map\.tif: is a folder"):
        segment(bundle, make_scene(), tmp_path / "map.tif", options=RunOptions(door=DoorOptions(fill=("B99",))))


def test_a_colour_that_is_none_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="colour of 'cropland' is 'red'"):
        segment(bundle, make_scene(), tmp_path / "map.tif", colors={"cropland": "red"})
    assert list(tmp_path.iterdir()) == []


def test_a_scene_without_a_place_has_no_polygons(bundle: Path, tmp_path: Path) -> None:
    scene = replace(make_scene(64, 64, hole=False), georeference=Georeference("", UTM.transform))
    with pytest.raises(InputError, match="does not say where it lies"):
        segment(bundle, scene, tmp_path / "map.tif", polygons=tmp_path / "map.gpkg", looked=pytest.fail)
    result = segment(bundle, scene, tmp_path / "map.tif")
    assert [each.hectares for each in result.classes] == [None] * 3


def test_many_codes_make_a_map_of_16_bits(tmp_path: Path) -> None:
    labels = replace(smaller(CLASSES, 2), names=("a", "b"), codes=(7, 300))
    folder = write_bundle(tmp_path / "bundle", labels)
    result = segment(folder, make_scene(64, 64, hole=False), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.dtypes == ("uint16",)
        assert set(np.unique(file.read(1))) <= {7, 300}
    assert result.legend.nodata == 65_535


def test_an_unknown_colour_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ClassError, match="'lake', which is no class"):
        segment(bundle, make_scene(), tmp_path / "map.tif", colors={"lake": "#0000ff"})
