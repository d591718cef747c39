"""What is typed about a scene reaches its source and the door."""

from argparse import Namespace

import pytest

from geopretext.apps.arguments import VerbParser
from geopretext.apps.scene_arguments import add_scene_arguments, also_source, door_options, scene_source
from geopretext.errors import InputError
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.scene_door import DoorOptions


def parser() -> VerbParser:
    made = VerbParser("embed", about="", example="")
    add_scene_arguments(made)
    return made


def test_nothing_typed_is_the_default() -> None:
    options = parser().parse_args([])
    assert scene_source(options, "a.tif") == SceneSource("a.tif")
    assert door_options(options) == DoorOptions()


def test_all_that_is_typed_arrives() -> None:
    line = "--bands B2,B3,- --unit reflectance --level L1C --date 2024-08-30 --keep-clouds --allow-no-crs"
    line += " --substitute B1=B2,B9=B8A --fill B10 --statistics bundle --strict"
    options = parser().parse_args(line.split())
    assert scene_source(options, "a.tif") == SceneSource(
        "a.tif",
        bands=("B2", "B3", "-"),
        unit="reflectance",
        level="L1C",
        date="2024-08-30",
        clouds="keep",
        allow_no_crs=True,
    )
    assert door_options(options) == DoorOptions(
        statistics="bundle", level="L1C", substitutes=(("B1", "B2"), ("B9", "B8A")), fill=("B10",), strict=True
    )


def test_a_bad_word_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["--substitute", "B1"])
    assert caught.value.code == 2
    assert "'B1' is not WANTED=GIVEN,..." in capsys.readouterr().err


def test_another_file_of_a_scene_is_told_apart_by_what_follows_its_name() -> None:
    options = Namespace(keep_clouds=False, allow_no_crs=True)
    source = also_source("S1.tif?bands=asc_VV,asc_VH&unit=dB", options)
    assert (source.path, source.bands, source.unit) == ("S1.tif", ("asc_VV", "asc_VH"), "dB")
    assert also_source("S1.tif", options).bands is None
    assert also_source("https://a.b/S1.tif?key=1", options).path == "https://a.b/S1.tif?key=1"
    with pytest.raises(InputError, match="--also says 'units=dB' of S1"):
        also_source("S1.tif?units=dB", options)
