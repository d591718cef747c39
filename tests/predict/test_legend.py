"""Codes, names and colours of class maps."""

import numpy as np
import pytest

from geopretext.errors import ClassError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.settings import HeadLabels
from geopretext.predict.legend import legend_of, read_colors


def labels(names: tuple[str, ...], **more: object) -> HeadLabels:
    return HeadLabels("segmentation", names, **more)


def test_codes_are_those_of_the_masks() -> None:
    legend = legend_of(labels(("crop", "forest"), codes=(20, 10), ignore=0))
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]], np.float32)
    codes = legend.encode(scores, np.array([True, True, False]))
    assert codes.tolist() == [20, 10, 0]
    assert codes.dtype == np.uint8
    assert legend.by_code == {10: "forest", 20: "crop"}


def test_without_codes_they_count_from_zero_and_missing_is_the_largest() -> None:
    legend = legend_of(labels(("a", "b", "c")))
    assert legend.codes == (0, 1, 2)
    assert (legend.dtype, legend.nodata) == ("uint8", 255)


@pytest.mark.parametrize(
    ("codes", "ignore", "dtype", "nodata"),
    [
        ((1, 255), None, "uint8", 254),
        ((1, 256), None, "uint16", 65_535),
        ((1, 2), 999, "uint8", 255),
        ((1, 2), 0.5, "uint8", 255),
        ((1, 2), -1, "uint8", 255),
        (tuple(range(256)), None, "uint16", 65_535),
        ((1, 300), 0, "uint16", 0),
    ],
)
def test_there_is_always_a_number_for_what_is_missing(
    codes: tuple[int, ...], ignore: float | None, dtype: str, nodata: int
) -> None:
    legend = legend_of(labels(tuple(map(str, codes)), codes=codes, ignore=ignore))
    assert (legend.dtype, legend.nodata) == (dtype, nodata)


@pytest.mark.parametrize("codes", [(-1, 2), (0, 70_000)])
def test_codes_beyond_16_bits_are_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(ClassError, match="do not fit into a map of 16 bits"):
        legend_of(labels(("a", "b"), codes=codes))


@pytest.mark.parametrize("name", ["esa_worldcover", "dynamic_world"])
def test_published_classes_have_their_colours(name: str) -> None:
    published = PUBLISHED[name].classes[1:4]
    legend = legend_of(labels(tuple(label.name.title() for label in published)))
    assert legend.colors == tuple(label.color for label in published)
    assert legend.color_table[255] == (0, 0, 0, 0)
    assert legend.color_table[0] == (*bytes.fromhex(published[0].color[1:]), 255)


def test_other_classes_have_colours_of_their_own() -> None:
    legend = legend_of(labels(tuple(f"class {number}" for number in range(36))))
    assert len(set(legend.colors)) == 36
    assert legend.colors[:2] == ("#4477aa", "#ee6677")


def test_colours_can_be_given() -> None:
    given = read_colors('forest: "#00AA00"', where="colors.yaml")
    assert legend_of(labels(("crop", "forest")), given).colors == ("#4477aa", "#00aa00")
    with pytest.raises(ClassError, match=r"a colour for 'wood', which is no class"):
        legend_of(labels(("crop", "forest")), {"wood": "#00aa00"})


@pytest.mark.parametrize("text", ["- 1", "crop: green", 'crop: "#12345"', "crop: '#zzzzzz'", "crop: [", "crop: 5"])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"(?s)colors\.yaml"):
        read_colors(text, where="colors.yaml")
