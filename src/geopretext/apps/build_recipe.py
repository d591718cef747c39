"""Words that the verbs of a build share: places, a recipe, and keys of the recipe to replace."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geopretext.apps.arguments import VerbParser
from geopretext.errors import MissingLibraryError

if TYPE_CHECKING:  # the geospatial libraries load when a verb runs
    from geopretext.build.places import Places
    from geopretext.build.recipe import BuildRecipe
    from geopretext.build.tiles import TileMaker

_KEYS = ("name", "tile_size", "ground_sampling_distance", "seed", "archives", "modalities", "define", "notes")


def add_recipe(parser: VerbParser) -> None:
    """Add PLACES and ``--recipe``."""
    parser.add_argument("places", metavar="PLACES", help="places.parquet of `geopretext places`")
    parser.add_argument("--recipe", required=True, help="a recipe that ships with geopretext, or a YAML file")


class ShowRecipe(argparse.Action):
    """Print a recipe that ships, and leave, as ``--help`` does: no other argument is needed."""

    def __call__(self, parser: argparse.ArgumentParser, _: argparse.Namespace, name: Any, *__: Any) -> None:
        """Raises ``RecipeError`` if none of this name ships."""
        from geopretext.build.recipe import build_recipe_text

        print(build_recipe_text(name), end="")
        parser.exit()


def parse_with_overrides(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The parser's own options, and the values of ``--KEY.KEY VALUE`` and ``--KEY.KEY=VALUE`` by dotted key.

    Overrides may stand anywhere; they are taken out first, so that no value of theirs is taken for PLACES.
    """
    import yaml

    own: list[str] = []
    overrides: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.partition("=")
        if not key.startswith("--") or key[2:].split(".")[0] not in _KEYS:
            own.append(word)
            continue
        if not equals:
            if not rest:
                parser.error(f"argument {key}: expected a value")
            text = rest.pop(0)
        try:
            overrides[key[2:]] = yaml.safe_load(text)
        except yaml.YAMLError:
            parser.error(f"argument {key}: {text!r} is not YAML")
    return parser.parse_args(own), overrides


def open_maker(options: argparse.Namespace, overrides: Mapping[str, Any]) -> "tuple[BuildRecipe, TileMaker, Places]":
    """The recipe, what makes tiles by it, and the places.

    Raises:
        RecipeError, InputError: recipe or places cannot be used.
        MissingLibraryError: the geospatial libraries are not installed.
    """
    try:
        from geopretext.build.places import read_places
        from geopretext.build.recipe import load_build_recipe
        from geopretext.build.tiles import TileMaker
    except ModuleNotFoundError as error:
        raise MissingLibraryError(str(error.name), extra="geo", purpose="build tiles") from error
    recipe = load_build_recipe(options.recipe, overrides)
    return recipe, TileMaker(recipe), read_places(options.places)
