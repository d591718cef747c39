"""``geopretext inspect``: what a tile store or an official MMEarth directory holds, and whether it is sound."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.apps.arguments import VerbParser, tile_numbers, whole
from geopretext.apps.modalities import describe_bands, describe_storage
from geopretext.apps.progress import ProgressLine
from geopretext.apps.stats import statistics_table
from geopretext.apps.tables import text_table
from geopretext.data.place_log import DONE, FAILED, WAITING, PlaceLog
from geopretext.data.reader import open_tiles
from geopretext.data.registration import PairRegistration, Shift
from geopretext.data.store import Store
from geopretext.data.survey import Coverage, Survey, survey_tiles
from geopretext.data.tiles import SPLITS, Dates, TileReader
from geopretext.errors import CorruptError
from geopretext.modality import Modality

_EXAMPLE = """\
geopretext inspect tiles.zarr
geopretext inspect tiles.zarr --verify
geopretext inspect tiles.zarr --out look        # maps, histograms, suspects, contact sheets as files
geopretext inspect s3://bucket/tiles.zarr --all --out look
geopretext inspect data_100k_v001 --json | jq '.modalities[].name'"""

_ABOUT = """\
Show what a tile store or an official MMEarth directory holds: tiles, where and when they are, modalities with bands and
units, what is missing, splits, corrections that were made on the way in, statistics; and tiles that deserve a look.

