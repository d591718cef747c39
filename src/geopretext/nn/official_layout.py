"""How published files name and shape their weights, and what makes ours of them.

Pretraining ran on MinkowskiEngine, whose sparse layers keep their weights otherwise than torch:

============================ ================================= ====================================================
weight                       there                             here
============================ ================================= ====================================================
convolution                  ``X.kernel`` (k k, Cin, Cout)     ``X.weight`` (Cout, Cin, k, k)
1 x 1 convolution, stride 1  ``X.kernel`` (Cin, Cout)          ``X.weight`` (Cout, Cin, 1, 1)
depthwise convolution        ``X.kernel`` (k k, C)             ``X.weight`` (C, 1, k, k)
bias of a convolution        ``X.bias`` (1, C)                 ``X.bias`` (C)
layer norm                   ``X.ln.weight``, ``X.ln.bias``    ``X.weight``, ``X.bias``
linear layer                 ``X.linear.weight``, ``.bias``    ``X.weight``, ``X.bias``
response norm                ``X.gamma``, ``X.beta`` (1, C)    ``X.gamma``, ``X.beta`` (1, 1, 1, C)
============================ ================================= ====================================================

The offsets of a kernel count rows fastest: number ``column k + row``. Dense models are named as ours; those of ConvNeXt
V2 call the stem ``downsample_layers.0``. The facts are those of the published classes
(github.com/vishalned/MMEarth-train, github.com/facebookresearch/ConvNeXt-V2, github.com/shwoo93/MinkowskiEngine).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from geopretext.errors import BundleError
from geopretext.nn.official_file import OfficialFile
from geopretext.nn.settings import SIZES

_CONVOLUTION = re.compile(r"(?:dwconv|initial_conv\.0|stem\.0|stem_orig\.0|downsample_layers\.\d\.1)$")
_LINEAR = re.compile(r"pwconv[12]$")
_AGAIN = "download the file again, or save the state_dict of the published class"


class Layout(StrEnum):
    """The kinds of published files, told apart by the names of their weights."""

    MMEARTH_PRETRAINING = "MMEarth pretraining checkpoint"
    MMEARTH_DENSE = "MMEarth dense model"
    MMEARTH_UNET = "MMEarth U-Net"
    CONVNEXTV2_PRETRAINING = "ConvNeXt V2 pretraining checkpoint"
    CONVNEXTV2_DENSE = "ConvNeXt V2 dense model"
    DINOV2_VIT = "ViT as DINOv2 and SoftCon have it"
    TORCHVISION_RESNET = "ResNet as torchvision and SoftCon have it"

    @property
    def is_pretraining(self) -> bool:
        """Whether a decoder comes with the encoder, whose layers are sparse."""
        return self in (Layout.MMEARTH_PRETRAINING, Layout.CONVNEXTV2_PRETRAINING)

    @property
    def is_of_timm(self) -> bool:
        """Whether the network is one that timm has, too."""
        return self in (Layout.DINOV2_VIT, Layout.TORCHVISION_RESNET)

    @property
    def is_mmearth(self) -> bool:
        """Whether MMEarth's classes made it."""
        return self in (Layout.MMEARTH_PRETRAINING, Layout.MMEARTH_DENSE, Layout.MMEARTH_UNET)

    @property
    def prefix(self) -> str:
        """What stands before the names of the encoder's weights."""
        return "encoder." if self.is_pretraining else ""


@dataclass(frozen=True)
class Measured:
    """What names and shapes of the weights say about the encoder."""

    size: str
    """one of ``SIZES``"""
    stem: str
    """one of ``STEMS``"""
    patch_size: int
    """pixels"""
    bands: int
    """number of input bands"""
    first: str
    """the weight that the bands go into"""


@dataclass(frozen=True)
class Source:
    """Where a weight is in a file, and how it becomes ours."""

    key: str
    shapes: tuple[tuple[int, ...], ...]
    """that it may have in the file"""
    convert: Callable[[Tensor], Tensor]
    aliases: tuple[str, ...] = ()
    """other names of the same weight, which must hold the same numbers"""


def recognise(file: OfficialFile) -> Layout:
    """The layout of a file.

    Raises:
        BundleError: it is none that is known.
    """
    weights = file.weights
    for layout, marks in _MARKS.items():
        if any(mark in weights for mark in marks):
            return layout
    raise BundleError(
        f"is no published layout that is known; its weights are {', '.join(list(weights)[:4])} ...",
        where=str(file.path),
        hint=f"known are {', '.join(Layout)}; bundles of geopretext need no import",
    )


