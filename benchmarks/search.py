"""How fast and how exact the search in a large table is, beside comparing every vector.

Rows of three kinds, since indexes differ most in what they are good at:

- gaussian: independent normal numbers, the hardest there is: nothing is near anything, and nothing can be left out;
- clustered: 2,000 centres, and about each of them features that vary the less the further back they stand, turned at
  random; as embeddings are said to be;
- lattice (``--like TABLE``): rows between the neighbours of a real table, so that its shape is kept.

- search: ``NeighbourIndex.like`` for ten neighbours of a row, its own index, as the command line uses it;
- filtered: the same among a tenth of the rows, chosen at random;
- brute force: all vectors in memory times the query, in a thread a core, and the largest. Its answers are the truth;
- floor: the bytes of all codes, read once at the rate at which brute force reads its vectors.

Variants take turns, a query a round; figures are medians over queries. CPU is the time of the processor, of all threads
together: on a machine that others use it tells more than the clock. Recall is over the queries of a round, of ten
neighbours each.

Run: python benchmarks/search.py [--rows 1000000] [--width 320] [--queries 100] [--like TABLE] [--quick]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.predict.embedding_file import EmbeddingRows, write_embeddings
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbour_file import index_path
from geopretext.predict.neighbours import NeighbourIndex
from measuring import machine, resident_bytes, table, take_turns, verdict

Vectors = npt.NDArray[np.float32]

TARGETS = {"recall": 0.99, "milliseconds": 20.0}
_COUNT = 10
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Options:
    """What is measured."""

    rows: int = 1_000_000
    width: int = 320
    """features"""
    queries: int = 100
    """rows that serve as example, one a round"""
    threads: int = os.cpu_count() or 1
    """of brute force"""


def gaussian(options: Options) -> Iterator[Vectors]:
    """Independent normal numbers, a block at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, options.rows, _BLOCK):
        yield rng.standard_normal((min(_BLOCK, options.rows - start), options.width), dtype=np.float32)


def clustered(options: Options) -> Iterator[Vectors]:
    """Rows about centres."""
    rng = np.random.default_rng(0)
    order = np.arange(1, options.width + 1, dtype=np.float32)
    centres = rng.standard_normal((2000, options.width), dtype=np.float32) * order**-0.7
    turn = np.linalg.qr(rng.standard_normal((options.width, options.width)))[0].astype(np.float32)
    for block in gaussian(options):
        yield (centres[rng.integers(0, len(centres), len(block))] + 0.5 * block * order**-0.5) @ turn


def lattice(options: Options, real: Vectors) -> Iterator[Vectors]:
    """Rows between real ones and their neighbours."""
    rng = np.random.default_rng(0)
    units = (real - real.mean(axis=0)) / np.maximum(real.std(axis=0), 1e-9)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    near = np.argpartition(-(units @ units.T), 32, axis=1)[:, :33]
    for start in range(0, options.rows, _BLOCK):
        count = min(_BLOCK, options.rows - start)
        chosen = rng.integers(0, len(real), count)
        one, other = (real[near[chosen, rng.integers(0, 33, count)]] - real[chosen] for _ in range(2))
        yield real[chosen] + rng.random((count, 1), dtype=np.float32) * one + 0.3 * other


