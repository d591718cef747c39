import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.data.normalise import Normaliser, check_codes, decode
from geopretext.data.statistics import compute_statistics
from geopretext.errors import BandError, ClassError, InputError
from geopretext.modality import PUBLISHED, Band, Kind, Modality, Observed

from .memory_tiles import OPTICAL, MemoryTiles

LABELS = Modality(
    name="labels",
    kind=Kind.MULTILABEL_VECTOR,
    bands=(Band("water", "1", 0, 1), Band("forest", "1", 0, 1)),
    dtype="uint8",
    missing=(255,),
)
COUNTS = Modality(name="counts", kind=Kind.CONTINUOUS_MAP, bands=(Band("n"),), dtype="int32", missing=(16777217,))
MODALITIES = [*PUBLISHED.values(), LABELS, COUNTS]


def stored_numbers(modality: Modality, random: np.random.Generator) -> np.ndarray:
    """Plausible, implausible and missing numbers, or known codes and missing ones."""
    shape = (3, len(modality.bands)) + ((4, 5) if modality.kind.is_map else ())
    dtype = np.dtype(modality.dtype)
    if modality.kind.is_categorical:
        return random.choice([*modality.class_index, *modality.missing], shape).astype(dtype)
    if dtype.kind == "f":
        numbers = random.normal(0, 200, shape).astype(dtype)
        special = [np.nan, np.inf, -np.inf]
    else:
        bounds = np.iinfo(dtype)
        numbers = random.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
        special = [bounds.min, bounds.max, 0, 1]
    special += [*modality.missing, *(b for band in modality.bands for b in (band.valid_min, band.valid_max) if b)]
    return np.where(random.random(shape) < 0.5, random.choice(np.array(special, dtype), shape), numbers)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.sampled_from(MODALITIES), st.integers(0, 1000))
def test_decoding_on_the_device_agrees_with_the_modality(modality: Modality, seed: int) -> None:
    raw = stored_numbers(modality, np.random.default_rng(seed))
    values, valid = modality.decode(raw)
    stored = torch.from_numpy(raw.copy())
    observed = decode(stored, modality)
    np.testing.assert_array_equal(stored.numpy(), raw)  # left as it is
    np.testing.assert_array_equal(observed.valid.numpy(), valid)
    np.testing.assert_array_equal(observed.values.numpy(), values)
    assert observed.values.numpy().dtype == values.dtype


def test_a_wide_integer_is_not_taken_for_its_neighbour() -> None:
    raw = torch.tensor([[[[16777216, 16777217]]]], dtype=torch.int32)  # the same float32
    assert decode(raw, COUNTS).valid.tolist() == [[[[True, False]]]]


def test_an_unknown_class_code_names_modality_code_and_tile() -> None:
    raw = np.full((3, 1, 2, 2), 10, np.uint8)
    raw[1, 0, 1, 1] = 17
    with pytest.raises(
        ClassError, match=r"tile number 1: code 17 is not a class of modality 'esa_worldcover'"
    ) as error:
        decode(torch.from_numpy(raw), PUBLISHED["esa_worldcover"])
    assert "10, 20" in error.value.hint
    with pytest.raises(ClassError, match="tile paris: code 17"):
        check_codes(raw, PUBLISHED["esa_worldcover"], ("rome", "paris", "oslo").__getitem__)


def test_each_tile_is_standardised_with_its_own_level() -> None:
    scales = {"L1C": ([10, 20, 30], [1, 2, 3]), "L2A": ([40, 50, 60], [4, 5, 6]), "all": ([70, 80, 90], [7, 8, 9])}
    normaliser = Normaliser(OPTICAL, scales)
    values = torch.full((3, 3, 2, 2), 100.0)
    result = normaliser(Observed(values, torch.ones_like(values, dtype=torch.bool)), torch.tensor([0, 1, -1]))
    expected = [[90 / 1, 80 / 2, 70 / 3], [60 / 4, 50 / 5, 40 / 6], [30 / 7, 20 / 8, 10 / 9]]
    torch.testing.assert_close(result.values[:, :, 0, 0], torch.tensor(expected))
    torch.testing.assert_close(normaliser.inverse(result.values, torch.tensor([0, 1, -1])), values)


def test_what_was_not_observed_stays_zero() -> None:
    values = torch.tensor([[1.0, 0.0]])
    normaliser = Normaliser(PUBLISHED["month"], {"all": ([0.5, 0.5], [0.1, 0.1])})
    result = normaliser(Observed(values, torch.tensor([[True, False]])))
    torch.testing.assert_close(result.values, torch.tensor([[5.0, 0.0]]))
    assert result.valid.tolist() == [[True, False]]


