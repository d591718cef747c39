"""What a run keeps on disk: a complete configuration, and checkpoints that are whole or not there."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.plugins.io import CheckpointIO
from typing_extensions import override

from geopretext.data.fields import read_settings
from geopretext.data.local_file import replace_file
from geopretext.errors import BundleError, RecipeError
from geopretext.train.recipe import differing_fields, recipe_to_plain
from geopretext.train.settings import MAY_CHANGE, Recipe

CONFIG, CHECKPOINTS, METRICS, BUNDLE = "config.yaml", "checkpoints", "metrics.csv", "bundle"
LAST = "last.ckpt"


def record_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration of a run, or make sure that the run in this folder has the same one.

    Args:
        folder: of the run; made if need be.
        config: plain data; what is under ``recipe`` and ``data`` must agree with what is there, but for fields that
            change cost only, and for the path of the data.

    Raises:
        RecipeError: a field differs; the message names it with both values.
    """
    path = folder / CONFIG
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())
        return
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
        # A version that had fewer fields did what is their default now.
        plain = recipe_to_plain(read_settings(Recipe, there["recipe"], where=str(path)))
        old = {"data": there["data"], "recipe": plain}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise RecipeError("is not the configuration of a run", where=str(path), hint="choose another --out") from error
    differing = differing_fields(old, {"data": config["data"], "recipe": config["recipe"]})
    free = {"data.path", *(f"recipe.{name}" for name in MAY_CHANGE)}
    refused = [f"{name} {a!r} -> {b!r}" for name, (a, b) in differing.items() if name not in free]
    if refused:
        raise RecipeError(
            f"the run in this folder was started otherwise: {'; '.join(refused)}",
            where=str(path),
            hint="choose another --out, or give the same recipe, overrides and data to resume",
        )


class PlainCheckpoints(CheckpointIO):
    """Checkpoints of tensors and plain containers: written whole beside their place, never unpickled.

    Lightning's own writes to the system's temporary folder first and moves from there, which is a copy that can be cut
    short if that folder lies on another disk.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` and only then let it take the place of what is at ``path``."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain containers.

        Raises:
            BundleError: the file is not a checkpoint that can be read without unpickling.
        """
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise BundleError(
                "is not a checkpoint of geopretext", where=str(path), hint="delete it to start the run anew"
            ) from error
        return checkpoint

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete it."""
        Path(path).unlink(missing_ok=True)