def measure(blocks: Iterator[Vectors], width: int, options: Options) -> dict[str, Any]:
    """Everything about one kind of rows, as plain data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        write_embeddings(path, _rows(blocks), width=width)
        opened = EmbeddingTable.open(path)
        before = resident_bytes()
        began = time.perf_counter()
        NeighbourIndex.open(opened, indexed=True)
        built = time.perf_counter() - began
        began = time.perf_counter()
        index = NeighbourIndex.open(opened, indexed=True)
        reopened = time.perf_counter() - began
        after = resident_bytes()
        units = index.space(opened.vectors())
        brute = _BruteForce(units, options.threads)
        return {
            "rows": len(opened),
            "width": width,
            "built_s": built,
            "opened_s": reopened,
            "memory_bytes": None if before is None or after is None else after - before,
            "table_bytes": path.stat().st_size,
            "index_bytes": index_path(opened).stat().st_size,
            "share": index.share,
            **_ask(index, brute, options),
        }


def _ask(index: NeighbourIndex, brute: "_BruteForce", options: Options) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    rows = rng.choice(len(index.table), options.queries, replace=False)
    where = rng.random(len(index.table)) < 0.1
    seconds: dict[str, list[float]] = {"search": [], "filtered": [], "brute force": []}
    busy: dict[str, list[float]] = {name: [] for name in seconds}
    recall: dict[str, list[float]] = {"search": [], "filtered": []}
    for row in rows.tolist():
        answers: dict[str, Any] = {}

        def timed(name: str, ask: Callable[[], Any], into: dict[str, Any]) -> Callable[[], object]:
            def run_once() -> None:
                began = time.process_time()
                into[name] = ask()
                busy[name].append(time.process_time() - began)

            return run_once

        variants = {
            "search": timed("search", partial(index.like, [row], count=_COUNT), answers),
            "filtered": timed("filtered", partial(index.like, [row], count=_COUNT, where=where), answers),
            "brute force": timed("brute force", partial(brute, row), answers),
        }
        for name, timing in take_turns(variants, rounds=1).items():
            seconds[name].append(timing.median)
        truth = answers["brute force"]
        recall["search"].append(float(np.isin(truth[:_COUNT], answers["search"].rows).mean()))
        few = truth[where[truth]][:_COUNT]
        recall["filtered"].append(float(np.isin(few, answers["filtered"].rows).mean()))
    return {
        "milliseconds": {name: 1e3 * float(np.median(each)) for name, each in seconds.items()},
        "cpu_milliseconds": {name: 1e3 * float(np.median(each)) for name, each in busy.items()},
        "times_brute_force": {
            name: float(np.median(np.divide(seconds["brute force"], seconds[name]))) for name in recall
        },
        "recall": {name: float(np.mean(each)) for name, each in recall.items()},
    }


class _BruteForce:
    """All vectors times the query."""

    def __init__(self, units: Vectors, threads: int) -> None:
        self._units = units
        self._parts = np.array_split(units, threads)
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, row: int) -> npt.NDArray[np.int64]:
        similarity = np.concatenate(list(self._pool.map(lambda part: part @ self._units[row], self._parts)))
        similarity[row] = -2
        best = np.argpartition(-similarity, 30 * _COUNT)[: 30 * _COUNT]
        found: npt.NDArray[np.int64] = best[np.argsort(-similarity[best])]
        return found


def _rows(blocks: Iterator[Vectors]) -> Iterator[EmbeddingRows]:
    start = 0
    for block in blocks:
        count = len(block)
        number = np.arange(start, start + count)
        nowhere = np.full((count, 5, 2), np.nan)
        time_unknown = np.full(count, "NaT", "datetime64[s]")
        yield EmbeddingRows.of_places(
            number, names=np.char.mod("%d", number), rings=nowhere, time=time_unknown, vectors=block
        )
        start += count


def report(result: dict[str, Any]) -> str:
    """Tables and targets, for people."""
    lines = [result["machine"], f"{result['options']}", ""]
    header = (
        "rows",
        "search, ms",
        "filtered, ms",
        "brute force, ms",
        "CPU, ms",
        "brute, CPU",
        "of brute force",
        "recall",
        "filtered",
    )
    lines.append(
        table(
            header,
            [
                (
                    kind,
                    *(f"{found['milliseconds'][name]:.1f}" for name in ("search", "filtered", "brute force")),
                    *(f"{found['cpu_milliseconds'][name]:.1f}" for name in ("search", "brute force")),
                    f"1/{found['times_brute_force']['search']:.1f}",
                    *(f"{found['recall'][name]:.4f}" for name in ("search", "filtered")),
                )
                for kind, found in result["kinds"].items()
            ],
        )
    )
    for kind, found in result["kinds"].items():
        looked = f"{found['share']:.1%} of the clusters" if found["share"] else "all rows"
        vectors = found["rows"] * found["width"] * 4
        floor = found["milliseconds"]["brute force"] * (found["index_bytes"] - vectors) / vectors
        memory = "" if found["memory_bytes"] is None else f", memory {found['memory_bytes'] / 2**20:.0f} MiB"
        lines.append(
            f"\n{kind}: made in {found['built_s']:.0f} s, opened in {found['opened_s']:.2f} s, looks at {looked};"
            f" table {found['table_bytes'] / 1e6:.0f} MB, index {found['index_bytes'] / 1e6:.0f} MB{memory};"
            f" reading all codes once would take {floor:.1f} ms"
        )
        speed = TARGETS["milliseconds"] / found["milliseconds"]["search"]
        lines.append(verdict("recall of ten neighbours", found["recall"]["search"], TARGETS["recall"], "of 1"))
        lines.append(verdict("20 ms over the median", speed, 1.0, "times"))
    return "\n".join(lines)


def run(options: Options, like: Path | None = None) -> dict[str, Any]:
    """All kinds of rows, as plain data."""
    kinds = {
        "gaussian": measure(gaussian(options), options.width, options),
        "clustered": measure(clustered(options), options.width, options),
    }
    if like is not None:
        real = EmbeddingTable.open(like).vectors()
        kinds["lattice"] = measure(lattice(options, real), real.shape[1], options)
    return {"machine": machine(), "options": asdict(options), "kinds": kinds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=Options.rows)
    parser.add_argument("--width", type=int, default=Options.width)
    parser.add_argument("--queries", type=int, default=Options.queries)
    parser.add_argument("--threads", type=int, default=Options.threads)
    parser.add_argument("--like", type=Path, help="a table of embeddings whose shape further rows take")
    parser.add_argument("--quick", action="store_true", help="60,000 rows, 20 queries")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows, queries = (60_000, 20) if args.quick else (args.rows, args.queries)
    result = run(Options(rows, args.width, queries, args.threads), args.like)
    print(json.dumps(result) if args.json else report(result))


if __name__ == "__main__":
    main()
