"""The published modalities of MMEarth: twelve pretext tasks and three side products of Sentinel-2; and two series.

Names, band order, class numbers and no-data values are those of the published dataset (Nedungadi et al., ECCV 2024,
arXiv 2405.02771; label numbers: MMEarth data, CC-BY 4.0, after RESOLVE Ecoregions 2017, CC-BY 4.0). Where the
published code and the published files disagree, the files are right; ``data.mmearth`` lists the cases.
"""

from dataclasses import replace
from importlib.resources import files

from geopretext.modality.spec import Band, ClassLabel, Kind, Modality, Role

_WAVELENGTHS = {
    "B1": "443 nm, coastal aerosol",
    "B2": "490 nm, blue",
    "B3": "560 nm, green",
    "B4": "665 nm, red",
    "B5": "705 nm, red edge",
    "B6": "740 nm, red edge",
    "B7": "783 nm, red edge",
    "B8A": "865 nm, narrow near infrared",
    "B8": "842 nm, near infrared",
    "B9": "945 nm, water vapour",
    "B10": "1375 nm, cirrus (L1C only)",
    "B11": "1610 nm, short-wave infrared",
    "B12": "2190 nm, short-wave infrared",
}

_DYNAMIC_WORLD = (
    ("water", "#419bdf"),
    ("trees", "#397d49"),
    ("grass", "#88b053"),
    ("flooded vegetation", "#7a87c6"),
    ("crops", "#e49635"),
    ("shrub and scrub", "#dfc35a"),
    ("built", "#c4281b"),
    ("bare", "#a59b8f"),
    ("snow and ice", "#b39fe1"),
)

_WORLDCOVER = (
    (10, "tree cover", "#006400"),
    (20, "shrubland", "#ffbb22"),
    (30, "grassland", "#ffff4c"),
    (40, "cropland", "#f096ff"),
    (50, "built-up", "#fa0000"),
    (60, "bare / sparse vegetation", "#b4b4b4"),
    (70, "snow and ice", "#f0f0f0"),
    (80, "permanent water bodies", "#0064c8"),
    (90, "herbaceous wetland", "#0096a0"),
    (95, "mangroves", "#00cf75"),
    (100, "moss and lichen", "#fae6a0"),
)

_SCENE_CLASSES = (
    (0, "no data", "#000000"),
    (1, "saturated or defective", "#ff0000"),
    (2, "dark area or cast shadow", "#2f2f2f"),
    (3, "cloud shadow", "#643200"),
    (4, "vegetation", "#00a000"),
    (5, "not vegetated", "#ffe65a"),
    (6, "water", "#0000ff"),
    (7, "unclassified", "#808080"),
    (8, "cloud, medium probability", "#c0c0c0"),
    (9, "cloud, high probability", "#ffffff"),
    (10, "thin cirrus", "#64c8ff"),
    (11, "snow or ice", "#ff96ff"),
)

BIOMES = (
    "Tundra",
    "Tropical & Subtropical Moist Broadleaf Forests",
    "Mediterranean Forests, Woodlands & Scrub",
    "Deserts & Xeric Shrublands",
    "Temperate Grasslands, Savannas & Shrublands",
    "Boreal Forests/Taiga",
    "Temperate Conifer Forests",
    "Temperate Broadleaf & Mixed Forests",
    "Montane Grasslands & Shrublands",
    "Mangroves",
    "Flooded Grasslands & Savannas",
    "Tropical & Subtropical Grasslands, Savannas & Shrublands",
    "Tropical & Subtropical Dry Broadleaf Forests",
    "Tropical & Subtropical Coniferous Forests",
)
"""RESOLVE biome names; the position is MMEarth's class number."""

ECOREGIONS = tuple(files(__package__).joinpath("ecoregions.txt").read_text(encoding="utf-8").splitlines())
"""846 RESOLVE ecoregion names; the position is MMEarth's class number."""


