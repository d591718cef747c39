"""What is read is never written over."""

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("geopandas")

import rasterio

from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder
from geopretext.predict.embedding_map import embed_scene
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.regress import regress
from geopretext.predict.scene_table import embed_scene_tiles
from geopretext.predict.segment import segment

from .small_heads import BANDS, CLASSES, HEIGHTS, UTM, make_scene, write_bundle

UNIT = "reflectance x 10000"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bundles")
    write_bundle(made / "classes", CLASSES)
    write_bundle(made / "heights", HEIGHTS)
    Encoder.from_pretrained(made / "classes").save_pretrained(made / "encoder")
    return made


def write(path: Path, values: np.ndarray, bands: tuple[str, ...]) -> None:
    profile = {"driver": "GTiff", "count": len(values), "height": 64, "width": 64, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **profile, crs=UTM.crs, transform=rasterio.Affine(*UTM.transform)) as file:
        file.write(values)
        file.descriptions = bands


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A scene as a file, through a link, through a VRT, and as a folder of bands."""
    values = make_scene(64, 64, hole=False).values
    write(tmp_path / "scene.tif", values, BANDS)
    (tmp_path / "link.tif").symlink_to("scene.tif")
    (tmp_path / "hard.tif").hardlink_to(tmp_path / "scene.tif")
    shutil.copy(tmp_path / "scene.tif", tmp_path / "other.tif")
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{number}"><Description>{name}</Description><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">other.tif</SourceFilename><SourceBand>{number}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number, name in enumerate(BANDS, 1)
    )
    (tmp_path / "scene.vrt").write_text(
        f'<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    (tmp_path / "folder").mkdir()
    for name, layer in zip(("B02", "B03", "B04"), values, strict=True):
        write(tmp_path / "folder" / f"{name}.tif", layer[None], (name,))
    return tmp_path


def source(path: Path) -> SceneSource:
    return SceneSource(str(path), unit=UNIT, level="L2A")


def content(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("scene", "out"),
    [
        ("scene.tif", "scene.tif"),
        ("scene.tif", "link.tif"),
        ("link.tif", "scene.tif"),
        ("scene.tif", "hard.tif"),
        ("scene.tif", "folder/../scene.tif"),
        ("scene.vrt", "other.tif"),
        ("folder", "folder/B03.tif"),
    ],
)
def test_an_output_that_is_read_from_is_refused(bundles: Path, place: Path, scene: str, out: str) -> None:
    before = content(place)
    with pytest.raises(InputError, match="is read from and would be written to"):
        embed_scene(source(place / scene), bundles / "encoder", place / out)
    assert content(place) == before


def test_every_output_of_every_verb_is_looked_at(bundles: Path, place: Path) -> None:
    before, scene = content(place), source(place / "scene.tif")
    with pytest.raises(InputError, match="would be written to"):
        segment(bundles / "classes", scene, place / "map.tif", probabilities=place / "scene.tif")
    with pytest.raises(InputError, match="would be written to"):
        regress(bundles / "heights", scene, place / "scene.tif")
    assert content(place) == before


def test_an_output_beside_the_bands_is_not(bundles: Path, place: Path) -> None:
    before = content(place)
    embed_scene(source(place / "folder"), bundles / "encoder", place / "folder" / "embeddings.tif")
    embed_scene_tiles(source(place / "scene.tif"), bundles / "encoder", place / "tiles.parquet", tile=32)
    after = content(place)
    assert {path: after.pop(path).hex() for path in before} == {path: old.hex() for path, old in before.items()}
    assert {path.name for path in after} == {"embeddings.tif", "tiles.parquet"}
