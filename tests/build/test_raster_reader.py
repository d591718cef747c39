"""Many windows of many files from a real server: what is asked of it, and what becomes of its faults."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from geopretext.build.block_memory import BlockMemory
from geopretext.build.grid import Grid
from geopretext.build.raster_reader import RasterReader, Window, WindowJob, close_idle_files
from geopretext.build.source import Asset
from geopretext.build.transfer import TransferSettings, reset_transfer_counts, transfer_counts
from geopretext.errors import Reason, SourceError

from .range_server import (
    Asked,
    CloseInMiddle,
    Corrupt,
    Fault,
    Hang,
    IgnoreRange,
    RangeServer,
    Replaced,
    ShortBody,
    Status,
    Truncated,
)
from .raster_files import write_cog

QUICK = TransferSettings(timeout=0.4, retries=2, backoff=0.001, concurrency=4)
LEFT, TOP, SIZE = 500_000.0, 5_000_000.0, 1024
TRANSFORM = (10.0, 0.0, LEFT, 0.0, -10.0, TOP)


@cache
def scene(seed: int) -> npt.NDArray[np.uint16]:
    """Numbers that do not compress, so that a file's bytes are its blocks."""
    return np.random.default_rng(seed).integers(1, 60_000, (SIZE, SIZE)).astype(np.uint16)


