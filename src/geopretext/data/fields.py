"""Plain values to typed settings: every field of a frozen dataclass is read by its annotation, and errors name it."""

import ast
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from geopretext.errors import RecipeError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class SettingsField:
    """One field of settings, for ``--help`` and documentation."""

    name: str
    """dotted, as overrides take it"""
    wants: str
    """what its value is, for people"""
    text: str
    """its docstring: meaning, unit, range"""


def field_types(kind: type[Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The type of each field of a dataclass, for some values of its fields.

    A dataclass of which the type of a field depends on the values of others says so by a static method ``field_types``.
    """
    choose = getattr(kind, "field_types", None)
    return {**get_type_hints(kind), **(choose(plain) if choose else {})}


def describe_settings(
    kind: type[Any], prefix: str = "", plain: Mapping[str, Any] | None = None
) -> Iterator[SettingsField]:
    """Every field of a dataclass and of those within it, with the docstring written below it.

    Args:
        kind: the dataclass.
        prefix: of the names.
        plain: values on which the type of a field may depend; None: the defaults.
    """
    hints, texts = field_types(kind, plain or {}), _field_docstrings(kind)
    for f in fields(kind):
        name = prefix + f.name
        if is_dataclass(hints[f.name]):
            yield from describe_settings(hints[f.name], f"{name}.")
        else:
            yield SettingsField(name, _describe(hints[f.name]), texts.get(f.name, ""))


def _field_docstrings(kind: type[Any]) -> dict[str, str]:
    """Texts below the fields, which Python itself does not keep."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            texts[field.target.id] = " ".join(below.value.value.split())
    return texts


def nested_settings(kind: type[Any]) -> set[str]:
    """Names of the fields that are settings themselves."""
    return {name for name, hint in field_types(kind, {}).items() if is_dataclass(hint)}


def read_settings(kind: type[Settings], plain: Mapping[str, Any], *, where: str, prefix: str = "") -> Settings:
    """Make settings of plain values; text is read as the field's type.

    Args:
        kind: a dataclass.
        plain: values by field name; fields left out have their defaults.
        where: file or recipe, for messages.
        prefix: dotted name of these settings, with a trailing dot.

    Raises:
        RecipeError: a field is unknown or its value does not fit; the message names field and value.
    """
    hints = field_types(kind, plain)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type] # Settings is bound to no dataclass protocol
    values = {}
    for name, value in plain.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=3)
            hint = f"did you mean {' or '.join(prefix + c for c in close)}?" if close else f"one of {', '.join(known)}"
            raise RecipeError(f"no field {prefix}{name}", where=where, hint=hint)
        values[name] = _read(value, hints[name], prefix + name, where)
    try:
        return kind(**values)
    except RecipeError as error:
        raise RecipeError(error.what, where=error.where or where, hint=error.hint) from None


def _read(value: Any, wanted: Any, name: str, where: str) -> Any:
    if is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, Mapping):
            raise _misfit(value, "a mapping of fields", name, where)
        return read_settings(wanted, value, where=where, prefix=f"{name}.")
    try:
        return _convert(value, wanted)
    except (TypeError, ValueError):
        raise _misfit(value, _describe(wanted), name, where) from None


def _convert(value: Any, wanted: Any) -> Any:
    """``value`` as ``wanted``; raises TypeError or ValueError if it is something else."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("null", "none", "")):
            return None
        return _convert(value, next(argument for argument in arguments if argument is not types.NoneType))
    if origin is Literal:
        return arguments[arguments.index(value)]
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if origin is dict:
        return {str(key): _convert(entry, arguments[1]) for key, entry in _as_mapping(value).items()}
    return _SCALARS[wanted](value)


def _convert_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]() ").split(",") if part.strip()]
    if not isinstance(value, Sequence):
        raise TypeError
    kinds = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
    return tuple(_convert(entry, kind) for entry, kind in zip(value, kinds, strict=True))


def _as_mapping(value: Any) -> Mapping[Any, Any]:
    """A mapping, or its text in YAML, or names separated by commas (all values null)."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value) if value.lstrip().startswith("{") else dict.fromkeys(value.split(","))
        except yaml.YAMLError:
            raise ValueError from None
    if not isinstance(value, Mapping):
        raise TypeError
    return {key.strip() if isinstance(key, str) else key: entry for key, entry in value.items()}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if _text(value).lower() not in _TRUTHS:
        raise ValueError
    return _TRUTHS[value.lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
_SCALARS = {int: _whole, float: _number, bool: _truth, str: _text}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _describe(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return f"{_describe(next(a for a in arguments if a is not types.NoneType))}, or null"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and arguments[-1] is ...:
        return "a list of names, for example B2,B3,B4"
    if origin is tuple:
        return f"a list of {len(arguments)} numbers"
    if origin is dict:
        return "names, or a mapping, for example {sentinel2: [B2, B3], aster: null}"
    return _WORDS[wanted]


def _misfit(value: Any, wanted: str, name: str, where: str) -> RecipeError:
    return RecipeError(f"{name} is {value!r}", where=where, hint=f"it is {wanted}")
