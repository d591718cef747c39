"""What all tests share: the folder of real data, where there is one."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real imagery that ``GEOPRETEXT_TEST_DATA`` names; tests that need it skip without it."""
    folder = os.environ.get("GEOPRETEXT_TEST_DATA")
    if not folder:
        pytest.skip("needs real data: set GEOPRETEXT_TEST_DATA to its folder")
    return Path(folder)
