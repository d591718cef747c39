"""Ranges of bytes from a real server that fails in every way that servers do."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from geopretext.build.transfer import (
    Transfer,
    TransferSettings,
    reset_transfer_counts,
    shared_transfer,
    transfer_counts,
)
from geopretext.errors import Reason, RecipeError, SourceError

from .range_server import (
    CloseInMiddle,
    Fault,
    Hang,
    IgnoreRange,
    RangeServer,
    Replaced,
    ShortBody,
    Status,
    Trickle,
    Truncated,
)

DATA = bytes(range(256)) * 400
QUICK = TransferSettings(timeout=0.3, retries=3, backoff=0.001)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer() as server:
        server.files["/file.tif"] = DATA
        reset_transfer_counts()
        yield server


def test_ranges_and_counts(server: RangeServer) -> None:
    transfer = Transfer(QUICK)
    part = transfer.fetch(f"{server.url}/file.tif", 1000, 3000)
    assert (part.data, part.size) == (DATA[1000:3000], len(DATA))
    assert part.tag
    last = transfer.fetch(f"{server.url}/file.tif", len(DATA) - 10, len(DATA) + 500)
    assert last.data == DATA[-10:]
    parts = transfer.fetch_all(f"{server.url}/file.tif", [(0, 10), (500, 700), (90, 100)])
    assert [part.data for part in parts] == [DATA[0:10], DATA[500:700], DATA[90:100]]
    counts = transfer_counts()
    assert (counts.requests, counts.bytes, counts.repeats) == (server.requests(), server.sent(), 0)
    assert counts.bytes == 2000 + 10 + 10 + 200 + 10


PASSING: list[Fault] = [
    Status(500),
    Status(502),
    Status(503),
    Status(429),
    Status(408),
    Hang(),
    CloseInMiddle(),
    ShortBody(),
    Truncated(500),
    IgnoreRange(),
]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_faults_that_pass_are_not_seen(server: RangeServer, fault: Fault) -> None:
    server.fault = lambda asked: fault if asked.number < 2 else None
    assert Transfer(QUICK).fetch(f"{server.url}/file.tif", 1000, 60_000).data == DATA[1000:60_000]
    assert server.requests() == transfer_counts().requests == 3
    assert transfer_counts().repeats == 2


LASTING: list[tuple[Fault, Reason, str, int]] = [
    (Status(500), Reason.SERVER, "HTTP 500", 4),
    (Status(429), Reason.THROTTLED, "asked less often", 4),
    (Hang(), Reason.TIMEOUT, "no answer within 0.3 s", 4),
    (CloseInMiddle(), Reason.SERVER, "the connection broke", 4),
    (ShortBody(), Reason.CORRUPT, "29500 bytes came instead of 59000", 4),
    (Truncated(500), Reason.CORRUPT, "shorter than it must be", 4),
    (IgnoreRange(), Reason.SERVER, "the whole file came", 4),
    (Status(401), Reason.FORBIDDEN, "credentials are wanted", 1),
    (Status(403), Reason.FORBIDDEN, "access is refused", 1),
    (Status(404), Reason.NO_FILE, "no such file", 1),
    (Status(410), Reason.NO_FILE, "gone", 1),
]


@pytest.mark.parametrize(("fault", "reason", "says", "attempts"), LASTING, ids=lambda value: repr(value)[:30])
def test_faults_that_last_have_their_reason(
    server: RangeServer, fault: Fault, reason: Reason, says: str, attempts: int
) -> None:
    server.fault = lambda asked: fault
    with pytest.raises(SourceError, match=says) as raised:
        Transfer(QUICK).fetch(f"{server.url}/file.tif?signature=secret", 1000, 60_000)
    assert raised.value.reason is reason
    assert raised.value.where == f"{server.url}/file.tif"
    assert "secret" not in str(raised.value)
    assert server.requests() == transfer_counts().requests == attempts


def test_a_server_that_is_not_there() -> None:
    with RangeServer() as gone:
        url = gone.url
    with pytest.raises(SourceError, match="cannot be reached") as raised:
        Transfer(QUICK).fetch(f"{url}/file.tif", 0, 10)
    assert raised.value.reason is Reason.SERVER


def test_nothing_about_a_missing_file_is_remembered(server: RangeServer) -> None:
    transfer = Transfer(QUICK)
    with pytest.raises(SourceError):
        transfer.fetch(f"{server.url}/new.tif", 0, 10)
    server.files["/new.tif"] = DATA
    assert transfer.fetch(f"{server.url}/new.tif", 0, 10).data == DATA[:10]


def test_a_body_that_trickles_is_given_up(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geopretext.build.fetch._SLOWEST", 1e9)
    monkeypatch.setattr("geopretext.build.fetch._PIECE", 1024)
    server.fault = lambda asked: Trickle(0.05)
    with pytest.raises(SourceError, match="were not there after") as raised:
        Transfer(TransferSettings(timeout=0.2, retries=0)).fetch(f"{server.url}/file.tif", 0, 60_000)
    assert raised.value.reason is Reason.TIMEOUT


def test_the_server_says_when_to_come_again(server: RangeServer) -> None:
    server.fault = lambda asked: Status(429, {"Retry-After": "1"}) if asked.number == 0 else None
    transfer = Transfer(QUICK)
    before = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(transfer.fetch, f"{server.url}/file.tif", 0, 10)
        while not server.requests():
            time.sleep(0.001)
        # the whole host rests, not only the request that was refused
        second = pool.submit(transfer.fetch, f"{server.url}/file.tif", 10, 20)
        assert (first.result().data, second.result().data) == (DATA[:10], DATA[10:20])
    assert time.monotonic() - before >= 1.0


def test_a_date_or_nonsense_in_retry_after(server: RangeServer) -> None:
    dates = ["Thu, 01 Jan 1970 00:00:00 GMT", "soon"]
    server.fault = lambda asked: Status(503, {"Retry-After": dates[asked.number]}) if asked.number < 2 else None
    assert Transfer(QUICK).fetch(f"{server.url}/file.tif", 0, 10).data == DATA[:10]


def test_no_more_requests_at_the_same_time_than_allowed(server: RangeServer) -> None:
    server.fault = lambda asked: time.sleep(0.005)  # type: ignore[func-returns-value]
    transfer = Transfer(TransferSettings(concurrency=3))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda start: transfer.fetch(f"{server.url}/file.tif", start, start + 10), range(60)))
    assert server.busiest <= 3
    assert server.requests() == 60


def test_no_more_requests_a_second_than_allowed(server: RangeServer) -> None:
    transfer = Transfer(TransferSettings(requests_per_second=50.0))
    before = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda start: transfer.fetch(f"{server.url}/file.tif", start, start + 10), range(11)))
    assert time.monotonic() - before >= 10 / 50.0


def test_small_files_may_come_whole(server: RangeServer) -> None:
    server.fault = lambda asked: IgnoreRange()
    part = Transfer(QUICK).fetch(f"{server.url}/file.tif", 0, len(DATA) + 100)
    assert (part.data, part.size) == (DATA, len(DATA))


def test_another_version_has_another_tag(server: RangeServer) -> None:
    transfer = Transfer(QUICK)
    first = transfer.fetch(f"{server.url}/file.tif", 0, 10)
    server.fault = lambda asked: Replaced(DATA[::-1])
    assert transfer.fetch(f"{server.url}/file.tif", 0, 10).tag != first.tag


def test_waits_double_within_bounds() -> None:
    transfer = Transfer(TransferSettings(backoff=0.5))
    for attempt in range(20):
        longest = min(30.0, 0.5 * 2**attempt)
        assert longest / 2 <= transfer.pause(attempt) <= longest


@pytest.mark.parametrize(
    ("field", "value"),
    [("timeout", 0.0), ("retries", -1), ("backoff", 31.0), ("concurrency", 0), ("requests_per_second", -1.0)],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=field):
        TransferSettings(**{field: value})


def test_one_transfer_for_the_same_settings() -> None:
    assert shared_transfer(TransferSettings(retries=4)) is shared_transfer(TransferSettings(retries=4))
    assert shared_transfer(TransferSettings(retries=4)) is not shared_transfer(TransferSettings(retries=5))
