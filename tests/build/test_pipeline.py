"""Whole builds with faults: every place arrives once or is listed with its reason; the bytes are always the same."""

import random
import re
import resource
import shutil
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from geopretext.build import pipeline
from geopretext.build.crew import Ended, SingleProcess, Task, run_task
from geopretext.build.order import spatial_order
from geopretext.build.pipeline import Build, BuildProgress, BuildReport
from geopretext.build.places import Places
from geopretext.build.tiles import Made
from geopretext.data.files import Files
from geopretext.data.place_log import PlaceLog
from geopretext.data.store import Store
from geopretext.data.store_lock import StoreLock
from geopretext.errors import CorruptError, GeopretextError, InputError, Reason, RecipeError, SourceError, StoreError

from ..data.interruption import Killed, digests, killed_after, make_lock_stale
from ..data.s3_server import BUCKET, KEYS, s3_server
from .faulty_maker import RECIPE, FaultyMaker, is_hopeless, make_places, make_tiles

COUNT, SHARD = 40, 8
PLACES = make_places(COUNT)


def build(out: Path, **settings: object) -> Build:
    return Build(
        **{
            "recipe": RECIPE,
            "maker": FaultyMaker(),
            "places": PLACES,
            "out": out,
            "group_size": 5,
            "shard_size": SHARD,
            **settings,
        }
    )


