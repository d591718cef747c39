"""What tokens are told, against closed forms."""

import math
from datetime import date

import pytest
import torch
from torch import Tensor

from geopretext.modality import Acquisition, Observed
from geopretext.nn.footprints import TokenGrid
from geopretext.nn.geographic_encoding import (
    OCTAVES,
    GeographicEncoding,
    date_features,
    encode_positions,
    forget,
    place_features,
)


def known(*numbers: float) -> Observed[Tensor]:
    return Observed(torch.tensor(numbers), torch.ones(len(numbers), dtype=torch.bool))


def acquisition() -> Acquisition[Tensor]:
    return Acquisition(known(47.0, -10.0), known(8.0, 170.0), known(18_500.0, 19_000.25), 10.0)


def test_positions_are_scale_maes() -> None:
    dim, pixels, distance = 8, 4, 20.0
    found = encode_positions(TokenGrid(3, 2, pixels * distance), dim, pixels=pixels)
    for row in range(3):
        for column in range(2):
            wanted = []
            for index in (row, column):
                angles = [distance * (index + 0.5) / 10_000 ** (i / 2) for i in range(2)]
                wanted += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            assert found[row * 2 + column].tolist() == pytest.approx(wanted, abs=1e-6)


def test_positions_without_scale_count_rows_and_columns() -> None:
    one = encode_positions(TokenGrid(2, 2, 40.0), 8, pixels=4, scaled=False)
    other = encode_positions(TokenGrid(2, 2, 240.0), 8, pixels=4, scaled=False)
    assert torch.equal(one, other)
    assert one[3, 0].item() == pytest.approx(math.sin(1.5))
    assert not torch.allclose(one, encode_positions(TokenGrid(2, 2, 40.0), 8, pixels=4))


def test_tokens_over_the_same_ground_are_at_the_same_place() -> None:
    # the middle one of 3 x 3 tokens of 40 m, and the only one of 120 m
    fine = encode_positions(TokenGrid(3, 3, 40.0), 16, pixels=4)[4]
    coarse = encode_positions(TokenGrid(1, 1, 120.0), 16, pixels=4)[0]
    torch.testing.assert_close(fine, coarse)


def test_places() -> None:
    found = place_features(torch.tensor([47.0]), torch.tensor([8.0]))[0]
    assert found.shape == (4 * OCTAVES,)
    wanted = []
    for angle in (math.radians(47.0), math.radians(8.0)):
        wanted += [math.sin(2**i * angle) for i in range(OCTAVES)] + [math.cos(2**i * angle) for i in range(OCTAVES)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)
    date_line = place_features(torch.tensor([5.0, 5.0]), torch.tensor([-180.0, 180.0]))
    torch.testing.assert_close(date_line[0], date_line[1], atol=1e-4, rtol=0)


def test_dates() -> None:
    days = [(date(*at) - date(1970, 1, 1)).days for at in ((2020, 1, 1), (2020, 7, 1), (2030, 1, 1))]
    (sine, cosine, decade), summer, later = date_features(torch.tensor(days, dtype=torch.float32)).tolist()
    assert (sine, cosine) == pytest.approx((0, 1), abs=0.02)
    assert decade == pytest.approx(0, abs=1e-3)
    assert summer[1] == pytest.approx(-1, abs=0.02)
    assert later[2] == pytest.approx(1, abs=1e-3)


def test_encoding_is_a_sum_of_linear_maps() -> None:
    torch.manual_seed(0)
    encoding, where = GeographicEncoding(8), acquisition()
    found = encoding(60.0, where, 2)
    for tile in range(2):
        lat, lon, day = (part.values[tile : tile + 1] for part in (where.lat, where.lon, where.day))
        wanted = (
            encoding.place.weight @ place_features(lat, lon)[0]
            + encoding.date.weight @ date_features(day)[0]
            + encoding.distance.weight[:, 0] * math.log(6.0)
        )
        torch.testing.assert_close(found[tile], wanted)


def test_what_is_unknown_or_forgotten_is_a_learned_vector() -> None:
    torch.manual_seed(0)
    encoding = GeographicEncoding(8)
    torch.nn.init.normal_(encoding.unknown_place)
    torch.nn.init.normal_(encoding.unknown_date)
    nothing = encoding(10.0, None, 2)
    both = torch.tensor([True, True])
    torch.testing.assert_close(encoding(10.0, forget(acquisition(), places=both, dates=both), 2), nothing)
    some = forget(acquisition(), places=torch.tensor([True, False]), dates=torch.tensor([False, True]))
    found, told = encoding(10.0, some, 2), encoding(10.0, acquisition(), 2)
    place = encoding.place(place_features(acquisition().lat.values, acquisition().lon.values))
    when = encoding.date(date_features(acquisition().day.values))
    torch.testing.assert_close(found[0], told[0] - place[0] + encoding.unknown_place)
    torch.testing.assert_close(found[1], told[1] - when[1] + encoding.unknown_date)
    no_longitude = acquisition()
    no_longitude.lon.valid[0] = False
    torch.testing.assert_close(encoding(10.0, no_longitude, 2)[0], found[0])
