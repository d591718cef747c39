"""Builds on real processes of Dask: workers that die, a scheduler that is gone, workers that cannot take part."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dask
import pytest

from geopretext.build import crew as crew_module
from geopretext.build import dask_crew
from geopretext.build.crew import SingleProcess
from geopretext.build.dask_crew import DaskCrew, cluster_crew, local_crew
from geopretext.build.pipeline import Build, BuildProgress
from geopretext.data.store import Store
from geopretext.errors import ClusterError, InputError, StoreError

from ..data.interruption import digests
from .faulty_maker import RECIPE, FaultyMaker, make_places

ROOT = Path(__file__).parents[2]
PLACES = make_places(40)


def build(out: Path, maker: FaultyMaker | None = None, **settings: object) -> Build:
    return Build(RECIPE, maker or FaultyMaker(), PLACES, out, **{"group_size": 8, "shard_size": 8, **settings})


@pytest.fixture(scope="module")
def crew() -> Iterator[DaskCrew]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # workers import the maker
        with local_crew(2) as crew:
            yield crew


@contextmanager
def _process(*words: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=cwd,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A scheduler and a worker, as processes of their own; the address of the scheduler, and its process."""
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        scheduler = stack.enter_context(_process("scheduler", *words, cwd=folder))
        words = ("--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        stack.enter_context(_process("worker", "--scheduler-file", str(file), *words, cwd=folder))

        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], scheduler


def test_workers_that_die_cost_no_tile(tmp_path: Path, crew: DaskCrew) -> None:
    build(tmp_path / "clean.zarr").run(SingleProcess())
    tries = tmp_path / "tries"
    tries.mkdir()
    maker = FaultyMaker(str(tries), deaths={"place-5": 1, "place-12": -1})
    report = build(tmp_path / "s.zarr", maker, group_size=1).run(crew)
    assert report.failed["worker"] == 1
    store = Store.open(tmp_path / "s.zarr")
    log = store.place_log
    assert log is not None
    assert log.place_id[log.reason == "worker"].tolist() == ["place-12"]
    assert len(store) == report.done == 39 - report.failed["no image"]
    build(tmp_path / "s.zarr", retry_failed=True).run(crew)
    assert digests(tmp_path / "s.zarr") == digests(tmp_path / "clean.zarr")


def test_an_error_of_a_task_ends_the_build(tmp_path: Path, crew: DaskCrew) -> None:
    with pytest.raises(StoreError, match="the disk is full") as caught:
        build(tmp_path / "s.zarr", FaultyMaker(str(tmp_path), full=True)).run(crew)
    assert (caught.value.where, caught.value.hint) == (str(tmp_path), "free some space")


def test_workers_are_asked_whether_they_see_the_staging_folder(tmp_path: Path, crew: DaskCrew) -> None:
    staging = build(tmp_path / "s.zarr").staging
    crew.probe(staging.path)
    assert not any((tmp_path / "s.zarr.build").iterdir())
    with pytest.raises(ClusterError, match="does not see what is written to memory://") as caught:
        crew.probe("memory://of/this/process")
    assert "s3://" in caught.value.hint


def test_workers_with_many_threads_are_refused(tmp_path: Path, crew: DaskCrew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew._client, "nthreads", lambda: {"tcp://10.0.0.7:4": 1, "tcp://10.0.0.8:4": 6})
    with pytest.raises(ClusterError, match=r"worker tcp://10\.0\.0\.8:4 has 6 threads") as caught:
        crew.probe(build(tmp_path / "s.zarr").staging.path)
    assert "--nthreads 1" in caught.value.hint


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_build_and_it_goes_on_later(tmp_path: Path) -> None:
    build(tmp_path / "clean.zarr").run(SingleProcess())
    out = tmp_path / "s.zarr"
    with cluster(tmp_path) as (address, scheduler):

        def kill(progress: BuildProgress) -> None:
            if progress.made >= 8:
                scheduler.send_signal(signal.SIGKILL)

        with cluster_crew(address) as crew:
            crew.probe(build(out).staging.path)
            with pytest.raises(ClusterError, match="the Dask scheduler is gone") as caught:
                build(out, FaultyMaker(seconds=0.02)).run(crew, progress=kill)
    assert "the same command" in caught.value.hint
    assert Store.open(out).verify() == []
    assert build(out).run(SingleProcess()).made < 40
    assert digests(out) == digests(tmp_path / "clean.zarr")


def test_a_memory_limit_is_an_amount_of_memory() -> None:
    with pytest.raises(InputError, match="'4 apples' is no amount of memory"), local_crew(1, memory_limit="4 apples"):
        pass


def test_no_scheduler_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_crew, "_CONNECT_SECONDS", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with (
            pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}") as caught,
            cluster_crew(address),
        ):
            pass
        assert "tcp://10.0.0.1:8786" in caught.value.hint


def test_processor_time_is_that_of_the_workers(crew: DaskCrew) -> None:
    before = crew.processor_seconds
    crew._client.run(sum, range(3_000_000))
    assert 0 < before < crew.processor_seconds


def test_a_new_build_opens_files_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(crew_module, "close_idle_files", lambda: closed.append(1))
    for number in range(2):
        build(tmp_path / f"{number}.zarr").run(SingleProcess())  # five tasks
        assert len(closed) == number + 1


def test_a_crew_leaves_settings_of_dask_alone() -> None:
    """Else whatever opens arrays with dask later, in the same process, would look for this cluster."""
    with local_crew(1):
        assert dask.config.get("scheduler", None) is None
