"""``--FIELD VALUE`` for every field of settings, collected under ``fields``."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from geopretext.data.fields import SettingsField


class _Override(argparse.Action):
    """Collects ``--FIELD VALUE`` under ``fields``; a hyphen in a name stands for an underscore."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        assert option_string is not None
        namespace.fields = {**namespace.fields, option_string[2:].replace("-", "_"): values}


def add_overrides(
    parser: argparse.ArgumentParser, title: str, fields: Iterable[SettingsField], plain: Mapping[str, Any]
) -> None:
    """An option for each field; what was given comes as a mapping ``fields`` of names to texts.

    Args:
        parser: of the verb.
        title: of the options in its help.
        fields: of the settings.
        plain: settings whose values the help shows, nested; empty: it shows none.
    """
    parser.set_defaults(fields={})
    group = parser.add_argument_group(title)
    values = _flat(plain)
    for field in fields:
        here = f" [{_text(values[field.name])}]" if field.name in values else ""
        about = f"{field.text} ({field.wants}){here}".replace("%", "%%")
        _add(group, field.name, about)
        if "_" in field.name:
            _add(group, field.name.replace("_", "-"), argparse.SUPPRESS)


def _add(group: Any, name: str, about: str) -> None:
    group.add_argument(
        f"--{name}", action=_Override, dest="fields", default=argparse.SUPPRESS, metavar="VALUE", help=about
    )


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names; mappings that are values themselves stay whole as well."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat[prefix + name] = value
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
    return flat


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return ", ".join(str(name) for name in value)
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
