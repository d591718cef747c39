import math

import pytest
import torch

from geopretext.data.normalise import Normaliser, decode
from geopretext.errors import BandError, InputError
from geopretext.modality import PUBLISHED, Band, Kind, Modality
from geopretext.nn.bundle import Encoder
from geopretext.nn.standardise import Standardise, scale_of, standardiser


@pytest.mark.parametrize("level", ["L1C", "L2A", None])
def test_it_does_what_training_does_to_its_input(make_encoder, level):
    encoder = make_encoder()
    raw = torch.randint(1, 9000, (2, 3, 8, 8), dtype=torch.uint16)
    raw[:, :, 0, :3] = torch.tensor([0, 65535, 40000], dtype=torch.uint16)
    normaliser = Normaliser(encoder.modality, encoder.statistics)
    levels = None if level is None else torch.full((2,), encoder.modality.levels.index(level))
    expected = normaliser(decode(raw, encoder.modality), levels).values
    given = standardiser(encoder, level)(raw.float())
    torch.testing.assert_close(given, expected)
    assert (given[:, :, 0, :3] == 0).all()
    assert (given[:, :, 1:] != 0).all()


def test_what_is_not_a_number_is_missing_and_one_image_is_enough(make_encoder):
    image = torch.full((3, 2, 2), 1500.0)
    image[1, 0, 0] = math.nan
    image[2, 1, 1] = math.inf
    given = standardiser(make_encoder())(image)
    assert given.shape == (3, 2, 2)
    assert given[1, 0, 0] == given[2, 1, 1] == 0
    assert torch.isfinite(given).all()


def test_missing_values_and_valid_ranges_are_each_heeded():
    bands = (Band("a"), Band("b", valid_min=10, valid_max=20))
    modality = Modality("own", Kind.CONTINUOUS_MAP, bands, "int16", missing=(-5, 7))
    image = torch.tensor([[[-5.0, 7.0, 3.0]], [[9.0, 21.0, 12.0]]])
    given = Standardise(modality, (1.0, 10.0), (2.0, 4.0))(image)
    assert given.tolist() == [[[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.5]]]


def test_the_level_is_chosen_or_follows(make_encoder):
    assert scale_of(make_encoder(), None)[0] == "all"
    assert scale_of(make_encoder(levels=("L2A",)), None)[0] == "L2A"
    level, mean, std = scale_of(make_encoder(), "L2A")
    assert (level, mean, std) == ("L2A", (1100.0, 1110.0, 1120.0), (320.0, 321.0, 322.0))


def test_a_band_without_statistics_passes_and_a_level_without_any_is_absent(make_encoder):
    encoder = make_encoder()
    nothing = (math.nan,) * 3
    encoder.statistics = {"L1C": (nothing, nothing), "L2A": ((1.0, math.nan, 3.0), (2.0, math.nan, 0.0))}
    assert scale_of(encoder, None) == ("L2A", (1.0, 0.0, 3.0), (2.0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"(?s)no statistics of level 'L1C'.*hint: there are some of L2A"):
        scale_of(encoder, "L1C")


def test_levels_that_are_not_there_are_named(make_encoder):
    with pytest.raises(InputError, match=r"(?s)no statistics of level 'L3'.*hint: there are some of L1C, L2A, all"):
        scale_of(make_encoder(), "L3")
    with pytest.raises(InputError, match=r"(?s)there are statistics of L1C, L2A.*hint: choose one .*--level"):
        scale_of(make_encoder(levels=("L1C", "L2A")), None)
    bare = Encoder(make_encoder().network, PUBLISHED["sentinel2"].select(("B2", "B8A", "B11")))
    with pytest.raises(InputError, match=r"(?s)no statistics of its input\nhint: "):
        scale_of(bare, None)


def test_another_number_of_bands_is_refused_instead_of_spread(make_encoder):
    for shape in ((2, 1, 8, 8), (8, 8)):
        with pytest.raises(BandError, match="cannot standardise an array of shape") as caught:
            standardiser(make_encoder(), "L2A")(torch.ones(shape))
        assert "with the bands" in caught.value.hint
