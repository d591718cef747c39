"""``geopretext pretrain``: a recipe, a store, a run folder; every field of the recipe is an option."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from geopretext.apps.arguments import VerbParser
from geopretext.apps.overrides import add_overrides
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


_CHOOSE_FIELDS = ("method", "encoder.family")


def run(arguments: Sequence[str]) -> None:
    """Read the recipe, train, print where the bundle is."""
    parser = _parser(_recipe_of(arguments), show=bool({"-h", "--help"} & set(arguments)))
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


def _parser(recipe: Recipe | None, *, show: bool) -> VerbParser:
    names = "\n".join(f"  {pattern}" for pattern in recipe_patterns())
    parser = VerbParser(
        "pretrain",
        about=f"{_ABOUT}\n\nrecipes, [-part] or not, (one|other):\n{names}",
        example=_EXAMPLE,
        usage="geopretext pretrain RECIPE --data STORE --out RUN [--FIELD VALUE ...]",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="one of the recipes above, or a YAML file")
    parser.add_argument(
        "--data",
        required=True,
        metavar="STORE",
        help="tile store, official MMEarth directory, or what the method has of its own",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder; resumed if it exists")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--json", action="store_true", help="print bundle, metrics and rates as JSON")
    title = f"fields of the recipe {recipe.name}, with its values" if recipe else "fields of every recipe"
    add_overrides(parser, title, recipe_fields(recipe), recipe_to_plain(recipe) if recipe and show else {})
    return parser


def _recipe_of(arguments: Sequence[str]) -> Recipe | None:
    """The recipe that is named, with the method and the family of encoders that options choose.

    These decide which fields there are. None if no recipe is named, as in a plain ``--help``.
    """
    if not arguments or arguments[0].startswith("-"):
        return None
    chosen = {}
    for before, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = before.removeprefix("--").partition("=")
        if before.startswith("--") and name in _CHOOSE_FIELDS:
            chosen[name] = value if equals else after
    return load_recipe(arguments[0], chosen)
