"""What the representations are worth: the table of real tasks with its report, and the paper's claim at small scale.

- encoders: small synthetic Earths, a planet a seed, and on each the demo's two pretrainings (MP-MAE with all
  modalities; Sentinel-2 alone) with all bands, with those of colour pictures, and with B2 B3 B4 B8;
- table: four small real tasks (``real_tasks.py``) under k-NN, linear probes and U-Nets, beside random weights, random
  convolutions, band statistics and training from scratch;
- claim: do all modalities make better linear probes than Sentinel-2 alone, and how does the gap move with the number of
  labels? On the labels of the synthetic Earths and on the real tasks, a planet being one repetition.

Writes DIR/real/report.html and scores.parquet, DIR/synthetic/PLANET/ likewise, DIR/table.md, and DIR/claim.parquet,
claim.json and claim.md. Run again, it does only what is missing. Hours on two cores; --quick in minutes, whose scores
mean little.

The real tasks need the folder of data that GEOPRETEXT_TEST_DATA names; --part synthetic does without.

Run from the root of the clone:

    OMP_NUM_THREADS=1 python benchmarks/downstream.py --out runs/downstream [--quick] [--workers 2]
"""

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from geopretext.evaluate.metrics import Metric
from worth.claim import MEAN_OF_CLASSES, Pair, markdown, mean_over_tasks, read_pairs, summary, write_pairs
from worth.encoders import ALL_BANDS, BANDS, RECIPES, Earth, make_earth
from worth.suites import QUICK, Size, score_real, score_synthetic
from worth.table import real_table

PARTS = ("real", "synthetic")


def main() -> None:
    """Parse the command line, do what is missing, print the gaps."""
    parser = argparse.ArgumentParser(
        description="what the representations are worth", epilog="see the head of the file"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/downstream"), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="two small planets and few cells, in minutes")
    parser.add_argument("--part", choices=PARTS, help="real or synthetic tasks only; default: both")
    parser.add_argument("--planets", type=_numbers, metavar="N,N,...", help="seeds; default: 0,1,2,3,4, quick 0,1")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that pretrain and score; default: %(default)s"
    )
    given = parser.parse_args()
    size = replace(QUICK if given.quick else Size(), workers=given.workers)
    if given.planets:
        size = replace(size, planets=given.planets)
    print(run(given.out.absolute(), size, (given.part,) if given.part else PARTS))


def run(out: Path, size: Size, parts: tuple[str, ...] = PARTS) -> str:
    """Everything that is missing in ``out``.

    Returns:
        the tables, in Markdown.
    """
    bands = (*((ALL_BANDS,) if "synthetic" in parts else ()), *(BANDS if "real" in parts else ()))
    earths = _make_earths(out, size, bands)
    pairs, table = [], ""
    if "synthetic" in parts:
        for planet, earth in earths.items():
            scores = score_synthetic(earth, out / "synthetic" / f"planet{planet}", size)
            bundles = {str(earth.bundle(method)): (planet, method) for method in RECIPES}
            pairs += read_pairs(scores, "synthetic Earth", bundles)
        of_classes = [pair for pair in pairs if pair.metric != Metric.R2]
        pairs += [*mean_over_tasks(pairs), *mean_over_tasks(of_classes, MEAN_OF_CLASSES)]
    if "real" in parts:
        bundles = _real_bundles(earths)
        pairs += read_pairs(score_real(earths, out / "real", size), "real", bundles)
        table = real_table(out / "real", bundles)
        (out / "table.md").write_text(table, encoding="utf-8")
    return "\n".join([table, write(pairs, out)])


def _make_earths(out: Path, size: Size, bands: tuple[str, ...]) -> dict[int, Earth]:
    """Planets are made side by side: their runs have nothing to do with each other."""
    with ProcessPoolExecutor(size.workers, mp_context=get_context("spawn")) as pool:
        made = {
            planet: pool.submit(make_earth, out / f"earth{planet}", replace(size.earth, seed=planet), bands=bands)
            for planet in size.planets
        }
        return {planet: future.result() for planet, future in made.items()}


def _real_bundles(earths: Mapping[int, Earth]) -> dict[str, tuple[int, str]]:
    return {
        str(earth.bundle(method, bands)): (planet, method)
        for planet, earth in earths.items()
        for bands in BANDS
        for method in RECIPES
    }


def write(pairs: list[Pair], out: Path) -> str:
    """The gaps in three forms; returns the one for people."""
    text = markdown(pairs)
    write_pairs(pairs, out / "claim.parquet")
    (out / "claim.json").write_text(json.dumps(summary(pairs), indent=2) + "\n", encoding="utf-8")
    (out / "claim.md").write_text(text, encoding="utf-8")
    return text


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in text.split(","))
    if len(set(numbers)) < 2:
        raise argparse.ArgumentTypeError("two planets at least: the spread between them is what is measured")
    return numbers


if __name__ == "__main__":
    main()
