"""The gate finds every known trap, calls nothing right that it cannot decide, and leaves right inputs alone.

References are the typical bands that ship with the package, so that real sets are held against something that was made
without them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data.statistics import StatisticsAccumulator
from geopretext.data.synthetic.earth import SyntheticEarth
from geopretext.errors import InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.door_report import gate_lines
from geopretext.predict.input_gate import UNLIKE, GateReport, GateVerdict, judge_inputs
from geopretext.predict.reference import TRAINING, TYPICAL, Reference, reference_of

L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
L2A = tuple(name for name in L1C if name != "B10")
RGB = ("B4", "B3", "B2")
EUROSAT = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "B8A")
WITH_OFFSET = {"S2L1C": ("282D", "433D", "609U"), "S2L2A": ("433D",)}
Tiles = np.ndarray


def encoder_of(bands: tuple[str, ...], relations: dict[str, Any] | None = None) -> Encoder:
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=bands))
    return Encoder(network, PUBLISHED["sentinel2"].select(bands), relations=relations)


def reference(bands: tuple[str, ...]) -> Reference:
    found = reference_of(encoder_of(bands), "sentinel2")
    assert found is not None
    return found


def judge(tiles: Tiles, bands: tuple[str, ...], **settings: Any) -> GateReport:
    return judge_inputs(tiles, tiles > 0, reference(bands), **settings)


def exchanged(tiles: Tiles, bands: tuple[str, ...], first: str, second: str) -> Tiles:
    order = list(range(len(bands)))
    one, two = bands.index(first), bands.index(second)
    order[one], order[two] = two, one
    return tiles[:, order]


def b8a_last(tiles: Tiles, bands: tuple[str, ...]) -> Tiles:
    """What one has after naming by wavelength what is stored with B8A last."""
    stored = [*(name for name in bands if name != "B8A"), "B8A"]
    return tiles[:, [bands.index(name) for name in stored]]


def cut(image: np.ndarray, size: int = 64) -> Tiles:
    _, height, width = image.shape
    corners = [(y, x) for y in range(0, height - size + 1, size) for x in range(0, width - size + 1, size)]
    return np.stack([image[:, y : y + size, x : x + size] for y, x in corners])


@pytest.fixture(scope="module")
def synthetic() -> dict[str, Tiles]:
    """Tiles of a planet other than that of the typical bands, by level, in the order of ``L1C`` and ``L2A``."""
    earth = SyntheticEarth(seed=7)
    places = earth.places(48)
    raw = earth.tiles(places).arrays["sentinel2"].astype(np.float64)
    found = {}
    for code, (level, bands) in enumerate((("L1C", L1C), ("L2A", L2A))):
        rows = PUBLISHED["sentinel2"].band_indices(bands)
        tiles = raw[places.levels["sentinel2"] == code][:, rows]
        found[level] = tiles[(tiles > 0).mean((1, 2, 3)) > 0.99]
    return found


TRAPS: dict[str, tuple[Callable[[Tiles, tuple[str, ...]], Tiles], str]] = {
    "BGR for RGB": (lambda tiles, bands: exchanged(tiles, bands, "B2", "B4"), "B2 and B4 are exchanged"),
    "B8 for B8A": (lambda tiles, bands: exchanged(tiles, bands, "B8", "B8A"), "B8 and B8A are exchanged"),
    "B8A last": (b8a_last, "B8A is last in the files"),
    "reflectance from 0 to 1": (lambda tiles, bands: tiles / 1e4, "have to be multiplied by 10000"),
    "offset left in": (lambda tiles, bands: tiles + 1000, "the offset of 1000 is still in the numbers"),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize(("level", "bands"), [("L1C", L1C), ("L2A", L2A)])
def test_every_trap_is_caught_on_the_synthetic_earth(
    synthetic: dict[str, Tiles], level: str, bands: tuple[str, ...], trap: str
) -> None:
    assert judge(synthetic[level], bands).suspicions == ()
    spring, what = TRAPS[trap]
    report = judge(spring(synthetic[level], bands), bands)
    assert report.verdict is GateVerdict.IMPLAUSIBLE
    assert what in report.suspicions[0]
    with pytest.raises(InputError, match="not what they are said to be") as caught:
        report.require_plausible(where="task 'x'")
    assert what in caught.value.what


def terramind(folder: Path, level: str) -> dict[str, Tiles]:
    rasterio = pytest.importorskip("rasterio", reason="reads the GeoTIFFs")
    found = {}
    for path in sorted((folder / "terramind" / "examples" / level).glob("*.tif")):
        with rasterio.open(path) as dataset:
            image = dataset.read().astype(np.float64)
        offset = any(place in path.name for place in WITH_OFFSET[level])
        found[path.name.split("_")[0]] = cut(np.maximum(image - 1000, 1) if offset else image)
    return found


def eurosat_ms(folder: Path) -> Tiles:
    """As stored: ``EUROSAT`` is the order."""
    rasterio = pytest.importorskip("rasterio", reason="reads the GeoTIFFs")
    return np.stack(
        [rasterio.open(path).read().astype(np.float64) for path in sorted((folder / "eurosat_ms_6").rglob("*.tif"))]
    )


def test_eurosat_with_b8a_last_is_caught(test_data: Path) -> None:
    stored = eurosat_ms(test_data)
    right = stored[:, [EUROSAT.index(name) for name in L1C]]
    assert judge(right, L1C).suspicions == ()
    assert "B8A is last in the files" in judge(stored, L1C).suspicions[0]
    # An encoder without B10, as the published ones.
    without = [L1C.index(name) for name in L2A]
    assert judge(right[:, without], L2A).suspicions == ()
    assert judge(stored[:, without], L2A).verdict is GateVerdict.IMPLAUSIBLE


@pytest.mark.slow
@pytest.mark.parametrize(("level", "bands"), [("S2L1C", L1C), ("S2L2A", L2A)])
def test_real_places_with_all_bands(test_data: Path, level: str, bands: tuple[str, ...]) -> None:
    """Five places, one of them all snow and one a desert; what is right raises nothing, and no trap is called right."""
    for place, tiles in terramind(test_data, level).items():
        right = judge(tiles, bands)
        assert right.suspicions == (), place
        for trap, (spring, what) in TRAPS.items():
            report = judge(spring(tiles, bands), bands)
            assert report.verdict is not GateVerdict.PLAUSIBLE, (place, trap)
            if place.startswith("609U"):  # snow: unlike the training data, which is said
                assert UNLIKE in right.undecided
            elif not (place[:3] in ("38D", "637") and "offset" in trap):  # sand; over-corrected water: undecided
                assert any(what in suspicion for suspicion in report.suspicions), (place, trap)


def test_single_patches_of_bigearthnet_raise_nothing(test_data: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="reads the GeoTIFFs")
    for folder in sorted((test_data / "bigearthnet_v1_tiny" / "S2").iterdir()):
        bands = []
        for name in L2A:
            stored = rasterio.open(next(folder.glob(f"*_B{name[1:].zfill(2)}.tif"))).read(1).astype(np.float64)
            bands.append(stored.repeat(120 // len(stored), 0).repeat(120 // len(stored), 1))
        tile = np.stack(bands)[None]
        assert judge(tile, L2A).suspicions == (), folder.name
        assert judge(exchanged(tile, L2A, "B8", "B8A"), L2A).verdict is not GateVerdict.PLAUSIBLE


def test_four_bands_of_bigearthnet_need_their_level(test_data: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="reads the file")
    bands = ("B2", "B3", "B4", "B8")
    with h5py.File(test_data / "bigearthnet_v2_120" / "ben120.h5") as file:
        tiles = file["sentinel2"][:48].astype(np.float64)
    assert judge(tiles, bands).suspicions == ()
    assert judge(tiles, bands, level="L2A").suspicions == ()
    swapped = exchanged(tiles, bands, "B2", "B4")
    assert judge(swapped, bands).verdict is GateVerdict.UNDECIDED
    assert "B2 and B4 are exchanged" in judge(swapped, bands, level="L2A").suspicions[0]


def test_colour_pictures_the_wrong_way_round_are_caught(test_data: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="reads the pictures")
    paths = sorted((test_data / "eurosat_rgb" / "2750").rglob("*.jpg"))
    pictures = np.stack(
        [np.moveaxis(np.asarray(pillow.open(path), np.float64), -1, 0) for path in paths[:: len(paths) // 48]]
    )
    right = judge_inputs(pictures, pictures >= 0, reference(RGB), unit_known=False)
    assert right.suspicions == ()
    wrong = judge_inputs(pictures[:, ::-1], pictures >= 0, reference(RGB), unit_known=False)
    assert "B4 and B2 are exchanged" in wrong.suspicions[0]


def test_the_wrong_names_of_brick_kiln_are_caught(test_data: Path) -> None:
    """As published, with the twelve bands that MMEarth's encoders see."""
    h5py = pytest.importorskip("h5py", reason="reads the samples")
    tiles = []
    for path in sorted((test_data / "geobench_samples" / "m-brick-kiln").glob("*.hdf5")):
        with h5py.File(path) as file:
            tiles.append(np.stack([file[name][:] for name in sorted(file)]))
    shipped = np.stack(tiles)[:, [L1C.index(name) for name in L2A]]
    assert judge(shipped, L2A, level="L2A").verdict is GateVerdict.IMPLAUSIBLE
    true = ("B1", "B2", "B3", "B4", "B5", "B7", "B8A", "B8", "B11", "B12")
    assert judge(np.stack(tiles)[:, :10], true, level="L2A").suspicions == ()