def _climate_bands() -> tuple[Band, ...]:
    bands: list[Band] = []
    for prefix, title in (("prev_month", "previous month"), ("curr_month", "month"), ("year", "year")):
        for name, statistic in (("avg", "mean"), ("min", "minimum"), ("max", "maximum")):
            bands.append(Band(f"{prefix}_{name}_temp", "K", 170.0, 350.0, f"{statistic} 2 m temperature, {title}"))
        bands.append(Band(f"{prefix}_total_precip", "m", 0.0, 40.0, f"total precipitation, {title}"))
    return tuple(bands)


def _circle_bands(quantity: str) -> tuple[Band, ...]:
    return tuple(Band(name, "1", -1.0, 1.0, f"{name} of {quantity}") for name in ("sin", "cos"))


SENTINEL2 = Modality(
    name="sentinel2",
    kind=Kind.CONTINUOUS_MAP,
    bands=tuple(Band(name, "reflectance x 10000", 1, 28000, title) for name, title in _WAVELENGTHS.items()),
    dtype="uint16",
    missing=(0, 65535),
    levels=("L1C", "L2A"),
    title="Sentinel-2 reflectance",
    source="Copernicus Sentinel-2 MSI, top of atmosphere (L1C) or surface (L2A), without the +1000 offset",
)

SENTINEL1 = Modality(
    name="sentinel1",
    kind=Kind.CONTINUOUS_MAP,
    bands=tuple(
        Band(f"{orbit}_{pol}", "dB", -60, 40, f"{title} orbit, {pol}")
        for orbit, title in (("asc", "ascending"), ("desc", "descending"))
        for pol in ("VV", "VH", "HH", "HV")
    ),
    dtype="float32",
    title="Sentinel-1 backscatter",
    source="Copernicus Sentinel-1 GRD, C band",
)

ASTER = Modality(
    name="aster",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("elevation", "m", -500, 9000, "above sea level"), Band("slope", "degree", 0, 90, "steepest slope")),
    dtype="int16",
    missing=(-32768,),
    title="Elevation and slope",
    source="ASTER GDEM v3, or any elevation model",
)

ERA5 = Modality(
    name="era5",
    kind=Kind.CONTINUOUS_VECTOR,
    bands=_climate_bands(),
    dtype="float32",
    title="Climate",
    source="ERA5-Land monthly aggregates (Copernicus Climate Change Service)",
)

DYNAMIC_WORLD = Modality(
    name="dynamic_world",
    kind=Kind.CATEGORICAL_MAP,
    bands=(Band("landcover"),),
    dtype="uint8",
    missing=(0,),
    classes=tuple(ClassLabel(code, name, color) for code, (name, color) in enumerate(_DYNAMIC_WORLD, start=1)),
    title="Land cover, Dynamic World",
    source="Google Dynamic World, mode of the year (codes are 1 + the published index; 0 is no data)",
)

CANOPY_HEIGHT = Modality(
    name="canopy_height_eth",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("height", "m", 0, 100, "canopy top height"), Band("std", "m", 0, 100, "its predictive std")),
    dtype="uint8",
    missing=(255,),
    title="Canopy height",
    source="ETH Global Canopy Height 2020 (Lang et al. 2023)",
)

LATITUDE = Modality(
    name="lat",
    kind=Kind.CONTINUOUS_VECTOR,
    bands=_circle_bands("latitude"),
    dtype="float32",
    title="Latitude",
)

LONGITUDE = Modality(
    name="lon",
    kind=Kind.CONTINUOUS_VECTOR,
    bands=_circle_bands("longitude"),
    dtype="float32",
    title="Longitude",
)

BIOME = Modality(
    name="biome",
    kind=Kind.CATEGORICAL_VECTOR,
    bands=(Band("biome"),),
    dtype="int16",
    missing=(-1,),
    classes=tuple(ClassLabel(code, name) for code, name in enumerate(BIOMES)),
    title="Biome",
    source="RESOLVE Ecoregions 2017",
)

