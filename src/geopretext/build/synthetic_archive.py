"""An archive of the synthetic Earth on disk, as real ones are: COGs, STAC items, monthly climate, and a recipe.

::

    DIR/archive.json                  what was asked for, and whether all of it is there
    DIR/catalog.json, DIR/items.json  see ``synthetic_items``
    DIR/era5-land-monthly.zarr        see ``synthetic_climate``
    DIR/places.parquet                places whose tiles lie in the granules
    DIR/recipe.yaml                   the recipe ``synthetic-stac`` with the paths of this folder

An archive that was interrupted is finished by the same call, and one that is complete is left as it is: each item is a
folder that gets its name when all of its files are written.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from geopretext.build.places import write_places
from geopretext.build.synthetic_climate import NAME as CLIMATE
from geopretext.build.synthetic_climate import write_climate
from geopretext.build.synthetic_granules import ArchiveSettings, Granule, granules_of, places_in
from geopretext.build.synthetic_images import optical_items, optical_names, radar_item, radar_name
from geopretext.build.synthetic_items import (
    UNFINISHED,
    Draft,
    item_collection,
    write_catalogue,
    write_item,
    write_text,
)
from geopretext.build.synthetic_maps import PRODUCTS, square_item, square_name, squares_of, yearly_item, yearly_name
from geopretext.data.fields import read_settings
from geopretext.data.synthetic import SyntheticEarth
from geopretext.errors import InputError, RecipeError, StoreError

_MARKER = "archive.json"
_FORMAT = "synthetic Earth archive"
_VERSION = 1
ITEMS, PLACES, RECIPE = "items.json", "places.parquet", "recipe.yaml"


@dataclass(frozen=True)
class ArchiveSummary:
    """What an archive holds."""

    path: Path
    settings: ArchiveSettings
    items: int
    """of all collections"""
    written: int
    """items of this call; the others were there"""
    bytes: int
    """of all files"""


@dataclass(frozen=True)
class _Piece:
    """Items that are rendered together."""

    names: tuple[tuple[str, str], ...]
    """(collection, item) of each"""
    render: Callable[[], Draft | list[Draft]]
    """picklable"""


def archive_settings(root: str | Path) -> ArchiveSettings | None:
    """The settings of an archive that was begun; None if there is nothing at ``root``.

    Raises:
        StoreError: there is something else, or an archive of another version.
    """
    marker = _marker(Path(root))
    return None if marker is None else marker[0]


def write_archive(
    root: str | Path,
    settings: ArchiveSettings,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ArchiveSummary:
    """Write an archive, or finish one that was begun with the same settings; places may change.

    With more than one worker, a script must call this under ``if __name__ == "__main__":``, as always with processes
    that Python spawns.

    Args:
        root: folder; made if it is not there.
        settings: what it is to hold.
        workers: processes that render; 1 renders in this one. Each needs about 1 GB of memory, or 150 bytes a pixel of
            a granule if that is more.
        progress: called with (pieces done, pieces in all).

    Raises:
        InputError: a setting is out of range.
        StoreError: there is something else at ``root``, or an archive with other settings.
        OSError: it cannot be written.
    """
    root = Path(root)
    if workers < 1:
        raise InputError(f"workers is {workers}", hint="at least 1")
    granules = granules_of(settings)
    complete = _claim(root, settings)
    pieces = list(_pieces(settings, granules))
    missing = [piece for piece in pieces if not all((root / c / item).exists() for c, item in piece.names)]
    written = 0
    if missing or not complete:
        _mark(root, settings, complete=False)
        for leftover in (*root.glob(f"{UNFINISHED}*"), *root.glob(f"*/{UNFINISHED}*")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for done, count in enumerate(_write_all(root, missing, workers), start=1 + len(pieces) - len(missing)):
            written += count
            if progress is not None:
                progress(done, len(pieces))
        if not (root / CLIMATE).exists():
            write_climate(root, settings.seed, granules, settings.years)
        write_catalogue(root, title=f"Synthetic Earth {settings.seed}")
    items = _write_papers(root, settings, granules)
    _mark(root, settings, complete=True)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return ArchiveSummary(root, settings, items, written, size)


def recipe_text(*, base: str, items: str = "", url: str = "") -> str:
    """The recipe ``synthetic-stac`` as YAML for one archive.

    Args:
        base: path or URL of its folder.
        items: path of its ``items.json``, or
        url: of a STAC API that serves them.
    """
    plain: dict[str, Any] = yaml.safe_load(
        files("geopretext.build").joinpath("recipes", "synthetic-stac.yaml").read_text("utf-8")
    )
    for archive in plain["archives"].values():
        if archive["kind"] == "stac":
            archive.pop("url", None)
            archive.update({"items": items} if items else {"url": url})
        for key, value in archive.items():
            if isinstance(value, str) and value.startswith("DIR/"):
                archive[key] = f"{base}/{value.removeprefix('DIR/')}"
    head = "# The recipe `synthetic-stac` for the files of this archive, written by geopretext serve-synthetic.\n"
    return head + yaml.safe_dump(plain, sort_keys=False, width=120)


def _marker(root: Path) -> tuple[ArchiveSettings, bool] | None:
    """Settings of what is at ``root`` and whether it is complete; None if there is nothing."""
    path = root / _MARKER
    if not path.exists():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StoreError(
                "holds something that is no archive of the synthetic Earth",
                where=str(root),
                hint="name an empty or a new folder",
            )
        return None
    try:
        plain = json.loads(path.read_text("utf-8"))
        found = plain["format"], plain["version"], plain["planet_version"]
        settings = read_settings(ArchiveSettings, plain["settings"], where=str(path))
        complete = plain["complete"] is True
    except (ValueError, KeyError, TypeError, RecipeError) as error:
        raise StoreError("cannot be read", where=str(path), hint="delete the folder, or name another") from error
    wanted = (_FORMAT, _VERSION, SyntheticEarth.VERSION)
    if found != wanted:
        raise StoreError(
            f"is {found[0]!r} of version {found[1]}, planet {found[2]}; this geopretext writes version {_VERSION} of"
            f" planet {SyntheticEarth.VERSION}",
            where=str(path),
            hint="delete the folder, or name another",
        )
    return settings, complete


def _claim(root: Path, settings: ArchiveSettings) -> bool:
    """Make the folder, or see that it holds this archive; whether that is complete."""
    marker = _marker(root)
    if marker is None:
        root.mkdir(parents=True, exist_ok=True)
        return False
    begun, wanted = _identity(marker[0]), _identity(settings)
    other = [name for name in wanted if begun[name] != wanted[name]]
    if other:
        raise StoreError(
            f"holds an archive with {', '.join(f'{name} {begun[name]}, not {wanted[name]}' for name in other)}",
            where=str(root),
            hint="leave these options out to go on with it, or name another folder",
        )
    return marker[1]


def _write_papers(root: Path, settings: ArchiveSettings, granules: tuple[Granule, ...]) -> int:
    """Write what names the folder's own path or may change, places; how many items there are."""
    base = str(root.absolute())
    items = item_collection(root, base)
    write_text(root / ITEMS, json.dumps(items))
    write_text(root / RECIPE, recipe_text(base=base, items=f"{base}/{ITEMS}"))
    if settings.places:
        write_places(root / PLACES, [places_in(settings, granules)])
    return len(items["features"])


