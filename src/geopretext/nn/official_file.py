"""Reading the files that others publish: weights by name, and what was written beside them. Nothing in a file is run.

A ``.pth`` file is a pickle, and unpickling one can run any program. Here only torch's restricted reader touches it
(``weights_only=True``), which makes tensors and plain values and refuses everything else. Two classes are let in, since
the published training scripts keep their options in the file: ``argparse.Namespace``, which only holds values, and
POSIX paths, which are read as ``PurePosixPath`` and never touch a disk.
"""

import argparse
import pathlib
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from geopretext.errors import BundleError

_DISTRIBUTED = "module."
_COUNTER = ".num_batches_tracked"  # whole numbers beside batch norms, which are no weights
_POSIX_PATHS = ("pathlib.PosixPath", "pathlib._local.PosixPath")  # the second since Python 3.13
_LOADABLE = [argparse.Namespace, *((pathlib.PurePosixPath, name) for name in _POSIX_PATHS)]
_UNREADABLE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch's restricted reader raises on bytes that are no pickle of weights."""


@dataclass(frozen=True)
class OfficialFile:
    """What a file of weights holds."""

    path: Path
    weights: Mapping[str, Tensor]
    """by name, in the file's order, float32, without the prefix of distributed training"""
    ordered: bool
    """False if the format does not keep the order that the weights were defined in (safetensors)"""
    options: Mapping[str, Any]
    """what the training script was called with; empty if the file does not say"""
    epoch: int | None
    """the last epoch, counted from 0; None if the file does not say"""


def read_official_file(path: str | Path) -> OfficialFile:
    """Read a ``.pth``, ``.pt`` or ``.safetensors`` file of weights, on the CPU.

    Raises:
        BundleError: there is no such file, it is damaged, holds something else than weights, or holds code.
    """
    path = Path(path)
    _check_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    weights = content.get("model", content)
    if not isinstance(weights, Mapping) or not weights:
        raise _no_weights(path, content)
    weights = {key: value for key, value in weights.items() if not str(key).endswith(_COUNTER)}
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()):
        raise _no_weights(path, weights)
    options, epoch = content.get("args"), content.get("epoch")
    return OfficialFile(
        path=path,
        weights={key: _plain(key, value, path) for key, value in _without_prefix(weights, path).items()},
        ordered=path.suffix != ".safetensors",
        options=dict(vars(options)) if isinstance(options, argparse.Namespace) else {},
        epoch=epoch if isinstance(epoch, int) else None,
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        inside = sorted(path.glob("*.pth"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)])
        hint = f"name the file in it: {inside[-1]}" if inside else "name a .pth, .pt or .safetensors file"
        raise BundleError("is a folder", where=str(path), hint=hint)
    if not path.exists():
        raise BundleError("no such file", where=str(path), hint="check the path")
    with path.open("rb") as file:
        content = file.read(1)
    if not content:
        raise BundleError("is empty", where=str(path), hint="download it again")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(safetensors.torch.load_file(path))
    except SafetensorError as error:
        raise BundleError(f"is damaged: {error}", where=str(path), hint="download it again") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    names = _names_in_archive(path)
    if any(name.endswith("/constants.pkl") for name in names):
        raise BundleError(
            "is a TorchScript archive: a program, and not a file of weights",
            where=str(path),
            hint="save the state_dict of the module that it was made from, and import that",
        )
    try:
        with torch.serialization.safe_globals(_LOADABLE), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # torch remarks on unusual pickles, which are refused here
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=bool(names))
    except _UNREADABLE as error:
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if refused:
            raise BundleError(
                f"holds {refused[1]}, which is no weight and would have to be run: refused, and nothing of it was run",
                where=str(path),
                hint="do not open it with other programs unless you trust its origin; a file that you made yourself"
                " is saved without such objects by torch.save(model.state_dict(), path)",
            ) from error
        raise BundleError(
            "is no file of weights that torch can read",
            where=str(path),
            hint="it is truncated or of another kind; download it again",
        ) from error
    if not isinstance(content, dict):
        raise BundleError(
            f"holds a {type(content).__name__}, not weights by name",
            where=str(path),
            hint="import the file of a state_dict",
        )
    return content


def _names_in_archive(path: Path) -> list[str]:
    """What a zip archive holds; nothing if it is none, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _UNREADABLE:
        return []


def _no_weights(path: Path, content: Any) -> BundleError:
    names = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    return BundleError(
        f"holds no weights by name: its entries are {names or 'none'}",
        where=str(path),
        hint="wanted: a state_dict, or a checkpoint with one under 'model'",
    )


def _without_prefix(weights: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """Names without the ``module.`` that distributed training puts before all of them."""
    plain = [key for key in weights if not key.startswith(_DISTRIBUTED)]
    if len(plain) == len(weights):
        return weights
    if plain:
        raise BundleError(
            f"{plain[0]} has no prefix {_DISTRIBUTED!r}, and {len(weights) - len(plain)} other weights have it",
            where=str(path),
            hint="two models seem to be mixed; save the state_dict of one",
        )
    return {key.removeprefix(_DISTRIBUTED): value for key, value in weights.items()}


def _plain(key: str, value: Tensor, path: Path) -> Tensor:
    if value.layout != torch.strided or not value.is_floating_point():
        raise BundleError(
            f"{key} is {value.dtype}, {value.layout}; wanted dense floating-point numbers",
            where=str(path),
            hint="quantised and sparse weights cannot be imported; take the original ones",
        )
    value = value.to(torch.float32)
    if not value.isfinite().all():
        raise BundleError(
            f"{key} holds numbers that are not finite",
            where=str(path),
            hint="training had diverged; take an earlier checkpoint",
        )
    return value
