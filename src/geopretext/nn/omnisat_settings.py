"""Settings of OmniSat's network: plain data, so that recipes and the command line can read them without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.settings import SENTINEL2_BANDS

SMALLEST_PATCH = 4
"""pixels on a side of the smallest patch that a convolutional projector can halve twice"""


def _default_inputs() -> dict[str, tuple[str, ...]]:
    return {"sentinel2": SENTINEL2_BANDS, "sentinel1": ("asc_VV", "asc_VH", "desc_VV", "desc_VH")}


@dataclass(frozen=True)
class OmniSatSettings:
    """The fusing encoder of OmniSat (arXiv 2404.08351): one token a ground patch and modality; published widths."""

    inputs: dict[str, tuple[str, ...]] = field(default_factory=_default_inputs)
    """maps that are the input: bands of each, in order, by name; none only of an encoder that is given series alone"""
    series: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """time series that are the input besides: bands of each, in order, by name"""
    patch_size: int = 16
    """pixels on a side of a ground patch, at least 4; the same ground for every modality"""
    image_size: int = 64
    """pixels on a side of the crop that it is trained on; a multiple of patch_size"""
    dim: int = 256
    """features of a token, a multiple of heads, series_heads and 4"""
    depth: int = 6
    """blocks of the combiner, at least 1"""
    heads: int = 16
    """attention heads of the combiner and the fusion block, at least 1"""
    dropout: float = 0.2
    """share of features and attentions that is dropped in training, from 0 to below 1"""
    drop_path: float = 0.2
    """largest probability of skipping a block of the combiner, from 0 to below 1; grows linearly with depth. The fusion
    block is never skipped, since nothing passes beside its attention"""
    buckets: int = 7
    """distances between patches that relative positions tell apart, at least 2; the class token has one more"""
    series_heads: int = 16
    """attention heads over the dates of a series, at least 1"""
    series_key_dim: int = 8
    """features of a key of each of them, at least 1"""
    series_widths: tuple[int, ...] = (32, 128)
    """features of the layers between the pixels of a patch at one date and dim"""
    date_base: float = 367.0
    """of the wavelengths that a day of the year is written in, above 1: 2 pi to 2 pi times this, days"""
    family: str = "omnisat"
    """of architectures, see ``nn.families``; that of this class is "omnisat\""""

    def __post_init__(self) -> None:
        for name in ("inputs", "series"):
            object.__setattr__(self, name, _read_bands(name, getattr(self, name)))
        if self.family != "omnisat":
            raise RecipeError(f"encoder.family is {self.family!r}", hint="omnisat")
        if not self.inputs and not self.series:
            raise RecipeError("encoder.inputs is empty", hint="name a map, for example sentinel2")
        if twice := self.inputs.keys() & self.series.keys():
            raise RecipeError(f"{', '.join(sorted(twice))} is both in encoder.inputs and in encoder.series")
        self._check_numbers()
        if self.image_size <= 0 or self.image_size % self.patch_size:
            raise RecipeError(
                f"encoder.image_size {self.image_size} is not a multiple of encoder.patch_size {self.patch_size}"
            )
        for name, divisor in (("heads", self.heads), ("series_heads", self.series_heads), ("groups", 4)):
            if self.dim % divisor:
                raise RecipeError(f"encoder.dim {self.dim} is not a multiple of {divisor}, the number of its {name}")

    def _check_numbers(self) -> None:
        at_least = {"patch_size": SMALLEST_PATCH, "buckets": 2} | dict.fromkeys(
            ("dim", "depth", "heads", "series_heads", "series_key_dim"), 1
        )
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise RecipeError(f"encoder.{name} is {getattr(self, name)}", hint=f"at least {least}")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"encoder.{name} is {getattr(self, name)}", hint="at least 0, below 1")
        if not self.date_base > 1:
            raise RecipeError(f"encoder.date_base is {self.date_base}", hint="above 1, for example 367")
        if not all(width > 0 for width in self.series_widths):
            raise RecipeError(f"encoder.series_widths is {self.series_widths}", hint="each at least 1")

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of all maps, in order."""
        return tuple(band for bands in self.inputs.values() for band in bands)

    @property
    def initialisation(self) -> str:
        """How weights of what stands on it start."""
        return "small"

    @property
    def title(self) -> str:
        """For people."""
        return f"OmniSat of {self.depth} blocks, {self.dim} features"

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map: the projectors' where they divide a patch evenly, then a patch.

        Projectors of series have no finer cells.
        """
        if not self.inputs:
            return (self.patch_size,)
        halved = (4 << level for level in range(self.patch_size.bit_length()))
        inner = (stride for stride in halved if stride < self.patch_size and self.patch_size % stride == 0)
        return (*inner, self.patch_size)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map."""
        return (self.dim,) * len(self.strides)

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``nn.settings.POOLINGS``."""
        return self.dim if pooling == "mean" else 2 * sum(self.widths)

    @property
    def patches(self) -> int:
        """Number of patches of a crop of ``image_size``."""
        return (self.image_size // self.patch_size) ** 2


def _read_bands(field_name: str, given: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """A copy with tuples, as JSON has lists."""
    found: dict[str, tuple[str, ...]] = {}
    for name, bands in given.items():
        if isinstance(bands, str) or not bands:
            raise RecipeError(f"encoder.{field_name}.{name} is {bands!r}", hint="a list of bands")
        if name in PUBLISHED:
            PUBLISHED[name].band_indices(bands)
        found[name] = tuple(bands)
    return found
