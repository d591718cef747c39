"""The published facts, the rules that follow from them, and modalities of the user's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import BandError, ClassError, InputError
from geopretext.modality import (
    BIOMES,
    ECOREGIONS,
    MMEARTH,
    PRETEXT,
    PUBLISHED,
    SERIES,
    Band,
    ClassLabel,
    Kind,
    Modality,
    find_modality,
    load_modalities,
)


def test_twelve_pretext_modalities_in_the_published_order() -> None:
    names = " ".join(modality.official_name or modality.name for modality in PRETEXT)
    assert names == (
        "sentinel2 sentinel1 aster era5 dynamic_world canopy_height_eth lat lon biome eco_region month esa_worldcover"
    )
    assert [modality.channels for modality in PRETEXT] == [13, 8, 2, 12, 9, 2, 2, 2, 14, 846, 2, 11]
    assert len(MMEARTH) == 15
    assert list(PUBLISHED.values()) == [*MMEARTH.values(), *SERIES]


def test_series_have_the_bands_of_surface_reflectance_and_of_two_polarisations() -> None:
    optical, radar = SERIES
    assert optical.band_names == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
    assert (optical.dtype, optical.levels, optical.fill) == ("uint16", ("L1C", "L2A"), 0)
    assert radar.band_names == ("VV", "VH")
    assert [band.unit for band in radar.bands] == ["dB", "dB"]


def test_a_series_is_neither_map_nor_vector_and_decodes_band_by_band() -> None:
    radar = PUBLISHED["sentinel1_series"]
    assert (radar.kind.is_series, radar.kind.is_map, radar.kind.is_vector) == (True, False, False)
    assert radar.image.kind is Kind.CONTINUOUS_MAP
    assert PUBLISHED["biome"].image is PUBLISHED["biome"]
    raw = np.full((1, 3, 2, 2, 2), -10.0, np.float32)
    raw[0, 1, 0] = np.nan
    raw[0, 2, 1, 1, 1] = -70  # below the valid range
    values, valid = radar.decode(raw)
    assert valid.sum() == raw.size - 4 - 1
    assert values[0, 1, 0].tolist() == [[0, 0], [0, 0]]
    limited = Modality("s", Kind.CONTINUOUS_SERIES, (Band("a", valid_max=1), Band("b", valid_max=3)), "uint8", (255,))
    assert limited.decode(np.full((1, 2, 2, 1, 1), 2, np.uint8))[1].ravel().tolist() == [False, True, False, True]
    with pytest.raises(InputError, match="needs a number for 'missing'"):
        Modality("s", Kind.CONTINUOUS_SERIES, (Band("a"),), "uint8")


def test_sentinel2_bands_have_b8a_before_b8() -> None:
    names = PUBLISHED["sentinel2"].band_names
    assert names == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B10", "B11", "B12")


def test_label_numbers_are_mmearths(test_data: Path) -> None:
    for names, file in ((BIOMES, "biome_labels.json"), (ECOREGIONS, "eco_labels.json")):
        published = json.loads((test_data / "mmearth_metadata" / file).read_text())
        assert {name: number for number, name in enumerate(names)} == published


@pytest.mark.parametrize("name", PUBLISHED)
def test_plain_form_round_trips_through_json(name: str) -> None:
    modality = PUBLISHED[name]
    assert Modality.from_dict(json.loads(json.dumps(modality.to_dict()))) == modality


@pytest.mark.parametrize("name", PUBLISHED)
def test_fill_decodes_to_missing_everywhere(name: str) -> None:
    modality = PUBLISHED[name]
    dates, pixels = (5,) * modality.kind.is_series, () if modality.kind.is_vector else (3, 3)
    shape = (2, *dates, len(modality.bands), *pixels)
    values, valid = modality.decode(np.full(shape, modality.fill, modality.dtype))
    assert not valid.any()
    assert not values.any()


def test_decode_continuous_knows_missing_nonfinite_and_implausible() -> None:
    sentinel1 = PUBLISHED["sentinel1"].select(["asc_VV"])
    raw = np.array([[[[-12.5, -np.inf], [np.nan, 900.0]]]], np.float32)
    values, valid = sentinel1.decode(raw)
    assert valid.tolist() == [[[[True, False], [False, False]]]]
    assert values.tolist() == [[[[-12.5, 0.0], [0.0, 0.0]]]]


def test_decode_classes_gives_indices_and_keeps_tree_cover() -> None:
    worldcover = PUBLISHED["esa_worldcover"]
    values, valid = worldcover.decode(np.array([[[[0, 10], [100, 255]]]], np.uint8))
    assert values.tolist() == [[[0, 0], [10, 0]]]
    assert valid.tolist() == [[[False, True], [True, False]]]


def test_unknown_class_code_is_named() -> None:
    with pytest.raises(ClassError, match=r"code 11, 12 is not a class of modality 'esa_worldcover'") as error:
        PUBLISHED["esa_worldcover"].decode(np.array([[[[11, 12]]]], np.uint8))
    assert "10, 20, 30" in error.value.hint


def test_select_picks_by_name_in_the_asked_order() -> None:
    sentinel2 = PUBLISHED["sentinel2"]
    assert sentinel2.select(["B4", "B2"]).band_names == ("B4", "B2")
    assert sentinel2.band_indices(["B8", "B8A"]) == (8, 7)
    with pytest.raises(BandError, match="no band 'B08'") as error:
        sentinel2.select(["B08"])
    assert "B8A, B8" in error.value.hint
    with pytest.raises(BandError, match="bands repeat"):
        sentinel2.select(["B2", "B2"])


def test_a_modality_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InputError, match="needs classes"):
        Modality("crops", Kind.CATEGORICAL_MAP, (Band("crop"),), "uint8", missing=(0,))
    with pytest.raises(ClassError, match="also missing"):
        Modality("crops", Kind.CATEGORICAL_MAP, (Band("crop"),), "uint8", (0,), (ClassLabel(0, "maize"),))
    with pytest.raises(BandError, match="band names repeat"):
        Modality("radar", Kind.CONTINUOUS_MAP, (Band("VV"), Band("VV")), "float32")
    with pytest.raises(InputError, match="dtype 'float64'"):
        Modality("radar", Kind.CONTINUOUS_MAP, (Band("VV"),), "float64")
    with pytest.raises(InputError, match="cannot say 'missing'"):
        _ = Modality("radar", Kind.CONTINUOUS_MAP, (Band("VV"),), "int16").fill


def test_custom_modality_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "modalities:\n"
        "  - name: crop_map\n"
        "    kind: categorical map\n"
        "    dtype: uint8\n"
        "    missing: [0]\n"
        "    bands: [crop]\n"
        "    classes: {1: maize, 2: wheat}\n"
    )
    crop_map = find_modality("crop_map", load_modalities(file))
    assert crop_map.kind is Kind.CATEGORICAL_MAP
    assert crop_map.channels == 2
    assert [label.name for label in crop_map.classes] == ["maize", "wheat"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modalities: 3", "has no list 'modalities'"),
        ("modalities: [", "is not YAML"),
        ("modalities: [{name: a, kind: map, bands: [x], dtype: uint8}]", "'map' is not a valid Kind"),
        ("modalities: [{name: a, kind: continuous map, bands: [x]}]", "modality 'a': lacks dtype"),
        (
            "modalities: [{name: a, kind: continuous map, bands: [x], dtype: uint8, nodata: 0}]",
            "unknown field 'nodata'",
        ),
    ],
)
def test_bad_yaml_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_modalities(file)


def test_unknown_modality_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="no modality 'sentinel3'") as error:
        find_modality("sentinel3")
    assert "sentinel2, sentinel1" in error.value.hint
