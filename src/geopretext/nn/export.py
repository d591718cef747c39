"""An encoder for other programs: a folder for the Hugging Face hub, or for timm. ONNX is in ``onnx_export``.

Each export is loaded again, where what loads it is installed, and compared with the encoder before it is put in its
place; one that gives other features is not left behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geopretext import __version__
from geopretext.errors import BundleError, MissingLibraryError
from geopretext.modality import known_scales
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_files import CARD, CONFIG, WEIGHTS, json_to_bytes, tensors_to_bytes
from geopretext.nn.convnextv2 import as_convnextv2
from geopretext.nn.export_files import new_folder
from geopretext.nn.families import settings_to_plain
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.standardise import scale_of
from geopretext.nn.timm_weights import PREFIX, timm_architecture, timm_state_dict

TOLERANCE = 1e-4
"""Largest difference of a feature from the encoder's, in units of the largest feature if that is above 1."""

_PLACEHOLDER = "mean 0 and std 1, which are not the training's: images have to come standardised"
_SAME_IN_INFERENCE = ("image_size", "grn_scope", "initialisation", "drop_path")
_WRITTEN = ("size", "modality", "bands", "patch_size", "stem", "dense_padding", "dense_grn_epsilon")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """file or folder"""
    bytes: int
    """size of it all"""
    facts: dict[str, Any]
    """what the reader needs to know to use it; plain data"""
    use: str
    """lines of Python that load it"""
    difference: float | None
    """largest difference of a feature from the encoder's; None if the library that loads it is not installed"""


def export_hub(encoder: Encoder, out: str | Path, *, overwrite: bool = False) -> Exported:
    """Write a folder that ``Encoder.from_pretrained`` loads, here or from the hub: weights, description, model card.

    Nothing is written of what pretraining put on the encoder (decoder, heads, statistics of its targets), or what
    fine-tuning did (a head). What it was trained to predict stays in the text of the model card only.

    Args:
        encoder: what is written; on the CPU.
        out: the folder; ``hf upload owner/name OUT`` publishes it.
        overwrite: replace an earlier export.

    Raises:
        InputError: ``out`` exists.
        BundleError: what was written gives other features.
    """
    with new_folder(Path(out), overwrite=overwrite) as folder, on_trial(encoder) as images:
        encoder.save_pretrained(folder)
        difference = compare(Encoder.from_pretrained(folder)(images), encoder(images), out)
        size = _size(folder)
    use = f'from geopretext.nn.bundle import Encoder\nencoder = Encoder.from_pretrained("{out}")'
    return Exported(Path(out), size, {"licence": encoder.licence}, use, difference)


def export_timm(encoder: Encoder, out: str | Path, *, level: str | None = None, overwrite: bool = False) -> Exported:
    """Write a folder that ``timm.create_model("local-dir:OUT", pretrained=True)`` loads, or ``hf-hub:`` once uploaded.

    timm's own architecture is used where it has this one, see ``timm_weights``; otherwise the reader must import
    ``geopretext.nn.timm_models`` first. The model gives pooled features behind a norm that has not been trained;
    ``forward_features`` and ``features_only=True`` give the encoder's own.

    Args:
        encoder: what is written; on the CPU.
        out: the folder.
        level: processing level whose mean and standard deviation the description holds, see ``standardise.scale_of``.
            Without any statistics it holds 0 and 1, and the card says that images have to come standardised.
        overwrite: replace an earlier export.

    Raises:
        InputError: ``out`` exists, or there are no statistics of the level.
        BundleError: timm has no such architecture, or what was written gives other features.
    """
    network = as_convnextv2(encoder.network, "an export to timm")
    check_settings(network.settings, "timm")
    architecture, arguments = timm_architecture(network.settings)
    own = architecture.startswith(PREFIX)
    config = _timm_config(encoder, architecture, arguments, level)
    example = _timm_example("hf-hub:owner/name", own=own, markdown=True)
    is_standardised_by_caller = config["geopretext"]["level"] is None
    if is_standardised_by_caller:
        example += f"\n\n`config.json` has {_PLACEHOLDER}."
    card = encoder.card(library="timm", example=example)
    with new_folder(Path(out), overwrite=overwrite) as folder, on_trial(encoder) as images:
        (folder / WEIGHTS).write_bytes(tensors_to_bytes(timm_state_dict(network, architecture)))
        (folder / CARD).write_text(card, encoding="utf-8")
        (folder / CONFIG).write_bytes(json_to_bytes(config))
        difference = _timm_difference(encoder, images, folder, out)
        size = _size(folder)
    facts = {"architecture": architecture, "level": config["geopretext"]["level"]}
    if is_standardised_by_caller:
        facts["statistics"] = f"none: config.json has {_PLACEHOLDER}"
    return Exported(Path(out), size, facts, _timm_example(f"local-dir:{out}", own=own), difference)


