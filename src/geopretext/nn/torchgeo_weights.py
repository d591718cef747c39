"""Bundles as weights of torchgeo.

::

    from geopretext.nn.torchgeo_weights import bundle_weights
    from torchgeo.trainers import ClassificationTask

    weights = bundle_weights("runs/mine/bundle")
    task = ClassificationTask(
        model=weights.meta["model"], weights=weights, in_channels=weights.meta["in_chans"], num_classes=10
    )
    dataset = EuroSAT(root, bands=weights.meta["bands"], transforms=weights.transforms)

torchgeo's models are timm's: importing this module registers ours with timm. Its trainers of classification and
regression take such weights; that of segmentation loads them into a model whose layers are named otherwise.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import geopretext.nn.timm_models  # noqa: F401 -- so that timm knows the models that weights name
from geopretext.errors import BundleError, InputError
from geopretext.modality import Modality
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import as_convnextv2
from geopretext.nn.export import check_settings
from geopretext.nn.optional import missing
from geopretext.nn.standardise import Standardise, scale_of
from geopretext.nn.timm_weights import registered_name, timm_architecture, timm_state_dict

try:
    from torchgeo.models import get_model_weights  # noqa: F401 -- to learn early that torchgeo is missing
    from torchvision.models._api import Weights, WeightsEnum
    from torchvision.transforms.v2 import Transform
except (ImportError, RuntimeError) as error:
    raise missing(error, "torchgeo", extra="torchgeo", purpose="make weights for it") from error


class StandardiseImage(Transform):  # type: ignore[misc]
    """A transform of samples or images: from numbers in the bands' units to what the encoder sees.

    Args:
        standardise: the layer that does it.
    """

    def __init__(self, standardise: Standardise) -> None:
        super().__init__()
        self.standardise = standardise

    def forward(self, sample: Any) -> Any:
        """Of a sample the ``image``, (..., C, H, W) in the bands' units; or an image itself. The shape stays.

        Raises:
            InputError: a sample has no image.
        """
        if not isinstance(sample, Mapping):
            return self.standardise(sample.float())
        if "image" not in sample:
            raise InputError(
                f"a sample has no 'image', only {', '.join(sample)}", hint="as torchgeo's datasets have it"
            )
        return {**sample, "image": self.standardise(sample["image"].float())}


class BundleWeights(WeightsEnum):  # type: ignore[misc]
    """Weights whose state dict comes from a bundle, here or on the hub, rather than from a URL."""

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # noqa: ARG002 -- options of downloads
        """Weights by timm's names, for the model that ``meta`` names."""
        network = as_convnextv2(Encoder.from_pretrained(self.url).network, "torchgeo's weights")
        return timm_state_dict(network, self.meta["model"])


def bundle_weights(bundle: str | Path, *, level: str | None = None) -> WeightsEnum:
    """The only member of an enumeration of weights, as torchgeo's trainers and users of its models take it.

    Args:
        bundle: a folder, or the name of a repository on the Hugging Face hub.
        level: processing level whose statistics ``transforms`` standardises with, see ``standardise.scale_of``.

    Raises:
        BundleError: it is not a bundle, or torchgeo cannot say what it is.
        InputError: there are no statistics of the level.
    """
    encoder = Encoder.from_pretrained(bundle)
    settings = as_convnextv2(encoder.network, "torchgeo's weights").settings
    check_settings(settings, "torchgeo")
    _, arguments = timm_architecture(settings)
    if arguments.keys() & {"dense_padding", "dense_grn_epsilon"}:
        raise BundleError(
            f"torchgeo creates models by name alone, and cannot say {arguments}",
            where=str(bundle),
            hint="export it to timm and create the model there, or use TerraTorch",
        )
    level, mean, std = scale_of(encoder, level)
    weights = Weights(
        url=str(bundle),
        transforms=StandardiseImage(Standardise(encoder.modality, mean, std)),
        meta={
            "model": registered_name(settings.size, settings.patch_size, settings.stem),
            "in_chans": len(encoder.bands),
            "bands": _band_names(encoder.modality),
            "unit": encoder.unit,
            "level": level,
            "dataset": encoder.recipe.get("data", ""),
            "publication": "https://arxiv.org/abs/2405.02771",
            "ssl_method": "mp-mae",
            "license": encoder.licence,
        },
    )
    member: WeightsEnum = BundleWeights("Geopretext_Weights", {settings.size.upper(): weights})[settings.size.upper()]
    return member


def _band_names(modality: Modality) -> list[str]:
    """As torchgeo's datasets spell them: ``B02`` of Sentinel-2, where other satellites have a ``B2``."""
    if modality.name != "sentinel2":
        return list(modality.band_names)
    return [re.sub(r"^B(\d)$", r"B0\1", name) for name in modality.band_names]
