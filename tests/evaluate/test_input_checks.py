"""What an evaluation does to inputs is on record and printed; implausible ones warn, or stop with ``strict``."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.evaluate import run
from geopretext.data.synthetic.earth import SyntheticEarth
from geopretext.data.writer import StoreWriter
from geopretext.errors import BandError, InputError
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import load_task
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.door_report import door_lines

rasterio = pytest.importorskip("rasterio", reason="writes the GeoTIFFs")

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
GIVEN = tuple(name for name in BANDS if name not in ("B1", "B9"))


def make_encoder() -> Encoder:
    modality = PUBLISHED["sentinel2"].select(BANDS)
    scales = dict.fromkeys(("all", "L1C", "L2A"), ((1500.0,) * 12, (1000.0,) * 12))
    return Encoder(ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS)), modality, statistics=scales).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """L2A tiles as images of two classes, without B1 and B9, as reflectance from 0 to 1."""
    root = tmp_path_factory.mktemp("images")
    earth = SyntheticEarth(seed=3, tile_size=32)
    places = earth.places(48)
    tiles = earth.tiles(places).arrays["sentinel2"][places.levels["sentinel2"] == 1]
    for number, tile in enumerate(tiles[:, PUBLISHED["sentinel2"].band_indices(GIVEN)]):
        path = root / ("north" if number % 2 else "south") / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        profile = {"driver": "GTiff", "count": len(GIVEN), "height": 32, "width": 32, "dtype": "float32"}
        grid = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
        with rasterio.open(path, "w", **profile, crs="EPSG:32632", transform=grid) as dataset:
            dataset.write(np.where(tile > 0, tile / 1e4, np.nan).astype(np.float32))
    return root


def make_task(folder: Path, bands: tuple[str, ...] = GIVEN) -> Task:
    substitutes = {"B1": "B2", "B9": "B8A"}
    return load_task(str(folder), bands=bands, unit="reflectance", level="L2A", substitutes=substitutes)


def swapped() -> tuple[str, ...]:
    other = {"B8": "B8A", "B8A": "B8"}
    return tuple(other.get(name, name) for name in GIVEN)


def test_what_was_done_is_on_record_and_in_words(folder: Path) -> None:
    looked: list[object] = []
    scores = evaluate(make_encoder(), make_task(folder), baselines=(), strict=True, looked=looked.append)
    inputs = scores.to_dict()["settings"]["inputs"]
    assert looked == [inputs]
    assert inputs["substituted"] == {"B1": "B2", "B9": "B8A"}
    assert inputs["gate"]["suspicions"] == []
    lines = "\n".join(door_lines(inputs))
    assert "B2 for B1, B8A for B9" in lines
    assert "unit: reflectance -> reflectance x 10000; standardised by means and deviations of the bundle" in lines


def test_exchanged_bands_warn_and_strict_stops(folder: Path) -> None:
    wrong = make_task(folder, swapped())
    scores = evaluate(make_encoder(), wrong, baselines=())
    lines = "\n".join(door_lines(scores.settings["inputs"]))
    assert "warning: the inputs are not what they are said to be: B8A and B8 are exchanged" in lines
    with pytest.raises(InputError, match="B8A and B8 are exchanged") as caught:
        evaluate(make_encoder(), wrong, baselines=(), strict=True)
    assert "--strict" in caught.value.hint


def test_a_band_that_is_missing_is_never_replaced_by_itself(folder: Path) -> None:
    with pytest.raises(BandError, match="wants band B1, B9"):
        evaluate(make_encoder(), load_task(str(folder), bands=GIVEN, unit="reflectance", level="L2A"))


def test_tiles_of_a_store_are_looked_at_too(tmp_path: Path) -> None:
    earth = SyntheticEarth(seed=5, tile_size=32)
    places = earth.places(60)
    batch = earth.tiles(places)
    wrong = dict(batch.arrays)
    order = list(range(13))
    order[1], order[3] = 3, 1
    wrong["sentinel2"] = wrong["sentinel2"][:, order]
    for name, arrays in (("right", batch.arrays), ("wrong", wrong)):
        split = np.arange(60) % 3
        coordinates = type(places)(**{**vars(places), "split": split.astype(np.int8)})
        with StoreWriter.create(tmp_path / f"{name}.zarr", tuple(earth.modalities.values()), tile_size=32) as writer:
            writer.append(type(batch)(coordinates, arrays))
    right = load_task(f"{tmp_path / 'right.zarr'}:era5")
    assert evaluate(make_encoder(), right, baselines=()).settings["inputs"]["gate"]["suspicions"] == []
    with pytest.raises(InputError, match="B2 and B4 are exchanged"):
        evaluate(make_encoder(), load_task(f"{tmp_path / 'wrong.zarr'}:era5"), strict=True)


def test_the_verb_says_what_it_did(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_encoder().save_pretrained(tmp_path / "bundle")
    words = ["knn", str(tmp_path / "bundle"), "--task", str(folder), "--out", str(tmp_path / "out"), "--no-baselines"]
    run([*words, "--bands", ",".join(GIVEN), "--unit", "reflectance", "--level", "L2A", "--substitute", "B1=B2,B9=B8A"])
    captured = capsys.readouterr()
    assert "bands taken in the place of others: B2 for B1, B8A for B9" in captured.err
    assert "L2A" in captured.err
    assert "pretrained" in captured.out
    with pytest.raises(SystemExit):
        run([*words, "--substitute", "B1"])
    assert "'B1' is not WANTED=GIVEN" in capsys.readouterr().err
