"""Settings of networks: plain data, so that recipes and the command line can read them without torch."""

import math
from dataclasses import dataclass

from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED

SIZES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "micro": ((1, 1, 2, 1), (32, 64, 128, 256)),
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "huge": ((3, 3, 27, 3), (352, 704, 1408, 2816)),
}
"""Depths and widths of the four stages (ConvNeXt V2, arXiv 2301.00808, table 1; ``micro`` is ours, for the demo)."""

STEMS = ("mmearth", "convnextv2")
"""How pixels become the first feature map; see ``EncoderSettings.stem``."""

INITIALISATIONS = ("small", "published")
"""How weights start; see ``EncoderSettings.initialisation``."""

PADDINGS = ("same", "published-classifier")
"""How convolutions are padded without a mask; see ``EncoderSettings.dense_padding``."""

DECODERS = ("shared", "per-modality")
"""Which decoders there are; see ``AutoencoderSettings.decoder``."""

SEGMENTERS = ("linear", "unet", "smp-unet", "smp-upernet", "smp-fpn", "smp-dpt")
"""Decoders of labels of pixels; see ``nn.decoders``."""

HEADS = ("classifier", *SEGMENTERS)
"""What can stand on an encoder after fine-tuning; see ``HeadSettings.kind``."""

PAIRS = ("difference", "concatenation")
"""How maps of two images are compared; see ``nn.siamese``."""

TASKS = ("single-label", "multi-label", "regression", "segmentation", "dense regression", "change detection")
"""What heads are trained for; see ``HeadLabels.task``."""

SENTINEL2_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
"""The twelve input bands of MMEarth, in its order; B10 is left out since L2A lacks it."""

POOLINGS = ("stages", "mean")
"""How a grid of features becomes one vector: "stages": mean and standard deviation over the cells of each of the four
stages, twice the sum of their widths; "mean": mean over the cells of the last, as in published probes."""


