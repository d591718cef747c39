"""Bands are matched by name, replaced only by declaration, and the report says which."""

import pytest

from geopretext.errors import BandError
from geopretext.predict.band_matching import match_bands

GIVEN = ("B2", "B3", "B4", "B8A", "TCI_R")


def test_names_decide_and_not_positions() -> None:
    match = match_bands(("B4", "B2"), GIVEN)
    assert match.sources == ("B4", "B2")
    assert match.unused == ("B3", "B8A", "TCI_R")
    assert match.to_dict() == {"matched": ["B4", "B2"], "substituted": {}, "filled": [], "unused": list(match.unused)}


def test_declared_substitutes_and_fillings_are_on_record() -> None:
    match = match_bands(("B1", "B2", "B9", "B10"), GIVEN, substitutes={"B1": "B2", "B9": "B8A"}, fill=["B10"])
    assert match.sources == ("B2", "B2", "B8A", None)
    assert (match.real, match.substituted, match.filled) == (("B2",), {"B1": "B2", "B9": "B8A"}, ("B10",))


def test_what_is_there_needs_no_substitute() -> None:
    match = match_bands(("B2", "B3"), GIVEN, substitutes={"B2": "B3"}, fill=["B3"])
    assert match.sources == ("B2", "B3")
    assert match.notes == ("B2", "B3")


def test_a_missing_band_says_how_to_go_on() -> None:
    with pytest.raises(BandError, match="wants band B1, B9, which the images lack; they have B2, B3") as caught:
        match_bands(("B1", "B2", "B9"), GIVEN, where="images")
    assert caught.value.where == "images"
    assert "--substitute B1=B2" in caught.value.hint
    assert "--fill B1,B9" in caught.value.hint
    assert "encoder.bands: [B2]" in caught.value.hint


def test_declarations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BandError, match="band 'B7', declared in the place of 'B1', is not there"):
        match_bands(("B1", "B2"), GIVEN, substitutes={"B1": "B7"})
    with pytest.raises(BandError, match="every band of the encoder would be filled"):
        match_bands(("B1", "B9"), GIVEN, fill=["B1", "B9"])
