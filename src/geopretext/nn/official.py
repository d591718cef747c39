"""Published weights into bundles: of MMEarth (arXiv 2405.02771), ConvNeXt V2 (2301.00808) and SoftCon (2405.20462).

A file is recognised by the names and shapes of its weights. Pretraining checkpoints become bundles that reconstruct;
classifiers and U-Nets become bundles with a head; other files become bundles of an encoder.

The layouts are those of the published classes; the published files themselves were not at hand.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch

from geopretext.modality import GROUND_SAMPLING_DISTANCE, Modality
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_files import ensure_replaceable
from geopretext.nn.bundle_heads import Head, head_settings, make_head, save_head
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.bundle_statistics import input_scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.official_file import OfficialFile, read_official_file
from geopretext.nn.official_input import RGB, Told, find_input, imagenet_statistics
from geopretext.nn.official_layout import (
    Layout,
    Source,
    dense_source,
    encoder_source,
    measure,
    recognise,
    refuse_unknown,
    shape_of,
    take,
)
from geopretext.nn.official_names import PublishedName, published_name
from geopretext.nn.official_pretraining import read_autoencoder
from geopretext.nn.official_softcon import read_softcon
from geopretext.nn.settings import EncoderSettings, HeadSettings

Network: TypeAlias = EncoderNetwork | MaskedAutoencoder | Head


@dataclass(frozen=True)
class Official:
    """A published model, ready to be saved as a bundle."""

    layout: Layout
    network: Network
    modality: Modality
    """the input, with just its bands"""
    statistics: Mapping[str, Any] | None
    """as ``data.statistics.Statistics.to_dict`` gives them; None if they are not known"""
    recipe: Mapping[str, Any]
    """where it comes from and how it was trained, as far as that is known"""
    unused: tuple[str, ...]
    """weights of the file that the bundle leaves out"""
    remarks: tuple[str, ...]
    """what was assumed"""

    @property
    def encoder(self) -> EncoderNetwork:
        """The encoder."""
        network = self.network if isinstance(self.network, EncoderNetwork) else self.network.encoder
        return cast("EncoderNetwork", network)

    @property
    def targets(self) -> Mapping[str, Modality]:
        """What it predicts, by name; empty if it is no pretraining checkpoint."""
        return self.network.targets if isinstance(self.network, MaskedAutoencoder) else {}

    @property
    def head(self) -> dict[str, Any] | None:
        """What stands on the encoder, as the bundle describes it; None if there is no classifier and no U-Net."""
        if not isinstance(self.network, Head):
            return None
        settings = head_settings(self.network)
        return {"kind": settings.kind, "classes": settings.classes}

    def save(self, folder: str | Path) -> None:
        """Write the bundle; a bundle that is already there is replaced.

        Raises:
            BundleError: the folder holds something else, or the statistics lack a band of the input.
        """
        ensure_replaceable(Path(folder))
        if isinstance(self.network, MaskedAutoencoder):
            save_bundle(
                folder,
                self.network,
                statistics=self.statistics,
                recipe=self.recipe,
                metrics={},
                ground_sampling_distance=GROUND_SAMPLING_DISTANCE if self.layout.is_mmearth else None,
            )
            return
        scales = None if self.statistics is None else input_scales(self.statistics, self.modality)
        if isinstance(self.network, EncoderNetwork):
            Encoder(self.network, self.modality, statistics=scales, recipe=self.recipe).save_pretrained(folder)
        else:
            save_head(folder, self.network, modality=self.modality, statistics=scales, recipe=self.recipe, metrics={})


def read_official(path: str | Path, told: Told | None = None) -> Official:
    """Read a published file of weights.

    Args:
        path: a ``.pth``, ``.pt`` or ``.safetensors`` file.
        told: what the caller knows about it.

    Raises:
        BundleError: the file cannot be read, holds code, is of no known layout, or contradicts its name, its own
            options or ``told``; the message names the weight.
        InputError: ``told`` names a modality or a band that does not exist.
    """
    told = told or Told()
    file = read_official_file(path)
    layout = recognise(file)
    if layout.is_of_timm:
        return _read_of_timm(file, layout, told)
    name = published_name(file.path)
    settings, modality, remarks = find_input(file, layout, measure(file, layout), name, told)
    network: Network
    unused: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = {}
    if layout.is_pretraining:
        network, recipe = read_autoencoder(file, layout, settings, modality, name, told)
    else:
        network, unused = _read_dense(file, layout, settings)
    statistics = told.statistics
    if statistics is None and modality.name == RGB.name and not layout.is_mmearth:
        statistics = imagenet_statistics()
    elif statistics is not None:
        input_scales(statistics, modality)  # says what they lack before anything is written
    return Official(
        layout=layout,
        network=network.eval(),
        modality=modality,
        statistics=statistics,
        recipe={**_origin(file, layout, name), **recipe},
        unused=unused,
        remarks=remarks,
    )


def _read_of_timm(file: OfficialFile, layout: Layout, told: Told) -> Official:
    found = read_softcon(file, layout, told)
    return Official(
        layout=layout,
        network=found.network.eval(),
        modality=found.modality,
        statistics=found.statistics,
        recipe=_origin(file, layout, None),
        unused=found.unused,
        remarks=found.remarks,
    )


def _origin(file: OfficialFile, layout: Layout, name: PublishedName | None) -> dict[str, Any]:
    with file.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known = {
        "trained_on": name.data if name else None,
        "epochs": None if file.epoch is None else file.epoch + 1,
        "task": file.options.get("data_set"),
    }
    return {
        "name": name.text if name else file.path.stem,
        "imported_from": str(layout),
        "file": file.path.name,
        "sha256": digest,
        **{key: value for key, value in known.items() if isinstance(value, int | str)},
    }


def _read_dense(
    file: OfficialFile, layout: Layout, settings: EncoderSettings
) -> tuple[ConvNeXtV2 | Head, tuple[str, ...]]:
    """An encoder alone, or with its classifier or U-Net."""
    described = f"the {layout} of size {settings.size} with patches of {settings.patch_size} px"
    may_stay = {"norm.weight", "norm.bias"}  # of U-Nets, which never use it, and of encoders that lost their head
    with torch.device("meta"):
        encoder = ConvNeXtV2(settings)
        network: ConvNeXtV2 | Head = encoder
        if "head.weight" in file.weights or layout is Layout.MMEARTH_UNET:
            kind = "unet" if layout is Layout.MMEARTH_UNET else "classifier"
            network = make_head(HeadSettings(kind, shape_of(file, "head.weight")[0]), encoder)
    weights, unused = take(_dense_sources(network, layout), file, described)
    refuse_unknown(tuple(key for key in unused if key not in may_stay), described, file)
    network.load_state_dict(weights, assign=True)
    return network, unused


def _dense_sources(network: ConvNeXtV2 | Head, layout: Layout) -> dict[str, Source]:
    prefix = "" if isinstance(network, ConvNeXtV2) else "encoder."
    return {
        key: encoder_source(key.removeprefix(prefix), value.shape, layout)
        if key.startswith(prefix)
        else dense_source(key, value.shape)
        for key, value in network.state_dict().items()
    }
