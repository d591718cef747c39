"""Pictures of reconstructions and of tiles: what is shown, in which words, and that it is drawn."""

import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.data.tiles import Coordinates
from geopretext.errors import InputError, MissingLibraryError
from geopretext.modality import PUBLISHED, Band, ClassLabel, Kind, Modality, Observed
from geopretext.predict.contact_sheet import draw_contact_sheet
from geopretext.predict.drawing import _NOTE_WIDTH, _note, draw
from geopretext.predict.panels import choose_views, class_colors, classes_present, stretch
from geopretext.predict.quantities import axis_end, compact, place_text, vector_rows
from geopretext.predict.reconstruct import Reconstruction, Target

LABELS = Modality(
    name="elements",
    kind=Kind.MULTILABEL_VECTOR,
    bands=(Band("river"), Band("road")),
    dtype="uint8",
    missing=(255,),
)


def places(count: int) -> Coordinates:
    return Coordinates(
        tile_id=np.array([f"T{number}" for number in range(count)]),
        lat=np.array([46.5, -3.25, np.nan])[:count],
        lon=np.array([8.1, -60.0, 0.0])[:count],
        crs=np.zeros(count, np.int32),
        transform=np.zeros((count, 6)),
        time=np.array(["2019-07-04", "NaT", "NaT"], "datetime64[s]")[:count],
    )


def target(modality: Modality, count: int = 2, size: int = 16, seed: int = 0) -> Target:
    random = np.random.default_rng(seed)
    shape = (count, len(modality.bands), size, size) if modality.kind.is_map else (count, len(modality.bands))
    if modality.kind.is_categorical:
        shape = (count, *shape[2:])
        truth = random.integers(0, len(modality.classes), shape)
        guess = truth if modality.kind.is_map else random.dirichlet(np.ones(len(modality.classes)), count)
    else:
        truth = random.uniform(0, 1, shape).astype(np.float32)
        guess = truth + random.normal(0, 0.1, shape).astype(np.float32)
    return Target(modality, Observed(truth, random.uniform(size=shape) > 0.2), guess)


def reconstruction(*modalities: Modality) -> Reconstruction:
    seen = target(PUBLISHED["sentinel2"])
    visible = np.zeros((2, 16, 16), bool)
    visible[:, :8, :8] = True
    return Reconstruction(
        coordinates=places(2),
        input=seen.modality,
        shown=seen.truth,
        visible=visible,
        targets=(replace(seen, restored=True), *(target(modality) for modality in modalities)),
    )


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_every_kind_of_modality_is_drawn(tmp_path: Path) -> None:
    names = ("sentinel1", "dynamic_world", "era5", "biome", "month")
    draw(reconstruction(*(PUBLISHED[name] for name in names), LABELS), tmp_path / "new" / "all.png", dpi=40)
    draw(reconstruction(), tmp_path / "one.png", dpi=40)
    wide, tall = png_size(tmp_path / "new" / "all.png")
    assert wide >= png_size(tmp_path / "one.png")[0]
    assert tall > png_size(tmp_path / "one.png")[1]  # lines of text for the vectors


def test_the_note_says_what_is_seen_and_is_no_wider_than_a_map() -> None:
    seen = reconstruction(PUBLISHED["sentinel2"])
    assert "patches of the input alone." in _note(seen).replace("\n", " ")
    radar = _note(replace(seen, used=("sentinel1", "aster"), absent=("sentinel2", "canopy_height_eth")))
    assert "of sentinel1, aster alone, without sentinel2, canopy_height_eth." in radar.replace("\n", " ")
    assert max(map(len, radar.splitlines())) <= _NOTE_WIDTH


def test_many_columns_wrap_to_another_line(tmp_path: Path) -> None:
    maps = (PUBLISHED["sentinel1"], PUBLISHED["aster"])
    draw(reconstruction(*maps), tmp_path / "short.png", dpi=40)
    draw(reconstruction(*maps), tmp_path / "long.png", bands_per_modality=8, dpi=40)
    assert png_size(tmp_path / "long.png")[1] > 1.5 * png_size(tmp_path / "short.png")[1]


