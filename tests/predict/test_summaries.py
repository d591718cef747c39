"""What a map comes to does not depend on its blocks."""

import numpy as np
import pytest

pytest.importorskip("shapely")
pytest.importorskip("pyproj")

from geopretext.nn.settings import HeadLabels
from geopretext.predict import summaries
from geopretext.predict.ground_area import ground_of
from geopretext.predict.legend import legend_of
from geopretext.predict.scene import Georeference
from geopretext.predict.summaries import QUANTILES, ClassTally, QuantityTally

LEGEND = legend_of(HeadLabels("segmentation", ("crop", "forest", "water"), codes=(30, 10, 20), ignore=0))
UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
DEGREES = Georeference("EPSG:4326", (0.5, 0.0, 7.0, 0.0, -0.5, 60.0))


def test_classes_are_counted_and_measured() -> None:
    codes = np.array([[10, 10, 30], [10, 0, 30], [10, 0, 0]], np.uint8)
    tally = ClassTally(LEGEND, ground_of(UTM, height=3, width=3))
    tally.add(codes[:2])
    tally.add(codes[2:])
    assert [(share.code, share.name, share.pixels) for share in tally.shares] == [
        (10, "forest", 4),
        (20, "water", 0),
        (30, "crop", 2),
    ]
    assert [share.share for share in tally.shares] == pytest.approx([4 / 6, 0, 2 / 6])
    assert [share.hectares for share in tally.shares] == pytest.approx([0.04, 0, 0.02])


def test_in_degrees_a_pixel_is_smaller_in_the_north() -> None:
    """Against the area of a spherical rectangle, which is close enough to tell rows apart."""
    tally = ClassTally(LEGEND, ground_of(DEGREES, height=2, width=2))
    tally.add(np.array([[10, 10]], np.uint8))
    tally.add(np.array([[20, 20]], np.uint8))
    forest, water, _ = (share.hectares for share in tally.shares)
    edges = np.sin(np.radians([60.0, 59.5, 59.0]))
    sphere = 2 * np.radians(0.5) * -np.diff(edges) * 6_371_007.0**2 / 10_000
    assert [forest, water] == pytest.approx(sphere.tolist(), rel=1e-2)
    assert forest / water == pytest.approx(sphere[0] / sphere[1], rel=1e-3)


def test_without_a_place_there_are_no_hectares() -> None:
    tally = ClassTally(LEGEND, None)
    tally.add(np.zeros((2, 2), np.uint8))
    assert [(share.share, share.hectares) for share in tally.shares] == [(0.0, None)] * 3


def test_quantities_are_those_of_numpy() -> None:
    generator = np.random.default_rng(0)
    values, seen = generator.normal(5, 2, (40, 30, 2)).astype(np.float32), generator.random((40, 30)) < 0.7
    tally = QuantityTally(1200, 2)
    for start in range(0, 40, 7):
        tally.add(values[start : start + 7], seen[start : start + 7])
    for place, summary in enumerate(tally.summaries(("height", "age"), ("m", "years"))):
        found = values[seen][:, place]
        assert summary.pixels == len(found)
        assert (summary.mean, summary.least, summary.most) == pytest.approx((found.mean(), found.min(), found.max()))
        assert summary.quantiles == pytest.approx(np.quantile(found, QUANTILES))
        assert summary.to_dict()["quantiles"]["0.5"] == pytest.approx(np.median(found))


def test_large_maps_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "_SAMPLE", 20_000)
    values = np.random.default_rng(1).normal(0, 1, (400, 500, 1)).astype(np.float32)
    tally = QuantityTally(200_000, 1)
    for start in range(0, 400, 100):
        tally.add(values[start : start + 100], np.ones((100, 500), np.bool_))
    (summary,) = tally.summaries(("height",), ("m",))
    assert summary.pixels == 200_000
    assert summary.quantiles == pytest.approx(np.quantile(values, QUANTILES), abs=0.05)


def test_nothing_observed_is_no_number() -> None:
    tally = QuantityTally(4, 1)
    tally.add(np.ones((2, 2, 1), np.float32), np.zeros((2, 2), np.bool_))
    (summary,) = tally.summaries(("height",), ("m",))
    assert summary.pixels == 0
    assert np.isnan([summary.mean, summary.least, *summary.quantiles]).all()
