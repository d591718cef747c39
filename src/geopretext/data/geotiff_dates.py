"""Reference dates of the places of a GeoTIFF folder, from wherever the mapping says they are written."""

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from geopretext.data.geotiff_file import open_geotiff
from geopretext.data.geotiff_mapping import DateRule, GeoTiffMapping
from geopretext.errors import InputError, RecipeError


def place_dates(
    mapping: GeoTiffMapping, places: Sequence[str], files: Mapping[str, Mapping[str, Path]]
) -> dict[str, np.datetime64]:
    """The date of every place; NaT where none is written.

    Args:
        mapping: its ``dates`` rule decides.
        places: their names.
        files: by subfolder and place.

    Raises:
        RecipeError: what is written there is not a date (the message names the place).
        InputError: the CSV file is missing or lacks a column.
    """
    rule = mapping.dates
    if rule is None:
        return dict.fromkeys(places, np.datetime64("NaT", "s"))
    if rule.tag:
        texts = {place: _tag(files[rule.folder].get(place), rule.tag) for place in places}
    elif rule.csv:
        table = _table(Path(mapping.path).parent / rule.csv)
        texts = {place: table.get(place, "") for place in places}
    elif rule.pattern:
        texts = {place: _search(rule, place) for place in places}
    else:
        texts = {place: rule.places.get(place, "") for place in places}
    return {place: _date(text, f"{mapping.path}: dates, place {place!r}") for place, text in texts.items()}


def _tag(path: Path | None, tag: str) -> str:
    if path is None:
        return ""
    with open_geotiff(path) as dataset:
        return str(dataset.tags().get(tag, ""))


def _search(rule: DateRule, place: str) -> str:
    match = re.search(rule.pattern, place)
    return match.group(1) if match else ""


def _table(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), hint="dates.csv is relative to the mapping file") from error
    if rows and not {"place", "date"} <= rows[0].keys():
        raise InputError(f"has columns {', '.join(rows[0])}", where=str(path), hint="it needs 'place' and 'date'")
    return {row["place"]: row["date"] for row in rows}


def _date(text: str, where: str) -> np.datetime64:
    """ISO date or date and time (UTC unless it says otherwise); nanoseconds are cut off."""
    if not text.strip():
        return np.datetime64("NaT", "s")
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.strip()))
    except ValueError as error:
        raise RecipeError(f"{text!r} is not a date", where=where, hint="YYYY-MM-DD or YYYYMMDD") from error
    if moment.tzinfo:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "s")