ECOREGION = Modality(
    name="ecoregion",
    kind=Kind.CATEGORICAL_VECTOR,
    bands=(Band("ecoregion"),),
    dtype="int16",
    missing=(-1,),
    classes=tuple(ClassLabel(code, name) for code, name in enumerate(ECOREGIONS)),
    title="Ecoregion",
    source="RESOLVE Ecoregions 2017",
    official_name="eco_region",
)

MONTH = Modality(
    name="month",
    kind=Kind.CONTINUOUS_VECTOR,
    bands=_circle_bands("2 pi month / 12"),
    dtype="float32",
    title="Month",
)

WORLDCOVER = Modality(
    name="esa_worldcover",
    kind=Kind.CATEGORICAL_MAP,
    bands=(Band("map"),),
    dtype="uint8",
    missing=(0, 255),
    classes=tuple(ClassLabel(code, name, color) for code, name, color in _WORLDCOVER),
    title="Land cover, ESA WorldCover",
    source="ESA WorldCover 2020 v100",
)

SCENE_CLASSIFICATION = Modality(
    name="sentinel2_scl",
    kind=Kind.CATEGORICAL_MAP,
    bands=(Band("SCL"),),
    dtype="uint8",
    missing=(255,),
    classes=tuple(ClassLabel(code, name, color) for code, name, color in _SCENE_CLASSES),
    role=Role.SIDE,
    title="Sentinel-2 scene classification",
    source="Sentinel-2 L2A SCL",
)

CLOUD_MASK = Modality(
    name="sentinel2_cloudmask",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("QA60", "bit field"),),
    dtype="uint16",
    missing=(65535,),
    role=Role.SIDE,
    title="Sentinel-2 cloud mask",
    source="Sentinel-2 QA60 (bit 10 opaque cloud, bit 11 cirrus)",
)

CLOUD_PROBABILITY = Modality(
    name="sentinel2_cloudprod",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("MSK_CLDPRB", "percent", 0, 100),),
    dtype="uint16",
    missing=(65535,),
    role=Role.SIDE,
    title="Sentinel-2 cloud probability",
    source="Sentinel-2 L2A MSK_CLDPRB",
)

PRETEXT = (
    SENTINEL2,
    SENTINEL1,
    ASTER,
    ERA5,
    DYNAMIC_WORLD,
    CANOPY_HEIGHT,
    LATITUDE,
    LONGITUDE,
    BIOME,
    ECOREGION,
    MONTH,
    WORLDCOVER,
)
"""The twelve pretext modalities, in the order of MMEarth's training configuration (and of its loss weights)."""

MMEARTH: dict[str, Modality] = {
    modality.name: modality for modality in (*PRETEXT, SCENE_CLASSIFICATION, CLOUD_MASK, CLOUD_PROBABILITY)
}
"""All fifteen modalities of MMEarth by name."""

_SERIES_BANDS = tuple(name for name in SENTINEL2.band_names if name != "B10")

SENTINEL2_SERIES = replace(
    SENTINEL2.select(_SERIES_BANDS), name="sentinel2_series", kind=Kind.CONTINUOUS_SERIES, title="Sentinel-2 series"
)

SENTINEL1_SERIES = Modality(
    name="sentinel1_series",
    kind=Kind.CONTINUOUS_SERIES,
    bands=tuple(Band(polarisation, "dB", -60, 40) for polarisation in ("VV", "VH")),
    dtype="float32",
    title="Sentinel-1 series",
    source=SENTINEL1.source,
)

SERIES = (SENTINEL2_SERIES, SENTINEL1_SERIES)
"""What MMEarth has no like of: several images of a tile, each of its own date."""

PUBLISHED: dict[str, Modality] = {**MMEARTH, **{modality.name: modality for modality in SERIES}}
"""The fifteen modalities of MMEarth and the two series, by name."""

GROUND_SAMPLING_DISTANCE = 10.0
"""Metres a pixel of MMEarth's tiles, all modalities alike."""