def test_classes_and_labels_pass_unchanged() -> None:
    observed = Observed(torch.tensor([3, 0]), torch.tensor([True, False]))
    assert Normaliser(PUBLISHED["biome"], {})(observed) is observed


def test_constant_and_never_observed_bands_are_divided_by_one() -> None:
    normaliser = Normaliser(PUBLISHED["month"], {"all": ([2.0, float("nan")], [0.0, float("nan")])})
    result = normaliser(Observed(torch.tensor([[2.5, 0.0]]), torch.tensor([[True, False]])))
    assert result.values.tolist() == [[0.5, 0.0]]


def test_pooled_statistics_alone_serve_every_level() -> None:
    normaliser = Normaliser(OPTICAL, {"all": ([0, 0, 0], [2, 2, 2])})
    ones = torch.ones(2, 3, 1, 1)
    assert normaliser(Observed(ones, ones.bool()), torch.tensor([0, 1])).values.unique().tolist() == [0.5]


def test_a_level_without_statistics_is_refused() -> None:
    undefined = [float("nan")] * 3
    scales = {"L2A": ([0] * 3, [1] * 3), "all": ([0] * 3, [1] * 3), "L1C": (undefined, undefined)}
    normaliser = Normaliser(OPTICAL, scales)
    with pytest.raises(InputError, match=r"modality 'optical': no statistics for level 'L1C', which 2 of the tiles"):
        normaliser.check_levels(np.array([0, 1, 0], np.int8))
    ones = torch.ones(1, 3, 1, 1)
    with pytest.raises(InputError, match="there are L2A, all"):
        normaliser(Observed(ones, ones.bool()), torch.tensor([0]))


def test_undefined_statistics_over_all_levels_serve_no_tile() -> None:
    normaliser = Normaliser(OPTICAL, {"L1C": ([0] * 3, [1] * 3), "all": ([float("nan")] * 3, [float("nan")] * 3)})
    normaliser.check_levels(np.array([0, 0], np.int8))
    with pytest.raises(InputError, match=r"no statistics for level 'all', which 1 of the tiles have; there are L1C"):
        normaliser.check_levels(np.array([0, -1], np.int8))


def test_a_modality_that_was_never_observed_stays_zero() -> None:
    normaliser = Normaliser(OPTICAL, {"all": ([float("nan")] * 3, [float("nan")] * 3)})
    zeros = torch.zeros(2, 3, 1, 1)
    assert normaliser(Observed(zeros, zeros.bool()), torch.tensor([0, -1])).values.eq(0).all()


def test_statistics_of_a_store_by_band_name() -> None:
    reader = MemoryTiles()
    picked = OPTICAL.select(["blue", "red"])
    normaliser = Normaliser.of(picked, compute_statistics(reader))
    observed = decode(torch.from_numpy(reader.arrays["optical"][:, [2, 0]]), picked)
    result = normaliser(observed, torch.from_numpy(reader.coordinates.levels["optical"])).values
    for level in (0, 1):
        numbers = result[reader.coordinates.levels["optical"] == level].double()
        torch.testing.assert_close(numbers.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-3, rtol=0)
        torch.testing.assert_close(numbers.std((0, 2, 3), correction=0), torch.ones(2).double(), atol=1e-3, rtol=0)


def test_lacking_statistics_say_what_there_is() -> None:
    statistics = compute_statistics(MemoryTiles())
    with pytest.raises(InputError, match=r"no statistics of modality 'aster'") as error:
        Normaliser.of(PUBLISHED["aster"], statistics)
    assert "optical" in error.value.hint
    other = Modality(name="optical", kind=Kind.CONTINUOUS_MAP, bands=(Band("swir"),), dtype="uint16")
    with pytest.raises(BandError, match=r"no statistics of band 'swir'"):
        Normaliser.of(other, statistics)
    with pytest.raises(InputError, match="of 2 means and 2 deviations for 3 bands"):
        Normaliser(OPTICAL, {"all": ([0, 0], [1, 1])})
    with pytest.raises(InputError, match=r"(?s)statistics of modality 'optical': are empty.*hint: .*--statistics"):
        Normaliser(OPTICAL, {})
    with pytest.raises(InputError, match="no such level: 'L3'"):
        Normaliser(OPTICAL, {"L3": ([0] * 3, [1] * 3)})
