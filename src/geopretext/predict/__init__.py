"""Use of a trained bundle: features of tiles and images, reconstructions, embeddings of scenes, maps and neighbours.

What may live here: inference on bounded memory, and the pictures of it. No training and no scores. Imports ``nn``,
``data``, ``modality`` and ``errors``.

``embed`` and ``reconstruct_scene`` are loaded when they are first asked for, so that importing the package costs
nothing.
"""

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from geopretext.data.projections import settle_projections
from geopretext.errors import MissingLibraryError

if TYPE_CHECKING:
    from geopretext.predict.cube_embeddings import embed
    from geopretext.predict.scene_reconstruction import reconstruct_scene

__all__ = ["embed", "reconstruct_scene"]

_MODULES = {"embed": "cube_embeddings", "reconstruct_scene": "scene_reconstruction"}

if "xarray" in sys.modules:  # whoever opens a cube next would load cfgrib's PROJ before ours
    with suppress(MissingLibraryError):
        settle_projections()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"geopretext.predict.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
