"""``geopretext embed``: what it writes, what it prints where, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings

rasterio = pytest.importorskip("rasterio")

BANDS = ("B2", "B3", "B4")


@pytest.fixture(scope="module")
def rgb_bundle(tmp_path_factory) -> Path:
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=16))
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    folder = tmp_path_factory.mktemp("bundle")
    Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=statistics).save_pretrained(folder)
    return folder


@pytest.fixture
def scene(tmp_path) -> Path:
    values = np.random.default_rng(0).integers(200, 3000, (3, 96, 80)).astype(np.uint16)
    values[:, :16] = 0
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=96, width=80, count=3, dtype="uint16", crs="EPSG:32632", nodata=0,
        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as file:  # fmt: skip
        file.write(values)
        file.descriptions = BANDS
    return path


SAID = ("--unit", "reflectance x 10000", "--level", "L2A")


def test_a_scene_becomes_a_map(rgb_bundle, scene, tmp_path, capsys):
    out = tmp_path / "out.tif"
    assert main(["embed", str(rgb_bundle), str(scene), "--out", str(out), *SAID]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "bands matched by name: B2, B3, B4" in said.err
    assert "12 x 10 cells of 256 features; 16.7% have none" in said.err
    assert "stored as int8: mean error" in said.err
    with rasterio.open(out) as file:
        assert (file.count, file.height, file.width) == (256, 12, 10)
        assert file.dtypes[0] == "int8"


def test_what_was_done_is_json_on_request(rgb_bundle, scene, tmp_path, capsys):
    out = tmp_path / "out.tif"
    arguments = [str(rgb_bundle), str(scene), "--out", str(out), "--json", "--dtype", "float16", *SAID]
    assert main(["embed", *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["path"] == str(out)
    assert record["cells_without_vector"] == 20
    assert record["bundle"] == str(rgb_bundle)
    assert record["input"]["matched"] == list(BANDS)
    with rasterio.open(out) as file:
        assert file.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16"


def test_a_scene_becomes_a_table(rgb_bundle, scene, tmp_path, capsys):
    import pyarrow.parquet as pq

    out = tmp_path / "out.parquet"
    assert main(["embed", str(rgb_bundle), str(scene), "--out", str(out), "--pooling", "mean", *SAID]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "25 tiles; 5 were not observed enough" in said.err
    table = pq.read_table(out)
    assert len(table) == 25
    assert len(table["embedding"][0]) == 256


def test_a_store_becomes_a_table(bundle, store, tmp_path, capsys):
    import pyarrow.parquet as pq

    out = tmp_path / "out.parquet"
    assert main(["embed", str(bundle), str(store), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == len(pq.read_table(out)) == 120


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SCENE", "--out", "out.png"], "none of .tif, .tiff, .parquet"),
        (["SCENE", "--out", "out.parquet", "--dtype", "int8"], "--dtype int8 is for .tif"),
        (["STORE", "--out", "out.tif"], "holds tiles, which make no map"),
        (["SCENE", "--out", "out.tif", "--least-seen", "2"], "not a share above 0"),
        (["SCENE", "--out", "out.tif", "--tile", "32"], "--tile is for .parquet"),
        (["SCENE", "--out", "out.tif", "--pooling", "mean"], "--pooling is for .parquet"),
        (["SCENE", "--out", "out.parquet", "--context", "32"], "--context is for .tif"),
        (["SCENE", "--out", "out.parquet", "--tile", "32", "--window", "64"], "--window is for .tif"),
        (["STORE", "--out", "out.parquet", "--strict"], "--strict is for scenes"),
        (["STORE", "--out", "out.parquet", "--unit", "dB"], "--unit is for scenes"),
        (["STORE", "--out", "out.parquet", "--statistics", "dataset"], "--statistics is for scenes"),
        (["STORE", "--out", "out.parquet", "--keep-clouds"], "--keep-clouds is for scenes"),
        (["STORE", "--out", "out.parquet", "--workers", "2"], "--workers is for scenes"),
        (["STORE", "--out", "out.parquet", "--device", "cpu,cpu"], "--device names several"),
    ],
)
def test_lines_that_make_no_sense_are_refused(rgb_bundle, scene, store, words, message, capsys):
    words = [{"SCENE": str(scene), "STORE": str(store)}.get(word, word) for word in words]
    assert main(["embed", str(rgb_bundle), *words]) == 2
    assert message in capsys.readouterr().err


def test_every_option_of_scenes_is_known_to_mean_nothing_for_a_store():
    from argparse import ArgumentParser

    from geopretext.apps import embed
    from geopretext.apps.run_arguments import add_run_arguments
    from geopretext.apps.scene_arguments import add_scene_arguments

    parser = ArgumentParser(add_help=False)
    add_scene_arguments(parser)
    add_run_arguments(parser)
    shared = {action.dest for action in parser._actions} - {"device"}
    assert set(embed._OF_SCENES) == shared | {"least_seen", "tile"}


@pytest.mark.parametrize("words", [["SCENE", *SAID, "--out", "out.tif"], ["STORE", "--out", "out.parquet"]])
@pytest.mark.parametrize("device", ["banana", "cpu,"])
def test_devices_that_are_not_there_are_said(rgb_bundle, scene, store, tmp_path, words, device, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [{"SCENE": str(scene), "STORE": str(store)}.get(word, word) for word in words]
    code = main(["embed", str(rgb_bundle), *words, "--device", device])
    assert code in (1, 2)
    said = capsys.readouterr().err
    assert "there is no device" in said or "--device names several" in said
    assert not list(tmp_path.glob("out*"))


def test_scenes_that_cannot_be_used_are_said(rgb_bundle, scene, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out.tif")]
    assert main(["embed", str(rgb_bundle), str(tmp_path / "none.tif"), *out]) == 1
    assert "nothing is there" in capsys.readouterr().err
    assert main(["embed", str(rgb_bundle), str(scene), *out, "--bands", "B2,B3,B8", *SAID]) == 1
    assert "hint:" in capsys.readouterr().err
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) // 2])
    assert main(["embed", str(rgb_bundle), str(scene), *out, *SAID]) == 1
    assert "scene.tif" in capsys.readouterr().err
    assert not (tmp_path / "out.tif").exists()


def test_after_an_interrupt_the_same_command_goes_on(rgb_bundle, scene, tmp_path, capsys, monkeypatch):
    from geopretext.predict import embedding_map

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    line = ["embed", str(rgb_bundle), str(scene), "--out", str(tmp_path / "out.tif"), *SAID]
    with monkeypatch.context() as patch:
        patch.setattr(embedding_map, "write_cog", interrupted)
        assert main(line) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.tif.parts"]
    assert main(line) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.tif"]
