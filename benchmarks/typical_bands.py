"""Makes ``predict/typical_bands.json``: what the input gate holds encoders against that know no relations of bands.

It holds statistics of tiles of ``SyntheticEarth(seed=0)``: mean, deviation, and how the bands vary together, by level.
Says by how much the file that ships differs from what is computed now; ``--write`` replaces it.

Run: python benchmarks/typical_bands.py [--tiles 4096] [--write]
"""

import argparse
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.statistics import ModalityStatistics, StatisticsAccumulator
from geopretext.data.synthetic import SyntheticEarth

_MODALITY = "sentinel2"
_AT_ONCE = 64
_DIGITS = {"mean": 5, "std": 5, "contrast": 5}
"""Significant digits; correlations have four decimals."""


def main() -> None:
    """Compute, compare, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=4096)
    parser.add_argument("--write", action="store_true", help="replace the file that ships")
    options = parser.parse_args()
    path = Path(str(files("geopretext.predict") / "typical_bands.json"))
    computed = typical_bands(options.tiles)
    print(f"largest difference from {path.name}: {_difference(computed, json.loads(path.read_text('utf-8'))):.2g}")
    if options.write:
        path.write_text(_text(computed), encoding="utf-8")
        print(f"wrote {path}")


def typical_bands(tiles: int) -> dict[str, Any]:
    """What the file holds, from so many tiles."""
    earth = SyntheticEarth(seed=0)
    modality = earth.modalities[_MODALITY]
    total = StatisticsAccumulator()
    for start in range(0, tiles, _AT_ONCE):
        batch = earth.tiles(earth.places(min(_AT_ONCE, tiles - start), start=start))
        total.update(modality, batch.arrays[_MODALITY], batch.coordinates.levels[_MODALITY])
    found: ModalityStatistics = total.finish(tiles=tiles, split="all").modalities[_MODALITY]
    names = modality.band_names
    scales = {
        level: {key: [_short(getattr(bands[name], key), _DIGITS[key]) for name in names] for key in ("mean", "std")}
        for level, bands in found.bands.items()
    }
    relations = {}
    for level, related in found.relations.items():
        plain = related.to_dict()
        relations[level] = {
            "bands": list(names),
            "correlation": [[_rounded(number) for number in row] for row in plain["correlation"]],
            "contrast": [_short(number, _DIGITS["contrast"]) for number in plain["contrast"]],
            "contrast_correlation": [[_rounded(number) for number in row] for row in plain["contrast_correlation"]],
        }
    return {_MODALITY: {"bands": list(names), "scales": scales, "relations": relations}}


def _short(number: float | None, digits: int) -> float | None:
    return None if number is None or not np.isfinite(number) else float(f"{number:.{digits}g}")


def _rounded(number: float | None) -> float | None:
    return None if number is None or not np.isfinite(number) else round(number, 4)


def _difference(one: Any, other: Any) -> float:
    """The largest relative difference of two numbers at the same place, infinite where there is only one."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((_difference(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) / max(1.0, abs(other))
    return 0.0 if one == other else float("inf")


def _text(plain: Any) -> str:
    """JSON with a row of numbers on a line."""
    text = json.dumps(plain, indent=1)
    return (
        re.sub(
            r"\[[^\[\]{}]*\]", lambda row: re.sub(r"\s*\n\s*", " ", row[0]).replace("[ ", "[").replace(" ]", "]"), text
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