_MARKS: dict[Layout, tuple[str, ...]] = {
    Layout.CONVNEXTV2_PRETRAINING: ("encoder.downsample_layers.0.0.weight",),
    Layout.MMEARTH_PRETRAINING: (
        "encoder.initial_conv.0.kernel",
        "encoder.stem_orig.0.kernel",
        "encoder.stem.0.kernel",
    ),
    Layout.MMEARTH_UNET: ("upsample_layers.0.conv.weight", "initial_conv_upsample.0.weight"),
    Layout.MMEARTH_DENSE: ("initial_conv.0.weight", "stem_orig.0.weight", "stem.0.weight"),
    Layout.CONVNEXTV2_DENSE: ("downsample_layers.3.1.weight", "downsample_layers.0.0.weight"),
    Layout.DINOV2_VIT: ("blocks.0.ls1.gamma",),
    Layout.TORCHVISION_RESNET: ("layer1.0.conv1.weight",),
}
"""Weights of which each layout has one and those further down have none."""


def measure(file: OfficialFile, layout: Layout) -> Measured:
    """Size, stem, patch size and number of bands.

    Raises:
        BundleError: a weight that says so is missing or of a strange shape, or there is no such size.
    """
    size = _size(file, layout)
    kind = "kernel" if layout.is_pretraining and layout.is_mmearth else "weight"
    if not layout.is_mmearth:
        stem, first, strided = "convnextv2", f"{layout.prefix}downsample_layers.0.0.weight", ""
    elif f"{layout.prefix}stem_orig.0.{kind}" in file.weights:
        stem, first, strided = "convnextv2", f"{layout.prefix}stem_orig.0.{kind}", ""
    else:
        stem, first, strided = "mmearth", f"{layout.prefix}initial_conv.0.{kind}", f"{layout.prefix}stem.0.{kind}"
    strided = strided or first
    shape, bands = shape_of(file, strided), shape_of(file, first)
    if kind == "kernel":
        side = 1 if stem == "convnextv2" and len(shape) == 2 else math.isqrt(shape[0])
        count = bands[-2]
    else:
        side, count = shape[-1], bands[1]
    if side not in (1, 2, 4):
        raise BundleError(
            f"{strided} is {shape}: a kernel {side} cells wide",
            where=str(file.path),
            hint="the stem of patches of 8, 16 or 32 px has a kernel 1, 2 or 4 wide",
        )
    return Measured(size, stem, 8 * side, count, first)


def shape_of(file: OfficialFile, key: str) -> tuple[int, ...]:
    """Shape of a kernel or of a matrix.

    Raises:
        BundleError: it is missing, or has fewer than two axes.
    """
    if key not in file.weights:
        raise _unlike([f"{key} is missing"], "a published model", file)
    shape = tuple(file.weights[key].shape)
    if len(shape) < 2:
        raise _unlike([f"{key} is {shape}, wanted two axes or more"], "a published model", file)
    return shape


def encoder_source(key: str, shape: torch.Size, layout: Layout) -> Source:
    """Where a weight of our encoder is.

    Args:
        key: its name in ``ConvNeXtV2``.
        shape: its shape there.
        layout: of the file.
    """
    name = key if layout.is_mmearth else _convnextv2_name(key)
    if layout.is_pretraining and (layout.is_mmearth or not key.startswith("stem_orig.")):
        return _sparse_source(layout.prefix + name, shape)
    return dense_source(layout.prefix + name, shape)


def dense_source(key: str, shape: torch.Size) -> Source:
    """A weight that is named and shaped as ours, except that response norms may lack axes of length 1."""
    plain = tuple(shape)
    shapes = (plain, plain[2:], plain[3:]) if ".grn." in key else (plain,)
    return Source(key, shapes, lambda x: x.reshape(shape))