def _identity(settings: ArchiveSettings) -> dict[str, Any]:
    """What cannot change once an archive is begun."""
    return {key: value for key, value in asdict(settings).items() if key not in ("places", "tile_size")}


def _mark(root: Path, settings: ArchiveSettings, *, complete: bool) -> None:
    plain = {
        "format": _FORMAT,
        "version": _VERSION,
        "planet_version": SyntheticEarth.VERSION,
        "complete": complete,
        "settings": asdict(settings),
    }
    write_text(root / _MARKER, json.dumps(plain, indent=2))


def _pieces(settings: ArchiveSettings, granules: Sequence[Granule]) -> Iterator[_Piece]:
    seed, (first, last) = settings.seed, settings.years
    for granule in granules:
        for turn in range(len(granule.days)):
            yield _Piece(tuple(optical_names(granule, turn)), partial(optical_items, seed, granule, turn))
        for orbit, day in granule.radar:
            yield _Piece((radar_name(granule, orbit, day),), partial(radar_item, seed, granule, orbit, day))
        for year in range(first, last + 1):
            yield _Piece((yearly_name(granule, year),), partial(yearly_item, seed, granule, year))
    for corner in squares_of(granules):
        for name in PRODUCTS:
            yield _Piece((square_name(name, corner),), partial(square_item, seed, granules, name, corner))


def _write_all(root: Path, pieces: Sequence[_Piece], workers: int) -> Iterator[int]:
    """Write the pieces in any order; for each, once it is there, how many items it was."""
    if workers == 1 or len(pieces) < 2:
        yield from (_write_piece(root, piece) for piece in pieces)
        return
    # A fork would copy the locks of GDAL's and numpy's threads in a state that nobody releases.
    with ProcessPoolExecutor(min(workers, len(pieces)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_write_piece, root, piece) for piece in pieces]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write_piece(root: Path, piece: _Piece) -> int:
    made = piece.render()
    drafts = [made] if isinstance(made, Draft) else made
    fresh = [draft for draft in drafts if not (root / draft.collection / draft.item).exists()]
    for draft in fresh:
        write_item(root, draft)
    return len(fresh)
