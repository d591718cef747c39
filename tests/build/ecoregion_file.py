"""A file of a few ecoregions, as RESOLVE's: with its field names, published names, and its traps."""

from pathlib import Path

import geopandas
import shapely


def write_ecoregions(path: Path) -> Path:
    """Two biomes; the second ecoregion lies on both sides of the antimeridian, the last has no biome.

    RESOLVE's ``BIOME_NUM`` counts from 1 in an order of its own, and calls Rock and Ice 11, as the tundra.
    """
    wide = shapely.box(0, 0, 20, 10)
    high = shapely.box(0, 60, 20, 70)  # as large in degrees, less than half on the Earth
    across = shapely.MultiPolygon([shapely.box(178, -20, 180, -15), shapely.box(-180, -20, -178, -15)])
    rows = [
        ("Central Congolian lowland forests", "Tropical & Subtropical Moist Broadleaf Forests", 1, wide),
        ("Fiji tropical moist forests", "Tropical & Subtropical Moist Broadleaf Forests", 1, across),
        ("Scandinavian and Russian taiga", "Boreal Forests/Taiga", 6, high),
        ("Russian Arctic desert", "Tundra", 11, shapely.box(60, 84.5, 70, 86)),
        ("Rock and Ice", "N/A", 11, shapely.box(-60, 70, -40, 80)),
    ]
    columns = {"ECO_NAME": [row[0] for row in rows], "BIOME_NAME": [row[1] for row in rows]}
    frame = geopandas.GeoDataFrame(
        {**columns, "BIOME_NUM": [row[2] for row in rows]}, geometry=[row[3] for row in rows], crs="EPSG:4326"
    )
    frame.to_file(path)
    return path
