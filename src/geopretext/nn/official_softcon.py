"""The published backbones of SoftCon (arXiv 2405.20462).

They are ViT-S/14 and ViT-B/14, named as DINOv2 names its weights, and torchvision's ResNet-50, each for 13 bands of
Sentinel-2 L1C or two polarisations of Sentinel-1. Layouts are those of the classes that the authors load them with
(github.com/zhu-xlab/softcon, ``demo_encoding.ipynb``); the files themselves were not at hand. DINOv2's own weights, of
three bands, have the same layout.

What inputs become: the authors cut each band at two standard deviations from its mean over SSL4EO-S12 and make a byte
of it, which the network sees divided by 255. Without cutting and rounding that is
``(x - (mean - 2 std)) / (4 std)``, which statistics of a bundle say exactly: their mean is ``mean - 2 std``, their
deviation ``4 std``. What lies further away is not cut here and reaches the network as less than 0 or more than 1, which
it never saw in training.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from geopretext.errors import BundleError
from geopretext.modality import POOLED, PUBLISHED, Modality, find_modality
from geopretext.nn.families import make_encoder
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.official_file import OfficialFile
from geopretext.nn.official_input import RGB, Told, agree, imagenet_statistics
from geopretext.nn.official_layout import Layout, Source, refuse_unknown, shape_of, take
from geopretext.nn.timm_settings import TimmSettings

_SSL4EO: dict[str, dict[str, tuple[float, float]]] = {
    "sentinel2": {
        "B1": (1605.57504906, 786.78685367),
        "B2": (1390.78157673, 850.34818441),
        "B3": (1314.8729939, 875.06484736),
        "B4": (1363.52445545, 1138.84957046),
        "B5": (1549.44374991, 1122.17775652),
        "B6": (2091.74883118, 1161.59187054),
        "B7": (2371.7172463, 1274.39184232),
        "B8": (2299.90463006, 1248.42891965),
        "B8A": (2560.29504086, 1345.52684884),
        "B9": (830.06605044, 577.31607053),
        "B10": (22.10351321, 51.15431158),
        "B11": (2177.07172323, 1336.09932639),
        "B12": (1524.06546312, 1136.53823676),
    },
    "sentinel1": {"VV": (-12.54847273, 5.25697717), "VH": (-20.19237134, 5.91150917)},
}
"""Mean and standard deviation of each band over SSL4EO-S12, in DN of reflectance x 10000 and in dB
(github.com/zhu-xlab/SSL4EO-S12, ``ssl4eo_dataset.py``)."""
_LEVELS = {"sentinel2": "L1C"}
_RADAR = ("asc_VV", "asc_VH")
_ARCHITECTURES = {384: "vit_small_patch14_dinov2", 768: "vit_base_patch14_dinov2"}
_NAME = re.compile(r"B(?P<bands>13|2)_(?P<size>rn50|vits14|vitb14)_softcon(?:_enc)?")
_SIZES = {"rn50": "resnet50", "vits14": _ARCHITECTURES[384], "vitb14": _ARCHITECTURES[768]}
_IMAGE = 224
_BLOCK = re.compile(r"blocks\.(\d+)\.norm1\.weight")
_DEPTH = 12
_UNUSED = ("mask_token", "fc.weight", "fc.bias")


class PublishedEncoder(NamedTuple):
    """What a file holds."""

    network: EncoderNetwork
    modality: Modality
    """the input, with just its bands"""
    statistics: Mapping[str, Any] | None
    """as ``data.statistics.Statistics.to_dict`` gives them; None if they are not known"""
    unused: tuple[str, ...]
    """weights that are left out"""
    remarks: tuple[str, ...]
    """what was assumed"""


def read_softcon(file: OfficialFile, layout: Layout, told: Told) -> PublishedEncoder:
    """Read a backbone.

    Args:
        file: of weights.
        layout: ``DINOV2_VIT`` or ``TORCHVISION_RESNET``.
        told: what the caller knows about it.

    Raises:
        BundleError: a weight is missing, unknown or of another shape, sources contradict each other, or nothing says
            which bands there are.
        InputError: ``told`` names a modality or a band that does not exist.
    """
    settings, modality, remarks = _find_settings(file, layout, told)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in make_encoder(settings).state_dict().items()}
    sources = {key: _source(key, shape) for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}
    described = f"the {layout} {settings.architecture} for {settings.image_size} px"
    weights, unused = take(sources, file, described)
    refuse_unknown(tuple(key for key in unused if key not in _UNUSED), described, file)
    network = make_encoder(settings)
    network.load_state_dict(weights, strict=False)  # the counters of batch norms are no weights
    statistics = told.statistics
    if statistics is None:
        statistics, remark = _statistics(modality)
        remarks = (*remarks, remark)
    if settings.is_vit:
        remarks = (*remarks, "features are those of patches; the published probes see the class token, too")
    return PublishedEncoder(network, modality, statistics, unused, tuple(filter(None, remarks)))


def ssl4eo_statistics(modality: Modality) -> dict[str, Any]:
    """What makes SoftCon's inputs of numbers in the bands' units, as ``data.statistics.Statistics.to_dict`` gives it.

    ``count`` is 1, since it is not published over how many numbers the means were taken.

    Args:
        modality: Sentinel-2 or Sentinel-1, with the bands of the input.

    Raises:
        KeyError: a band is not in SSL4EO-S12.
    """
    bands = {}
    for name in modality.band_names:
        mean, std = _SSL4EO[modality.name][name.rpartition("_")[2]]
        low, high = mean - 2 * std, mean + 2 * std
        bands[name] = {"mean": low, "std": high - low, "min": low, "max": high, "percentiles": {}, "count": 1}
        bands[name]["missing"] = 0
    levels = [POOLED, *([_LEVELS[modality.name]] if modality.name in _LEVELS else [])]
    entry = {"bands": dict.fromkeys(levels, bands), "class_counts": {}, "missing": 0}
    return {"tiles": 0, "split": "train", "modalities": {modality.name: entry}}


def _find_settings(file: OfficialFile, layout: Layout, told: Told) -> tuple[TimmSettings, Modality, tuple[str, ...]]:
    """Architecture and input, and remarks on what was assumed."""
    architecture, first, patch_size, image_size = _measure(file, layout)
    name = _NAME.fullmatch(file.path.stem)
    source = f"the name {file.path.stem}"
    agree("the architecture", {"the weights": architecture, source: _SIZES[name["size"]] if name else None}, file)
    agree("the patch size", {"the weights": patch_size, "--patch-size": told.patch_size}, file)
    if layout is Layout.DINOV2_VIT:
        agree("the image size", {"the weights": image_size, "--image-size": told.image_size}, file)
    count = shape_of(file, first)[1]
    agree("the number of bands", {"the weights": count, source: int(name["bands"]) if name else None}, file)
    modality, remark = _find_bands(file, first, count, told)
    settings = TimmSettings(
        architecture=architecture,
        modality=modality.name,
        bands=modality.band_names,
        patch_size=patch_size,
        image_size=told.image_size or image_size,
    )
    return settings, modality, (remark,)


def _measure(file: OfficialFile, layout: Layout) -> tuple[str, str, int, int]:
    """Architecture, the weight that the bands go into, patch size and image size."""
    if layout is Layout.TORCHVISION_RESNET:
        return "resnet50", "conv1.weight", 32, _IMAGE
    first = "patch_embed.proj.weight"
    width, *_, side = shape_of(file, first)
    depth = sum(bool(_BLOCK.fullmatch(key)) for key in file.weights)
    if width not in _ARCHITECTURES or depth != _DEPTH:
        raise BundleError(
            f"its {depth} blocks have {width} features",
            where=str(file.path),
            hint=f"known are {_DEPTH} blocks of {' or '.join(map(str, _ARCHITECTURES))}",
        )
    cells = round((shape_of(file, "pos_embed")[1] - 1) ** 0.5)  # all but the class token
    return _ARCHITECTURES[width], first, side, side * cells


def _find_bands(file: OfficialFile, first: str, count: int, told: Told) -> tuple[Modality, str]:
    """The input with just its bands, and a remark if that is not certain."""
    known = {13: ("sentinel2", tuple(_SSL4EO["sentinel2"])), 2: ("sentinel1", _RADAR), 3: (RGB.name, RGB.band_names)}
    name, bands = known.get(count, (told.modality or "sentinel2", ()))
    if told.modality is not None and told.modality != name:
        name, bands = told.modality, ()
    chosen = told.bands or bands
    if not chosen or len(chosen) != count:
        raise BundleError(
            f"{first} takes {count} bands, and {len(chosen) or 'nothing'} {'are named' if chosen else 'says which'}",
            where=str(file.path),
            hint=f"--modality and --bands with {count} names, in the order that it was trained with",
        )
    modality = find_modality(name, {**PUBLISHED, RGB.name: RGB}).select(chosen)
    if chosen == _RADAR and told.bands is None:
        return (
            modality,
            "VV and VH of the ascending orbit: trained on both orbits; --bands desc_VV,desc_VH for the other",
        )
    return modality, ""


def _statistics(modality: Modality) -> tuple[Mapping[str, Any] | None, str]:
    if modality.name == RGB.name:
        return imagenet_statistics(), ""
    try:
        return ssl4eo_statistics(modality), (
            "inputs are scaled as over SSL4EO-S12; in training they were cut, too, at two standard deviations"
        )
    except KeyError:
        return None, ""


def _source(key: str, shape: torch.Size) -> Source:
    return Source(key.removeprefix("body.model."), (tuple(shape),), lambda x: x)
