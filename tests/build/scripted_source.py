"""A source whose candidates and faults a test writes down; what it reads is a function of where, when and what."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.errors import SourceError
from geopretext.modality import Modality

Fault = Callable[[Request], SourceError | Observation | None]


@dataclass
class ScriptedSource:
    """Gives every query the same candidates; a number tells item, band and pixel, so that a mix-up would show."""

    modality: Modality
    candidates: Sequence[Candidate] = ()
    fault: Fault = lambda _: None
    search_fault: Callable[[Query], SourceError | None] = lambda _: None
    values: Mapping[str, int] = field(default_factory=dict)
    """by item: what every pixel is; else it follows from item, band and position"""
    read_items: list[str] = field(default_factory=list)

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        return [self.search_fault(query) or self._candidates(query) for query in queries]

    def _candidates(self, query: Query) -> list[Candidate]:
        return [
            candidate
            for candidate in self.candidates
            if query.item in ("", candidate.item)
            and (query.start is None or candidate.time is None or query.start <= candidate.time < query.stop)
        ]

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        for number in reversed(range(len(requests))):
            request = requests[number]
            self.read_items.append(request.candidate.item)
            yield number, self.fault(request) or self.truth(request)

    def truth(self, request: Request) -> Observation:
        grid, bands = request.grid, len(self.modality.bands)
        shape = (bands,) if self.modality.kind.is_vector else (bands, grid.height, grid.width)
        if request.candidate.item in self.values:
            values = np.full(shape, self.values[request.candidate.item], np.float64)
        else:
            band = np.arange(bands).reshape(-1, *(1,) * (len(shape) - 1))
            along = 0 if self.modality.kind.is_vector else np.arange(grid.width)
            values = np.broadcast_to(1000 + len(request.candidate.item) + 100 * band + along, shape).astype(np.float64)
        valid = np.ones(shape, bool)
        groups = {"asc": "asc_", "desc": "desc_"}
        prefix = groups.get(request.candidate.group, "")
        for band, name in enumerate(self.modality.band_names):
            valid[band] = name.startswith(prefix)
        return Observation(np.where(valid, values, 0), valid)
