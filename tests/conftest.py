"""What all tests share: the folder of real data, where there is one."""

import gc
import os
import signal
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real imagery that ``GEOPRETEXT_TEST_DATA`` names; tests that need it skip without it."""
    folder = os.environ.get("GEOPRETEXT_TEST_DATA")
    if not folder:
        pytest.skip("needs real data: set GEOPRETEXT_TEST_DATA to its folder")
    return Path(folder)


def pytest_collection_finish() -> None:
    """What collecting has made stays to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Background jobs of a script ignore Ctrl-C, and so do their children: tests that interrupt one would hang."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