def tile(column: int, row: int) -> Grid:
    return Grid(crs=32632, left=LEFT + 10.0 * column, top=TOP - 10.0 * row, height=64, width=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rasters")
    for number in range(3):
        write_cog(folder / f"{number}.tif", scene(number), crs=32632, transform=TRANSFORM, overviews=True)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as server:
        reset_transfer_counts()
        yield server


def read(jobs: Sequence[WindowJob], settings: TransferSettings = QUICK) -> list[Window | SourceError]:
    results: list[Any] = [None] * len(jobs)
    for number, result in RasterReader(settings).read(jobs):
        assert results[number] is None
        results[number] = result
    assert None not in results
    return results


def job(*hrefs: str, grid: Grid, **options: Any) -> WindowJob:
    return WindowJob(tuple(Asset(href) for href in hrefs), grid, "nearest", **options)


def failure(result: Window | SourceError) -> SourceError:
    assert isinstance(result, SourceError)
    return result


def check(result: Window | SourceError, seed: int, *, column: int, row: int) -> None:
    assert isinstance(result, Window)
    assert result.valid.all()
    np.testing.assert_array_equal(result.values, scene(seed)[row : row + 64, column : column + 64])


def test_headers_and_blocks_are_read_once(server: RangeServer, folder: Path) -> None:
    places = [(column, row, seed) for seed in range(3) for row in range(0, 900, 60) for column in range(0, 900, 60)]
    results = read([job(f"{server.url}/{seed}.tif", grid=tile(column, row)) for column, row, seed in places])
    for result, (column, row, seed) in zip(results, places, strict=True):
        check(result, seed, column=column, row=row)
    counts = transfer_counts()
    assert (counts.requests, counts.bytes) == (server.requests(), server.sent())
    whole = sum((folder / f"{seed}.tif").stat().st_size for seed in range(3))
    assert counts.bytes < 1.01 * whole
    assert counts.requests <= 3 * 3


def test_neighbouring_blocks_come_by_one_request(server: RangeServer) -> None:
    # four blocks of 128 pixels, in two rows of the file
    (result,) = read([job(f"{server.url}/0.tif", grid=tile(100, 100))])
    check(result, 0, column=100, row=100)
    assert server.requests() == 1 + 2
    block = 128 * 128 * 2
    assert server.sent() < 32_768 + 4 * block + 8 * 4096


def test_files_stay_open_between_calls_until_they_are_closed(server: RangeServer) -> None:
    reader = RasterReader(QUICK)

    def asked(column: int, row: int) -> int:
        before = server.requests()
        ((_, result),) = reader.read([job(f"{server.url}/0.tif", grid=tile(column, row))])
        check(result, 0, column=column, row=row)
        return server.requests() - before

    assert asked(10, 10) == 2  # the header and a block
    assert asked(20, 20) == 0
    assert asked(700, 700) == 1
    close_idle_files()
    assert asked(10, 10) == 2


def test_a_file_that_changes_between_calls_is_read_anew(server: RangeServer, folder: Path, tmp_path: Path) -> None:
    reader = RasterReader(QUICK)
    local = tmp_path / "a.tif"
    shutil.copy(folder / "0.tif", local)
    for href in (f"{server.url}/0.tif", str(local)):
        ((_, result),) = reader.read([job(href, grid=tile(0, 0))])
        check(result, 0, column=0, row=0)
    server.files["/0.tif"] = (folder / "1.tif").read_bytes()
    shutil.copy(folder / "1.tif", local)
    for href in (f"{server.url}/0.tif", str(local)):
        ((_, result),) = reader.read([job(href, grid=tile(500, 600))])
        check(result, 1, column=500, row=600)


def test_blocks_that_gdal_may_have_dropped_are_fetched_ahead_again() -> None:
    memory = BlockMemory(limit=100)
    first, second = memory.new_file(), memory.new_file()
    assert [memory.use(first, 0, 40), memory.use(second, 0, 40), memory.use(first, 0, 40)] == [False, False, True]
    assert not memory.use(first, 7, 40)  # the second file's block was not used for longest
    assert memory.use(first, 0, 40)
    assert not memory.use(second, 0, 40)


def test_a_file_that_two_read_at_the_same_time_is_kept_once(server: RangeServer) -> None:
    reader, href = RasterReader(QUICK), f"{server.url}/0.tif"
    with ThreadPoolExecutor(4) as pool:
        jobs = [job(href, grid=tile(128 * number, 0)) for number in range(4)]
        for number, ((_, result),) in enumerate(pool.map(lambda one: list(reader.read([one])), jobs)):
            check(result, 0, column=128 * number, row=0)
    reader.close_idle_files()


def test_local_files_ask_nobody(folder: Path) -> None:
    reset_transfer_counts()
    (result,) = read([job(str(folder / "1.tif"), grid=tile(5, 7))])
    check(result, 1, column=5, row=7)
    assert transfer_counts().requests == 0


def test_nothing_to_read_is_no_failure(server: RangeServer) -> None:
    (none, elsewhere) = read([job(grid=tile(0, 0)), job(f"{server.url}/0.tif", grid=tile(5000, 0))])
    assert isinstance(none, Window)
    assert isinstance(elsewhere, Window)
    assert not none.valid.any()
    assert not elsewhere.valid.any()
    assert server.requests() == 1


def test_a_file_below_is_read_only_where_the_one_on_top_lacks_something(server: RangeServer) -> None:
    urls = [f"{server.url}/{seed}.tif" for seed in (0, 1)]
    inside, outside = read([job(*urls, grid=tile(10, 10)), job(*urls, grid=tile(-20, 10))])
    check(inside, 0, column=10, row=10)
    assert isinstance(outside, Window)
    assert server.requests("/1.tif") > 0
    server.clear()
    read([job(*urls, grid=tile(10, 10))])
    assert server.requests("/1.tif") == 0


PASSING: list[Fault] = [
    Status(503),
    Status(429),
    Hang(),
    CloseInMiddle(),
    ShortBody(),
    Corrupt(),
    Corrupt(first=3000),
    Truncated(2000),
    IgnoreRange(),
]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
@pytest.mark.parametrize("hit", [0, 1], ids=["the header", "a block"])
def test_faults_that_pass_are_not_seen(server: RangeServer, fault: Fault, hit: int) -> None:
    server.fault = lambda asked: fault if asked.number == hit else None
    (result,) = read([job(f"{server.url}/0.tif", grid=tile(200, 300))])
    check(result, 0, column=200, row=300)


def only(path: str, fault: Fault) -> Callable[[Asked], Fault | None]:
    return lambda asked: fault if asked.path == path else None


LASTING: list[tuple[Fault, Reason, str]] = [
    (Status(500), Reason.SERVER, "HTTP 500"),
    (Status(429), Reason.THROTTLED, "HTTP 429"),
    (Status(403), Reason.FORBIDDEN, "HTTP 403"),
    (Status(404), Reason.NO_FILE, "HTTP 404"),
    (Hang(), Reason.TIMEOUT, "no answer"),
    (CloseInMiddle(), Reason.SERVER, "the connection broke"),
    (ShortBody(), Reason.CORRUPT, "bytes came instead of"),
    (Corrupt(), Reason.CORRUPT, "neither TIFF nor JPEG 2000"),
    (Corrupt(first=300), Reason.CORRUPT, ""),
    (Truncated(100_000), Reason.CORRUPT, "the file ends at byte 100000"),
    (Truncated(600), Reason.CORRUPT, ""),
    (Truncated(0), Reason.CORRUPT, ""),
    (Replaced(b"<html>moved</html>"), Reason.CORRUPT, "neither TIFF nor JPEG 2000"),
]


@pytest.mark.parametrize(("fault", "reason", "says"), LASTING, ids=lambda value: repr(value)[:30])
def test_faults_that_last_fail_their_own_windows_only(
    server: RangeServer, fault: Fault, reason: Reason, says: str
) -> None:
    server.fault = only("/1.tif", fault)
    jobs = [job(f"{server.url}/{seed}.tif", grid=tile(column, 650)) for seed in range(3) for column in (100, 700)]
    results = read(jobs)
    for number in (0, 1, 4, 5):
        check(results[number], number // 2, column=(100, 700)[number % 2], row=650)
    for number in (2, 3):
        error = failure(results[number])
        assert error.reason is reason
        assert says in error.what
        assert error.where == f"{server.url}/1.tif"


def test_one_bad_block_fails_the_windows_that_need_it(folder: Path) -> None:
    data = bytearray((folder / "0.tif").read_bytes())
    with rasterio.open(folder / "0.tif") as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_2_3", "TIFF", bidx=1))
    data[start + 50 : start + 90] = bytes(40)
    with RangeServer() as server:
        server.files["/bad.tif"] = bytes(data)
        jobs = [job(f"{server.url}/bad.tif", grid=tile(column, 400)) for column in (0, 270, 600)]
        results = read(jobs)
    check(results[0], 0, column=0, row=400)
    assert failure(results[1]).reason is Reason.CORRUPT
    check(results[2], 0, column=600, row=400)


def test_a_short_file_without_check_sums_is_corrupt(tmp_path: Path) -> None:
    """What is read behind the end must not become pixels."""
    path = write_cog(tmp_path / "a.tif", scene(0), crs=32632, transform=TRANSFORM, compress="NONE")
    path.write_bytes(path.read_bytes()[:1_000_000])
    with RangeServer(tmp_path) as server:
        for href in (f"{server.url}/a.tif", str(path)):
            first, last = read([job(href, grid=tile(0, row)) for row in (0, 900)])
            check(first, 0, column=0, row=0)
            assert failure(last).reason is Reason.CORRUPT


def test_a_server_that_is_down_is_not_waited_for_by_each_window(server: RangeServer) -> None:
    server.fault = lambda asked: Status(500) if asked.number > 0 else None
    results = read([job(f"{server.url}/0.tif", grid=tile(column, 300)) for column in range(0, 900, 50)])
    assert {failure(result).reason for result in results} == {Reason.SERVER}
    assert server.requests() <= 1 + 3 * QUICK.concurrency


def test_a_file_that_is_replaced_meanwhile_is_read_anew(server: RangeServer, folder: Path) -> None:
    other = (folder / "2.tif").read_bytes()
    server.fault = lambda asked: Replaced(other) if asked.number >= 1 else None
    (result,) = read([job(f"{server.url}/0.tif", grid=tile(200, 300))])
    check(result, 2, column=200, row=300)


def test_a_file_that_keeps_changing_is_corrupt(server: RangeServer, folder: Path) -> None:
    versions = [(folder / f"{number}.tif").read_bytes() for number in (1, 2)]
    server.fault = lambda asked: Replaced(versions[asked.number % 2])
    (result,) = read([job(f"{server.url}/0.tif", grid=tile(200, 300))])
    assert failure(result).reason is Reason.CORRUPT
    assert "changed while it was read" in failure(result).what


def test_nothing_about_a_failure_is_remembered(server: RangeServer, folder: Path) -> None:
    reader, wanted = RasterReader(QUICK), [job(f"{server.url}/new.tif", grid=tile(0, 0))]
    for fault in (None, Status(500), Corrupt(), Truncated(0)):
        server.fault = lambda asked, fault=fault: fault  # type: ignore[misc]
        ((_, result),) = reader.read(wanted)
        assert isinstance(result, SourceError)
    server.fault = lambda asked: None
    server.files["/new.tif"] = (folder / "0.tif").read_bytes()
    ((_, result),) = reader.read(wanted)
    check(result, 0, column=0, row=0)


def test_files_that_are_not_there_may_mean_missing(server: RangeServer) -> None:
    absent, there = f"{server.url}/ocean.tif", f"{server.url}/0.tif"
    results = read(
        [
            job(absent, grid=tile(10, 10)),
            job(absent, grid=tile(10, 10), absent_is_missing=True),
            job(absent, there, grid=tile(10, 10), absent_is_missing=True),
        ]
    )
    assert failure(results[0]).reason is Reason.NO_FILE
    assert isinstance(results[1], Window)
    assert not results[1].valid.any()
    check(results[2], 0, column=10, row=10)
    server.fault = lambda asked: Status(500)
    (failed,) = read([job(absent, grid=tile(10, 10), absent_is_missing=True)])
    assert failure(failed).reason is Reason.SERVER


def test_files_that_do_not_say_where_they_lie(server: RangeServer, tmp_path: Path) -> None:
    none = write_cog(tmp_path / "none.tif", scene(0)[:64, :64], crs=None, transform=TRANSFORM)
    degrees = write_cog(tmp_path / "degrees.tif", scene(0)[:64, :64], crs=4326, transform=TRANSFORM)
    for name in ("none", "degrees"):
        server.files[f"/{name}.tif"] = (tmp_path / f"{name}.tif").read_bytes()
    results = read(
        [
            *(job(str(path), grid=tile(0, 0)) for path in (none, degrees)),
            *(job(f"{server.url}/{name}.tif", grid=tile(0, 0)) for name in ("none", "degrees")),
            job(f"{server.url}/0.tif", grid=tile(0, 0), crs=32633),
            job(f"{server.url}/0.tif", grid=tile(0, 0), crs=32632),
        ]
    )
    assert {failure(result).reason for result in results[:5]} == {Reason.NO_GEOREFERENCE}
    assert "has no georeference" in failure(results[2]).what
    assert "are no degrees" in failure(results[3]).what
    assert failure(results[4]).what == "is in EPSG:32632, its item says EPSG:32633"
    check(results[5], 0, column=0, row=0)


def test_bands_that_a_file_has_not(server: RangeServer) -> None:
    assets = (Asset(f"{server.url}/0.tif", band=3),)
    (result,) = read([WindowJob(assets, tile(0, 0), "nearest")])
    assert failure(result).reason is Reason.NO_ASSET
    assert "has no band 3, only 1" in failure(result).what


def test_local_failures_have_their_reasons(folder: Path, tmp_path: Path) -> None:
    short, text = tmp_path / "short.tif", tmp_path / "text.tif"
    short.write_bytes((folder / "0.tif").read_bytes()[:100_000])
    text.write_text("no raster")
    results = read([job(str(path), grid=tile(700, 700)) for path in (short, text, tmp_path / "absent.tif", tmp_path)])
    assert [failure(result).reason for result in results] == [
        Reason.CORRUPT,
        Reason.CORRUPT,
        Reason.NO_FILE,
        Reason.NO_FILE,
    ]


def test_a_remote_file_cannot_point_to_others(server: RangeServer, folder: Path) -> None:
    """A VRT would make GDAL read whatever it names."""
    text = f'<VRTDataset rasterXSize="9" rasterYSize="9"><SourceFilename>{folder}/0.tif</SourceFilename></VRTDataset>'
    server.files["/evil.tif"] = text.encode()
    (result,) = read([job(f"{server.url}/evil.tif", grid=tile(0, 0))])
    assert failure(result).what == "is neither TIFF nor JPEG 2000"


def test_stopping_in_the_middle_closes_everything(server: RangeServer) -> None:
    windows = RasterReader(QUICK).read([job(f"{server.url}/{seed}.tif", grid=tile(0, 0)) for seed in range(3)])
    next(windows)
    windows.close()  # type: ignore[attr-defined]
    (result,) = read([job(f"{server.url}/0.tif", grid=tile(0, 0))])
    check(result, 0, column=0, row=0)


def test_random_faults_change_nothing(server: RangeServer) -> None:
    faults = (*PASSING[:2], *PASSING[3:])
    generator = np.random.default_rng(7)
    draws = iter(generator.random(10_000))
    picks = iter(generator.integers(0, len(faults), 10_000))
    server.fault = lambda asked: faults[next(picks)] if next(draws) < 0.2 else None
    places = [(column, row, seed) for seed in range(3) for row in (0, 333, 900) for column in (50, 500)]
    settings = TransferSettings(timeout=5.0, retries=20, backoff=0.001, concurrency=4)
    done = 0
    for _ in range(5):
        results = read([job(f"{server.url}/{s}.tif", grid=tile(c, r)) for c, r, s in places], settings)
        for result, (column, row, seed) in zip(results, places, strict=True):
            # a header or block that is corrupt three times running is given up
            if isinstance(result, SourceError):
                assert result.reason is Reason.CORRUPT
            else:
                check(result, seed, column=column, row=row)
                done += 1
    assert done > 0.8 * 5 * len(places)


# Open files --------------------------------------------------------------------------------------------------------

MANY_FILES = """
import os, resource, sys
from geopretext.build.grid import Grid
from geopretext.build.raster_reader import RasterReader, WindowJob
from geopretext.build.source import Asset
from geopretext.build.transfer import TransferSettings

folder, limit, count = sys.argv[1], int(sys.argv[2]), 200
grid = Grid(crs=32632, left=500_000, top=5_000_000, height=8, width=8)
jobs = [WindowJob((Asset(f"{folder}/{i}.tif"), Asset(f"{folder}/{i + 1}.tif")), grid, "nearest") for i in range(count)]
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + limit, used + limit))
results = dict(RasterReader(TransferSettings(concurrency=4)).read(jobs))
assert len(results) == count
for number, window in results.items():
    assert window.valid.all(), window
    assert set(window.values.ravel().tolist()) == {number + 1, number + 2}, number
"""


def read_many_files(folder: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """In a process that may open so many files more; each of two hundred windows needs two files."""
    transform = (10.0, 0.0, LEFT, 0.0, -10.0, TOP)
    for number in range(201):
        values = np.full((8, 8), number + 1, np.uint16)
        values[:4] *= number % 2
        values[4:] *= 1 - number % 2
        with rasterio.open(
            folder / f"{number}.tif",
            "w",
            driver="GTiff",
            width=8,
            height=8,
            count=1,
            dtype="uint16",
            nodata=0,
            crs="EPSG:32632",
            transform=rasterio.Affine(*transform),
        ) as file:
            file.write(values, 1)
    command = [sys.executable, "-c", MANY_FILES, str(folder), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_many_files_are_read_by_a_process_that_may_open_few(tmp_path: Path) -> None:
    done = read_many_files(tmp_path, limit=64)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_a_process_that_may_open_no_more_files_says_so_and_blames_no_file(tmp_path: Path) -> None:
    done = read_many_files(tmp_path, limit=12)
    assert done.returncode != 0
    assert "StoreError: this process may open no more files" in done.stderr
    assert "ulimit" in done.stderr