def run(out: Path, **settings: object) -> BuildReport:
    return build(out, **settings).run(SingleProcess())


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The files of a build in which nothing went wrong."""
    path = tmp_path_factory.mktemp("clean") / "tiles.zarr"
    run(path)
    return digests(path)


def check(path: Path) -> PlaceLog:
    """A store is sound, and its tiles are those of its places that are done, in order, each once."""
    store = Store.open(path)
    assert store.verify() == []
    log = store.place_log
    assert log is not None
    ordered = PLACES.take(spatial_order(PLACES))
    done = np.isin(ordered.place_id, store.coordinates.tile_id)
    if log.is_settled:
        assert log.place_id[log.status == "done"].tolist() == store.coordinates.tile_id.tolist()
    assert store.coordinates.tile_id.tolist() == ordered.place_id[done].tolist()
    if len(store):
        wanted = make_tiles(ordered.take(np.flatnonzero(done)))
        for name, array in store.read(wanted.arrays, np.arange(len(store))).items():
            np.testing.assert_array_equal(array, wanted.arrays[name], err_msg=name)
    return log


class OtherMaker(FaultyMaker):
    """Makes the same places into other tiles."""

    def make(self, places: Places) -> Made:
        made = super().make(places)
        if made.batch is None:
            return made
        arrays = {**made.batch.arrays, "sentinel2": made.batch.arrays["sentinel2"] + np.uint16(1)}
        return replace(made, batch=replace(made.batch, arrays=arrays))


class Shuffled:
    """A crew whose tasks end in any order, and whose processes die now and then."""

    def __init__(self, seed: int, *, lost: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.lost = lost
        self.tasks: list[Task] = []

    @property
    def has_room(self) -> bool:
        return len(self.tasks) < 4

    def submit(self, task: Task) -> None:
        self.tasks.append(task)

    def ended(self, timeout: float) -> list[Ended]:
        if not self.tasks or self.random.random() < 0.1:
            return []
        task = self.tasks.pop(self.random.randrange(len(self.tasks)))
        return [Ended(task, None if self.random.random() < self.lost else run_task(task))]


def test_a_build_makes_every_place_or_says_why_not(tmp_path: Path) -> None:
    seen: list[BuildProgress] = []
    report = build(tmp_path / "s.zarr").run(SingleProcess(), progress=seen.append)
    hopeless = [place_id for place_id in PLACES.place_id.tolist() if is_hopeless(place_id)]
    assert 0 < len(hopeless) < COUNT
    assert (report.places, report.done, report.made) == (COUNT, COUNT - len(hopeless), COUNT)
    assert report.failed == {"no image": len(hopeless)}
    assert report.counts == {"requests": COUNT, "bytes": 1000 * report.done}
    assert sum(report.splits.values()) == report.done == len(Store.open(tmp_path / "s.zarr"))
    log = check(tmp_path / "s.zarr")
    failed = log.status == "failed"
    assert sorted(log.place_id[failed].tolist()) == sorted(hopeless)
    assert set(log.reason[failed].tolist()) == {"no image"}
    assert log.detail[failed][0] == f"{log.place_id[failed][0]}: none in the time asked for"
    assert set(log.status.tolist()) == {"done", "failed"}
    store = Store.open(tmp_path / "s.zarr")
    assert store.statistics is not None
    assert store.statistics.tiles == report.splits["train"]
    assert store.attributes["recipe"] == RECIPE.plain
    assert not (tmp_path / "s.zarr.build").exists()
    assert (seen[0].made, seen[-1].made, seen[-1].done) == (0, COUNT, report.done)
    assert [progress.committed for progress in seen] == sorted(progress.committed for progress in seen)


@pytest.mark.parametrize(("group_size", "seed"), [(1, 0), (7, 1), (100, 2)])
def test_bytes_do_not_depend_on_grouping_and_order(
    tmp_path: Path, clean: Mapping[str, str], group_size: int, seed: int
) -> None:
    build(tmp_path / "s.zarr", group_size=group_size).run(Shuffled(seed))
    assert digests(tmp_path / "s.zarr") == clean


def test_a_finished_build_is_left_alone(tmp_path: Path, clean: Mapping[str, str]) -> None:
    run(tmp_path / "s.zarr")
    store = Store.open(tmp_path / "s.zarr")
    store.set_split(np.zeros(len(store), np.int8))
    before = digests(tmp_path / "s.zarr")
    again = run(tmp_path / "s.zarr")
    assert again.made == 0
    assert again.splits == {"train": len(store), "val": 0, "test": 0}
    run(tmp_path / "s.zarr", retry_failed=True)
    assert digests(tmp_path / "s.zarr") == before


def test_failed_places_are_made_again_when_asked_to(tmp_path: Path, clean: Mapping[str, str]) -> None:
    (tmp_path / "tries").mkdir()
    maker = FaultyMaker(str(tmp_path / "tries"), seed=1, share=0.3)
    first = run(tmp_path / "s.zarr", maker=maker)
    assert first.failed["timeout"] > 2
    assert check(tmp_path / "s.zarr").failures == first.failed
    assert run(tmp_path / "s.zarr", maker=maker).failed == first.failed
    for _ in range(20):
        report = run(tmp_path / "s.zarr", maker=maker, retry_failed=True)
        check(tmp_path / "s.zarr")
        if "timeout" not in report.failed:
            break
    assert digests(tmp_path / "s.zarr") == clean


def test_a_raised_limit_gives_the_same_bytes(tmp_path: Path, clean: Mapping[str, str]) -> None:
    for limit, places in ((1, 1), (17, 17), (18, 18), (100, COUNT)):
        report = run(tmp_path / "s.zarr", limit=limit)
        assert report.places == places
        check(tmp_path / "s.zarr")
    assert digests(tmp_path / "s.zarr") == clean
    with pytest.raises(StoreError, match=r"was built from other places: place place-.* is not among") as caught:
        run(tmp_path / "s.zarr", limit=20)
    assert "--limit" in caught.value.hint
    assert digests(tmp_path / "s.zarr") == clean


def test_what_would_be_done_is_told_without_writing(tmp_path: Path) -> None:
    outlook = build(tmp_path / "s.zarr", group_size=7).outlook()
    assert (outlook.exists, outlook.places, outlook.done, outlook.to_make, outlook.tasks) == (False, 40, 0, 40, 6)
    assert list(tmp_path.iterdir()) == []
    report = run(tmp_path / "s.zarr", limit=20)
    before = digests(tmp_path / "s.zarr")
    outlook = build(tmp_path / "s.zarr", retry_failed=True).outlook()
    assert (outlook.exists, outlook.done, outlook.failed) == (True, report.done, report.failed)
    assert outlook.to_make == COUNT - report.done
    assert build(tmp_path / "s.zarr").outlook().to_make == COUNT - 20
    assert digests(tmp_path / "s.zarr") == before


def test_another_recipe_or_other_places_are_refused(tmp_path: Path, clean: Mapping[str, str]) -> None:
    run(tmp_path / "s.zarr")
    plain = {**RECIPE.plain, "seed": 4, "tile_size": 16}
    moved = replace(PLACES, lat=np.where(np.arange(COUNT) == 7, 1.5, PLACES.lat))
    for settings, message in (
        ({"recipe": replace(RECIPE, plain=plain)}, r"by another recipe \(different: seed, tile_size\)"),
        ({"places": moved}, "from other places: place place-7 had the lat"),
        ({"places": make_places(COUNT, seed=1)}, "from other places: place .* had the lat"),
    ):
        with pytest.raises(StoreError, match=message) as caught:
            run(tmp_path / "s.zarr", **settings)
        assert "another --out" in caught.value.hint
        with pytest.raises(StoreError, match=message):
            build(tmp_path / "s.zarr", **settings).outlook()
    assert digests(tmp_path / "s.zarr") == clean


def test_how_often_an_archive_is_asked_may_change(tmp_path: Path) -> None:
    run(tmp_path / "s.zarr", limit=10)
    archives = {"a": {**RECIPE.plain["archives"]["a"], "timeout": 60, "retries": 2}}
    assert run(tmp_path / "s.zarr", recipe=replace(RECIPE, plain={**RECIPE.plain, "archives": archives})).made == 30


def test_unusable_settings_are_refused(tmp_path: Path) -> None:
    for settings, message in (
        ({"places": PLACES.take(slice(0))}, "no places"),
        ({"limit": 0}, "limit is 0"),
        ({"group_size": 0}, "group_size is 0"),
    ):
        with pytest.raises(InputError, match=message):
            build(tmp_path / "s.zarr", **settings)


def test_if_no_place_can_be_made_the_store_says_so(tmp_path: Path) -> None:
    hopeless = np.flatnonzero([is_hopeless(place_id) for place_id in PLACES.place_id.tolist()])
    report = run(tmp_path / "s.zarr", places=PLACES.take(hopeless))
    assert (report.done, report.failed, report.splits) == (0, {"no image": len(hopeless)}, {})
    store = Store.open(tmp_path / "s.zarr")
    assert len(store) == 0
    assert store.statistics is None
    assert store.place_log is not None
    assert store.place_log.is_settled


def test_a_task_that_kills_its_workers_costs_only_the_place_that_does(tmp_path: Path) -> None:
    deadly = "place-23"

    class Dying(SingleProcess):
        def ended(self, timeout: float) -> list[Ended]:
            task = self._tasks[0] if self._tasks else None
            if task and deadly in task.places.place_id.tolist():
                return [Ended(self._tasks.popleft(), None)]
            return super().ended(timeout)

    report = build(tmp_path / "s.zarr", group_size=20).run(Dying())
    assert report.failed["worker"] == 1
    log = check(tmp_path / "s.zarr")
    assert log.place_id[log.reason == "worker"].tolist() == [deadly]
    assert report.done == len(Store.open(tmp_path / "s.zarr")) == COUNT - 1 - report.failed["no image"]


def test_an_error_that_nobody_expected_costs_only_the_place_that_raises_it(
    tmp_path: Path, clean: Mapping[str, str]
) -> None:
    odd = {
        "place-3": TypeError("odd file"),
        "place-23": CorruptError("a file is damaged"),
        "place-30": SourceError("no answer", reason=Reason.TIMEOUT),
    }
    report = build(tmp_path / "s.zarr", maker=FaultyMaker(errors=odd), group_size=20).run(Shuffled(0))
    log = check(tmp_path / "s.zarr")
    assert report.failed.keys() == {"error", "timeout", "no image"}
    assert sorted(log.place_id[log.reason == "error"].tolist()) == ["place-23", "place-3"]
    assert log.place_id[log.reason == "timeout"].tolist() == ["place-30"]
    (detail,) = log.detail[log.place_id == "place-3"].tolist()
    assert re.fullmatch(r"TypeError: odd file \(build/faulty_maker\.py:\d+\)", detail)
    assert report.done == COUNT - 3 - report.failed["no image"]
    run(tmp_path / "s.zarr", retry_failed=True)
    assert digests(tmp_path / "s.zarr") == clean


def test_a_bug_that_all_places_meet_ends_the_build(
    tmp_path: Path, clean: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_BUGS", 5)
    everywhere = {place_id: KeyError("B13") for place_id in PLACES.place_id.tolist()}
    with pytest.raises(
        GeopretextError, match=r"none of 5 places could be made; the last met KeyError: 'B13' \("
    ) as caught:
        run(tmp_path / "s.zarr", maker=FaultyMaker(errors=everywhere))
    assert "report it" in caught.value.hint
    run(tmp_path / "s.zarr", retry_failed=True)
    assert digests(tmp_path / "s.zarr") == clean


def test_tiles_that_the_store_would_refuse_cost_only_their_place(tmp_path: Path) -> None:
    class OddClasses(FaultyMaker):
        def make(self, places: Places) -> Made:
            made = super().make(places)
            if made.batch is not None:
                made.batch.arrays["dynamic_world"][made.batch.coordinates.tile_id == "place-5"] = 77
            return made

    report = run(tmp_path / "s.zarr", maker=OddClasses())
    log = check(tmp_path / "s.zarr")
    assert report.failed["error"] == 1
    assert log.place_id[log.reason == "error"].tolist() == ["place-5"]
    assert "ClassError" in log.detail[log.reason == "error"][0]


def test_errors_that_all_places_would_meet_stop_the_build(tmp_path: Path) -> None:
    for number, error in enumerate((MemoryError(), RecipeError("odd"), StoreError("odd"))):
        with pytest.raises(type(error)):
            run(tmp_path / f"{number}.zarr", maker=FaultyMaker(errors={"place-3": error}))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s.zarr", maker=FaultyMaker(errors={"place-3": KeyboardInterrupt()}))


def test_damaged_parts_are_made_again(tmp_path: Path, clean: Mapping[str, str]) -> None:
    class Damaging(Shuffled):
        def ended(self, timeout: float) -> list[Ended]:
            ended = super().ended(timeout)
            for part in (tmp_path / "s.zarr.build/tiles").glob("*"):
                if self.random.random() < 0.3 and part.name not in damaged:
                    damaged.add(part.name)
                    part.write_bytes(part.read_bytes()[:-3] + b"xyz")
            return ended

    damaged: set[str] = set()
    build(tmp_path / "s.zarr").run(Damaging(0))
    assert damaged
    assert digests(tmp_path / "s.zarr") == clean


def test_workers_that_write_elsewhere_are_found_out(tmp_path: Path) -> None:
    class Elsewhere(SingleProcess):
        def submit(self, task: Task) -> None:
            super().submit(replace(task, staging=str(tmp_path / "elsewhere")))

    with pytest.raises(StoreError, match="was made twice, and cannot be read") as caught:
        build(tmp_path / "s.zarr").run(Elsewhere())
    assert "very folder" in caught.value.hint


@pytest.mark.parametrize(("room", "place"), [(1500, "s.zarr/places.parquet"), (6000, "s.zarr.build/tiles/")])
def test_a_full_disk_stops_the_build_and_it_goes_on_later(
    tmp_path: Path, clean: Mapping[str, str], room: int, place: str
) -> None:
    run(tmp_path / "s.zarr", limit=15)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        with pytest.raises(StoreError, match="the disk is full") as caught:
            run(tmp_path / "s.zarr", group_size=25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert place in caught.value.where
    check(tmp_path / "s.zarr")
    run(tmp_path / "s.zarr")
    assert digests(tmp_path / "s.zarr") == clean


def test_parts_of_a_store_that_was_deleted_are_not_used(tmp_path: Path, clean: Mapping[str, str]) -> None:
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "s.zarr").run(Shuffled(0), progress=lambda p: 1 // (p.made < 20))
    assert list((tmp_path / "s.zarr.build/records").iterdir())
    shutil.rmtree(tmp_path / "s.zarr")
    assert build(tmp_path / "s.zarr").outlook().done == 0
    assert run(tmp_path / "s.zarr").made == COUNT
    assert digests(tmp_path / "s.zarr") == clean


class Late(Shuffled):
    """A crew whose first tasks end long after the build that they were for."""

    late: list[Task]

    def submit(self, task: Task) -> None:
        self.late = [*getattr(self, "late", []), task]
        super().submit(task)


def test_late_tasks_of_a_store_that_was_deleted_leave_nothing_in_the_next(
    tmp_path: Path, clean: Mapping[str, str]
) -> None:
    old = Late(0)
    plain = {**RECIPE.plain, "seed": 4}
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "s.zarr", maker=OtherMaker(), recipe=replace(RECIPE, plain=plain)).run(
            old, progress=lambda p: 1 // (p.made < 5)
        )
    shutil.rmtree(tmp_path / "s.zarr")

    def stop(progress: BuildProgress) -> None:
        for task in old.late:
            run_task(task)
        assert progress.made < 20, "stop"

    with pytest.raises(AssertionError, match="stop"):
        build(tmp_path / "s.zarr").run(Shuffled(1), progress=stop)
    report = run(tmp_path / "s.zarr")
    assert 0 < report.made < COUNT
    assert digests(tmp_path / "s.zarr") == clean
    for task in old.late:
        run_task(task)
    assert (tmp_path / "s.zarr.build").exists()
    assert build(tmp_path / "s.zarr").outlook().to_make == 0
    assert run(tmp_path / "s.zarr").made == 0
    assert digests(tmp_path / "s.zarr") == clean
    assert not (tmp_path / "s.zarr.build").exists()


@pytest.mark.parametrize("other", ["client", "file"])
def test_a_build_that_is_refused_leaves_the_parts_of_others(tmp_path: Path, other: str) -> None:
    part = tmp_path / "s.zarr.build/tiles/part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another client")
    (tmp_path / "s.zarr").mkdir()
    if other == "file":
        (tmp_path / "s.zarr/notes.txt").write_text("no store")
        with pytest.raises(StoreError, match="no store"):
            run(tmp_path / "s.zarr")
    else:
        lock = StoreLock(Files(tmp_path / "s.zarr"))  # as a client has it that is about to make the store
        with pytest.raises(StoreError, match="is writing to this store"):
            run(tmp_path / "s.zarr")
        lock.release()
    assert part.exists()


def test_parts_of_a_store_that_was_deleted_go(tmp_path: Path, clean: Mapping[str, str]) -> None:
    part = tmp_path / "s.zarr.build/tiles/part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of a store that is gone")

    def look(progress: BuildProgress) -> None:
        assert not part.exists()

    build(tmp_path / "s.zarr").run(SingleProcess(), progress=look)
    assert digests(tmp_path / "s.zarr") == clean


def _survive(path: Path, tries: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Build under random faults and kills, until nothing is left that could still be made; returns the kills."""
    draw = random.Random(seed)
    tries.mkdir()
    maker = FaultyMaker(str(tries), seed=seed, share=draw.choice([0.0, 0.1, 0.5]))
    retry, kills, limit = False, 0, draw.choice([None, draw.randrange(1, COUNT)])
    for _ in range(60):
        wanted = build(path, maker=maker, group_size=draw.randrange(1, 12), retry_failed=retry, limit=limit)
        crew = Shuffled(draw.randrange(1000), lost=draw.choice([0.0, 0.2]))
        keys = int(10 ** draw.uniform(0, 3.3))
        with killed_after(keys, monkeypatch, seed=seed, deletes=True):
            try:
                report = wanted.run(crew)
            except Killed:
                report = None
        make_lock_stale(path)
        if report is None:
            kills += 1
            if (path / "zarr.json").exists() and Store.open(path).place_log is not None:
                check(path)
            continue
        if not report.failed.keys() - {"no image"} and limit is None:
            return kills
        retry, limit = True, None
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_any_faults_and_kills_end_in_the_same_bytes(
    tmp_path: Path, clean: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    _survive(tmp_path / "s.zarr", tmp_path / "tries", seed, monkeypatch)
    assert digests(tmp_path / "s.zarr") == clean
    assert not (tmp_path / "s.zarr.build").exists()


@pytest.mark.slow
def test_two_hundred_builds_under_faults_end_in_the_same_bytes(
    tmp_path: Path, clean: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    for seed in range(100, 300):
        kills += _survive(tmp_path / f"{seed}.zarr", tmp_path / f"{seed}", seed, monkeypatch)
        assert digests(tmp_path / f"{seed}.zarr") == clean, f"seed {seed}"
    assert kills > 400


@pytest.mark.slow
def test_a_build_into_a_bucket_has_the_same_bytes(
    tmp_path: Path, clean: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        place = f"s3://{BUCKET}/tiles.zarr"
        for limit in (20, None):
            Build(RECIPE, FaultyMaker(), PLACES, place, limit, 5, SHARD).run(Shuffled(0))
        files = Files(place)
        assert {key: sha256(files.read(key) or b"").hexdigest() for key in files.list()} == clean
        assert Files(f"{place}.build").list() == []
