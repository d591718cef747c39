"""``geopretext inspect``: what a tile store or an official MMEarth directory holds, and whether it is sound."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.apps.arguments import VerbParser, tile_numbers, whole
from geopretext.apps.modalities import describe_bands, describe_storage
from geopretext.apps.progress import say
from geopretext.apps.stats import statistics_table
from geopretext.apps.tables import text_table
from geopretext.data.reader import open_tiles
from geopretext.data.store import Store
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import CorruptError
from geopretext.modality import Modality

_EXAMPLE = """\
geopretext inspect tiles.zarr
geopretext inspect tiles.zarr --verify
geopretext inspect tiles.zarr --out look        # contact sheet and tables as files
geopretext inspect data_100k_v001 --json | jq '.modalities[].name'"""

_ABOUT = """\
Show what a tile store or an official MMEarth directory holds: tiles, where and when they are, modalities with bands and
units, what is missing, splits, corrections that were made on the way in, statistics."""

_SAMPLE = 256
"""tiles that the missing shares are counted over"""


def run(arguments: Sequence[str]) -> None:
    """Look, write, print; a problem that ``--verify`` finds is an error."""
    parser = VerbParser("inspect", about=_ABOUT, example=_EXAMPLE)
    add = parser.add_argument
    add("path", type=Path, metavar="STORE", help="tile store, or an official MMEarth directory")
    add("--json", action="store_true", help="everything as one JSON object")
    add("--verify", action="store_true", help="read all bytes and check them against their checksums")
    add("--statistics", action="store_true", help="also print the statistics of every band")
    add("--out", type=Path, metavar="DIR", help="also write contact_sheet.png, modalities.csv and summary.json there")
    add("--tiles", type=tile_numbers, metavar="N,N,...", help="tiles of the contact sheet; default: spread evenly")
    add("--count", type=whole(1), default=8, help="how many tiles on the contact sheet; default: %(default)s")
    options = parser.parse_args(arguments)
    reader = open_tiles(options.path)
    if options.verify:
        if not isinstance(reader, Store):
            parser.error("--verify needs a tile store: official MMEarth files have no checksums")
        _verify(reader, as_json=options.json)
    summary = summarise(reader)
    if options.out:
        _write(reader, summary, options.out, options.tiles or evenly(len(reader), options.count))
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


def summarise(reader: TileReader) -> dict[str, Any]:
    """What a reader holds, in plain types; what is missing is counted over a sample of tiles."""
    where = reader.coordinates
    times = where.time[~np.isnat(where.time)]
    assert where.split is not None
    attributes = reader.attributes if isinstance(reader, Store) else {}
    statistics = reader.statistics
    sample = evenly(len(reader), _SAMPLE)
    return {
        "path": reader.path,
        "format": "tile store" if isinstance(reader, Store) else "official MMEarth files",
        "tiles": len(reader),
        "tile_size": reader.tile_size,
        "ground_sampling_distance": attributes.get("ground_sampling_distance"),
        "lat": _range(where.lat),
        "lon": _range(where.lon),
        "time": [str(times.min()), str(times.max())] if len(times) else None,
        "splits": {name: int(np.count_nonzero(where.split == code)) for code, name in enumerate((*SPLITS, "none"))}
        | {"none": int(np.count_nonzero(where.split < 0))},
        "levels": {name: _levels(reader.modalities[name], codes) for name, codes in where.levels.items()},
        "sampled_tiles": len(sample),
        "modalities": [_modality(reader, modality, sample) for modality in reader.modalities.values()],
        "statistics": None if statistics is None else {"tiles": statistics.tiles, "split": statistics.split},
        "recipe": attributes.get("recipe") or None,
    }


def _range(values: Any) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [float(known.min()), float(known.max())] if len(known) else None


def _levels(modality: Modality, codes: Any) -> dict[str, int]:
    counts = {level: int(np.count_nonzero(codes == code)) for code, level in enumerate(modality.levels)}
    return counts | {"unknown": int(np.count_nonzero(codes < 0))}


def _modality(reader: TileReader, modality: Modality, sample: Sequence[int]) -> dict[str, Any]:
    """The definition, and what is missing: tiles without any of it, and the share of numbers by band."""
    entry = modality.to_dict()
    if not sample:
        return {**entry, "absent": None, "missing": None, "missing_by_band": {}}
    raw = reader.read([modality.name], np.array(sample, np.int64))[modality.name]
    _, valid = modality.decode(raw)
    bands = valid[:, None] if modality.kind.is_categorical else valid
    by_band = 1 - bands.mean(axis=(0, *range(2, bands.ndim)))
    return {
        **entry,
        "absent": 1 - float(valid.reshape(len(valid), -1).any(axis=1).mean()),
        "missing": 1 - float(valid.mean()),
        "missing_by_band": {name: float(share) for name, share in zip(modality.band_names, by_band, strict=True)},
    }


def describe(summary: Mapping[str, Any], modalities: Mapping[str, Modality]) -> str:
    """The summary for people."""
    parts = [_head(summary)]
    rows = [_row(entry, modalities[entry["name"]]) for entry in summary["modalities"]]
    sampled = "all tiles" if summary["sampled_tiles"] == summary["tiles"] else f"{summary['sampled_tiles']} tiles"
    parts.append(text_table(_COLUMNS, rows, right=(4, 5)))
    parts.append(f"no tile: share of tiles without any of it; missing: share of its numbers (over {sampled})")
    parts.extend(_corrections(summary["recipe"] or {}))
    return "\n\n".join(parts)


_COLUMNS = ("modality", "kind", "bands", "stored as", "no tile", "missing")


def _head(summary: Mapping[str, Any]) -> str:
    lines = [("path", f"{summary['path']} ({summary['format']})")]
    size = f"{summary['tile_size']} x {summary['tile_size']} px"
    if summary["ground_sampling_distance"]:
        size += f" of {summary['ground_sampling_distance']:g} m"
    lines.append(("tiles", f"{summary['tiles']:,} of {size}"))
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
    known = summary["statistics"]
    lines.append(("statistics", f"over {known['tiles']:,} tiles ({known['split']})" if known else "none"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:{width}}  {text}" for name, text in lines)


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


def _write(reader: TileReader, summary: Mapping[str, Any], folder: Path, tiles: Sequence[int]) -> None:
    from geopretext.predict.contact_sheet import draw_contact_sheet  # needs matplotlib, which the table does not

    folder.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(reader, tiles, folder / "contact_sheet.png")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    with (folder / "modalities.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("modality", "band", "unit", "dtype", "missing_share"))
        for entry in summary["modalities"]:
            for band in reader.modalities[entry["name"]].bands:
                share = entry["missing_by_band"].get(band.name, "")
                writer.writerow((entry["name"], band.name, band.unit, entry["dtype"], share))
    say(f"wrote {folder}/contact_sheet.png, modalities.csv, summary.json")
