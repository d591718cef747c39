"""Settings of what renders columns over the ground; no torch."""

from dataclasses import dataclass

from geopretext.errors import RecipeError


@dataclass(frozen=True)
class ColumnSettings:
    """Columns of height bins over a map, and what is learnt by rendering them."""

    image: str = "sentinel2"
    """the input that is rendered"""
    height_range: float = 240.0
    """metres, above 0: columns reach from 0 to here"""
    height_bins: int = 24
    """bins of a column, at least 2"""
    bin_growth: float = 2.0
    """edge k of the bins is at height_range (k / height_bins) ** bin_growth; at least 1, where all are the same"""
    cell: int = 2
    """pixels on a side of a column; divides encoder.patch_size"""
    decoder_dim: int = 128
    """features of a patch in the decoder, at least 1"""
    decoder_depth: int = 1
    """ConvNeXt V2 blocks of the decoder, at least 1"""
    mask_ratio: float = 0.5
    """share of the patches of the image that is hidden, above 0 and below 1; the number shown is rounded down"""
    standardise_patches: tuple[str, ...] = ()
    """the image, if the reflectance that is rendered is standardised within each patch; see
    ``nn.reconstructor.ReconstructorSettings``"""

    def __post_init__(self) -> None:
        least = {"height_bins": 2, "bin_growth": 1, "cell": 1, "decoder_dim": 1, "decoder_depth": 1}
        for name, number in least.items():
            if not getattr(self, name) >= number:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)}", hint=f"at least {number}")
        if not 0 < self.height_range < float("inf"):
            raise RecipeError(f"pretext.height_range is {self.height_range}", hint="metres above 0, for example 240")
        if not 0 < self.mask_ratio < 1:
            raise RecipeError(f"pretext.mask_ratio is {self.mask_ratio}", hint="above 0, below 1; NS-MAE has 0.5")
        strangers = [name for name in self.standardise_patches if name != self.image]
        if strangers:
            raise RecipeError(
                f"pretext.standardise_patches names {strangers[0]!r}, which is not rendered",
                hint=f"[{self.image}], the image, or []",
            )

    @property
    def height_edges(self) -> tuple[float, ...]:
        """Edges of the bins, metres, from 0 up; one more than there are bins."""
        return tuple(self.height_range * (k / self.height_bins) ** self.bin_growth for k in range(self.height_bins + 1))