@dataclass(frozen=True)
class EncoderSettings:
    """A ConvNeXt V2 encoder for one optical modality."""

    size: str = "atto"
    """one of micro, atto, femto, pico, nano, tiny, base, large, huge"""
    modality: str = "sentinel2"
    """name of the modality that is the input"""
    bands: tuple[str, ...] = SENTINEL2_BANDS
    """bands of the input, in order, by name"""
    patch_size: int = 8
    """pixels on a side of what masking hides or shows, and of one output cell: 8, 16 or 32"""
    image_size: int = 56
    """pixels on a side of the crop that it is trained on; a multiple of patch_size"""
    stem: str = "mmearth"
    """"mmearth": 3x3 convolution, then depthwise patch_size / 8; "convnextv2": one convolution of patch_size / 8"""
    grn_scope: str = "sample"
    """"sample": response norms over one tile; "batch": those of the encoder over all tiles that a process computes at
    once, as in published pretraining"""
    initialisation: str = "small"
    """"small": all kernels start at standard deviation 0.02; "published": as in the published pretraining, depthwise
    kernels, linear layers of the encoder, the projection and heads of maps at 1"""
    drop_path: float = 0.0
    """largest probability of skipping a block, 0 to 1; grows linearly with depth"""
    dense_padding: str = "same"
    """without a mask, of stem "mmearth": "same": as in pretraining; "published-classifier": the 3x3 convolution is not
    padded, and the depthwise one is padded by half its size, as MMEarth's classifiers compute"""
    dense_grn_epsilon: float = 1e-6
    """without a mask: what response norms add to the mean strength, above 0; MMEarth's dense models have 1e-4"""
    family: str = "convnextv2"
    """of architectures, see ``nn.families``; that of this class is "convnextv2\""""

    def __post_init__(self) -> None:
        choices = {
            "family": ("convnextv2",),
            "size": SIZES,
            "stem": STEMS,
            "grn_scope": ("sample", "batch"),
            "initialisation": INITIALISATIONS,
            "dense_padding": PADDINGS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise RecipeError(f"encoder.{name} is {getattr(self, name)!r}", hint=f"one of {', '.join(known)}")
        if self.patch_size not in (8, 16, 32):
            raise RecipeError(f"encoder.patch_size is {self.patch_size}", hint="one of 8, 16, 32")
        if self.image_size <= 0 or self.image_size % self.patch_size:
            raise RecipeError(
                f"encoder.image_size {self.image_size} is not a multiple of encoder.patch_size {self.patch_size}"
            )
        if not 0 <= self.drop_path < 1:
            raise RecipeError(f"encoder.drop_path is {self.drop_path}", hint="at least 0, below 1")
        if not 0 < self.dense_grn_epsilon < 1:
            raise RecipeError(
                f"encoder.dense_grn_epsilon is {self.dense_grn_epsilon}", hint="above 0, for example 1e-6"
            )
        if not self.bands:
            raise RecipeError("encoder.bands is empty", hint=f"for example {', '.join(SENTINEL2_BANDS[1:4])}")
        if self.modality in PUBLISHED:
            PUBLISHED[self.modality].band_indices(self.bands)

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Bands of the one modality that is the input."""
        return {self.modality: self.bands}

    @property
    def title(self) -> str:
        """For people."""
        return f"ConvNeXt V2 {self.size}"

    @property
    def depths(self) -> tuple[int, int, int, int]:
        """Number of blocks in each of the four stages."""
        return SIZES[self.size][0]

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Number of features in each of the four stages."""
        return SIZES[self.size][1]

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``POOLINGS``."""
        return self.widths[-1] if pooling == "mean" else 2 * sum(self.widths)

    @property
    def patches(self) -> int:
        """Number of patches of a crop of ``image_size``."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class HeadSettings:
    """What stands on an encoder after fine-tuning."""

    kind: str
    """"classifier": scores of an image, see ``nn.classifier``; any other: of each pixel, see ``nn.decoders``"""
    classes: int
    """number of scores, at least 1"""
    pair: str | None = None
    """of change detection: "difference" or "concatenation", see ``nn.siamese``; null: the head sees one image"""

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise RecipeError(f"head.kind is {self.kind!r}", hint=f"one of {', '.join(HEADS)}")
        if self.classes < 1:
            raise RecipeError(f"head.classes is {self.classes}", hint="at least 1")
        if self.pair is not None and (self.pair not in PAIRS or self.kind not in SEGMENTERS):
            raise RecipeError(
                f"head.pair is {self.pair!r}, of a {self.kind}", hint=f"{' or '.join(PAIRS)}, of labels of pixels"
            )


@dataclass(frozen=True)
class HeadLabels:
    """What the scores of a head mean; K of them."""

    task: str
    """one of ``TASKS``"""
    names: tuple[str, ...]
    """of the K classes, labels or quantities"""
    unit: str = ""
    """of the quantities; empty if it is not known"""
    mean: tuple[float, ...] = ()
    """of each quantity: quantities are scores times ``std`` plus ``mean``; empty for classes and labels"""
    std: tuple[float, ...] = ()
    """of each quantity, above 0"""
    codes: tuple[int, ...] = ()
    """numbers that stand for the classes in the maps that it was trained on; empty: 0 to K - 1"""
    ignore: float | None = None
    """number that means "not labelled" there; null: none"""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise RecipeError(f"labels.task is {self.task!r}", hint=f"one of {', '.join(TASKS)}")
        if not self.names or not all(isinstance(name, str) for name in self.names):
            raise RecipeError(f"labels.names is {self.names!r}", hint="the name of each class, label or quantity")
        wanted = len(self.names) if self.is_quantities else 0
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != wanted or not all(math.isfinite(value) for value in values):
                raise RecipeError(f"labels.{name} is {values!r}", hint=f"{wanted} numbers for a task of {self.task}")
        if not all(value > 0 for value in self.std):
            raise RecipeError(f"labels.std is {self.std!r}", hint="above 0")
        if self.codes and (
            self.is_quantities
            or not len(self.codes) == len(set(self.codes)) == len(self.names)
            or not all(type(code) is int for code in self.codes)
        ):
            raise RecipeError(f"labels.codes is {self.codes!r}", hint="a whole number for each class, or none")
        if self.ignore is not None and not math.isfinite(self.ignore):
            raise RecipeError(f"labels.ignore is {self.ignore}", hint="a number, or null")
        if not self.is_quantities and self.ignore in (self.codes or range(len(self.names))):
            raise RecipeError(f"labels.ignore is {self.ignore}, which is a class", hint="another number, or null")

    @property
    def is_quantities(self) -> bool:
        """True if the scores are standardised quantities, not classes or labels."""
        return self.task in ("regression", "dense regression")


@dataclass(frozen=True)
class AutoencoderSettings:
    """What stands on an encoder in pretraining, and what its predictions mean."""

    decoder_dim: int = 512
    """features of a decoder cell, at least 1"""
    decoder_depth: int = 1
    """ConvNeXt V2 blocks of a decoder, at least 1"""
    decoder: str = "shared"
    """"shared": one decoder for all modalities, computed once, as in MMEarth; "per-modality": one for each"""
    mask_ratio: float = 0.6
    """share of the patches that is hidden, above 0 and below 1; the number shown is rounded down"""
    standardise_patches: tuple[str, ...] = ()
    """continuous map targets that are predicted as standardised within each patch (mean 0, variance 1)"""
    predict_visible: bool = False
    """true: maps other than the input are predicted on the patches that are shown, too"""
    decoder_grn_epsilon: float = 1e-6
    """what the decoder's response norms add to the mean strength, above 0; MMEarth has 1e-4"""

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise RecipeError(f"decoder is {self.decoder!r}", hint=f"one of {', '.join(DECODERS)}")
        if self.decoder_dim < 1:
            raise RecipeError(f"decoder_dim is {self.decoder_dim}", hint="at least 1; MMEarth has 512")
        if self.decoder_depth < 1:
            raise RecipeError(f"decoder_depth is {self.decoder_depth}", hint="at least 1; MMEarth has 1")
        if not 0 < self.mask_ratio < 1:
            raise RecipeError(f"mask_ratio is {self.mask_ratio}", hint="above 0, below 1; MMEarth has 0.6")
        if not 0 < self.decoder_grn_epsilon < 1:
            raise RecipeError(f"decoder_grn_epsilon is {self.decoder_grn_epsilon}", hint="above 0; MMEarth has 1e-4")
