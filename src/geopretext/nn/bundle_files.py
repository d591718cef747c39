"""The files of a bundle: finding, reading, checking and replacing them as a whole.

``config.json`` is written last and removed first, so that a folder that has one is complete. Nothing is unpickled.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from geopretext.errors import BundleError

FORMAT = "geopretext bundle"
FORMAT_VERSION = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
PRETEXT_WEIGHTS, STATISTICS = "pretext.safetensors", "statistics.json"
HEAD_WEIGHTS = "head.safetensors"


def find_bundle(path: str | Path, **hub: Any) -> Path:
    """The folder of a bundle, fetched from the hub if ``path`` is the name of a repository.

    Raises:
        BundleError: there is neither.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BundleError("is a file; a bundle is a folder", where=str(path))
    if isinstance(path, Path) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
        raise BundleError("no such folder", where=str(path), hint="`geopretext pretrain` writes one: RUN/bundle")
    try:
        return Path(snapshot_download(path, allow_patterns=[CONFIG, WEIGHTS, CARD], **hub))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise BundleError(
            f"is neither a folder here nor a bundle that the hub gives ({str(error).splitlines()[0]})",
            where=path,
            hint="check the spelling and the connection",
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        BundleError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"has no {path.name}", where=str(path.parent), hint="copy the whole folder") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"is not JSON: {error}", where=str(path), hint="the file is damaged") from error
    if not isinstance(content, dict):
        raise BundleError("holds no mapping", where=str(path), hint="the file is damaged")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        BundleError: there is none, it is damaged, of another program, or of a newer format.
    """
    if not (folder / CONFIG).exists():
        raise BundleError(
            f"is not a bundle: it has no {CONFIG}", where=str(folder), hint="`geopretext pretrain` writes RUN/bundle"
        )
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise BundleError(
            f"is not a bundle: 'format' is {config.get('format')!r}, not {FORMAT!r}",
            where=str(folder / CONFIG),
            hint="weights of other programs have to be imported first",
        )
    version = config.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise BundleError(
            f"has format version {version}; this geopretext reads up to {FORMAT_VERSION}",
            where=str(folder / CONFIG),
            hint="pip install --upgrade geopretext",
        )
    return config


def load_weights(module: nn.Module, path: Path, described: str) -> None:
    """Load all weights of ``module`` from ``path``.

    Args:
        module: where to.
        path: a safetensors file.
        described: what ``config.json`` makes of the module, for the message.

    Raises:
        BundleError: the file is missing or damaged, or weights are missing, left over or of another shape.
    """
    if not path.exists():
        raise BundleError(f"has no {path.name}", where=str(path.parent), hint="copy the whole folder")
    try:
        stored = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise BundleError(f"is damaged: {error}", where=str(path), hint="copy the folder again") from error
    wanted = module.state_dict()
    problems = [f"{key} is missing" for key in wanted.keys() - stored.keys()]
    problems += [f"{key} is unknown" for key in stored.keys() - wanted.keys()]
    problems += [
        f"{key} is {tuple(stored[key].shape)}, wanted {tuple(wanted[key].shape)}"
        for key in wanted.keys() & stored.keys()
        if stored[key].shape != wanted[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise BundleError(
            f"the weights are not those of {described}, which {CONFIG} describes: {shown}",
            where=str(path),
            hint=f"{CONFIG} and the weights come from different runs; copy both from one bundle",
        )
    module.load_state_dict(stored)


def ensure_replaceable(folder: Path) -> None:
    """Refuse to write over anything but a bundle.

    Raises:
        BundleError: there is a file of that name, or a folder that holds something else than a bundle.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_config(find_bundle(folder))
    except BundleError as error:
        raise BundleError(
            "is there already, and is no bundle that could be replaced",
            where=str(folder),
            hint="write to another folder, or remove this one",
        ) from error


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a folder; whatever stops it leaves the old bundle, or none, but never a mixture."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        for name, content in files.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        folder.mkdir(exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        for name in (PRETEXT_WEIGHTS, STATISTICS, HEAD_WEIGHTS):
            if name not in files:
                (folder / name).unlink(missing_ok=True)  # they would belong to another encoder
        for name in sorted(files, key=CONFIG.__eq__):
            (partial / name).replace(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(plain, metadata={"format": "pt"})


def json_to_bytes(content: Mapping[str, Any]) -> bytes:
    """Plain data as a JSON file."""
    return (json.dumps(content, indent=2) + "\n").encode()


def unreadable(folder: Path, section: str, error: Exception) -> BundleError:
    """The error to raise where a section of ``config.json`` is not what it should be."""
    what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
    return BundleError(f"section {section}: {what}", where=str(folder / CONFIG))
