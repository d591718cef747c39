"""Maps of places: the projection, what is drawn where, and that all of it is drawn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geopretext.predict.world_map import _kinds, _View, draw_biome_map, draw_status_map


@dataclass
class Places:
    lat: np.ndarray
    lon: np.ndarray
    status: np.ndarray
    reason: np.ndarray


def places(count: int, seed: int = 0) -> Places:
    random = np.random.default_rng(seed)
    status = random.choice(["done", "done", "failed", "waiting"], count)
    reason = np.where(status == "failed", random.choice(["cloudy", "cloudy", "server"], count), "")
    lat = np.degrees(np.arcsin(random.uniform(-0.9, 0.9, count)))
    text = np.dtypes.StringDType()
    return Places(lat, random.uniform(-180, 180, count), status.astype(text), reason.astype(text))


def dark_share(path: Path, color: tuple[int, int, int]) -> float:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return float((np.abs(pixels - color).max(axis=2) < 12).mean())


def test_equal_areas_have_equal_sizes() -> None:
    """Cells of one degree at the equator and at 60 N: their areas on paper stand as on the sphere."""
    view = _View(-180, -90, 180, 90, is_globe=True)

    def area(lat: float, lon: float) -> float:
        y, x = np.array([lat, lat, lat + 1, lat + 1]), np.array([lon, lon + 1, lon + 1, lon])
        a, b = view.project(y, x)
        return abs(float(np.sum(a * np.roll(b, -1) - b * np.roll(a, -1)))) / 2

    on_sphere = (np.sin(np.radians(61)) - np.sin(np.radians(60))) / np.sin(np.radians(1))
    for lon in (-150.0, 0.0, 90.0):
        assert area(60, lon) / area(0, 0) == pytest.approx(on_sphere, rel=1e-3)


def test_the_globe_has_the_published_shape() -> None:
    """Equal Earth: the equator is 2.05458 times as long as the height of the map."""
    view = _View(-180, -90, 180, 90, is_globe=True)
    x, _ = view.project(np.zeros(2), np.array([-180.0, 179.999999]))
    _, y = view.project(np.array([-90.0, 90.0]), np.zeros(2))
    assert np.ptp(x) / np.ptp(y) == pytest.approx(2.05458, abs=1e-4)
    assert view.aspect == pytest.approx(1 / 2.05458, abs=1e-3)


def test_places_close_together_are_drawn_as_a_region() -> None:
    lat, lon = np.array([46.0, 47.5]), np.array([7.0, 10.0])
    view = _View.of(lat, lon)
    assert not view.is_globe
    assert view.west < 7 < 10 < view.east
    assert view.south < 46 < 47.5 < view.north
    assert _View.of(np.array([0.0, 0.0]), np.array([-179.0, 179.0])).is_globe
    single = _View.of(np.array([46.0]), np.array([7.0]))
    assert single.south < 46 < single.north


def test_every_biome_has_a_map(tmp_path: Path) -> None:
    some = places(500)
    biome = (np.arange(500) % 15 - 1).astype(np.int16)
    draw_biome_map(some.lat, some.lon, biome, tmp_path / "all.png")
    draw_biome_map(some.lat, some.lon, np.zeros(500, np.int16), tmp_path / "one.png")
    with Image.open(tmp_path / "all.png") as tall, Image.open(tmp_path / "one.png") as short:
        assert tall.height > 2 * short.height
    assert dark_share(tmp_path / "all.png", (0x0B, 0x5A, 0x8A)) > 1e-3
    some.lat[:] = np.nan
    draw_biome_map(some.lat, some.lon, biome, tmp_path / "nowhere.png")


def test_failures_are_marked_by_reason_the_most_frequent_first(tmp_path: Path) -> None:
    some = places(300)
    kinds = _kinds(np.array(some.status.tolist()), np.array(some.reason.tolist()))
    assert [kind[0] for kind in kinds] == ["done", "waiting", "failed: cloudy", "failed: server"]
    assert sum(int(kind[1].sum()) for kind in kinds) == 300
    assert len({kind[3] for kind in kinds if kind[0].startswith("failed")}) == 2  # told apart without colour
    draw_status_map(some, tmp_path / "status.png")
    assert dark_share(tmp_path / "status.png", (0xD5, 0x5E, 0x00)) > 1e-4
    assert dark_share(tmp_path / "status.png", (0x00, 0x72, 0xB2)) > 1e-5


def test_reasons_without_number_share_a_mark() -> None:
    reason = np.array([f"reason {n}" for n in range(12)])
    kinds = _kinds(np.full(12, "failed"), reason)
    assert len(kinds) == 9
    assert kinds[-1][0] == "failed: other reasons"
    assert kinds[-1][1].sum() == 4


def test_a_million_places_are_thinned_out(tmp_path: Path) -> None:
    some = places(1_000_000)
    draw_biome_map(some.lat, some.lon, np.zeros(1_000_000, np.int16), tmp_path / "many.png")
    assert (tmp_path / "many.png").exists()