def test_what_a_single_image_cannot_tell_is_undecided(synthetic: dict[str, Tiles]) -> None:
    one = synthetic["L2A"][:1, [L2A.index(name) for name in RGB]]
    report = judge(one, RGB)
    assert report.verdict is GateVerdict.UNDECIDED
    assert report.images == 1
    assert "but undecided is" in gate_lines(report.to_dict())[0]


def test_filled_and_substituted_bands_are_left_out(synthetic: dict[str, Tiles]) -> None:
    tiles = synthetic["L1C"].copy()
    tiles[:, L1C.index("B9")] = tiles[:, L1C.index("B8A")]
    real = tuple(name for name in L1C if name != "B9")
    assert judge(tiles, L1C, real=real).suspicions == ()


def test_a_band_that_holds_something_else_is_named(synthetic: dict[str, Tiles]) -> None:
    tiles = synthetic["L1C"].copy()
    tiles[:, L1C.index("B11")] = np.random.default_rng(0).normal(9000, 10, tiles[:, 0].shape)
    report = judge(tiles, L1C)
    assert report.verdict is GateVerdict.IMPLAUSIBLE
    assert any("B11" in suspicion for suspicion in report.suspicions)


def test_nothing_is_checked_where_nothing_is_known(synthetic: dict[str, Tiles]) -> None:
    tiles = synthetic["L2A"]
    assert judge_inputs(tiles, tiles > 0, None).verdict is GateVerdict.NOT_CHECKED
    assert judge(tiles[:0], L2A).verdict is GateVerdict.NOT_CHECKED
    nothing = judge_inputs(tiles, np.zeros(tiles.shape, bool), reference(L2A))
    assert nothing.verdict is GateVerdict.NOT_CHECKED
    assert "not held against" in gate_lines(nothing.to_dict())[0]


