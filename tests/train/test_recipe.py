import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from geopretext.errors import RecipeError
from geopretext.modality import PRETEXT
from geopretext.nn.settings import SENTINEL2_BANDS
from geopretext.train.recipe import (
    Recipe,
    differing_fields,
    load_recipe,
    recipe_fields,
    recipe_names,
    recipe_patterns,
    recipe_to_plain,
)


def test_all_published_variants_ship() -> None:
    published = {
        f"mp-mae{targets}-{size}-{geometry}{weighting}{fidelity}"
        for targets in ("", "-s2", "-img-mod", "-pix-mod", "-rgb")
        for size in ("atto", "tiny")
        for geometry in ("56-8", "112-16")
        for weighting in ("", "-unweighted")
        for fidelity in ("", "-official")
    }
    of_timm = {
        f"mp-mae-{backbone}-{geometry}"
        for backbone in ("vit-small", "vit-base", "swin-tiny", "swinv2-tiny", "resnet50")
        for geometry in ("56-8", "112-16")
    }
    fused = {f"mp-mae-fused-{size}-{geometry}" for size in ("atto", "tiny") for geometry in ("56-8", "112-16")}
    demos = {f"mp-mae{name}-demo" for name in ("", "-vit", "-swin", "-resnet", "-fused")} | {"s2-mae-demo"}
    found = {name for name in recipe_names() if load_recipe(name).method == "mp_mae"}
    assert found == published | of_timm | fused | demos


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_sound(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(name, recipe_to_plain(recipe)) == recipe
    if recipe.method == "mp_mae":
        assert set(recipe.pretext.targets) <= {modality.name for modality in PRETEXT}


def test_variants_are_what_their_names_say() -> None:
    full = load_recipe("mp-mae-atto-56-8")
    assert list(full.pretext.targets) == [modality.name for modality in PRETEXT]
    assert full.pretext.targets["sentinel2"] == SENTINEL2_BANDS
    assert (full.batch_size, full.epochs, full.warmup_epochs, full.learning_rate) == (4096, 200, 40, 2.4e-3)
    assert full.pretext.weighting == "uncertainty"
    rgb = load_recipe("mp-mae-rgb-tiny-112-16-unweighted")
    assert rgb.encoder.bands == rgb.pretext.targets["sentinel2"] == ("B2", "B3", "B4")
    assert len(rgb.pretext.targets) == 12
    assert (rgb.encoder.size, rgb.encoder.image_size, rgb.encoder.patch_size) == ("tiny", 112, 16)
    assert rgb.pretext.weighting == "equal"
    for part, wanted in (("img-mod", False), ("pix-mod", True)):
        targets = load_recipe(f"mp-mae-{part}-atto-56-8").pretext.targets
        assert set(targets) == {m.name for m in PRETEXT if m.kind.is_map is wanted}
    assert list(load_recipe("mp-mae-s2-atto-56-8").pretext.targets) == ["sentinel2"]


def test_patterns_stand_for_all_names() -> None:
    regular = [re.sub(r"\[([^]]*)\]", r"(\1)?", pattern) for pattern in recipe_patterns()]
    for name in recipe_names():
        assert sum(bool(re.fullmatch(expression, name)) for expression in regular) == 1, name


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.endswith("-official")])
def test_official_recipes_differ_from_their_twins_in_these_fields_only(name: str) -> None:
    twin, official = (recipe_to_plain(load_recipe(n)) for n in (name.removesuffix("-official"), name))
    assert differing_fields(twin, official) == {
        "name": (name.removesuffix("-official"), name),
        "encoder.grn_scope": ("sample", "batch"),
        "encoder.initialisation": ("small", "published"),
        "pretext.missing_targets": ("ignored", "zero"),
        "pretext.denominator": ("valid", "nonzero"),
        "pretext.decoder_grn_epsilon": (1e-6, 1e-4),
        "weight_decay_on": ("kernels", "matrices"),
        "accumulate": (1, 16),
    }


