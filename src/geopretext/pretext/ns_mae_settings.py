"""Settings of NS-MAE in its two forms; no torch."""

from dataclasses import dataclass
from typing import Literal

from geopretext.errors import RecipeError
from geopretext.nn.column_settings import ColumnSettings


@dataclass(frozen=True)
class NSMAESettings:
    """NS-MAE over the Earth: columns over the ground, rendered from above and aslant."""

    image: str = "sentinel2"
    """the input that is rendered, with all of its bands"""
    elevation: tuple[str, str] | None = ("aster", "elevation")
    """modality and band: elevation of the ground, metres; null: the ground is taken to be flat, and the surface is the
    height of what stands on it"""
    height: tuple[str, str] | None = ("canopy_height_eth", "height")
    """modality and band: height of what stands on the ground, metres; null: the elevation is the surface's"""
    height_range: float = 240.0
    """metres, above 0: columns reach from the lowest ground of a crop to here; higher surfaces are not learnt"""
    height_bins: int = 24
    """bins of a column, at least 2"""
    bin_growth: float = 2.0
    """edge k of the bins is at height_range (k / height_bins) ** bin_growth; at least 1, where all are the same"""
    cell: int = 2
    """pixels on a side of a column; divides encoder.patch_size"""
    max_view_angle: float = 20.0
    """degrees from the vertical, 0 to below 60: each crop is also looked at from an angle up to this one, and from any
    side; 0: only from above"""
    mask_ratio: float = 0.5
    """share of the patches of the image that is hidden, above 0 and below 1; the number shown is rounded down"""
    sparse_mask_ratio: float = 0.9
    """probability that a pixel of any other input is hidden, 0 to below 1"""
    standardise_patches: tuple[str, ...] = ()
    """[image]: its reflectance is standardised within each patch, over pixels and bands, before it is compared, so that
    what is rendered is contrast; []: it is compared as it is"""
    compare: Literal["hidden", "all"] = "hidden"
    """which cells' reflectance is compared with the image's: "hidden", those that the encoder does not see, or "all";
    heights are compared everywhere"""
    decoder_dim: int = 128
    """features of a patch in the decoder, at least 1"""
    decoder_depth: int = 1
    """ConvNeXt V2 blocks of the decoder, at least 1"""
    weighting: Literal["uncertainty", "equal"] = "uncertainty"
    """"uncertainty": each task has a learned weight; "equal": the plain sum of the tasks' losses"""

    def __post_init__(self) -> None:
        if not 0 <= self.max_view_angle < 60:
            raise RecipeError(f"pretext.max_view_angle is {self.max_view_angle}", hint="degrees, 0 to below 60")
        if not 0 <= self.sparse_mask_ratio < 1:
            raise RecipeError(f"pretext.sparse_mask_ratio is {self.sparse_mask_ratio}", hint="at least 0, below 1")
        for name in ("elevation", "height"):
            source = getattr(self, name)
            if source is not None and len(source) != 2:
                raise RecipeError(f"pretext.{name} is {source}", hint="a modality and its band: [aster, elevation]")
        if self.elevation is None and self.height is None:
            raise RecipeError(
                "pretext.elevation and pretext.height are null, so that there is no surface",
                hint="give at least one: elevation: [aster, elevation]",
            )
        for name, choices in {"weighting": ("uncertainty", "equal"), "compare": ("hidden", "all")}.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)!r}", hint=f"one of {', '.join(choices)}")
        _ = self.columns  # checks the fields that it takes

    @property
    def columns(self) -> ColumnSettings:
        """The part that describes the network."""
        return ColumnSettings(
            image=self.image,
            height_range=self.height_range,
            height_bins=self.height_bins,
            bin_growth=self.bin_growth,
            cell=self.cell,
            decoder_dim=self.decoder_dim,
            decoder_depth=self.decoder_depth,
            mask_ratio=self.mask_ratio,
            standardise_patches=self.standardise_patches,
        )

    @property
    def heights(self) -> tuple[tuple[str, str], ...]:
        """Modality and band of all that the surface is the sum of."""
        return tuple(source for source in (self.elevation, self.height) if source is not None)
