"""What ``geopretext inspect --out DIR`` writes: pictures, tables and the summary."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.apps.progress import say
from geopretext.data.place_log import PlaceLog
from geopretext.data.survey import Survey
from geopretext.data.tiles import TileReader
from geopretext.predict.contact_sheet import draw_contact_sheet
from geopretext.predict.histogram_sheet import draw_histograms
from geopretext.predict.world_map import draw_biome_map, draw_status_map


def write_inspection(
    reader: TileReader,
    survey: Survey,
    summary: Mapping[str, Any],
    log: PlaceLog | None,
    folder: Path,
    *,
    tiles: Sequence[int],
    count: int,
) -> None:
    """Write all files, and say which.

    Args:
        reader: of the tiles.
        survey: what was seen of them.
        summary: of ``inspection.summarise``.
        log: what has become of places, if the tiles were built from some.
        folder: is made if need be.
        tiles: of the contact sheet.
        count: suspects on the contact sheet of suspects, at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = ["summary.json", "modalities.csv", "suspects.csv"]
    text = json.dumps({**summary, "histograms": _histograms(survey), "classes": _classes(survey)}, indent=2)
    (folder / "summary.json").write_text(f"{text}\n", encoding="utf-8")
    _write_modalities(reader, summary, folder / "modalities.csv")
    _write_suspects(reader, survey, folder / "suspects.csv")
    where = reader.coordinates
    assert where.biome is not None
    has_maps = any(modality.kind.is_map for modality in reader.modalities.values())
    if len(survey.tiles):
        draw_histograms(survey, reader.modalities, folder / "histograms.png")
        written.append("histograms.png")
        if has_maps:
            draw_contact_sheet(reader, tiles, folder / "contact_sheet.png")
            written.append("contact_sheet.png")
    if has_maps and survey.suspects:
        draw_contact_sheet(reader, survey.suspected_tiles[:count], folder / "suspects.png")
        written.append("suspects.png")
    if np.isfinite(where.lat).any():
        draw_biome_map(where.lat, where.lon, where.biome, folder / "places_by_biome.png")
        written.append("places_by_biome.png")
    if log is not None:
        draw_status_map(log, folder / "places_by_status.png")
        written.append("places_by_status.png")
    say(f"wrote in {folder}: {', '.join(written)}")


def _write_modalities(reader: TileReader, summary: Mapping[str, Any], path: Path) -> None:
    rows = [
        (entry["name"], band.name, band.unit, entry["dtype"], entry["missing_by_band"].get(band.name, ""))
        for entry in summary["modalities"]
        for band in reader.modalities[entry["name"]].bands
    ]
    _write_table(path, ("modality", "band", "unit", "dtype", "missing_share"), rows)


def _write_suspects(reader: TileReader, survey: Survey, path: Path) -> None:
    where = reader.coordinates
    rows = [
        (
            one.tile,
            where.tile_id[one.tile],
            where.lat[one.tile],
            where.lon[one.tile],
            str(one.suspicion),
            one.modality,
            one.band,
            one.value,
            one.detail,
        )
        for one in survey.suspects
    ]
    header = ("tile", "tile_id", "lat", "lon", "suspicion", "modality", "band", "value", "detail")
    _write_table(path, header, rows)


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _histograms(survey: Survey) -> dict[str, Any]:
    return {
        name: {level: {band: found.to_dict() for band, found in bands.items()} for level, bands in levels.items()}
        for name, levels in survey.histograms.items()
    }


def _classes(survey: Survey) -> dict[str, dict[str, int]]:
    return {name: {str(code): count for code, count in counts.items()} for name, counts in survey.classes.items()}
