"""Settings of encoders of several inputs: plain data, read without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geopretext.errors import RecipeError
from geopretext.nn.settings import SENTINEL2_BANDS, EncoderSettings


def _optical_radar_terrain() -> dict[str, tuple[str, ...]]:
    return {
        "sentinel2": SENTINEL2_BANDS,
        "sentinel1": ("asc_VV", "asc_VH", "desc_VV", "desc_VH"),
        "aster": ("elevation", "slope"),
    }


@dataclass(frozen=True)
class FusedSettings:
    """A ConvNeXt V2 encoder with a stem for each of several modalities; any of them may be absent."""

    size: str = "atto"
    """one of micro, atto, femto, pico, nano, tiny, base, large, huge"""
    inputs: dict[str, tuple[str, ...]] = field(default_factory=_optical_radar_terrain)
    """bands, in order, of each modality that is an input, in order; all of them continuous maps"""
    patch_size: int = 8
    """pixels on a side of what masking hides or shows, and of one output cell: 8, 16 or 32"""
    image_size: int = 56
    """pixels on a side of the crop that it is trained on; a multiple of patch_size"""
    stem: str = "mmearth"
    """of each input; "mmearth": 3x3 convolution, then depthwise patch_size / 8; "convnextv2": one convolution of
    patch_size / 8"""
    grn_scope: str = "sample"
    """"sample": response norms over one tile; "batch": over all tiles that a process computes at once"""
    initialisation: str = "small"
    """how kernels start, as of the family "convnextv2\""""
    drop_path: float = 0.0
    """largest probability of skipping a block, 0 to 1; grows linearly with depth"""
    family: str = "fused"
    """of architectures, see ``nn.families``; that of this class is "fused\""""

    def __post_init__(self) -> None:
        if self.family != "fused":
            raise RecipeError(f"encoder.family is {self.family!r}", hint="fused")
        if not isinstance(self.inputs, Mapping) or not self.inputs:
            raise RecipeError(
                f"encoder.inputs is {self.inputs!r}", hint="bands by modality, {sentinel2: [B2, B3, B4], ...}"
            )
        for name, bands in self.inputs.items():
            if isinstance(bands, str) or not bands:
                raise RecipeError(f"encoder.inputs.{name} is {bands!r}", hint="a list of bands")
        # JSON and YAML give lists.
        object.__setattr__(self, "inputs", {name: tuple(bands) for name, bands in self.inputs.items()})
        for name in self.inputs:
            self.alone(name)  # checks the fields
        twice = sorted({band for band in self.bands if self.bands.count(band) > 1})
        if twice:
            raise RecipeError(f"encoder.inputs has {', '.join(twice)} twice", hint="a band belongs to one input")

    def alone(self, name: str) -> EncoderSettings:
        """The ConvNeXt V2 that sees one of the inputs only.

        Args:
            name: of the input.
        """
        return EncoderSettings(
            size=self.size,
            modality=name,
            bands=self.inputs[name],
            patch_size=self.patch_size,
            image_size=self.image_size,
            stem=self.stem,
            grn_scope=self.grn_scope,
            initialisation=self.initialisation,
            drop_path=self.drop_path,
        )

    @property
    def trunk(self) -> EncoderSettings:
        """The ConvNeXt V2 of the first input: what the inputs share does not depend on which one it is."""
        return self.alone(next(iter(self.inputs)))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of all inputs, in order."""
        return tuple(band for bands in self.inputs.values() for band in bands)

    @property
    def title(self) -> str:
        """For people."""
        return f"fused ConvNeXt V2 {self.size}"

    @property
    def depths(self) -> tuple[int, int, int, int]:
        """Number of blocks in each of the four stages."""
        return self.trunk.depths

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Number of features in each of the four stages."""
        return self.trunk.widths

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``nn.settings.POOLINGS``."""
        return self.trunk.pooled_width(pooling)

    @property
    def patches(self) -> int:
        """Number of patches of a crop of ``image_size``."""
        return self.trunk.patches
