"""Families of encoders by name: their settings, free of torch, and their networks.

A class of settings is a frozen dataclass with the fields and properties of ``nn.network.NetworkSettings``; its field
``family`` is the name under which it stands here. Bundles and recipes tell families apart by that field; one that does
not say it is of the first family.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from geopretext.errors import RecipeError

if TYPE_CHECKING:  # torch
    from geopretext.nn.network import EncoderNetwork, NetworkSettings

DEFAULT_FAMILY = "convnextv2"


@dataclass(frozen=True)
class Family:
    """Where the two classes of a family are, as ``module:class``."""

    settings: str
    """imports no torch"""
    network: str
    """its only argument is the settings"""


FAMILIES: dict[str, Family] = {
    DEFAULT_FAMILY: Family("geopretext.nn.settings:EncoderSettings", "geopretext.nn.convnextv2:ConvNeXtV2"),
    "timm": Family("geopretext.nn.timm_settings:TimmSettings", "geopretext.nn.timm_encoder:TimmEncoder"),
    "fused": Family("geopretext.nn.fused_settings:FusedSettings", "geopretext.nn.fused:FusedConvNeXtV2"),
    "omnisat": Family("geopretext.nn.omnisat_settings:OmniSatSettings", "geopretext.nn.omnisat:OmniSat"),
    "a2_mae": Family(
        "geopretext.nn.image_set_settings:ImageSetSettings", "geopretext.nn.image_set_encoder:ImageSetEncoder"
    ),
}


def settings_class(name: str) -> type[Any]:
    """The class of settings of a family.

    Raises:
        RecipeError: there is no such family.
    """
    found: type[Any] = _imported(_find(name).settings)
    return found


def make_encoder(settings: "NetworkSettings") -> "EncoderNetwork":
    """A new network, its weights from torch's global random state."""
    network: EncoderNetwork = _imported(_find(settings.family).network)(settings)
    return network


def settings_to_plain(settings: "NetworkSettings") -> dict[str, Any]:
    """Plain data, for JSON; ``settings_from_plain`` reads it back."""
    return asdict(settings)  # type: ignore[call-overload, no-any-return]  # a protocol cannot say that it is a dataclass


def settings_from_plain(plain: Mapping[str, Any]) -> "NetworkSettings":
    """What ``settings_to_plain`` wrote, also through JSON.

    Raises:
        RecipeError: there is no such family, or a value does not fit.
        TypeError: a field is unknown or lacking.
    """
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    settings: NetworkSettings = settings_class(plain.get("family", DEFAULT_FAMILY))(**fields)
    return settings


def replaced(settings: "NetworkSettings", **changes: Any) -> "NetworkSettings":
    """The same settings with other values of those fields that the family has."""
    plain = settings_to_plain(settings)
    return settings_from_plain(plain | {name: value for name, value in changes.items() if name in plain})


def _find(name: str) -> Family:
    if name not in FAMILIES:
        raise RecipeError(f"encoder.family is {name!r}", hint=f"one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
