"""Pretext methods by name; no torch.

Other packages add theirs by an entry point of the group ``geopretext.methods``, whose name is the method's and whose
value leads to a ``MethodEntry``::

    [project.entry-points."geopretext.methods"]
    my_method = "my_package.entry:METHOD"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from geopretext.errors import RecipeError

if TYPE_CHECKING:  # torch
    from geopretext.pretext.method import Method

GROUP = "geopretext.methods"
"""of entry points"""


@dataclass(frozen=True)
class MethodEntry:
    """Where the two classes of a method are, as ``module:class``."""

    settings: str
    """a frozen dataclass; its module imports no torch"""
    method: str
    """a ``pretext.method.Method``"""
    family: str | None = None
    """family of encoders that the method has for itself; None: any"""
    data: str | None = None
    """what opens its data, as ``module:function``, if these are no tiles: from a path to a
    ``data.sources.TrainingData``; the module may import torch"""


_OURS: dict[str, MethodEntry] = {
    "mp_mae": MethodEntry("geopretext.pretext.settings:MPMAESettings", "geopretext.pretext.mp_mae:MPMAE"),
    "softcon": MethodEntry("geopretext.pretext.softcon_settings:SoftConSettings", "geopretext.pretext.softcon:SoftCon"),
    "omnisat": MethodEntry(
        "geopretext.pretext.omnisat_settings:OmniSatPretextSettings",
        "geopretext.pretext.omnisat:OmniSatMethod",
        family="omnisat",
    ),
    "a2_mae": MethodEntry(
        "geopretext.pretext.a2_mae_settings:A2MAESettings", "geopretext.pretext.a2_mae:A2MAE", family="a2_mae"
    ),
    "ns_mae": MethodEntry("geopretext.pretext.ns_mae_settings:NSMAESettings", "geopretext.pretext.ns_mae:NSMAE"),
    "ns_mae_street": MethodEntry(
        "geopretext.nn.street_settings:StreetSettings",
        "geopretext.pretext.ns_mae_street:NSMAEStreet",
        data="geopretext.data.streets:open_streets",
    ),
}


def method_names() -> tuple[str, ...]:
    """Names of the methods that there are, those of other packages last."""
    return (*_OURS, *(name for name in _theirs() if name not in _OURS))


def find_method(name: str) -> MethodEntry:
    """Where a method is.

    Raises:
        RecipeError: there is none of that name, or a package that says to have it does not.
    """
    if name in _OURS:
        return _OURS[name]
    if name not in _theirs():
        raise RecipeError(f"method is {name!r}", hint=f"one of {', '.join(method_names())}")
    point = _theirs()[name]
    try:
        entry = point.load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"method {name!r} cannot be loaded: {error}", where=f"entry point {point.value}") from error
    if not isinstance(entry, MethodEntry):
        raise RecipeError(
            f"method {name!r} is a {type(entry).__name__}",
            where=f"entry point {point.value}",
            hint="a geopretext.pretext.methods.MethodEntry",
        )
    return entry


def method_settings(name: str) -> type[Any]:
    """The class of a method's settings.

    Raises:
        RecipeError: there is no such method.
    """
    found: type[Any] = _imported(find_method(name).settings)
    return found


def method_class(name: str) -> "type[Method]":
    """The class of a method.

    Raises:
        RecipeError: there is no such method.
    """
    found: type[Method] = _imported(find_method(name).method)
    return found


def open_own_data(name: str, path: Any) -> Any:
    """What a method trains on, if it is no tiles: a ``data.sources.TrainingData``; None if it is tiles.

    Args:
        name: of the method.
        path: of the data.

    Raises:
        RecipeError: there is no such method.
        StoreError, CorruptError, InputError: the data are not what it opens.
    """
    place = find_method(name).data
    return None if place is None else _imported(place)(path)


@cache
def _theirs() -> Mapping[str, Any]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