What is missing, histograms and suspects are taken from 256 tiles spread over the store, or from all with --all."""

_SAMPLE = 256


def run(arguments: Sequence[str]) -> None:
    """Look, write, print; a problem that ``--verify`` finds is an error."""
    parser = VerbParser("inspect", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("path", metavar="STORE", help="tile store (folder, s3:// or gs://), or an official MMEarth directory")
    add("--json", action="store_true", help="everything as one JSON object")
    add("--verify", action="store_true", help="read all bytes and check them against their checksums")
    add("--statistics", action="store_true", help="also print the statistics of every band")
    add("--all", action="store_true", help="look at every tile, not only at a sample")
    add("--out", type=Path, metavar="DIR", help="also write maps, histograms, contact sheets and tables there")
    add("--tiles", type=tile_numbers, metavar="N,N,...", help="tiles of the contact sheet; default: spread evenly")
    add("--count", type=whole(1), default=8, help="how many tiles on the contact sheet; default: %(default)s")
    options = parser.parse_args(arguments)
    reader = open_tiles(options.path)
    if options.verify:
        if not isinstance(reader, Store):
            parser.error("--verify needs a tile store: official MMEarth files have no checksums")
        _verify(reader, as_json=options.json)
    survey = _survey(reader, every=options.all)
    log = _place_log(reader)
    summary = summarise(reader, survey, log)
    if options.out:
        from geopretext.apps.inspection_files import write_inspection  # needs matplotlib, which the table does not

        shown = options.tiles or evenly(len(reader), options.count)
        write_inspection(reader, survey, summary, log, options.out, tiles=shown, count=options.count)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        print(describe(summary, reader.modalities))
        if options.verify:
            print("\nverified: every file agrees with its checksum")
        if options.statistics and reader.statistics is not None:
            print(f"\n{statistics_table(reader.statistics)}")


def _verify(store: Store, *, as_json: bool) -> None:
    """Print what is wrong with a store, if anything is, and raise; a damaged store cannot be summarised."""
    problems = store.verify()
    if not problems:
        return
    print(json.dumps({"path": store.path, "problems": problems}, indent=2) if as_json else "\n".join(problems))
    raise CorruptError(
        f"{len(problems)} file{'s are' if len(problems) > 1 else ' is'} not sound",
        where=store.path,
        hint="restore what is named from a copy, or write the store again",
    )


def evenly(tiles: int, count: int) -> list[int]:
    """At most ``count`` tile numbers, spread over all of them."""
    return np.unique(np.linspace(0, tiles - 1, min(count, tiles)).astype(np.int64)).tolist() if tiles else []


def _survey(reader: TileReader, *, every: bool) -> Survey:
    if every:
        return survey_tiles(reader, np.arange(len(reader)), progress=ProgressLine("tiles looked at"))
    return survey_tiles(reader, np.array(evenly(len(reader), _SAMPLE), np.int64))


def _place_log(reader: TileReader) -> PlaceLog | None:
    """What has become of the places of a store that was built, as far as its build has come."""
    log = reader.place_log if isinstance(reader, Store) else None
    return None if log is None else log.with_tiles(reader.coordinates.tile_id)


def summarise(reader: TileReader, survey: Survey, log: PlaceLog | None) -> dict[str, Any]:
    """What a reader holds, what a survey of its tiles saw, and what its build could not make, in plain types."""
    where = reader.coordinates
    times = where.time[~np.isnat(where.time)]
    assert where.split is not None
    attributes = reader.attributes if isinstance(reader, Store) else {}
    statistics = reader.statistics
    return {
        "path": reader.path,
        "format": "tile store" if isinstance(reader, Store) else "official MMEarth files",
        "tiles": len(reader),
        "places": None if log is None else {**log.counts, "failures": log.failures},
        "tile_size": reader.tile_size,
        "ground_sampling_distance": attributes.get("ground_sampling_distance"),
        "lat": _range(where.lat),
        "lon": _range(where.lon),
        "time": [str(times.min()), str(times.max())] if len(times) else None,
        "splits": {name: int(np.count_nonzero(where.split == code)) for code, name in enumerate((*SPLITS, "none"))}
        | {"none": int(np.count_nonzero(where.split < 0))},
        "levels": {name: _levels(reader.modalities[name], codes) for name, codes in where.levels.items()},
        "series": {name: _series(dates) for name, dates in where.series.items()},
        "sampled_tiles": len(survey.tiles),
        "modalities": [_modality(modality, survey.coverage.get(name)) for name, modality in reader.modalities.items()],
        "registration": [_registration(pair) for pair in survey.registration],
        "suspicions": {str(suspicion): tiles for suspicion, tiles in survey.suspicions.items()},
        "suspects": [{"tile_id": str(where.tile_id[suspect.tile]), **suspect.to_dict()} for suspect in survey.suspects],
        "statistics": None if statistics is None else {"tiles": statistics.tiles, "split": statistics.split},
        "recipe": attributes.get("recipe") or None,
    }


def _range(values: Any) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [float(known.min()), float(known.max())] if len(known) else None


def _levels(modality: Modality, codes: Any) -> dict[str, int]:
    counts = {level: int(np.count_nonzero(codes == code)) for code, level in enumerate(modality.levels)}
    return counts | {"unknown": int(np.count_nonzero(codes < 0))}


def _series(dates: Dates) -> dict[str, Any]:
    """Between which days, how many a tile (fewest, median, most), and how many there is room for."""
    known = ~np.isnat(dates)
    counts = known.sum(axis=1)
    return {
        "time": [str(dates[known].min()), str(dates[known].max())] if known.any() else None,
        "dates_a_tile": [int(counts.min()), float(np.median(counts)), int(counts.max())] if len(counts) else None,
        "room": dates.shape[1],
    }


def _modality(modality: Modality, coverage: Coverage | None) -> dict[str, Any]:
    """The definition, and what is missing: tiles without any of it, and the share of numbers by band."""
    if coverage is None:
        return {**modality.to_dict(), "absent": None, "missing": None, "missing_by_band": {}}
    by_band = dict(coverage.missing)
    return {**modality.to_dict(), "absent": coverage.absent, "missing": coverage.share, "missing_by_band": by_band}


def _registration(pair: PairRegistration) -> dict[str, Any]:
    shift = pair.shift
    return {
        "modality": pair.modality,
        "reference": pair.reference,
        "tiles": pair.tiles,
        "comparable": shift is not None,
        "peak": round(pair.peak, 2),
        "pixels_south": None if shift is None else round(shift.down, 2),
        "pixels_east": None if shift is None else round(shift.right, 2),
        "shifted": pair.is_shifted,
        "judged_tiles": len(pair.judged),
        "misplaced_tiles": len(pair.misplaced),
    }


def describe(summary: Mapping[str, Any], modalities: Mapping[str, Modality]) -> str:
    """The summary for people."""
    parts = [_head(summary)]
    rows = [_row(entry, modalities[entry["name"]]) for entry in summary["modalities"]]
    sampled = "all tiles" if summary["sampled_tiles"] == summary["tiles"] else f"{summary['sampled_tiles']} tiles"
    parts.append(text_table(_COLUMNS, rows, right=(4, 5)))
    parts.append(f"no tile: share of tiles without any of it; missing: share of its numbers (over {sampled})")
    parts.extend(_corrections(summary["recipe"] or {}))
    parts.extend(_suspicions(summary))
    return "\n\n".join(parts)


_COLUMNS = ("modality", "kind", "bands", "stored as", "no tile", "missing")


def _head(summary: Mapping[str, Any]) -> str:
    lines = [("path", f"{summary['path']} ({summary['format']})")]
    size = f"{summary['tile_size']} x {summary['tile_size']} px"
    if summary["ground_sampling_distance"]:
        size += f" of {summary['ground_sampling_distance']:g} m"
    lines.append(("tiles", f"{summary['tiles']:,} of {size}"))
    if summary["places"]:
        lines.append(("built from", _places(summary["places"])))
    if summary["lat"] and summary["lon"]:
        (south, north), (west, east) = summary["lat"], summary["lon"]
        lines.append(("place", f"lat {south:.2f} to {north:.2f}, lon {west:.2f} to {east:.2f}"))
    if summary["time"]:
        first, last = (text[:10] for text in summary["time"])
        lines.append(("time", first if first == last else f"{first} to {last}"))
    splits = ", ".join(f"{name} {count:,}" for name, count in summary["splits"].items() if count)
    lines.append(("splits", splits if summary["splits"]["none"] < summary["tiles"] else "none: `geopretext split`"))
    for name, counts in summary["levels"].items():
        lines.append((f"{name} level", ", ".join(f"{level} {count:,}" for level, count in counts.items() if count)))
    for name, dates in summary["series"].items():
        if dates["time"]:
            (fewest, median, most), (first, last) = dates["dates_a_tile"], dates["time"]
            lines.append((f"{name} dates", f"{fewest} to {most} a tile, median {median:g}; {first} to {last}"))
    known = summary["statistics"]
    lines.append(("statistics", f"over {known['tiles']:,} tiles ({known['split']})" if known else "none"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {text}" for name, text in lines)


def _places(places: Mapping[str, Any]) -> str:
    """``72 places: 60 done, 12 failed (12 no image)``."""
    counts = {status: places[status] for status in (DONE, FAILED, WAITING)}
    why = ", ".join(f"{count:,} {reason}" for reason, count in places["failures"].items())
    words = {status: f"{count:,} {status}" for status, count in counts.items() if count}
    if why:
        words[FAILED] += f" ({why})"
    return f"{sum(counts.values()):,} places: {', '.join(words.values())}"


def _row(entry: Mapping[str, Any], modality: Modality) -> list[str]:
    absent, missing = (f"{entry[key]:.1%}" if entry[key] is not None else "-" for key in ("absent", "missing"))
    return [modality.name, str(modality.kind), describe_bands(modality), describe_storage(modality), absent, missing]


def _corrections(recipe: Mapping[str, Any]) -> list[str]:
    """What was changed or left doubtful on the way in, as the store's recipe records it."""
    offset = recipe.get("sentinel2_offset") or {}
    lines = [f"  {file}: {number} subtracted" for file, number in (offset.get("undone") or {}).items()]
    for key, words in (("undecided", "cannot tell, left as it is"), ("left", "left as the mapping says")):
        lines += [f"  {file}: {words}" for file in offset.get(key) or ()]
    return ["Sentinel-2 offset of processing baseline 04.00:\n" + "\n".join(lines)] if lines else []


