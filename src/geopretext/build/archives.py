"""The kinds of archives, and how a recipe's entry becomes a source."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from geopretext.build.recipe import BuildRecipe, ModalityRecipe
from geopretext.build.source import Source
from geopretext.errors import RecipeError

KINDS = ("stac", "rasters", "climate", "earthengine", "synthetic")
"""Kinds of archives: each is a module of this package with a function ``open_source``."""


class ArchiveModule(Protocol):
    """What the module of a kind of archive offers."""

    def open_source(self, entry: ModalityRecipe, archive: Mapping[str, Any], *, seed: int, where: str) -> Source:
        """The source of one modality; nothing is asked of the archive yet.

        Args:
            entry: the modality, its rule, resampling, and the options that are this kind's own.
            archive: options of the archive, ``kind`` among them.
            seed: of the recipe.
            where: for messages.

        Raises:
            RecipeError: an option is unknown, missing or does not fit.
        """


def open_sources(recipe: BuildRecipe) -> dict[str, tuple[Source, ...]]:
    """The sources of every modality that is not derived, by its name, in the order of its archives.

    Raises:
        RecipeError: there is no such kind of archive, or an option does not fit.
        MissingLibraryError: a library of that kind is not installed.
    """
    return {
        name: tuple(
            _open(entry, recipe.archives[archive], recipe.seed, f"{recipe.name}, {name} from {archive}")
            for archive in entry.archives
        )
        for name, entry in recipe.modalities.items()
        if entry.archives
    }


def _open(entry: ModalityRecipe, archive: Mapping[str, Any], seed: int, where: str) -> Source:
    if archive["kind"] not in KINDS:
        raise RecipeError(
            f"there is no kind of archive {archive['kind']!r}", where=where, hint=f"one of {', '.join(KINDS)}"
        )
    module = cast("ArchiveModule", import_module(f"geopretext.build.{archive['kind']}"))
    return module.open_source(entry, archive, seed=seed, where=where)
