"""One door for everything that tiles can be read from: a store, or an official MMEarth directory."""

from pathlib import Path

from geopretext.data.files import is_url
from geopretext.data.statistics import Statistics, compute_statistics
from geopretext.data.store import Store
from geopretext.data.tiles import TileReader
from geopretext.data.zarr_format import FORMAT, ROOT
from geopretext.errors import StoreError


def open_tiles(path: str | Path) -> TileReader:
    """Open the tile store, or the official MMEarth HDF5 directory, at ``path``.

    Raises:
        StoreError: there is neither.
        CorruptError: it is damaged.
        MissingLibraryError: an official directory needs h5py.
    """
    if is_url(path) or Path(path, ROOT).exists():
        return Store.open(path)
    folder = Path(path)
    if folder.suffix == ".h5" or (folder.is_dir() and any(folder.glob("*.h5"))):
        from geopretext.data.mmearth import MMEarthReader  # needs h5py, which a store does not

        return MMEarthReader(folder)
    if not folder.exists():
        raise StoreError(
            "there is nothing here", where=str(path), hint="check the path; `geopretext demo` makes a store"
        )
    raise StoreError(
        f"is neither a tile store (no {ROOT}) nor an official MMEarth directory (no .h5 file)",
        where=str(path),
        hint="`geopretext convert SRC --out tiles.zarr` makes a store of a folder of GeoTIFFs",
    )


def holds_tiles(path: str | Path) -> bool:
    """Whether ``open_tiles`` is for it: a tile store, also a damaged one, or an official directory; nothing else."""
    if is_url(path):
        return str(path).startswith(("s3://", "gs://", "memory://", "file://"))
    folder = Path(path)
    if (folder / ROOT).exists():
        return f'"{FORMAT}"' in (folder / ROOT).read_text(encoding="utf-8", errors="replace")
    return folder.suffix == ".h5" or (folder.is_dir() and any(folder.glob("*.h5")))


def statistics_of(reader: TileReader) -> Statistics:
    """The statistics that lie with the tiles; computed from them if there are none."""
    return reader.statistics or compute_statistics(reader)
