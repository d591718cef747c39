"""A bundle that knows time series is scored with those of a store, and every verb says which inputs it used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.apps.cli import main
from geopretext.data.splits import random_split
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.inputs import TileInputs
from geopretext.evaluate.series_images import image_bands, over_dates
from geopretext.evaluate.suite import run_suite
from geopretext.evaluate.suite_settings import SuiteSettings
from geopretext.evaluate.tasks import store_task
from geopretext.modality import Observed
from geopretext.nn.bundle import Encoder
from geopretext.predict.features import tile_features

from ..predict.omnisat_bundles import save_omnisat

MAPS = {"sentinel2": ("B2", "B8"), "sentinel1": ("asc_VV", "asc_VH")}
SERIES = {"sentinel2_series": ("B8", "B4"), "sentinel1_series": ("VV", "VH")}
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "tiles.zarr"
    write_synthetic_store(
        path, count=40, tile_size=32, series={"sentinel2_series": 3, "sentinel1_series": 2}, workers=1
    )
    Store.open(path).set_split(random_split(40, (0.5, 0.25, 0.25), seed=0))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same planet without series."""
    path = tmp_path_factory.mktemp("plain") / "tiles.zarr"
    write_synthetic_store(path, count=40, tile_size=32, workers=1)
    Store.open(path).set_split(random_split(40, (0.5, 0.25, 0.25), seed=0))
    return path


@pytest.fixture(scope="module")
def bundle(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_omnisat(tmp_path_factory.mktemp("bundles") / "omnisat", Store.open(path), MAPS, SERIES, patch_size=16)


def probe(bundle: Path, store: Path, out: Path, *words: str) -> dict[str, Any]:
    command = ["evaluate", "probe", str(bundle), "--task", f"{store}:biomass", "--out", str(out), *words]
    assert main(command) in (0, None)
    settings: dict[str, Any] = json.loads((out / "scores.json").read_text())["settings"]
    return settings


def test_the_verbs_say_what_they_used(bundle: Path, path: Path, plain: Path, tmp_path: Path, capsys: Capsys) -> None:
    quick = ("--no-baselines", "--save-features")
    whole = probe(bundle, path, tmp_path / "whole", *quick)
    assert whole["inputs"]["inputs"] == {"used": [*MAPS, *SERIES], "absent": []}
    assert "inputs used: sentinel2, sentinel1, sentinel2_series, sentinel1_series\n" in capsys.readouterr().err
    maps = probe(bundle, path, tmp_path / "maps", *quick, "--inputs", "sentinel2,sentinel1")
    assert maps["inputs"]["inputs"] == {"used": [*MAPS], "absent": [*SERIES]}
    without = probe(bundle, plain, tmp_path / "plain", *quick)
    assert without["inputs"]["inputs"] == {"used": [*MAPS], "absent": [*SERIES]}
    assert "without sentinel2_series, sentinel1_series, which the encoder also knows" in capsys.readouterr().err
    for store, name, words in ((path, "w", ()), (path, "m", ("--inputs", "sentinel2,sentinel1")), (plain, "p", ())):
        out = tmp_path / f"{name}.parquet"
        assert main(["embed", str(bundle), str(store), "--out", str(out), "--json", *words]) in (0, None)
        told = capsys.readouterr()
        assert json.loads(told.out)["inputs"]["used"] == ([*MAPS, *SERIES] if name == "w" else [*MAPS])
        assert ("without sentinel2_series" in told.err) is (name != "w")
    assert main(["embed", str(bundle), str(plain), "--out", str(out), "--inputs", "sentinel2_series"]) != 0
    assert "no modality 'sentinel2_series', which the encoder reads" in capsys.readouterr().err


def test_features_are_probed_with_and_without_series(bundle: Path, path: Path) -> None:
    encoder, store = Encoder.from_pretrained(bundle), Store.open(path)
    feed = TileInputs(store).prepare(encoder, np.arange(20))
    assert feed.gate.verdict != "not checked"
    assert "sentinel2_series: " in feed.gate.reference
    np.testing.assert_array_equal(feed.features(encoder, np.arange(5)), tile_features(encoder, store, np.arange(5)))


@pytest.mark.parametrize("used", [(*MAPS, *SERIES), ("sentinel2_series",), ("sentinel1",)])
def test_baselines_see_the_same_inputs(bundle: Path, path: Path, used: tuple[str, ...]) -> None:
    encoder = Encoder.from_pretrained(bundle).given(used)
    scores = evaluate(encoder, store_task(Store.open(path), "biomass"), random_seeds=(0,))
    settings = scores.to_dict()["settings"]
    assert settings["inputs"]["inputs"]["used"] == list(used)
    assert set(settings["methods"]) == {"pretrained", "random_init", "band_statistics", "random_convolutions"}
    feed = TileInputs(Store.open(path)).prepare(encoder, np.arange(20))
    (images,) = feed.standardised(np.arange(2))
    (blocks,) = feed.blocks(np.arange(2))
    assert images.shape[1] == blocks.values.shape[1] == len(image_bands(encoder))
    assert ("series" in feed.record) is (len(used) != 1 or used == ("sentinel2_series",))


def test_a_series_as_a_map_is_its_mean_and_deviation() -> None:
    values = torch.tensor([1.0, 3.0, 8.0, 5.0]).view(1, 4, 1, 1, 1)
    valid = torch.tensor([True, True, False, False]).view_as(values)
    mean_and_deviation, seen = over_dates(Observed(values, valid))
    assert mean_and_deviation.flatten().tolist() == [2.0, 1.0]
    assert seen.all()
    nothing, seen = over_dates(Observed(values, valid & False))
    assert nothing.flatten().tolist() == [0.0, 0.0]
    assert not seen.any()


def test_fine_tuning_trains_on_maps(bundle: Path, path: Path, tmp_path: Path, capsys: Capsys) -> None:
    command = ["evaluate", "finetune", str(bundle), "--task", f"{path}:biomass", "--out", str(tmp_path)]
    quick = ["--epochs", "1", "--warmup_epochs", "0", "--seeds", "0", "--no-baselines"]
    assert main([*command, *quick, "--inputs", "sentinel2,sentinel2_series"]) != 0
    assert "fine-tuning trains on maps, and sentinel2_series is a time series" in capsys.readouterr().err
    assert main([*command, *quick, "--save-bundle"]) in (0, None)
    assert "without sentinel2_series, sentinel1_series, which the encoder also knows" in capsys.readouterr().err
    record = json.loads((tmp_path / "scores.json").read_text())["settings"]["inputs"]["inputs"]
    assert record == {"used": [*MAPS], "absent": [*SERIES]}
    assert Encoder.from_pretrained(tmp_path / "bundle").input_names == tuple(MAPS)


def test_a_suite_says_of_each_cell_what_it_saw(bundle: Path, path: Path, tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text("epochs: 1\nwarmup_epochs: 0\nbatch_size: 8\n")
    settings = SuiteSettings(
        bundles=(str(bundle),),
        tasks=(f"{path}:biomass",),
        heads=("probe", f"finetune:{tmp_path / 'quick.yaml'}"),
        representations=("pretrained",),
        amounts=("100%",),
        seeds=(0,),
    )
    outcome = run_suite(settings, tmp_path / "out")
    assert not outcome.failures
    cells = [json.loads(file.read_text()) for file in sorted((tmp_path / "out" / "cells").glob("*.json"))]
    absent = {cell["cell"]["head"][:5]: cell["record"]["inputs"]["absent"] for cell in cells}
    assert absent == {"probe": [], "finet": [*SERIES]}
