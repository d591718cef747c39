"""Whole builds from servers that fail: every place arrives once or is listed with its reason; nothing else changes."""

import json
import random
import re
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geopretext.build.crew import SingleProcess
from geopretext.build.pipeline import Build, BuildReport
from geopretext.build.tiles import TileMaker
from geopretext.data.place_log import PlaceLog
from geopretext.data.store import Store
from geopretext.errors import Reason

from ..data.interruption import Killed, digests, killed_after, make_lock_stale
from .raster_files import write_cog
from .stac_server import StacServer, stac_server
from .stormy_archive import FILE_FAULTS, SEARCH_FAULTS, StormyArchive, Weather, recipe_of, stormy_archive

PASSING = {reason for reason in Reason if reason.is_transient} - {Reason.WORKER}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StormyArchive]:
    with stormy_archive(tmp_path_factory.mktemp("archive")) as served:
        yield served


@pytest.fixture(scope="module")
def clean(archive: StormyArchive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was built in fine weather."""
    path = tmp_path_factory.mktemp("clean") / "tiles.zarr"
    report = run(archive, path)
    assert (report.done, report.failed) == (len(archive.places), {})
    return path


def run(archive: StormyArchive, out: Path, **settings: Any) -> BuildReport:
    recipe = archive.recipe
    plan = {"recipe": recipe, "maker": TileMaker(recipe), "places": archive.places, "shard_size": 4, **settings}
    return Build(out=out, **plan).run(SingleProcess())


def account(archive: StormyArchive, path: Path, *, is_settled: bool = True) -> PlaceLog:
    """Every place is once in the log, and once in the store or, with its reason, not at all.

    Where a build was killed (``is_settled`` is False) some may still wait.
    """
    store = Store.open(path)
    assert store.verify() == []
    log = store.place_log
    assert log is not None
    assert sorted(log.place_id.tolist()) == sorted(archive.places.place_id.tolist())
    tiles = store.coordinates.tile_id.tolist()
    assert len(set(tiles)) == len(tiles)
    assert set(tiles) <= set(log.place_id.tolist())
    if is_settled:
        assert log.is_settled
        assert log.place_id[log.status == "done"].tolist() == tiles
        failed = log.status == "failed"
        assert np.array_equal(failed, log.reason != "")
        assert all(detail for detail in log.detail[failed].tolist())
    return log


def chosen(store: Path, modality: str) -> dict[str, set[str]]:
    """The items that a modality of each tile was read from, by tile."""
    where = Store.open(store).coordinates
    records = [json.loads(text)[modality] for text in where.source_items.tolist()]
    return {
        tile: {entry["item"] for entry in record if "item" in entry}
        for tile, record in zip(where.tile_id.tolist(), records, strict=True)
    }


def failures(log: PlaceLog) -> dict[str, tuple[str, str]]:
    """Reason and detail by place."""
    rows = np.flatnonzero(log.status == "failed")
    return {str(log.place_id[row]): (str(log.reason[row]), str(log.detail[row])) for row in rows}


# Faults that pass ----------------------------------------------------------------------------------------------------


@dataclass
class History:
    """What came of some builds, each run again and again until nothing was left to do."""

    runs: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """by kind"""
    failed: Counter[str] = field(default_factory=Counter)
    """places that were listed after a run, by reason"""


def live_through(
    archive: StormyArchive, path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, history: History
) -> None:
    """Build under random faults and kills until every place is done; whatever happens is accounted for each time."""
    draw = random.Random(seed)
    servers = (archive.files.url, archive.stac.url)
    retry_failed = False
    for number in range(40):
        calm = 1 + number / 2
        weather = Weather(1000 * seed + number, draw.choice((0.02, 0.1, 0.25)) / calm, draw.choice((0.0, 0.08)) / calm)
        keys = int(10 ** draw.uniform(0.5, 2)) if draw.random() < 0.4 else 1_000_000
        report = None
        with archive.weather(weather), killed_after(keys, monkeypatch, seed=seed, deletes=True):
            try:
                report = run(archive, path, group_size=draw.choice((2, 5, 8)), retry_failed=retry_failed)
            except Killed:
                history.kills += 1
        make_lock_stale(path)
        history.runs += 1
        history.faults += weather.happened
        if report is None:
            if (path / "places.parquet").exists():
                account(archive, path, is_settled=False)
            continue
        listed = failures(account(archive, path))
        assert dict(Counter(reason for reason, _ in listed.values())) == report.failed
        assert set(report.failed) <= PASSING
        assert all(detail.startswith(servers) for _, detail in listed.values()), listed
        history.failed.update(report.failed)
        if not listed:
            return
        retry_failed = True
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_what_passes_ends_in_the_same_bytes(
    archive: StormyArchive, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    history = History()
    live_through(archive, tmp_path / "tiles.zarr", seed, monkeypatch, history)
    assert digests(tmp_path / "tiles.zarr") == digests(clean)
    assert history.faults


@pytest.mark.slow
def test_two_hundred_builds_end_in_the_same_bytes(
    archive: StormyArchive, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, expected = History(), digests(clean)
    for seed in range(100, 300):
        live_through(archive, tmp_path / f"{seed}.zarr", seed, monkeypatch, history)
        assert digests(tmp_path / f"{seed}.zarr") == expected, f"seed {seed}"
        shutil.rmtree(tmp_path / f"{seed}.zarr")
    assert set(history.faults) == {*FILE_FAULTS, *SEARCH_FAULTS}
    assert set(history.failed) == PASSING
    assert history.kills > 100


# Faults that stay ----------------------------------------------------------------------------------------------------


def test_a_file_in_another_projection_than_its_item_says(archive: StormyArchive, clean: Path, tmp_path: Path) -> None:
    paired = chosen(clean, "sentinel1")
    item = sorted(paired[min(paired)])[0]
    hit = {tile for tile, items in paired.items() if item in items}
    assert 0 < len(hit) < len(paired)
    path = archive.path_of(item, "vv")
    with rasterio.open(f"{archive.root}{path}") as file:
        numbers, crs, transform = file.read(), file.crs.to_epsg(), tuple(file.transform)[:6]
    archive.files.files[path] = write_cog(tmp_path / "vv.tif", numbers, crs=crs + 1, transform=transform).read_bytes()
    try:
        report = run(archive, tmp_path / "tiles.zarr")
    finally:
        archive.files.files.clear()
    assert report.failed == {"no georeference": len(hit)}
    told = f"{archive.files.url}{path}: is in EPSG:{crs + 1}, its item says EPSG:{crs}"
    listed = failures(account(archive, tmp_path / "tiles.zarr"))
    assert listed == dict.fromkeys(hit, ("no georeference", told))
    assert run(archive, tmp_path / "tiles.zarr", retry_failed=True).failed == {}
    assert digests(tmp_path / "tiles.zarr") == digests(clean)


def test_an_item_without_its_asset(archive: StormyArchive, clean: Path, tmp_path: Path) -> None:
    before = chosen(clean, "sentinel2")
    [item] = before[min(before)]
    with archive.edited(lambda plain: plain["id"] == item and plain["assets"].pop("B11")):
        report = run(archive, tmp_path / "some.zarr")
    assert report.failed == {}
    account(archive, tmp_path / "some.zarr")
    for tile, taken in chosen(tmp_path / "some.zarr", "sentinel2").items():
        assert (taken == before[tile]) == (before[tile] != {item})
    with archive.edited(lambda plain: plain["assets"].pop("B11", None)):
        report = run(archive, tmp_path / "none.zarr")
    assert report.failed == {"no asset": len(archive.places)}
    for _, detail in failures(account(archive, tmp_path / "none.zarr")).values():
        assert re.fullmatch(r"S2A_MSIL2A_\w+: has no asset 'B11'", detail)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[: len(data) // 2], "the file ends at byte"),
        (lambda _: b"<html>Not found</html>" * 500, "is neither TIFF nor JPEG 2000"),
        (lambda _: b"", "the file is shorter than it must be"),
    ],
    ids=["truncated", "garbage", "empty"],
)
def test_a_file_that_is_damaged_for_good(
    archive: StormyArchive, clean: Path, tmp_path: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    before = chosen(clean, "sentinel2")
    [item] = before[min(before)]
    path = archive.path_of(item, "B08")
    file = Path(f"{archive.root}{path}")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    try:
        report = run(archive, tmp_path / "tiles.zarr")
    finally:
        file.write_bytes(whole)
    hit = {tile for tile, items in before.items() if item in items}
    listed = failures(account(archive, tmp_path / "tiles.zarr"))
    assert set(listed) == hit
    assert report.failed == {"corrupt": len(hit)}
    assert all(detail.startswith(f"{archive.files.url}{path}: {told}") for _, detail in listed.values()), listed
    assert run(archive, tmp_path / "tiles.zarr", retry_failed=True).failed == {}
    assert digests(tmp_path / "tiles.zarr") == digests(clean)


def test_a_catalogue_that_is_down(archive: StormyArchive, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    recipe = recipe_of(f"http://127.0.0.1:{port}/")
    settings = {"recipe": recipe, "maker": TileMaker(recipe)}
    report = run(archive, tmp_path / "tiles.zarr", **settings)
    assert (report.done, report.failed) == (0, {"server": len(archive.places)})
    for _, detail in failures(account(archive, tmp_path / "tiles.zarr")).values():
        assert detail.startswith(f"http://127.0.0.1:{port}/")
        assert "Connection refused" in detail
        assert "3 attempts" in detail
    with stac_server(StacServer(archive.stac.items, port=port)):
        assert run(archive, tmp_path / "tiles.zarr", **settings, retry_failed=True).failed == {}
        run(archive, tmp_path / "again.zarr", **settings)
    assert digests(tmp_path / "tiles.zarr") == digests(tmp_path / "again.zarr")
