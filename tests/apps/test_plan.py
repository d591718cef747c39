"""``geopretext plan``: what it prints, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.build.places import Places, write_places

RECIPE = """\
name: tiny
tile_size: 16
archives:
  planet: {kind: synthetic, seed: 1}
modalities:
  sentinel2: {from: planet, pair: {rule: reference}, level: L2A}
  lat: {derive: lat}
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Arguments of a plan of 24 places, every sixth near the pole, where no scene is."""
    lat = np.where(np.arange(24) % 6 == 5, 86.0, np.linspace(40, 41, 24))
    ids = np.array([f"p{i:02}" for i in range(24)])
    write_places(tmp_path / "places.parquet", [Places(ids, lat, np.linspace(5, 6, 24), *np.full((2, 24), 3, np.int16))])
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return ["plan", str(tmp_path / "places.parquet"), "--recipe", str(tmp_path / "tiny.yaml")]


def test_a_plan_for_people(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--group-size", "6", "--trials", "4"]) == 0
    printed = capsys.readouterr()
    names = [line.split("  ")[0] for line in printed.out.splitlines()[:9]]
    assert names[:5] == ["places", "tiles", "requests", "read", "store"]
    assert names[5:] == ["1 worker", "4 workers", "16 workers", "64 workers"]
    assert "24 in 4 tasks" in printed.out
    assert "about 20; not: 4 polar" in printed.out
    assert "4 trial tasks (24 places)" in printed.out
    assert "trial tasks done: 4 of 4" in printed.err


def test_a_plan_for_programs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--group-size", "6", "--workers", "3", "--price", "1e9", "--json", "--limit", "12"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["places"], plan["tasks"], plan["tiles"], plan["failed"]) == (12, 2, 10, {"polar": 2})
    assert plan["usd_a_month"] == pytest.approx(plan["store_bytes"])
    assert list(plan["hours"]) == ["3"]


def test_keys_of_the_recipe_can_be_replaced_and_other_words_cannot_be_misspelt(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--tile_size", "0"]) == 1
    assert "tile_size 0" in capsys.readouterr().err
    assert main([*words, "--tril", "3"]) == 2
    assert "unrecognized arguments: --tril" in capsys.readouterr().err


def test_nothing_is_written(words: list[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    main([*words, "--group-size", "24"])
    assert sorted(tmp_path.rglob("*")) == before
