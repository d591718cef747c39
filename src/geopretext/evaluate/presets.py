"""Settings of fine-tuning by name, from YAML, with overrides; no torch.

A file of ``evaluate/finetune_presets`` holds fields of ``FinetuneSettings``; those that it leaves out are as in the
preset that it names as ``base``, or have their defaults. Presets of MMEarth's protocols leave out what its code does by
mistake; with ``-official`` appended to their name they do as it does (``OFFICIAL``).
"""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from geopretext.data.fields import SettingsField, describe_settings, read_settings
from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings

DEFAULT = "default"
_OFFICIAL_SUFFIX, _OFFICIAL_FAMILY = "-official", "mmearth-"

OFFICIAL: Mapping[str, Any] = {
    # the checkpoint of epoch 99 or 199 is tested, and not the best one (main_finetune.py, `run_on_test`)
    "keep": "last",
    # gradients are clipped with mixed precision only, and that is off (engine_finetune.py, `use_amp`)
    "clip_norm": None,
    # layer numbers of another stem; the unfrozen encoder without decay (optim_factory.py; main_finetune.py, epoch 50)
    "published_groups": True,
    # the frozen encoder is in training mode (engine_finetune.py, `model.train()`)
    "drop_path_when_frozen": True,
}
"""What MMEarth's code does that its presets leave out (vishalned/MMEarth-train, commits 11579005 and 71b368e8).

Classifiers also have ``padding: published-classifier`` (models/convnextv2.py)."""


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with geopretext."""
    return tuple(_shipped())


def load_preset(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> FinetuneSettings:
    """Settings that ship with geopretext, or those of a YAML file.

    Args:
        name_or_path: a name of ``preset_names()``, or a path.
        overrides: values by field name; text, as from a command line, is read as the field's type.

    Raises:
        RecipeError: there is no such preset, a field is unknown, or a value does not fit (the message names it).
    """
    name = str(name_or_path)
    if name in _shipped():
        plain, where = _shipped()[name], f"preset {name!r}"
    elif Path(name).is_file():
        plain, where = _read_file(Path(name)), name
    else:
        close = get_close_matches(name, preset_names(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise RecipeError(
            f"no preset or file {name!r}", hint=f"{hint}There are {', '.join(preset_names())}, and YAML files by path"
        )
    return read_settings(FinetuneSettings, {**plain, **(overrides or {})}, where=where)


def preset_fields() -> tuple[SettingsField, ...]:
    """All fields that overrides can change, with their docstrings, for ``--help``."""
    return tuple(describe_settings(FinetuneSettings))


def settings_to_plain(settings: FinetuneSettings) -> dict[str, Any]:
    """Every field, in plain types for YAML and JSON; as a file, ``load_preset`` reads it back."""
    return asdict(settings)


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    folder = files("geopretext.evaluate").joinpath("finetune_presets")
    paths = [path for path in folder.iterdir() if path.name.endswith(".yaml")]
    written = {path.name.removesuffix(".yaml"): _read(path.read_bytes(), path.name) for path in paths}

    def complete(name: str) -> dict[str, Any]:
        plain = dict(written[name])
        base = plain.pop("base", None)
        return plain if base is None else {**complete(base), **plain}

    presets = {}
    for name in sorted(written):
        presets[name] = complete(name)
        if name.startswith(_OFFICIAL_FAMILY):
            padding = {} if presets[name].get("network") == "unet" else {"padding": "published-classifier"}
            presets[name + _OFFICIAL_SUFFIX] = {**presets[name], **OFFICIAL, **padding}
    return presets


def _read_file(path: Path) -> dict[str, Any]:
    plain = _read(path.read_bytes(), str(path))
    base = plain.pop("base", None)
    if base is None:
        return plain
    if base not in _shipped():
        raise RecipeError(f"base is {base!r}", where=str(path), hint=f"one of {', '.join(preset_names())}")
    return {**_shipped()[base], **plain}


def _read(content: bytes, where: str) -> dict[str, Any]:
    try:
        plain = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"is not YAML: {error}", where=where) from error
    if not isinstance(plain, dict):
        raise RecipeError("is not a mapping of fields", where=where, hint="for example `epochs: 20`")
    return plain
