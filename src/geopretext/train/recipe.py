"""Recipes by name, from YAML, with overrides; no torch.

A file of ``train/recipes`` holds a family: a ``base`` recipe, and ``variants`` that change a few fields each. The
family's ``name`` says how the parts of a recipe's name follow each other; a variant called ``default`` adds nothing to
it. So ``mp-mae-rgb-atto-56-8`` is the base of ``mp-mae.yaml`` with targets ``rgb``, size ``atto``, geometry ``56-8``
and the default weighting. What is loaded is always complete: ``recipe_to_plain`` shows it, and every run records it.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from geopretext.data.fields import SettingsField, describe_settings, nested_settings, read_settings
from geopretext.errors import RecipeError
from geopretext.train.settings import Recipe

__all__ = [
    "Recipe",
    "differing_fields",
    "load_recipe",
    "recipe_fields",
    "recipe_names",
    "recipe_patterns",
    "recipe_to_plain",
]

_DEFAULT = "default"


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that ship with geopretext."""
    return tuple(_shipped())


def recipe_patterns() -> tuple[str, ...]:
    """The names in short, a family at a time: ``mp-mae[-s2|-rgb]-(atto|tiny)``."""
    return tuple(map(_pattern, _families()))


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that ships with geopretext, or one from a YAML file.

    A file holds fields of ``Recipe``. Those that it leaves out are as in the recipe that it names as ``base``, or else
    have their defaults::

        base: mp-mae-atto-56-8
        batch_size: 256
        pretext:
          targets: {sentinel2: [B2, B3, B4], dynamic_world: null}

    The ``config.yaml`` of a run can be loaded, too.

    Args:
        name_or_path: a name of ``recipe_names()``, or a path.
        overrides: values by dotted field name (``encoder.size``); text, as from a command line, is read as the field's
            type.

    Raises:
        RecipeError: there is no such recipe, a field is unknown, or a value does not fit (the message names it).
    """
    name = str(name_or_path)
    if name in _shipped():
        plain, where = _shipped()[name], f"recipe {name!r}"
    elif Path(name).is_file():
        plain, where = _read_file(Path(name)), name
    else:
        close = get_close_matches(name, recipe_names(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise RecipeError(
            f"no recipe or file {name!r}",
            hint=f"{hint}There are {'; '.join(recipe_patterns())}, and YAML files by path",
        )
    for dotted, value in (overrides or {}).items():
        plain = _merge(plain, _nest(dotted, value))
    return read_settings(Recipe, plain, where=where)


def recipe_fields(recipe: Recipe | None = None) -> tuple[SettingsField, ...]:
    """All fields that overrides can change, with dotted names and their docstrings, for ``--help``.

    Args:
        recipe: whose method and family of encoders have the fields; None: those of the default ones.
    """
    return tuple(describe_settings(Recipe, plain=None if recipe is None else recipe_to_plain(recipe)))


def recipe_to_plain(recipe: Recipe) -> dict[str, Any]:
    """Every field, in plain types for YAML and JSON; ``load_recipe`` reads it back."""
    plain: dict[str, Any] = _listed(asdict(recipe))
    return plain


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The fields in which two plain recipes differ: dotted name -> (old, new)."""
    differing: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys((*old, *new)):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            differing |= differing_fields(a, b, f"{prefix}{name}.")
        elif a != b:
            differing[prefix + name] = (a, b)
    return differing


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    recipes: dict[str, dict[str, Any]] = {}
    for family in _families():
        for name, choice in _combinations(family):
            plain = family["base"]
            for group, variant in choice.items():
                plain = _merge(plain, family["variants"][group][variant] or {})
            recipes[name] = {**plain, "name": name}
    return recipes


@cache
def _families() -> tuple[dict[str, Any], ...]:
    folder = files("geopretext.train").joinpath("recipes")
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)


def _combinations(family: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every name of a family, and which variant of each group it stands for."""
    variants = family["variants"]
    for choice in itertools.product(*variants.values()):
        chosen = dict(zip(variants, choice, strict=True))
        parts = [chosen.get(part, part) for part in family["name"]]
        yield "-".join(part for part in parts if part != _DEFAULT), chosen


def _pattern(family: Mapping[str, Any]) -> str:
    """See ``recipe_patterns``."""
    pattern = ""
    for part in family["name"]:
        options = [option for option in family["variants"].get(part, [part]) if option != _DEFAULT]
        if _DEFAULT in family["variants"].get(part, []):
            pattern += "[-" + "|-".join(options) + "]"
        else:
            pattern += "-" + (options[0] if len(options) == 1 else f"({'|'.join(options)})")
    return pattern.removeprefix("-")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"is not YAML: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise RecipeError("is not a mapping of recipe fields", where=str(path), hint="for example `batch_size: 256`")
    if "recipe" in content:  # the config.yaml of a run
        return dict(content["recipe"])
    content = {"name": path.stem, **content}
    base = content.pop("base", None)
    if base is None:
        return content
    if base not in _shipped():
        raise RecipeError(f"base is {base!r}", where=str(path), hint=f"one of {', '.join(recipe_names())}")
    return _merge(_shipped()[base], content)


def _merge(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``plain`` with ``changes``: settings within settings are merged field by field, anything else is replaced.

    Where another family of encoders or another method is chosen, fields that it does not have are left out.
    """
    nested = nested_settings(Recipe)
    merged = {**plain, **changes}
    for name in nested & set(plain) & set(changes):
        if isinstance(plain[name], Mapping) and isinstance(changes[name], Mapping):
            merged[name] = {**plain[name], **changes[name]}
    before, after = Recipe.field_types(plain), Recipe.field_types(merged)
    for name in nested & set(merged):
        if before[name] is not after[name] and isinstance(merged[name], Mapping):
            known = {f.name for f in fields(after[name])}
            left = {key: value for key, value in plain.get(name, {}).items() if key in known and key != "family"}
            merged[name] = {**left, **changes.get(name, {})}
    return merged


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: {rest: value} if rest else value}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(entry) for key, entry in value.items()}
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value