def test_a_tile_without_any_observation_is_drawn(tmp_path: Path) -> None:
    result = reconstruction(PUBLISHED["sentinel1"], PUBLISHED["esa_worldcover"])
    blind = tuple(
        replace(part, truth=Observed(part.truth.values, np.zeros_like(part.truth.valid))) for part in result.targets
    )
    draw(replace(result, targets=blind), tmp_path / "blind.png", dpi=40)
    assert (tmp_path / "blind.png").exists()


def test_drawing_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibraryError, match=r"draw pictures\nhint: pip install \"geopretext\[report\]\""):
        draw(reconstruction(), tmp_path / "never.png")


class Tiles:
    path = "memory"
    ground_sampling_distance = 10.0
    tile_size = 16
    statistics = None

    def __init__(self, *names: str) -> None:
        self.modalities = {name: PUBLISHED[name] for name in names}
        self.coordinates = places(3)

    def __len__(self) -> int:
        return 3

    def read(self, names: object, tiles: np.ndarray) -> dict[str, np.ndarray]:
        shapes = {name: (len(tiles), len(m.bands), 16, 16) for name, m in self.modalities.items()}
        return {name: np.full(shape, 20, self.modalities[name].dtype) for name, shape in shapes.items()}


def test_contact_sheet_has_a_row_for_each_tile(tmp_path: Path) -> None:
    tiles = Tiles("sentinel2", "aster", "esa_worldcover")
    draw_contact_sheet(tiles, [0], tmp_path / "one.png", dpi=40)
    draw_contact_sheet(tiles, [2, 0, 1], tmp_path / "three.png", dpi=40)
    assert png_size(tmp_path / "three.png")[1] > 2 * png_size(tmp_path / "one.png")[1]
    with pytest.raises(InputError, match="memory: has no map to show"):
        draw_contact_sheet(Tiles("month"), [0], tmp_path / "none.png")


def test_what_is_shown_of_a_map() -> None:
    random = np.random.default_rng(0)
    sentinel2 = PUBLISHED["sentinel2"]
    values = random.uniform(100, 3000, (13, 8, 8)).astype(np.float32)
    (colour,) = choose_views(sentinel2, values, np.ones_like(values, bool), 1)
    assert [sentinel2.band_names[band] for band in colour.bands] == ["B4", "B3", "B2"]
    assert 100 < colour.low < colour.high < 3000
    valid = np.ones((8, 8, 8), bool)
    valid[:4] = False  # only the descending orbit exists
    (radar,) = choose_views(PUBLISHED["sentinel1"], values[:8], valid, 1)
    assert PUBLISHED["sentinel1"].band_names[radar.bands[0]] == "desc_VV"
    assert radar.detail == "desc_VV (dB)"
    flat = choose_views(PUBLISHED["aster"], np.zeros((2, 8, 8), np.float32), np.ones((2, 8, 8), bool), 2)
    assert all(view.low < view.high for view in flat)
    assert choose_views(PUBLISHED["dynamic_world"], values[0].astype(int), valid[0], 1)[0].bands == ()


def test_classes_of_the_legend_come_by_frequency_and_without_what_is_missing() -> None:
    values = np.array([[3, 3, 3, 1], [1, 0, 5, 5]])
    valid = np.ones_like(values, bool)
    valid[1, 2:] = False
    assert classes_present([(values, valid)], 2) == ([3, 1], 1)


def test_classes_without_published_colours_get_some() -> None:
    crops = Modality(
        name="crops",
        kind=Kind.CATEGORICAL_MAP,
        bands=(Band("crop"),),
        dtype="uint8",
        classes=(ClassLabel(1, "maize"), ClassLabel(2, "wheat", "#ffcc00")),
    )
    first, second = class_colors(crops)
    assert first.startswith("#")
    assert second == "#ffcc00"


