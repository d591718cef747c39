"""Which level's statistics serve: one rule for layers, doors and loaders."""

import math

import pytest

from geopretext.errors import InputError
from geopretext.modality import choose_scale, known_scales

NOTHING = ((math.nan, math.nan), (math.nan, math.nan))
PARTLY = ((math.nan, 2.0), (math.nan, 1.0))
KNOWN = ((1.0, 2.0), (1.0, 1.0))


def test_a_level_is_known_if_any_band_was_observed() -> None:
    assert known_scales({"L1C": NOTHING, "L2A": PARTLY, "all": KNOWN}) == {"L2A": PARTLY, "all": KNOWN}


def test_the_level_is_the_one_asked_for_or_all_or_the_only_one() -> None:
    assert choose_scale({"L2A": PARTLY, "all": KNOWN}, "L2A") == ("L2A", PARTLY)
    assert choose_scale({"L2A": PARTLY, "all": KNOWN}, None) == ("all", KNOWN)
    assert choose_scale({"L2A": PARTLY, "L1C": NOTHING}, None) == ("L2A", PARTLY)


@pytest.mark.parametrize(
    ("scales", "level", "message"),
    [
        ({}, None, r"no statistics of its input\nhint: import it again"),
        ({"all": NOTHING}, None, "no statistics of its input"),
        ({"L1C": NOTHING, "all": KNOWN}, "L1C", r"no statistics of level 'L1C'\nhint: there are some of all"),
        ({"L1C": KNOWN, "L2A": KNOWN}, None, r"there are statistics of L1C, L2A\nhint: choose one"),
    ],
)
def test_what_cannot_be_chosen_is_refused_by_name(scales: dict, level: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_scale(scales, level)
