"""Processes of a suite that die when nobody looks."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from geopretext.evaluate import suite_crew
from geopretext.evaluate.suite_crew import ProcessCrew
from geopretext.evaluate.suite_work import OpenTask


def test_a_process_that_was_killed_while_idle_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Process:
        """The first one is dead, as of an idle process that was killed."""

        def __init__(self, threads: int) -> None:
            self.dead, self.closed = not made, False
            made.append(self)

        def submit(self, work: OpenTask) -> "Future[None]":
            if self.dead:
                raise BrokenProcessPool
            future: Future[None] = Future()
            future.set_result(None)
            return future

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(suite_crew, "_Process", Process)
    crew, work = ProcessCrew(1), object()
    crew.submit(work)
    assert [ended.work for ended in crew.ended()] == [work]
    assert [process.closed for process in made] == [True, False]