def _suspicions(summary: Mapping[str, Any]) -> list[str]:
    """How many tiles deserve a look, and which modalities do not lie where the reference does."""
    if not summary["sampled_tiles"]:
        return []
    tiles = len({suspect["tile"] for suspect in summary["suspects"]})
    reasons = ", ".join(f"{name} {count:,}" for name, count in summary["suspicions"].items())
    found = f": {reasons}; `--out DIR` writes suspects.csv" if tiles else ""
    lines = [f"suspects: {tiles:,} of {summary['sampled_tiles']:,} tiles{found}"]
    pairs = summary["registration"]
    for pair in (pair for pair in pairs if pair["shifted"]):
        shift = Shift(pair["pixels_south"], pair["pixels_east"])
        lines.append(f"shifted: {pair['modality']} lies {shift} of {pair['reference']} over all of these tiles")
    aligned = [pair["modality"] for pair in pairs if pair["comparable"] and not pair["shifted"]]
    if aligned:
        lines.append(f"aligned with {pairs[0]['reference']} by their edges: {', '.join(aligned)}")
    unclear = [pair["modality"] for pair in pairs if not pair["comparable"]]
    if unclear:
        lines.append(f"too few edges in common with {pairs[0]['reference']} to tell: {', '.join(unclear)}")
    return ["\n".join(lines)]
