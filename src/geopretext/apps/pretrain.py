"""``geopretext pretrain``: a recipe, a store, a run folder; every field of the recipe is an option."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geopretext.apps.arguments import VerbParser
from geopretext.train.recipe import load_recipe, recipe_fields, recipe_patterns, recipe_to_plain
from geopretext.train.settings import Recipe

_EXAMPLE = """\
geopretext pretrain mp-mae-atto-56-8 --data tiles.zarr --out runs/first
geopretext pretrain mp-mae-atto-56-8 --data tiles.zarr --out runs/equal --epochs 100 --pretext.weighting equal
geopretext pretrain my-recipe.yaml --data data_100k_v001 --out runs/mine --devices 4 --precision bf16"""

_ABOUT = """\
Pretrain an encoder: RECIPE says how, --data on what; --out becomes a run folder with the bundle in it.

The same command on the same folder goes on where it stopped, to the same result as without the stop. Any field of
the recipe can be overridden; `geopretext pretrain RECIPE --help` shows the values of that recipe."""


def run(arguments: Sequence[str]) -> None:
    """Read the recipe, train, print where the bundle is."""
    shown = _recipe_to_show(arguments)
    parser = _parser(shown)
    options = vars(parser.parse_args(arguments))
    recipe = load_recipe(options["recipe"], options["fields"])
    # torch and Lightning load here, after everything that can be wrong on the command line
    from geopretext.train.run import pretrain

    result = pretrain(recipe, data=options["data"], out=options["out"], progress=not options["quiet"])
    if int(os.environ.get("LOCAL_RANK", "0")):  # one of several processes speaks
        return
    if options["json"]:
        plain = {**asdict(result), "bundle": str(result.bundle)}
        print(json.dumps(plain, indent=2, default=float))
        return
    print(result.bundle)
    print(f"{result.seconds:.0f} s, {result.tiles_per_second:,.0f} tiles/s", file=sys.stderr)


class _Override(argparse.Action):
    """Collects ``--FIELD VALUE`` under ``fields``; a hyphen in a name stands for an underscore."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        assert option_string is not None
        namespace.fields = {**namespace.fields, option_string[2:].replace("-", "_"): values}


def _parser(shown: Recipe | None) -> VerbParser:
    names = "\n".join(f"  {pattern}" for pattern in recipe_patterns())
    parser = VerbParser(
        "pretrain",
        about=f"{_ABOUT}\n\nrecipes, [-part] or not, (one|other):\n{names}",
        example=_EXAMPLE,
        usage="geopretext pretrain RECIPE --data STORE --out RUN [--FIELD VALUE ...]",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="one of the recipes above, or a YAML file")
    parser.add_argument("--data", required=True, metavar="STORE", help="tile store, or an official MMEarth directory")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder; resumed if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--json", action="store_true", help="print bundle, metrics and rates as JSON")
    parser.set_defaults(fields={})
    title = f"fields of the recipe {shown.name}, with its values" if shown else "fields of every recipe"
    group = parser.add_argument_group(title)
    values = _flat(recipe_to_plain(shown)) if shown else {}
    for field in recipe_fields():
        here = f" [{_plain(values[field.name])}]" if field.name in values else ""
        about = f"{field.text} ({field.wants}){here}".replace("%", "%%")
        _add_override(group, field.name, about)
        if "_" in field.name:
            _add_override(group, field.name.replace("_", "-"), argparse.SUPPRESS)
    return parser


def _add_override(group: Any, name: str, about: str) -> None:
    group.add_argument(
        f"--{name}", action=_Override, dest="fields", default=argparse.SUPPRESS, metavar="VALUE", help=about
    )


def _recipe_to_show(arguments: Sequence[str]) -> Recipe | None:
    """The recipe whose values ``--help`` is to show, if help is asked for and a recipe is named."""
    if not arguments or arguments[0].startswith("-") or not {"-h", "--help"} & set(arguments):
        return None
    return load_recipe(arguments[0], {})


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names; mappings that are values themselves stay whole as well."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat[prefix + name] = value
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
    return flat


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return ", ".join(str(name) for name in value)
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
