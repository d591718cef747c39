from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.build.crew import SingleProcess
from geopretext.build.pipeline import Build
from geopretext.build.plan import plan_build
from geopretext.build.tiles import Made
from geopretext.errors import InputError, Reason, SourceError

from .faulty_maker import RECIPE, FaultyMaker, make_places


def test_a_plan_says_what_the_build_then_takes(tmp_path: Path) -> None:
    places, told = make_places(600), []
    maker = FaultyMaker()
    plan = plan_build(RECIPE, maker, places, group_size=100, trials=3, progress=lambda *now: told.append(now))
    report = Build(RECIPE, maker, places, tmp_path / "tiles.zarr", group_size=100).run(SingleProcess())

    assert (plan.places, plan.tasks, plan.tried_tasks, plan.tried_places) == (600, 6, 3, 300)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert plan.tiles == pytest.approx(report.done, rel=0.05)
    assert sum(plan.failed.values()) + plan.tiles == 600
    assert list(plan.failed) == ["no image"]
    assert plan.requests == report.counts["requests"] == 600
    assert plan.bytes_read == pytest.approx(report.counts["bytes"], rel=0.05)
    low, high = plan.bytes_read_range
    assert low <= plan.bytes_read <= high
    size = sum(file.stat().st_size for file in (tmp_path / "tiles.zarr").rglob("*") if file.is_file())
    assert plan.store_bytes == pytest.approx(size, rel=0.25)


def test_hours_shrink_with_workers_until_writing_is_all_that_is_left() -> None:
    plan = plan_build(RECIPE, FaultyMaker(), make_places(60), group_size=20)
    slow = replace(plan, tasks=100, task_seconds=36.0, write_seconds=36.0, finish_seconds=3.6)
    assert slow.hours(1) == pytest.approx(1.0 + 0.01 + 0.001)
    assert slow.hours(10) == pytest.approx(0.101 + 0.001)
    assert slow.hours(10_000) == pytest.approx(0.01 + 0.001)


def test_fewer_places_than_a_task_are_all_tried() -> None:
    plan = plan_build(RECIPE, FaultyMaker(), make_places(7), group_size=128, trials=5)
    assert (plan.tasks, plan.tried_tasks, plan.tried_places) == (1, 1, 7)


def test_trials_are_spread_and_the_same_each_time() -> None:
    class Noting(FaultyMaker):
        def make(self, places):
            seen.append(places.place_id.tolist())
            return super().make(places)

    seen: list[list[str]] = []
    places = make_places(1000)
    for _ in range(2):
        plan_build(RECIPE, Noting(), places, group_size=50, trials=2)
    assert seen[:4] == seen[4:]
    west, east = (np.mean(places.lon[np.isin(places.place_id, ids)]) for ids in (seen[1], seen[3]))
    assert west < 0 < east


def test_trial_tasks_come_after_the_task_before_them_which_is_not_counted() -> None:
    class Warming(FaultyMaker):
        """Reads a file for the first task only, as a worker does that keeps it open."""

        def make(self, places):
            made.append(super().make(places))
            return replace(made[-1], counts={"requests": 7 if len(made) == 1 else 1, "bytes": 0})

    made: list[Made] = []
    plan = plan_build(RECIPE, Warming(), make_places(100), group_size=10, trials=1)
    assert (len(made), plan.tried_tasks, plan.requests) == (2, 1, 10)
    made.clear()
    plan = plan_build(RECIPE, Warming(), make_places(100), group_size=10, trials=10)
    assert (len(made), plan.tried_tasks, plan.requests) == (10, 10, 16)


def test_nothing_to_multiply_is_said_with_its_reason(tmp_path: Path) -> None:
    maker = FaultyMaker(folder=str(tmp_path), share=1.0)
    with pytest.raises(SourceError, match="no place of the trial became a tile; the first: place") as caught:
        plan_build(RECIPE, maker, make_places(20), group_size=10)
    assert caught.value.reason in (Reason.TIMEOUT, Reason.NO_IMAGE)
    with pytest.raises(InputError, match="trials is 0"):
        plan_build(RECIPE, maker, make_places(20), group_size=10, trials=0)
