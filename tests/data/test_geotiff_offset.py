"""The offset of processing baseline 04.00 in folders of GeoTIFFs is found, undone and recorded; real files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data.geotiff import survey_geotiffs
from geopretext.data.geotiff_mapping import load_mapping
from geopretext.data.offset import Verdict, judge_offset

from .geotiff_folder import (
    GREEN,
    L1C,
    L2A,
    SAND,
    SNOW,
    scene,
    stored,
    survey,
    whole,
    write_folder,
    write_mapping,
    write_tif,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "places", {"a": 0, "b": 1000})


def observed(bands: tuple[str, ...], cover: dict[str, int], offset: int = 0) -> dict[str, np.ndarray]:
    return dict(zip(bands, scene(bands, cover, offset=offset), strict=True))


@pytest.mark.parametrize(
    ("bands", "cover", "offset", "level", "verdict"),
    [
        (L1C, GREEN, 0, "L1C", Verdict.NONE),
        (L1C, GREEN, 1000, "L1C", Verdict.OFFSET),
        (L1C, SAND, 0, "L1C", Verdict.NONE),
        (L1C, SAND, 1000, "L1C", Verdict.OFFSET),
        (L1C, SNOW, 0, "L1C", Verdict.NONE),
        (L1C, SNOW, 1000, "L1C", Verdict.OFFSET),
        (L2A, GREEN, 0, "L2A", Verdict.NONE),
        (L2A, GREEN, 1000, "L2A", Verdict.OFFSET),
        (L2A, SAND, 0, "L2A", Verdict.UNDECIDED),
        (L2A, SAND, 1000, "L2A", Verdict.UNDECIDED),
        (L2A, SNOW, 0, "L2A", Verdict.NONE),
        (L2A, SNOW, 1000, "L2A", Verdict.UNDECIDED),
        (("B2", "B3", "B4", "B8"), GREEN, 1000, "L2A", Verdict.OFFSET),
        (("B2", "B3", "B4", "B8"), GREEN, 1000, "L1C", Verdict.UNDECIDED),
        (("B8", "B11"), GREEN, 1000, "L2A", Verdict.UNDECIDED),
    ],
)
def test_verdict(bands: tuple[str, ...], cover: dict[str, int], offset: int, level: str, verdict: Verdict) -> None:
    assert judge_offset(observed(bands, cover, offset), level) is verdict


def test_nothing_observed_has_no_offset() -> None:
    assert judge_offset({"B2": np.array([])}, "L2A") is Verdict.NONE


def test_offset_is_undone_and_recorded(root: Path) -> None:
    tiles = survey(root)
    assert tiles.findings.undone == {"S2/b.tif": 1000}
    assert tiles.recipe["sentinel2_offset"]["undone"] == {"S2/b.tif": 1000}
    batch = whole(tiles)
    order = [L2A.index(name) for name in tiles.modalities[0].band_names]
    np.testing.assert_array_equal(
        batch.arrays["sentinel2"][4], stored(root / "S2" / "b.tif")[order, :16, :16].astype(int) - 1000
    )
    items = [json.loads(text) for text in batch.coordinates.source_items.tolist()]
    assert items[4]["sentinel2"] == [{"file": "S2/b.tif", "offset_undone": 1000}]
    assert items[0]["sentinel2"] == [{"file": "S2/a.tif"}]


def test_no_data_stays_and_dark_stays_observed_when_the_offset_is_undone(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 1000})
    numbers = scene(L2A, offset=1000)
    numbers[:, 0, 0], numbers[:, 0, 1] = 0, 990
    write_tif(root / "S2" / "a.tif", numbers)
    raw = whole(survey(root)).arrays["sentinel2"][0]
    assert (raw[:, 0, 0] == 0).all()
    assert (raw[:, 0, 1] == 1).all()


@pytest.mark.parametrize("offset", [{"b": 1000, "others": "none"}, {"b": "auto", "others": 0}, "auto"])
def test_offset_by_place(root: Path, offset: Any) -> None:
    assert survey(root, folders__S2__offset=offset).findings.undone == {"S2/b.tif": 1000}


def test_suspects_that_the_mapping_leaves_are_named_loudly(root: Path) -> None:
    with pytest.warns(UserWarning, match=r"offset of 1000, and the mapping leaves it: S2/b\.tif; set 'offset: auto'"):
        tiles = survey(root, folders__S2__offset="none")
    assert tiles.findings.left == ["S2/b.tif"]
    assert whole(tiles).arrays["sentinel2"][4].min() > 1000


def test_offset_without_a_sign_of_it_is_doubtful(root: Path) -> None:
    tiles = survey(root, folders__S2__offset=1000)
    assert tiles.findings.doubtful == ["S2/a.tif"]
    assert any("S2/a.tif" in line and "numbers do not show one" in line for line in tiles.findings.lines())


def test_undecided_is_left_and_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 0})
    write_tif(root / "S2" / "a.tif", scene(L2A, SAND))
    tiles = survey(root)
    assert tiles.findings.undecided == ["S2/a.tif"]
    assert not tiles.findings.undone
    assert not survey(root, folders__S2__offset={"a": "none"}).findings.undecided


# real imagery

SUSPECTS = {"S2L1C": {"282D", "433D", "609U"}, "S2L2A": {"433D"}}


@pytest.mark.parametrize("folder", ["S2L1C", "S2L2A"])
def test_real_files_with_the_offset(test_data: Path, tmp_path: Path, folder: str) -> None:
    """Of five places three carry it in L1C and one in L2A; 609U is all snow, in both."""
    entry = {
        "modality": "sentinel2",
        "level": folder[2:],
        "bands": list(L1C if folder == "S2L1C" else L2A),
        "unit": "reflectance x 10000",
    }
    mapping = load_mapping(write_mapping(tmp_path / "m.yaml", {"tile_size": 64, "folders": {folder: entry}}))
    tiles = survey_geotiffs(test_data / "terramind" / "examples", mapping)
    assert {Path(file).stem.split("_")[0] for file in tiles.findings.undone} == SUSPECTS[folder]
    assert not tiles.findings.undecided
    snow = next(batch for batch in tiles.batches() if str(batch.coordinates.tile_id[0]).startswith("609U"))
    bands = tiles.modalities[0]
    visible = np.median(snow.arrays["sentinel2"][:, bands.band_indices(["B2", "B3", "B4"])])
    infrared = np.median(snow.arrays["sentinel2"][:, bands.band_indices(["B11", "B12"])])
    assert 4500 < visible < 8000
    assert 800 < infrared < 1600, "snow is dark in the short-wave infrared, whatever the level"


def test_no_false_alarm_on_real_images_of_four_bands(test_data: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(test_data / "bigearthnet_v2_120" / "ben120.h5") as file:
        images = file["sentinel2"][:].astype(int)
    bands = ("B2", "B3", "B4", "B8")
    assert {judge_offset(dict(zip(bands, image, strict=True)), "L2A") for image in images} == {Verdict.NONE}
    shifted = [judge_offset(dict(zip(bands, image + 1000, strict=True)), "L2A") for image in images]
    assert Verdict.NONE not in shifted
    assert shifted.count(Verdict.OFFSET) > 0.9 * len(images)


def test_example_mapping_on_real_files(test_data: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "terramind_mapping.yaml"
    tiles = survey_geotiffs(test_data / "terramind" / "examples", load_mapping(example))
    assert len(tiles) == 45
    assert tiles.findings.undone == {"S2L2A/433D_629L_3_1.tif": 1000}
    assert [m.name for m in tiles.modalities] == [
        "sentinel2",
        "sentinel1",
        "aster",
        "esri_land_cover",
        "lat",
        "lon",
        "month",
    ]
    batch = next(tiles.batches())
    for modality in tiles.modalities:
        assert modality.decode(batch.arrays[modality.name])[1].any()