def take(wanted: Mapping[str, Source], file: OfficialFile, described: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights by our names, and the names of those that are left over.

    Args:
        wanted: where each is, by our name.
        file: where they are taken from.
        described: what they make, for the message.

    Raises:
        BundleError: one is missing or has another shape, or aliases differ; the message names it.
    """
    weights, problems, used = file.weights, [], set()
    for source in wanted.values():
        for key in (source.key, *source.aliases):
            used.add(key)
            if key not in weights:
                problems.append(f"{key} is missing")
            elif tuple(weights[key].shape) not in source.shapes:
                problems.append(f"{key} is {tuple(weights[key].shape)}, wanted {source.shapes[0]}")
    if problems:
        raise _unlike(problems, described, file)
    for source in wanted.values():
        for alias in source.aliases:
            if not torch.equal(weights[alias], weights[source.key]):
                raise BundleError(
                    f"{alias} differs from {source.key}, and published decoders are one that all modalities share",
                    where=str(file.path),
                    hint="the published classes never write such a file; download it again",
                )
    # copies, since the originals may lie in the file itself, which can change under them
    taken = {
        name: source.convert(weights[source.key]).clone(memory_format=torch.contiguous_format)
        for name, source in wanted.items()
    }
    return taken, tuple(key for key in weights if key not in used)


def refuse_unknown(keys: tuple[str, ...], described: str, file: OfficialFile) -> None:
    """Refuse weights that nothing was made of.

    Raises:
        BundleError: there are some; the message names them.
    """
    if keys:
        raise _unlike([f"{key} is unknown" for key in keys], described, file)


def _unlike(problems: list[str], described: str, file: OfficialFile) -> BundleError:
    shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
    return BundleError(f"the weights are not those of {described}: {shown}", where=str(file.path), hint=_AGAIN)


def _size(file: OfficialFile, layout: Layout) -> str:
    """The size with just as many blocks of just these widths."""
    norm = r"\.norm\.ln\.weight" if layout.is_pretraining else r"\.norm\.weight"
    pattern = re.compile(rf"{re.escape(layout.prefix)}stages\.(\d)\.(\d+){norm}")
    depths, widths = [0] * 4, [0] * 4
    for key, weight in file.weights.items():
        match = pattern.fullmatch(key)
        if match and int(match[1]) < len(depths):
            stage, block = int(match[1]), int(match[2])
            depths[stage] = max(depths[stage], block + 1)
            widths[stage] = weight.numel() if block == 0 else widths[stage]
    for size, known in SIZES.items():
        if known == (tuple(depths), tuple(widths)):
            return size
    sizes = "; ".join(f"{size} {depths} {widths}" for size, (depths, widths) in SIZES.items())
    raise BundleError(
        f"its four stages have {tuple(depths)} blocks of {tuple(widths)} features, which is no size of ConvNeXt V2",
        where=str(file.path),
        hint=f"sizes are {sizes}",
    )


def _convnextv2_name(key: str) -> str:
    """Theirs counts the stem among the downsampling layers."""
    if key.startswith("stem_orig."):
        return key.replace("stem_orig.", "downsample_layers.0.", 1)
    return re.sub(r"^downsample_layers\.(\d)", lambda match: f"downsample_layers.{int(match[1]) + 1}", key)


def _sparse_source(key: str, shape: torch.Size) -> Source:
    module, _, kind = key.rpartition(".")
    if module.endswith(".grn"):
        return Source(key, ((1, shape[-1]),), lambda x: x.reshape(shape))
    if _LINEAR.search(module):
        return Source(f"{module}.linear.{kind}", (tuple(shape),), _as_it_is)
    if not _CONVOLUTION.search(module):
        return Source(f"{module}.ln.{kind}", (tuple(shape),), _as_it_is)
    if kind == "bias":
        return Source(key, ((1, *shape),), lambda x: x.reshape(shape))
    features, bands, side, _ = shape
    if bands == 1 and not module.endswith(("initial_conv.0", "stem_orig.0")):
        return Source(f"{module}.kernel", ((side**2, features),), _depthwise_kernel)
    if side == 1:
        return Source(f"{module}.kernel", ((bands, features),), lambda x: x.t()[..., None, None])
    return Source(f"{module}.kernel", ((side**2, bands, features),), _kernel)


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _kernel(x: Tensor) -> Tensor:
    """(k k, Cin, Cout), rows counted fastest -> (Cout, Cin, k, k)."""
    side = math.isqrt(len(x))
    return x.reshape(side, side, *x.shape[1:]).permute(3, 2, 1, 0)


def _depthwise_kernel(x: Tensor) -> Tensor:
    """(k k, C), rows counted fastest -> (C, 1, k, k)."""
    side = math.isqrt(len(x))
    return x.reshape(side, side, -1).permute(2, 1, 0)[:, None]