def test_the_same_inputs_get_the_same_report(synthetic: dict[str, Tiles]) -> None:
    assert judge(synthetic["L2A"], L2A) == judge(synthetic["L2A"], L2A)


def test_a_bundle_that_knows_its_relations_is_its_own_reference(tmp_path: Path) -> None:
    accumulator = StatisticsAccumulator()
    earth = SyntheticEarth(seed=1, tile_size=32)
    places = earth.places(64)
    accumulator.update(PUBLISHED["sentinel2"], earth.tiles(places).arrays["sentinel2"], places.levels["sentinel2"])
    plain = accumulator.finish(tiles=64, split="all").to_dict()
    from geopretext.nn.bundle_statistics import input_relations, input_scales

    modality = PUBLISHED["sentinel2"].select(L2A)
    relations = input_relations(plain, modality)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=L2A))
    Encoder(network, modality, statistics=input_scales(plain, modality), relations=relations).save_pretrained(
        tmp_path / "b"
    )
    found = reference_of(Encoder.from_pretrained(tmp_path / "b"), "sentinel2")
    assert found is not None
    assert (found.source, tuple(found.levels)) == (TRAINING, ("L1C", "L2A"))
    assert reference(L2A).source == TYPICAL
    # ... and the typical bands that ship are those of the synthetic Earth
    for level in ("L1C", "L2A"):
        difference = np.abs(
            found.levels[level].contrast_correlation - reference(L2A).levels[level].contrast_correlation
        )
        assert np.median(difference) < 0.1
