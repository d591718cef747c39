"""Modalities of the user's own, from YAML, beside the published ones."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from geopretext.errors import InputError
from geopretext.modality.catalogue import PUBLISHED
from geopretext.modality.spec import Modality


def find_modality(name: str, modalities: Mapping[str, Modality] = PUBLISHED) -> Modality:
    """The modality called ``name``.

    Raises:
        InputError: there is none; the message lists those that there are.
    """
    if name not in modalities:
        raise InputError(f"no modality {name!r}", hint=f"there are {', '.join(modalities)}")
    return modalities[name]


def load_modalities(path: str | Path) -> dict[str, Modality]:
    """The published modalities and those that the YAML file at ``path`` adds or replaces.

    The file holds a list under ``modalities``; each entry has the fields of ``Modality``::

        modalities:
          - name: crop_map
            kind: categorical map
            dtype: uint8
            missing: [0]
            bands: [crop]
            classes: {1: maize, 2: wheat, 3: soy}

    Raises:
        InputError: the file is not such YAML, or a modality contradicts itself.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path)) from error
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", where=str(path)) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("modalities"), list):
        raise InputError("has no list 'modalities'", where=str(path), hint="see `geopretext modalities --help`")
    added = [Modality.from_dict(entry) for entry in content["modalities"]]
    return {**PUBLISHED, **{modality.name: modality for modality in added}}
