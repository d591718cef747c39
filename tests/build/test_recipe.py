import json

import pytest

from geopretext.build.recipe import load_build_recipe, read_build_recipe
from geopretext.errors import InputError, RecipeError

PLAIN = {
    "name": "mine",
    "tile_size": 32,
    "archives": {"a": {"kind": "stac", "url": "http://127.0.0.1"}, "b": {"kind": "rasters"}},
    "modalities": {
        "sentinel2": {
            "from": ["a", "b"],
            "pair": {"rule": "reference", "max_cloud": 20},
            "bands": {"B4": "red", "B2": "blue"},
        },
        "sentinel2_scl": {"from": "a", "pair": {"rule": "same", "to": "sentinel2"}},
        "aster": {"from": "b", "required": True, "resampling": "cubic"},
        "lat": {"derive": "lat"},
    },
}


def changed(**changes) -> dict:
    plain = json.loads(json.dumps(PLAIN))
    for dotted, value in changes.items():
        *keys, last = dotted.split("__")
        inner = plain
        for key in keys:
            inner = inner[key]
        inner[last] = value
    return plain


def test_a_recipe_says_where_everything_comes_from():
    recipe = read_build_recipe(PLAIN)
    optical = recipe.modalities["sentinel2"]
    assert optical.archives == ("a", "b")
    assert optical.modality.band_names == ("B2", "B4")  # in the modality's order, whatever the recipe's
    assert optical.options == {"bands": {"B4": "red", "B2": "blue"}}
    assert optical.pair.max_cloud == 20
    assert recipe.reference is optical
    assert recipe.modalities["sentinel2_scl"].resampling == "nearest"
    assert (recipe.modalities["aster"].resampling, recipe.modalities["aster"].required) == ("cubic", True)
    assert recipe.plain == PLAIN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile_sise": 3}, "no key 'tile_sise'.*did you mean tile_size"),
        ({"tile_size": 0}, "tile_size 0"),
        ({"modalities__sentinel3": {"from": "a"}}, "no such modality.*did you mean sentinel2|sentinel1"),
        ({"modalities__aster__from": "c"}, "aster.*from is 'c'.*a, b"),
        ({"modalities__aster__pair": {"rule": "nearby"}}, "aster.*pair.rule is 'nearby'.*nearest"),
        ({"modalities__aster__pair": {"rule": "reference"}}, "2 modalities with the rule 'reference'"),
        ({"modalities__sentinel2__pair": {"rule": "static"}}, "0 modalities with the rule 'reference'"),
        ({"modalities__sentinel2__pair__start": "soon"}, "start is 'soon'"),
        ({"modalities__sentinel2__pair__start": "2022-01-01"}, "start 2022-01-01 is not before stop 2021-01-01"),
        ({"modalities__sentinel2__pair__max_cloud": 140}, "max_cloud is 140.*between 0 and 100"),
        ({"modalities__sentinel2__pair__min_clear": 0.9}, "min_clear needs clear_by"),
        ({"modalities__sentinel2_scl__pair__to": "sentinel9"}, "to names 'sentinel9'"),
        ({"modalities__sentinel2_scl__pair": {"rule": "same"}}, "rule 'same' and field 'to' go together"),
        ({"modalities__sentinel2_scl__pair__to": "lat"}, "to names 'lat', which is not read"),
        ({"modalities__sentinel2_scl__pair__to": "sentinel2_scl"}, "to names 'sentinel2_scl', which is not read"),
        ({"modalities__sentinel2__pair__clear_by": "aster"}, "clear_by names 'aster', which is not of the same item"),
        ({"modalities__sentinel2_scl__resampling": "bilinear"}, "values are classes"),
        ({"modalities__lat": {"derive": "weather"}}, "cannot derive 'weather'"),
        ({"modalities__sentinel2__bands__B99": "x"}, "no band 'B99'"),
        ({"archives__a": {"url": "x"}}, "archive 'a'.*has no kind"),
        ({"archives": [1]}, "archives is"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_build_recipe(changed(**changes))


def test_keys_are_overridden_by_their_dotted_names(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(PLAIN))
    recipe = load_build_recipe(file, {"archives.a.url": "http://x", "modalities.aster": None, "seed": 3})
    assert recipe.archives["a"]["url"] == "http://x"
    assert list(recipe.modalities) == ["sentinel2", "sentinel2_scl", "lat"]
    assert recipe.seed == 3
    assert recipe.plain["seed"] == 3


def test_files_that_are_no_recipe_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="no recipe or file 'nowhere'"):
        load_build_recipe("nowhere")
    for text, message in (("{", "is not YAML"), ("- 1", "not a mapping"), ("!!python/object:os.system {}", "not YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_build_recipe(tmp_path / "bad.yaml")


def test_days_may_be_written_without_quotes(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "archives: {a: {kind: synthetic}}\n"
        "modalities: {sentinel2: {from: a, pair: {rule: reference, start: 2018-01-01, stop: 2019-01-01}}}\n"
    )
    assert load_build_recipe(tmp_path / "r.yaml").reference.pair.stop == "2019-01-01"
