"""What a conversion saw, decided and wrote, for people and for programs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Findings:
    """What the survey of a source saw and decided; file names are relative to the source."""

    undone: dict[str, int] = field(default_factory=dict)
    """files whose Sentinel-2 offset is undone, and the number that is subtracted"""
    undecided: list[str] = field(default_factory=list)
    """files whose distribution does not tell whether they carry the offset; left as they are"""
    left: list[str] = field(default_factory=list)
    """files that look as if they carried the offset, left as they are because the mapping says so"""
    doubtful: list[str] = field(default_factory=list)
    """files whose offset is undone because the mapping says so, though they do not look as if they carried one"""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """places that a subfolder has no file for, by subfolder"""
    without_reference: list[str] = field(default_factory=list)
    """places left out, since the reference subfolder lacks them"""
    remainders: dict[str, tuple[int, int]] = field(default_factory=dict)
    """rows at the bottom and columns at the right of a place that no tile covers"""

    def lines(self) -> list[str]:
        """One line for each kind of finding that there is."""
        short = {f"{rows} rows and {columns} columns" for rows, columns in self.remainders.values()}
        undone = [f"{file} (-{number})" for file, number in self.undone.items()]
        findings = {
            "Sentinel-2 offset undone": undone,
            "Sentinel-2 offset undone as the mapping says, though the numbers do not show one": self.doubtful,
            "Sentinel-2 offset suspected, but left as the mapping says": self.left,
            "Sentinel-2 offset uncertain, left as it is (decide with 'offset' in the mapping)": self.undecided,
            "left out, no file in the reference folder": self.without_reference,
            f"not covered by whole tiles ({', '.join(sorted(short))})": list(self.remainders),
        }
        for folder, places in self.missing.items():
            findings[f"no file in {folder}, missing there"] = places
        return [f"{what}: {len(names)}: {_listed(names)}" for what, names in findings.items() if names]


@dataclass(frozen=True)
class ConversionReport:
    """The outcome of a conversion."""

    path: str
    """of the store"""
    source: str
    """kind of source: GeoTIFF folder, MMEarth directory, synthetic Earth"""
    tiles: int
    """in the store"""
    resumed_at: int
    """tiles that an earlier, interrupted conversion had committed"""
    modalities: tuple[str, ...]
    """in the store, in order"""
    splits: Mapping[str, int] = field(default_factory=dict)
    """number of tiles by split; empty if there is no split"""
    places: int = 0
    """places that the tiles are cut from; 0 if the source has tiles, not places"""
    findings: Findings = field(default_factory=Findings)
    """what the survey of the source saw and decided"""
    notes: tuple[str, ...] = ()
    """anything else worth knowing, a line each"""

    def lines(self) -> list[str]:
        """The report as text, a line each."""
        of = f" from {self.places} places" if self.places else ""
        resumed = f" ({self.resumed_at} of them from an earlier run)" if self.resumed_at else ""
        split = ", ".join(f"{name} {count}" for name, count in self.splits.items()) or "none"
        return [
            f"{self.source}: {self.tiles} tiles{of} in {self.path}{resumed}",
            f"modalities: {', '.join(self.modalities)}",
            f"split: {split}",
            *self.findings.lines(),
            *self.notes,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def _listed(names: list[str], limit: int = 10) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
