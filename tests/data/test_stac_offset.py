"""Whether an item carries the Sentinel-2 offset, by the statements that real archives make."""

from typing import Any

import numpy as np
import pytest

from geopretext.data.stac_offset import offset_in
from geopretext.errors import Reason, SourceError

OLD, NEW = np.datetime64("2019-06-01", "s"), np.datetime64("2023-06-01", "s")
FLAG = "earthsearch:boa_offset_applied"
BASELINE = "s2:processing_baseline"


@pytest.mark.parametrize(
    ("properties", "declared", "time", "subtract"),
    [
        # Planetary Computer: the baseline alone
        ({BASELINE: "02.12"}, None, OLD, 0),
        ({BASELINE: "03.01"}, None, NEW, 0),
        ({BASELINE: "04.00"}, None, NEW, 1000),
        ({BASELINE: "05.10"}, None, NEW, 1000),
        # ESA's Collection 1: reprocessed, with the offset, whatever the date
        ({BASELINE: "05.00"}, None, OLD, 1000),
        # Earth Search, sentinel-2-l2a: subtracted already, while raster:bands still says -0.1
        ({BASELINE: "05.09", FLAG: True}, -1000, NEW, 0),
        ({BASELINE: "05.00", FLAG: True}, 0, OLD, 0),
        ({BASELINE: "02.09", FLAG: False}, 0, OLD, 0),
        ({BASELINE: "02.09", FLAG: False}, None, OLD, 0),
        ({BASELINE: "04.00", FLAG: False}, -1000, NEW, 1000),
        ({FLAG: True}, None, NEW, 0),
        ({FLAG: False}, None, NEW, 1000),
        ({FLAG: False}, None, OLD, 0),
        # Earth Search v0
        ({"sentinel:processing_baseline": "04.00", "sentinel:boa_offset_applied": True}, None, NEW, 0),
        # Earth Search, sentinel-2-c1-l2a
        ({BASELINE: "05.00"}, -1000, OLD, 1000),
        # Copernicus Data Space: the processing extension
        ({"processing:version": "05.11"}, -1000, NEW, 1000),
        # the name of the product
        ({"s2:product_uri": "S2A_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223.SAFE"}, None, OLD, 1000),
        ({"s2:product_uri": "S2A_MSIL1C_20190322T074609_N0207_R135_T36NYH_20190612T214223.SAFE"}, None, OLD, 0),
        # assets alone
        ({}, -1000, NEW, 1000),
        ({}, 0, NEW, 0),
        # nothing, before there was an offset
        ({}, None, OLD, 0),
        ({BASELINE: None}, None, OLD, 0),
    ],
)
def test_statements_of_real_archives(
    properties: dict[str, Any], declared: float | None, time: np.datetime64, subtract: int
) -> None:
    assert offset_in(properties, item="x", time=time, declared=declared)[0] == subtract


@pytest.mark.parametrize(
    ("properties", "declared", "time", "what"),
    [
        ({}, None, NEW, "neither"),
        ({}, None, None, "neither"),
        ({BASELINE: "new"}, None, NEW, "neither"),
        ({BASELINE: "05.00"}, 0, NEW, "baseline 05.00, offset 0 of its assets: they contradict"),
        ({BASELINE: "02.09"}, -1000, OLD, "contradict"),
        ({BASELINE: "04.00", FLAG: False}, 0, NEW, "boa_offset_applied false, .*contradict"),
        ({BASELINE: "02.09", FLAG: True}, None, OLD, "none to subtract"),
        ({}, -500, NEW, "0 or -1000"),
        ({}, -0.1, NEW, "0 or -1000"),
    ],
)
def test_contradictions_and_silence_are_refused(
    properties: dict[str, Any], declared: float | None, time: np.datetime64 | None, what: str
) -> None:
    with pytest.raises(SourceError, match=what) as caught:
        offset_in(properties, item="scene", time=time, declared=declared)
    assert caught.value.reason is Reason.UNIT
    assert "scene" in str(caught.value)
    assert "offset: none" in caught.value.hint


def test_the_product_in_an_item_s_id_tells_too() -> None:
    name = "S2B_MSIL2A_20250302T095029_N0511_R079_T33UXP_20250302T104753"
    assert offset_in({}, item=name, time=NEW, declared=None)[0] == 1000
