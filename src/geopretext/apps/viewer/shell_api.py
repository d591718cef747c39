"""The frame of the pages, what is open, and reports."""

from functools import cache
from importlib.resources import files
from typing import Any

from geopretext import __version__
from geopretext.apps.viewer.embeddings import trouble_of_store, trouble_of_table
from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.opened import Opened, StoreEntry
from geopretext.apps.viewer.planet import planet_of
from geopretext.data.tiles import SPLITS
from geopretext.errors import GeopretextError

_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_REPORT_POLICY = (
    "sandbox allow-popups; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""A report is a page of its own making: it may show pictures and styles, and may run and load nothing."""


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened}
    return [
        (r"/", _Start, given),
        (r"/static/([a-z_]+\.[a-z]+)", _Static, given),
        (r"/api/opened", _Opened, given),
        (r"/reports/([a-z0-9-]+)", _Report, given),
    ]


class _Start(ViewerHandler):
    def get(self) -> None:
        self.send_bytes(_static_files()["index.html"], _KINDS["html"])


class _Static(ViewerHandler):
    def get(self, name: str) -> None:
        if name not in _static_files():
            raise RefusalError(404, "there is no such file", where=self.request.path)
        self.send_bytes(_static_files()[name], _KINDS[name.rpartition(".")[2]])


class _Opened(ViewerHandler):
    async def get(self) -> None:
        self.send_json(await self.compute(_refreshed, self.opened))


class _Report(ViewerHandler):
    async def get(self, name: str) -> None:
        report = self.entry(self.opened.reports, name, "report")
        content = await self.compute(report.path.read_bytes)
        self.set_header("Content-Security-Policy", _REPORT_POLICY)
        self.send_bytes(content, _KINDS["html"])


@cache
def _static_files() -> dict[str, bytes]:
    """Those of this package and no others, read once."""
    return {
        file.name: file.read_bytes()
        for file in (files(__package__) / "static").iterdir()
        if file.name.rpartition(".")[2] in _KINDS
    }


def _refreshed(opened: Opened) -> dict[str, Any]:
    opened.refresh()
    return describe(opened)


def describe(opened: Opened) -> dict[str, Any]:
    """What is open, as the pages read it; what cannot be read stands under ``broken``, with the reason."""
    bad_stores = {entry.id: error for entry in opened.stores.values() if (error := trouble_of_store(entry))}
    bad_tables = {entry.id: error for entry in opened.tables.values() if (error := trouble_of_table(entry))}
    return {
        "name": opened.name,
        "version": __version__,
        "stores": [_describe_store(entry) for entry in opened.stores.values() if entry.id not in bad_stores],
        "runs": [
            {
                "id": run.id,
                "name": run.name,
                "bundle": run.bundle,
                "store": None if run.store in bad_stores else run.store,
            }
            for run in opened.runs.values()
        ],
        "bundles": [{"id": bundle.id, "name": bundle.name} for bundle in opened.bundles.values()],
        "tables": [
            {"id": table.id, "name": table.name} for table in opened.tables.values() if table.id not in bad_tables
        ],
        "reports": [{"id": report.id, "name": report.name} for report in opened.reports.values()],
        "broken": [
            *(_broken("Store", opened.stores[name].name, error) for name, error in bad_stores.items()),
            *(_broken("Embedding table", opened.tables[name].name, error) for name, error in bad_tables.items()),
        ],
        "notes": opened.notes,
    }


def _broken(kind: str, name: str, error: GeopretextError) -> dict[str, Any]:
    return {"kind": kind, "name": name, "error": {"what": error.what, "where": error.where, "hint": error.hint}}


def _describe_store(entry: StoreEntry) -> dict[str, Any]:
    reader = entry.reader
    return {
        "id": entry.id,
        "name": entry.name,
        "path": entry.path,
        "tiles": len(reader),
        "tile_size": reader.tile_size,
        "modalities": list(reader.modalities),
        "splits": list(SPLITS),
        "planet": planet_of(reader),
    }