def test_every_departure_of_the_preset_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text(encoding="utf-8")
    twin, official = (recipe_to_plain(load_recipe(f"mp-mae-atto-56-8{suffix}")) for suffix in ("", "-official"))
    for field, (default, published) in differing_fields(twin, official).items():
        if field != "name":
            row = next(line for line in text.splitlines() if f"`{field}`" in line and line.startswith("|"))
            _, _, ours, official_cell, *_ = row.split("|")
            assert re.search(rf"(?<![\w.]){re.escape(str(default))}(?![\w.])", ours)
            assert re.search(rf"(?<![\w.]){re.escape(str(published))}(?![\w.])", official_cell)


def test_official_recipes_have_the_published_optimisation() -> None:
    recipe = load_recipe("mp-mae-atto-56-8-official")
    assert (recipe.batch_size, recipe.batch_size // recipe.accumulate) == (4096, 256)
    assert (recipe.epochs, recipe.warmup_epochs) == (200, 40)
    assert (recipe.base_learning_rate, recipe.learning_rate) == (1.5e-4, 2.4e-3)
    assert (recipe.weight_decay, recipe.betas, recipe.clip_norm) == (0.05, (0.9, 0.95), None)
    assert (recipe.precision, recipe.random_crop, recipe.encoder.drop_path) == ("fp32", True, 0)
    assert recipe.encoder.bands.index("B8A") == recipe.encoder.bands.index("B8") - 1 == 7
    assert (recipe.pretext.mask_ratio, recipe.pretext.decoder, recipe.pretext.predict_visible) == (0.6, "shared", False)


def test_the_demo_recipes_differ_in_targets_only() -> None:
    one, other = (recipe_to_plain(load_recipe(name)) for name in ("mp-mae-demo", "s2-mae-demo"))
    differing = set(differing_fields(one, other))
    assert {name for name in differing if not name.startswith("pretext.targets.")} == {"name"}


def test_recipes_need_no_torch() -> None:
    load = "from geopretext.train.recipe import load_recipe; load_recipe('mp-mae-demo')"
    code = f"import sys; {load}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load_recipe("mp-mae-demo").seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("batch_size", "256", 256),
        ("base_learning_rate", "1e-3", 1e-3),
        ("max_steps", "null", None),
        ("max_steps", "50", 50),
        ("clip_norm", "none", None),
        ("random_crop", "false", False),
        ("betas", "0.9,0.99", (0.9, 0.99)),
        ("encoder.bands", "B2, B3, B4", ("B2", "B3", "B4")),
        ("encoder.bands", "[B4]", ("B4",)),
        ("pretext.targets", "sentinel2,aster", {"sentinel2": None, "aster": None}),
        ("pretext.targets", "{sentinel2: [B2], aster: null}", {"sentinel2": ("B2",), "aster": None}),
        ("precision", "bf16", "bf16"),
    ],
)
def test_text_is_read_as_the_type_of_the_field(field: str, text: str, value: object) -> None:
    found: object = load_recipe("mp-mae-atto-56-8", {field: text})
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_overriding_one_field_of_settings_leaves_the_others() -> None:
    recipe = load_recipe("mp-mae-rgb-atto-56-8", {"encoder.size": "tiny", "pretext.mask_ratio": 0.75})
    assert recipe.encoder.size == "tiny"
    assert recipe.encoder.bands == ("B2", "B3", "B4")
    assert recipe.pretext.mask_ratio == 0.75
    assert len(recipe.pretext.targets) == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batchsize": "1"}, r"recipe 'mp-mae-demo': no field batchsize\nhint: did you mean batch_size"),
        ({"encoder.sise": "tiny"}, r"no field encoder.sise\nhint: did you mean encoder.size"),
        ({"qqq": 1}, r"no field qqq\nhint: one of name, method"),
        ({"batch_size": "many"}, r"recipe 'mp-mae-demo': batch_size is 'many'\nhint: it is a whole number"),
        ({"batch_size": 2.5}, r"batch_size is 2.5\nhint: it is a whole number"),
        ({"batch_size": True}, r"batch_size is True"),
        ({"random_crop": "perhaps"}, r"random_crop is 'perhaps'\nhint: it is true or false"),
        ({"betas": "0.9"}, r"betas is '0.9'\nhint: it is a list of 2 numbers"),
        ({"precision": "fp8"}, r"precision is 'fp8'\nhint: it is one of fp32, bf16"),
        ({"pretext.targets": "{a: ["}, r"pretext.targets is '\{a: \['\nhint: it is names, or a mapping"),
        ({"accelerator": "abacus"}, r"accelerator is 'abacus'\nhint: it is one of auto, cpu, gpu, mps"),
        ({"encoder": "tiny"}, r"encoder is 'tiny'\nhint: it is a mapping of fields"),
        ({"encoder.size": "mini"}, r"recipe 'mp-mae-demo': encoder.size is 'mini'\nhint: one of micro"),
        ({"encoder.bands": "B2,B42"}, r"modality 'sentinel2': no band 'B42'"),
        ({"batch_size": 0}, r"batch_size is 0\nhint: at least 1"),
        ({"epochs": 0}, r"epochs is 0"),
        ({"base_learning_rate": 0}, r"base_learning_rate is 0.0\nhint: above 0"),
        ({"base_learning_rate": "nan"}, r"base_learning_rate is nan"),
        ({"clip_norm": -1}, r"clip_norm is -1"),
        ({"betas": [0.9, 1]}, r"betas are \(0.9, 1.0\)"),
        ({"weight_decay": -0.1}, r"weight_decay is -0.1\nhint: at least 0"),
        (
            {"devices": 3},
            r"batch_size 16 cannot be shared evenly by accumulate 1 x devices 3 x nodes 1\nhint: a multiple of 3",
        ),
        ({"weight_decay_on": "all"}, r"weight_decay_on is 'all'\nhint: it is one of kernels, matrices"),
        ({"keep_every_steps": 150}, r"keep_every_steps 150 is not a multiple of checkpoint_every_steps 400"),
    ],
)
def test_what_does_not_fit_names_field_and_value(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe("mp-mae-demo", overrides)


def test_an_unknown_recipe_names_those_that_are_near_and_all_that_there_are() -> None:
    with pytest.raises(RecipeError, match="no recipe or file 'mp-mae-ato-56-8'") as error:
        load_recipe("mp-mae-ato-56-8")
    assert "did you mean mp-mae-atto-56-8" in error.value.hint
    assert "mp-mae[-s2|-img-mod|-pix-mod|-rgb]-(atto|tiny)-(56-8|112-16)[-unweighted][-official]" in error.value.hint
    assert "(mp-mae|s2-mae)-demo" in error.value.hint


def test_a_file_may_build_on_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: mp-mae-atto-56-8\nbatch_size: 128\nencoder: {size: femto}\npretext: {targets: {aster: null}}\n"
    )
    recipe = load_recipe(path, {"seed": "7"})
    assert (recipe.name, recipe.batch_size, recipe.seed) == ("mine", 128, 7)
    assert (recipe.encoder.size, recipe.encoder.bands) == ("femto", SENTINEL2_BANDS)
    assert recipe.pretext.targets == {"aster": None}
    assert recipe.pretext.mask_ratio == 0.6
    path.write_text("batch_size: 128")
    assert load_recipe(path) == Recipe(name="mine", batch_size=128)
    path.write_text(yaml.safe_dump({"geopretext": "0.1", "data": {}, "recipe": recipe_to_plain(recipe)}))
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "mine.yaml: is not YAML"),
        ("- 1", "mine.yaml: is not a mapping of recipe fields"),
        ("base: nothing", "mine.yaml: base is 'nothing'\nhint: one of .*mp-mae-demo"),
        ("batchsize: 3", "mine.yaml: no field batchsize\nhint: did you mean batch_size"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_every_field_is_described() -> None:
    described = {field.name: field for field in recipe_fields()}
    assert {"batch_size", "encoder.size", "pretext.targets"} <= set(described)
    assert all(field.text and field.wants for field in described.values())
    assert "256" in described["base_learning_rate"].text


def test_differing_fields_are_dotted() -> None:
    one = recipe_to_plain(load_recipe("mp-mae-demo"))
    other = recipe_to_plain(load_recipe("mp-mae-demo", {"encoder.size": "atto", "seed": 3}))
    assert differing_fields(one, other) == {"encoder.size": ("micro", "atto"), "seed": (0, 3)}
