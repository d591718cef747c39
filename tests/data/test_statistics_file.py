"""Statistics by file: ours and MMEarth's."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data.normalise import scales_of
from geopretext.data.statistics import Statistics, compute_statistics
from geopretext.data.statistics_file import read_statistics
from geopretext.errors import BandError, InputError
from geopretext.modality import PUBLISHED

from .memory_tiles import MemoryTiles

BANDS = {"sentinel1": 8, "aster": 2, "canopy_height_eth": 2, "era5": 12, "lat": 2, "lon": 2, "month": 2}


def official() -> dict[str, Any]:
    """A ``_band_stats.json`` as MMEarth's script writes it, NaN included."""
    numbers = {name: list(map(float, range(count))) for name, count in BANDS.items()}
    content = {
        name: {"mean": values, "std": [v + 1 for v in values], "min": values, "max": values}
        for name, values in numbers.items()
    }
    for level, gap in (("l1c", None), ("l2a", 10)):
        mean = [math.nan if band == gap else 100.0 * band for band in range(13)]
        content[f"sentinel2_{level}"] = {"mean": mean, "std": mean, "min": mean, "max": mean}
        content[f"sentinel2_cloudmask_{level}"] = {"mean": [1.0], "std": [1.0], "min": [0.0], "max": [2.0]}
    return content


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_official_statistics_are_read_by_band_and_level(tmp_path: Path) -> None:
    statistics = read_statistics(write(tmp_path / "data_1M_v001_64_band_stats.json", official()))
    assert set(statistics.modalities) == {*BANDS, "sentinel2"}
    levels = statistics.modalities["sentinel2"].bands
    assert set(levels) == {"L1C", "L2A"}
    assert levels["L1C"]["B8A"].mean == 700.0  # the eighth: B8A before B8
    assert levels["L1C"]["B8"].mean == 800.0
    assert levels["L2A"]["B10"].count == 0
    assert math.isnan(levels["L2A"]["B10"].mean)
    assert statistics.modalities["sentinel1"].bands["all"]["desc_VV"].std == 5.0
    mean, std = statistics.mean_std(PUBLISHED["sentinel2"], ["B10", "B12"], "L2A")
    np.testing.assert_array_equal(mean, [0.0, 1200.0])
    np.testing.assert_array_equal(std, [1.0, 1200.0])
    assert set(scales_of(PUBLISHED["sentinel2"], statistics)) == {"L1C", "L2A"}
    again = Statistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    assert again.to_dict() == statistics.to_dict()


def test_our_statistics_are_read_back(tmp_path: Path) -> None:
    statistics = compute_statistics(MemoryTiles())
    assert read_statistics(write(tmp_path / "statistics.json", statistics.to_dict())).to_dict() == statistics.to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no statistics"),
        ({"sentinel9": {"mean": [1]}}, "holds no statistics of a published modality"),
        ({"aster": {"mean": [1, 2]}}, "holds no statistics: KeyError\\('std'\\)"),
        ({"aster": 3}, "holds no statistics: TypeError"),
        ({"aster": {key: ["a", "b"] for key in ("mean", "std", "min", "max")}}, "holds no statistics: ValueError"),
        ({"modalities": {"aster": {}}}, "holds no statistics: KeyError"),
    ],
)
def test_files_without_statistics_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "x.json", content)
    with pytest.raises(InputError, match=rf"(?s)x.json: {message}.*hint: wanted: a statistics.json"):
        read_statistics(path)


def test_another_number_of_bands_is_named(tmp_path: Path) -> None:
    content = official()
    content["sentinel1"]["std"] = [1.0] * 7
    with pytest.raises(BandError, match=r"(?s)x.json: sentinel1: has 7 numbers under 'std' for the 8 bands asc_VV"):
        read_statistics(write(tmp_path / "x.json", content))


def test_files_that_are_no_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no.json: no such file"):
        read_statistics(tmp_path / "no.json")
    with pytest.raises(InputError, match="is a folder"):
        read_statistics(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x.json: is not JSON"):
        read_statistics(tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"x.json: is not JSON"):
        read_statistics(tmp_path / "x.json")
