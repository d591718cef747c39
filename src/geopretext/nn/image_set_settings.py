"""Settings of the encoder of sets of images: plain data, read without torch."""

from dataclasses import dataclass, field

from geopretext.errors import RecipeError
from geopretext.modality import GROUND_SAMPLING_DISTANCE, PUBLISHED

FAMILY = "a2_mae"


def _sources() -> dict[str, str]:
    return {
        "optical_10m": "sentinel2",
        "optical_20m": "sentinel2",
        "optical_60m": "sentinel2",
        "radar_ascending": "sentinel1",
        "radar_descending": "sentinel1",
        "terrain": "aster",
    }


def _image_bands() -> dict[str, tuple[str, ...]]:
    return {
        "optical_10m": ("B2", "B3", "B4", "B8"),
        "optical_20m": ("B5", "B6", "B7", "B8A", "B11", "B12"),
        "optical_60m": ("B1", "B9"),
        "radar_ascending": ("asc_VV", "asc_VH"),
        "radar_descending": ("desc_VV", "desc_VH"),
        "terrain": ("elevation", "slope"),
    }


def _factors() -> dict[str, int]:
    return {"optical_20m": 2, "optical_60m": 6, "terrain": 3}


@dataclass(frozen=True)
class ImageSetSettings:
    """A vision transformer over all images of a place at once, each at its own resolution."""

    sources: dict[str, str] = field(default_factory=_sources)
    """images of a set by name, in order, and the modality that each is of"""
    image_bands: dict[str, tuple[str, ...]] = field(default_factory=_image_bands)
    """bands of each image, in order; no two images share one"""
    factors: dict[str, int] = field(default_factory=_factors)
    """pixels of the data on a side of a pixel of an image, at least 1, which is that of images that are not named"""
    patch_size: int = 8
    """pixels on a side of a patch of every image, so that a token of a coarser one covers more ground; and pixels of
    the data on a side of an output cell; at least 2"""
    image_size: int = 96
    """pixels of the data on a side of the crop that it is trained on; a multiple of patch_size. Where patches of a
    coarser image do not tile it, the last ones reach beyond, and are absent there"""
    dim: int = 768
    """features of a token, a multiple of 4 and of heads"""
    depth: int = 12
    """transformer blocks, at least 1"""
    heads: int = 12
    """attention heads of a block"""
    ground_sampling_distance: float = float(GROUND_SAMPLING_DISTANCE)
    """metres a pixel of the data, above 0"""
    geographic_encoding: bool = True
    """false: tokens are not told place, date and ground sampling distance, and are placed by their row and column in
    their own image"""
    family: str = FAMILY
    """of architectures, see ``nn.families``; that of this class is "a2_mae\""""

    def __post_init__(self) -> None:
        # JSON and YAML give lists.
        object.__setattr__(self, "image_bands", {name: tuple(bands) for name, bands in self.image_bands.items()})
        if self.family != FAMILY:
            raise RecipeError(f"encoder.family is {self.family!r}", hint=FAMILY)
        self._check_images()
        if self.patch_size < 2:
            raise RecipeError(f"encoder.patch_size is {self.patch_size}", hint="at least 2")
        if self.image_size <= 0 or self.image_size % self.patch_size:
            raise RecipeError(
                f"encoder.image_size is {self.image_size}, encoder.patch_size is {self.patch_size}",
                hint=f"an image_size that is a multiple of {self.patch_size}",
            )
        if self.heads < 1 or self.dim < 4 or self.dim % 4 or self.dim % self.heads:
            raise RecipeError(
                f"encoder.dim is {self.dim}, encoder.heads is {self.heads}", hint="dim is a multiple of 4 and of heads"
            )
        if self.depth < 1:
            raise RecipeError(f"encoder.depth is {self.depth}", hint="at least 1")
        if not 0 < self.ground_sampling_distance < float("inf"):
            raise RecipeError(
                f"encoder.ground_sampling_distance is {self.ground_sampling_distance}", hint="metres, above 0"
            )

    def _check_images(self) -> None:
        if not self.sources:
            raise RecipeError("encoder.sources is empty", hint="name at least one image, {optical: sentinel2}")
        if self.sources.keys() != self.image_bands.keys():
            raise RecipeError(
                f"encoder.sources has the images {', '.join(self.sources)},"
                f" encoder.image_bands {', '.join(self.image_bands)}",
                hint="both name the same images",
            )
        for name, factor in self.factors.items():
            if name not in self.sources:
                raise RecipeError(f"encoder.factors names {name!r}", hint=f"images are {', '.join(self.sources)}")
            if factor < 1:
                raise RecipeError(f"encoder.factors.{name} is {factor}", hint="at least 1")
        for name, bands in self.image_bands.items():
            if not bands:
                raise RecipeError(f"encoder.image_bands.{name} names no band", hint="at least one")
            if self.sources[name] in PUBLISHED:
                PUBLISHED[self.sources[name]].band_indices(bands)
        twice = sorted({band for band in self.bands if self.bands.count(band) > 1})
        if twice:
            raise RecipeError(f"encoder.image_bands has {', '.join(twice)} twice", hint="a band belongs to one image")

    def factor(self, name: str) -> int:
        """Pixels of the data on a side of a pixel of an image."""
        return self.factors.get(name, 1)

    def footprint(self, name: str) -> int:
        """Pixels of the data on a side of a patch of an image."""
        return self.patch_size * self.factor(name)

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Bands of each modality, in the order of the images."""
        inputs: dict[str, tuple[str, ...]] = {}
        for name, source in self.sources.items():
            inputs[source] = (*inputs.get(source, ()), *self.image_bands[name])
        return inputs

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of all inputs, in order."""
        return tuple(band for bands in self.inputs.values() for band in bands)

    @property
    def initialisation(self) -> str:
        """How weights start: linear layers at a standard deviation of 0.02."""
        return "small"

    @property
    def title(self) -> str:
        """For people."""
        return f"vision transformer of image sets, {self.depth} blocks of {self.dim}"

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map of ``forward_stages``: of each of four depths."""
        return (self.dim,) * 4

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the data on a side of a cell of each map."""
        return (self.patch_size,) * 4

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``nn.settings.POOLINGS``."""
        return self.dim if pooling == "mean" else 2 * sum(self.widths)

    @property
    def patches(self) -> int:
        """Number of output cells of a crop of ``image_size``."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class ImageSetDecoderSettings:
    """What stands on the encoder in pretraining, and what its predictions mean."""

    decoder_dim: int = 512
    """features of a token, a multiple of 4 and of decoder_heads"""
    decoder_depth: int = 8
    """transformer blocks, at least 1"""
    decoder_heads: int = 16
    """attention heads of a block"""
    mask_ratio: float = 0.75
    """share of the tokens of each image that is hidden, above 0 and below 1; the number shown is rounded down"""
    standardise_patches: tuple[str, ...] = ()
    """modalities that are predicted as standardised within each patch: all that are predicted"""

    def __post_init__(self) -> None:
        heads = self.decoder_heads
        if heads < 1 or self.decoder_dim < 4 or self.decoder_dim % 4 or self.decoder_dim % heads:
            raise RecipeError(
                f"decoder_dim is {self.decoder_dim}, decoder_heads is {heads}",
                hint="decoder_dim is a multiple of 4 and of decoder_heads",
            )
        if self.decoder_depth < 1:
            raise RecipeError(f"decoder_depth is {self.decoder_depth}", hint="at least 1")
        if not 0 < self.mask_ratio < 1:
            raise RecipeError(f"mask_ratio is {self.mask_ratio}", hint="above 0, below 1")