@settings(derandomize=True, deadline=None)
@given(degrees=st.floats(-179.9, 180), off=st.floats(-170, 170))
def test_positions_read_as_degrees_and_errors_go_round_the_short_way(degrees: float, off: float) -> None:
    def pair(angle: float) -> np.ndarray:
        return np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])

    (row,) = vector_rows(PUBLISHED["lon"], Observed(pair(degrees), np.array([True, True])), pair(degrees + off))
    shown = float(row.truth.removesuffix("°"))
    assert min(abs(shown - degrees), 360 - abs(shown - degrees)) <= 0.051
    assert abs(float(row.error.removesuffix("°")) - abs(off)) <= 0.051


@pytest.mark.parametrize(("month", "name"), [(1, "Jan"), (6, "Jun"), (12, "Dec")])
def test_months_have_names(month: int, name: str) -> None:
    angle = 2 * np.pi * month / 12
    pair = np.array([np.sin(angle), np.cos(angle)])
    (row,) = vector_rows(PUBLISHED["month"], Observed(pair, np.array([True, True])), pair)
    assert (row.quantity, row.truth, row.prediction, row.error) == ("Month", name, name, "0.0 months")


def test_climate_reads_in_degrees_celsius_and_kelvin() -> None:
    era5 = PUBLISHED["era5"]
    truth = np.where([band.unit == "K" for band in era5.bands], 280.03, 0.0421)
    valid = np.ones(12, bool)
    valid[4] = False
    rows = vector_rows(era5, Observed(truth, valid), truth + 1)
    assert rows[0].quantity == "Mean temperature, previous month"
    assert (rows[0].truth, rows[0].prediction, rows[0].error) == ("6.9 °C (280.0 K)", "7.9 °C (281.0 K)", "1.00 K")
    assert (rows[3].truth, rows[3].error) == ("0.0421 m", "1.00 m")
    assert (rows[4].truth, rows[4].error) == ("not observed", "")


def test_classes_read_as_names_with_probability() -> None:
    probability = np.full(14, 0.01)
    probability[[3, 0]] = 0.7, 0.18
    biome = PUBLISHED["biome"]
    (right,) = vector_rows(biome, Observed(np.array(3), np.array(True)), probability)
    assert (right.truth, right.error) == ("Deserts & Xeric Shrublands", "right")
    assert right.prediction == "Deserts & Xeric Shrublands (70%)"
    (wrong,) = vector_rows(biome, Observed(np.array(0), np.array(True)), probability)
    assert wrong.error == "wrong; the truth got 18.0%"
    (unknown,) = vector_rows(biome, Observed(np.array(0), np.array(False)), probability)
    assert (unknown.truth, unknown.error) == ("not observed", "")


def test_labels_read_as_yes_and_no() -> None:
    rows = vector_rows(LABELS, Observed(np.array([1.0, 0.0]), np.array([True, False])), np.array([0.75, 0.5]))
    assert (rows[0].truth, rows[0].prediction, rows[0].error) == ("yes", "75%", "25%")
    assert (rows[1].truth, rows[1].prediction) == ("not observed", "50%")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1234"), (-12.34, "-12.3"), (0.01234, "0.0123"), (1e-7, "0.0000")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert compact(value) == text


def test_ends_of_axes_are_whole_where_numbers_are() -> None:
    assert [axis_end(value) for value in (36.0, 1.0, -17.44, 0.5)] == ["36", "1", "-17.4", "0.500"]


def test_places_say_only_what_is_known() -> None:
    assert place_text(places(3), 0) == "T0  ·  46.50° N 8.10° E  ·  4 Jul 2019"
    assert place_text(places(3), 1) == "T1  ·  3.25° S 60.00° W"
    assert place_text(places(3), 2) == "T2"


@pytest.mark.parametrize(("constant", "low", "high"), [(0.0, 0.0, 1.0), (20.0, 10.0, 30.0), (-8.0, -12.0, -4.0)])
def test_a_constant_map_has_a_color_bar_with_room(constant: float, low: float, high: float) -> None:
    assert stretch(np.full((4, 4), constant), np.ones((4, 4), bool)) == (low, high)
