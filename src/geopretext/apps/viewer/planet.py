"""Which planet the tiles of a store are of: the Earth, or a synthetic one whose continents are others."""

from typing import Any

from geopretext.data.store import Store
from geopretext.data.tiles import TileReader

EARTH, _SYNTHETIC = "earth", "synthetic-"


def planet_of(reader: TileReader) -> str:
    """``earth``, or ``synthetic-SEED``, by the recipe that a store was made by."""
    recipe: Any = reader.attributes.get("recipe") if isinstance(reader, Store) else None
    if not isinstance(recipe, dict):
        return EARTH
    if recipe.get("name") == "synthetic earth":
        return f"{_SYNTHETIC}{int(recipe['seed'])}"
    for archive in _archives(recipe):
        if archive.get("kind") == "synthetic":
            return f"{_SYNTHETIC}{int(archive.get('seed', 0))}"
    return EARTH


def _archives(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    archives = recipe.get("archives")
    return [each for each in archives.values() if isinstance(each, dict)] if isinstance(archives, dict) else []


def seed_of(planet: str) -> int | None:
    """Which synthetic planet; None for the Earth."""
    return None if planet == EARTH else int(planet.removeprefix(_SYNTHETIC))
