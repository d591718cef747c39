"""xarray in, xarray out: at once or by Dask, the same numbers as of the scene, with its coordinates."""

from pathlib import Path

import numpy as np
import pytest
import torch

import geopretext.predict
from geopretext.errors import BandError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_run import RunOptions, run_scene

xr = pytest.importorskip("xarray")
dask = pytest.importorskip("dask")

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
BANDS = ("B2", "B3", "B4")
UNIT = "reflectance x 10000"
RUN = RunOptions(window=160)
"""in one pass"""
BLOCKS = RunOptions(window=128, margin=48)
"""Dask's blocks are no smaller than a window"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=16))
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    folder = tmp_path_factory.mktemp("bundle")
    Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=statistics).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cube():
    """Three dates, of which nothing was seen at the first; a cloud over a corner of the last."""
    values = np.random.default_rng(0).integers(200, 3000, (3, 3, 150, 134)).astype(np.uint16)
    values[:, 0] = 0
    classes = np.full((3, 150, 134), 4, np.uint8)
    classes[2, :16, :24] = 9
    data = {name: (("time", "y", "x"), numbers) for name, numbers in zip(BANDS, values, strict=True)}
    data["SCL"] = (("time", "y", "x"), classes)
    a, _, c, _, e, f = UTM.transform
    return xr.Dataset(
        data,
        {
            "time": np.array(["2024-05-01", "2024-06-01", "2024-07-01"], "datetime64[ns]"),
            "y": f + e * (np.arange(150) + 0.5),
            "x": c + a * (np.arange(134) + 0.5),
            "spatial_ref": ((), 0, {"crs_wkt": "EPSG:32632"}),
        },
    )


def expected_of(cube, bundle, date):
    values = np.stack([cube[name][date].to_numpy() for name in BANDS])
    valid = (values > 0).all(0) & (cube["SCL"][date].to_numpy() != 9)
    scene = ArrayScene(values, BANDS, UNIT, UTM, valid=valid, level="L2A")
    with run_scene(scene, EmbeddingSource(bundle), None, RUN) as run:
        rows = list(run.rows())
    values, seen = np.concatenate([r.values for r in rows]), np.concatenate([r.seen for r in rows])
    values[seen < 0.5] = np.nan
    return values, seen


@pytest.fixture(scope="module")
def embedded(cube, bundle):
    return geopretext.predict.embed(cube, bundle, unit=UNIT, level="L2A", run=RUN)


def test_each_date_is_as_its_scene(cube, bundle, embedded):
    assert embedded.dims == ("time", "y", "x", "feature")
    assert embedded.dtype == np.float32
    assert np.isnan(embedded[0]).all()
    for date in (1, 2):
        values, seen = expected_of(cube, bundle, date)
        np.testing.assert_allclose(embedded[date], values, atol=1e-5)
        np.testing.assert_allclose(embedded.seen[date], seen, atol=1e-6)
    assert np.isnan(embedded.sel(time="2024-07-01")[:2, :3]).all()


def test_coordinates_are_middles_of_patches(cube, embedded):
    np.testing.assert_array_equal(embedded.time, cube.time)
    assert embedded.y.to_numpy()[:2].tolist() == [4_999_960.0, 4_999_880.0]
    assert embedded.x.to_numpy()[:2].tolist() == [500_040.0, 500_120.0]
    assert embedded.attrs["crs"] == "EPSG:32632"
    assert embedded.attrs["transform"] == (80.0, 0.0, 500_000.0, 0.0, -80.0, 5_000_000.0)
    assert embedded.spatial_ref.attrs["crs_wkt"].startswith(("EPSG:32632", "PROJ"))


@pytest.mark.parametrize("chunks", [{"time": 1}, {"time": 3, "y": 50, "x": 70}])
def test_dask_computes_the_same_when_asked(cube, bundle, embedded, chunks):
    lazy = geopretext.predict.embed(cube.chunk(chunks), str(bundle), unit=UNIT, level="L2A", run=BLOCKS)
    assert lazy.data.numblocks == (3, 2, 2, 1)
    assert dask.is_dask_collection(lazy.data)
    assert dask.is_dask_collection(lazy.seen.data)
    one = lazy.sel(time="2024-07-01").compute(scheduler="synchronous")
    difference = np.abs(one - embedded.sel(time="2024-07-01")) / embedded.std(("time", "y", "x"))
    assert float(difference.max()) < 5e-3  # of a margin that is smaller than is needed
    np.testing.assert_array_equal(np.isnan(one), np.isnan(embedded[2]))
    np.testing.assert_allclose(one.seen, embedded.seen[2], atol=1e-6)


def test_a_task_holds_a_block_and_its_surroundings_only(cube, bundle, monkeypatch):
    from geopretext.predict import cube_embeddings

    shapes = []
    compute = cube_embeddings._compute_block

    def watch(plan, scene, row, column):
        shapes.append((scene.height, scene.width))
        return compute(plan, scene, row, column)

    monkeypatch.setattr(cube_embeddings, "_compute_block", watch)
    long = xr.concat([cube.isel(time=[1])] * 3, "y").assign_coords(y=5_000_000 - 10 * (np.arange(450) + 0.5))
    lazy = geopretext.predict.embed(
        long.chunk({"y": 96}), bundle, unit=UNIT, level="L2A", run=RunOptions(window=96, margin=16)
    )
    lazy.compute(scheduler="synchronous")
    assert len(shapes) > 4
    assert max(height for height, _ in shapes) <= 96 + 2 * 16


@pytest.mark.slow
def test_processes_of_a_cluster_compute_it(cube, bundle, embedded):
    from distributed import Client, LocalCluster

    lazy = geopretext.predict.embed(cube.chunk({"time": 1, "y": 80}), bundle, unit=UNIT, level="L2A", run=BLOCKS)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        found = client.compute(lazy).result()
    difference = np.abs(found - embedded) / embedded.std(("time", "y", "x"))
    assert float(difference.max()) < 5e-3  # of a margin that is smaller than is needed


def test_scenes_and_single_dates_have_no_time(cube, bundle, embedded):
    one = geopretext.predict.embed(cube.isel(time=2), Encoder.from_pretrained(bundle), unit=UNIT, level="L2A", run=RUN)
    assert one.dims == ("y", "x", "feature")
    np.testing.assert_allclose(one, embedded[2], atol=1e-5)
    values = np.stack([cube[name][1].to_numpy() for name in BANDS])
    scene = ArrayScene(values, BANDS, UNIT, UTM, level="L2A")
    np.testing.assert_allclose(geopretext.predict.embed(scene, bundle, run=RUN), embedded[1], atol=1e-5)


def test_it_is_kept_by_zarr(embedded, tmp_path):
    embedded.to_dataset(name="features").to_zarr(tmp_path / "out.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "out.zarr", consolidated=False) as read:
        np.testing.assert_array_equal(read["features"], embedded)
        assert read["features"].attrs["crs"] == "EPSG:32632"


def test_cubes_that_are_not_for_the_encoder_are_refused(cube, bundle):
    with pytest.raises(BandError, match="wants band B3"):
        geopretext.predict.embed(cube[["B2", "B4"]], bundle, unit=UNIT)
    with pytest.raises(InputError, match="no dates"):
        geopretext.predict.embed(cube.isel(time=[]), bundle, unit=UNIT)
    with pytest.raises(InputError, match="nothing was observed"):
        geopretext.predict.embed(cube.isel(time=[0, 0]), bundle, unit=UNIT)


def test_implausible_numbers_are_warned_of(bundle, monkeypatch):
    from geopretext.predict import scene_door
    from geopretext.predict.input_gate import GateReport, GateVerdict

    report = GateReport(GateVerdict.IMPLAUSIBLE, ("B2 and B4 are exchanged",), (), 1, "the training data", "L2A")
    monkeypatch.setattr(scene_door.ImageDoor, "judge", lambda *_, **__: report)
    scene = ArrayScene(np.full((3, 32, 32), 900.0, np.float32), BANDS, UNIT, UTM, level="L2A")
    with pytest.warns(UserWarning, match="B2 and B4 are exchanged"):
        geopretext.predict.embed(scene, bundle)


def test_pixels_of_another_size_are_warned_of(bundle):
    encoder = Encoder.from_pretrained(bundle)
    encoder.ground_sampling_distance = 30.0
    values = np.random.default_rng(0).integers(200, 3000, (3, 32, 32)).astype(np.uint16)
    scene = ArrayScene(values, BANDS, UNIT, UTM, level="L2A")
    with pytest.warns(UserWarning, match="the scene has pixels of 10 m, the encoder was trained on pixels of 30 m"):
        geopretext.predict.embed(scene, encoder)