def check_settings(settings: EncoderSettings, target: str) -> None:
    """Refuse what the written network would compute otherwise.

    Raises:
        BundleError: a field that changes features, and that no export knows, is not at its default.
    """
    defaults = asdict(EncoderSettings())
    for name, value in asdict(settings).items():
        if name not in (*_WRITTEN, *_SAME_IN_INFERENCE) and value != defaults[name]:
            raise BundleError(
                f"encoder.{name} is {value!r}, which an export to {target} cannot say",
                hint=f"only {defaults[name]!r} can be exported there; --to hub keeps every setting",
            )


@contextmanager
def on_trial(encoder: Encoder) -> Iterator[Tensor]:
    """Two standardised images of random numbers, not square, to compare an encoder with its export.

    Meanwhile the encoder is in evaluation mode, has no gradients, and multiplies float32 in float32, whatever was
    imported before: TerraTorch, for one, asks torch for less.
    """
    precision, training = torch.get_float32_matmul_precision(), encoder.training
    torch.set_float32_matmul_precision("highest")
    encoder.eval()
    try:
        with torch.no_grad():
            yield trial_images(encoder, height=2, width=3)
    finally:
        encoder.train(training)
        torch.set_float32_matmul_precision(precision)


def trial_images(encoder: Encoder, *, height: int, width: int) -> Tensor:
    """Two standardised images of random numbers; ``height`` and ``width`` are in patches."""
    patch, generator = encoder.settings.patch_size, torch.Generator().manual_seed(0)
    return torch.randn(2, len(encoder.bands), height * patch, width * patch, generator=generator)


def compare(given: Tensor, wanted: Tensor, out: str | Path) -> float:
    """The largest difference of two tensors.

    Raises:
        BundleError: it is above ``TOLERANCE``, or not a number.
    """
    difference = float((given - wanted).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise BundleError(
            f"the export gives other features than the encoder (largest difference {difference:.3g}); nothing is left",
            where=str(out),
            hint="please report this, with the versions of torch and of the library that it was exported to",
        )
    return difference


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _timm_config(encoder: Encoder, architecture: str, arguments: dict[str, Any], level: str | None) -> dict[str, Any]:
    """What timm reads, and under "geopretext" what it has no place for."""
    settings, bands = encoder.settings, len(encoder.bands)
    if known_scales(encoder.statistics) or level is not None:
        level, mean, std = scale_of(encoder, level)
    else:
        mean, std = (0.0,) * bands, (1.0,) * bands
    side = settings.image_size
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": encoder.width,
        "global_pool": "avg",
        "model_args": {"in_chans": bands, **arguments},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [bands, side, side],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": 0,
            "pool_size": [side // settings.patch_size] * 2,
            "first_conv": None,  # bands are named: timm must not invent weights for others
            "classifier": "head.fc",
            "license": encoder.licence,
            "paper_ids": "arXiv:2405.02771",
        },
        "geopretext": {
            "version": __version__,
            "level": level,
            "input": encoder.modality.to_dict(),
            "encoder": settings_to_plain(settings),
        },
    }


def _timm_example(source: str, *, own: bool, markdown: bool = False) -> str:
    # ours first: it lets timm's torchvision be of another build than torch
    lines = [*(["import geopretext.nn.timm_models"] if own else []), "import timm"]
    lines.append(f'model = timm.create_model("{source}", pretrained=True, features_only=True)')
    if not markdown:
        return "\n".join(lines)
    lines[-1] += "  # (tiles, bands, height, width) -> four grids"
    return "\n".join(["```python", *lines, "```"])


def _timm_difference(encoder: Encoder, images: Tensor, folder: Path, out: str | Path) -> float | None:
    try:
        import_module("geopretext.nn.timm_models")
    except MissingLibraryError:
        return None
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True).eval()
    stages = encoder.network.forward_stages(images)
    return max(compare(given, wanted, out) for given, wanted in zip(model(images), stages, strict=True))
