"""Polygons that are made strip by strip are those of the whole map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("shapely")
pytest.importorskip("rasterio")

import shapely
from rasterio import features

from geopretext.predict.polygons import polygonise

NODATA = 255


def strips(classes: np.ndarray, heights: list[int]) -> list[np.ndarray]:
    edges = np.cumsum([0, *heights])
    parts = [classes[start:stop] for start, stop in zip(edges, [*edges[1:], len(classes)], strict=True)]
    return [part for part in parts if len(part)]


def whole(classes: np.ndarray) -> list[tuple[int, bytes]]:
    """Code and normalised polygon of each region, by one call for the whole map."""
    found = features.shapes(classes.astype(np.int32), mask=classes != NODATA, connectivity=4)
    return sorted((int(code), canonical(shapely.geometry.shape(plain))) for plain, code in found)


def canonical(polygon: "shapely.Polygon") -> bytes:
    return shapely.to_wkb(shapely.normalize(polygon))


def by_strips(classes: np.ndarray, heights: list[int]) -> list[tuple[int, bytes]]:
    regions = list(polygonise(strips(classes, heights), nodata=NODATA))
    assert all(shapely.is_valid(region.polygon) for region in regions)
    return sorted((region.code, canonical(region.polygon)) for region in regions)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), max_size=5), st.sampled_from([0.0, 0.7]))
def test_regions_are_those_of_the_whole_map(seed: int, heights: list[int], smooth: float) -> None:
    generator = np.random.default_rng(seed)
    classes = generator.choice([1, 2, NODATA], (13, 11)).astype(np.uint8)
    classes[generator.random(classes.shape) < smooth] = 1
    assert by_strips(classes, heights) == whole(classes)


def test_a_ring_is_one_polygon_with_its_hole() -> None:
    classes = np.full((9, 9), 7, np.uint8)
    classes[3:6, 3:6] = 8
    regions = {region.code: region for region in polygonise(strips(classes, [2, 2, 2, 2]), nodata=NODATA)}
    assert shapely.area(regions[7].polygon) == 81 - 9
    assert len(regions[7].polygon.interiors) == 1
    assert regions[8].polygon.equals(shapely.box(3, 3, 6, 6))
    assert len(regions[7].polygon.exterior.coords) == 5, "no corners where strips met"


def test_a_region_is_done_as_soon_as_nothing_can_follow() -> None:
    """So that memory holds what is open, and not the map."""
    read = []

    def blocks():
        for number in range(4):
            read.append(number)
            yield np.full((2, 3), number, np.uint8)

    regions = polygonise(blocks(), nodata=NODATA)
    assert next(regions).code == 0
    assert read == [0, 1]


def test_nothing_observed_has_no_regions() -> None:
    assert list(polygonise([np.full((4, 4), NODATA, np.uint8)], nodata=NODATA)) == []
