"""Settings of the A2-MAE-style method: plain data, read without torch."""

from dataclasses import dataclass, field
from typing import Literal

from geopretext.errors import RecipeError
from geopretext.nn.image_set_settings import ImageSetDecoderSettings

MASKINGS = ("anchor", "independent")
"""Which ways there are to hide tokens; see ``A2MAESettings.masking``."""


@dataclass(frozen=True)
class A2MAESettings:
    """Masked reconstruction of sets of images; every number is ours, since none was published."""

    mask_ratio: float = 0.75
    """share of the tokens of each image that is hidden, above 0 and below 1; the number shown is rounded down, and is
    at least 1"""
    masking: Literal["anchor", "independent"] = "anchor"
    """"anchor": what is hidden of an image follows from what is hidden of the anchor; "independent": chance"""
    anchor: str | None = None
    """name of the image that is always the anchor; null: another one of those that are there is drawn for each tile"""
    keep_share: float = 0.5
    """probability, 0 to 1, that a token over ground that the anchor hides is kept: 0 hides the same ground of all
    images"""
    unknown_share: float = 0.5
    """probability, 0 to 1, that the network is not told the place of a tile, and likewise its date: downstream both are
    mostly unknown"""
    other_dates: dict[str, str] = field(default_factory=dict)
    """images of the encoder that join each set once more, on another date, and the time series that each is drawn from;
    a set calls them NAME_other"""
    other_bands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """bands of the series that stand for those of an image in ``other_dates``, in order, where their names differ"""
    max_dates: int = 4
    """images of a series that a step looks at, at least 1, from which one is drawn; others each time that a tile is
    visited"""
    decoder_dim: int = 512
    """features of a token of the decoder"""
    decoder_depth: int = 8
    """transformer blocks of the decoder, at least 1"""
    decoder_heads: int = 16
    """attention heads of a block of the decoder"""

    def __post_init__(self) -> None:
        if self.masking not in MASKINGS:
            raise RecipeError(f"pretext.masking is {self.masking!r}", hint=f"one of {', '.join(MASKINGS)}")
        # JSON and YAML give lists.
        object.__setattr__(self, "other_bands", {name: tuple(bands) for name, bands in self.other_bands.items()})
        if unused := sorted(self.other_bands.keys() - self.other_dates.keys()):
            raise RecipeError(
                f"pretext.other_bands names {', '.join(unused)}, pretext.other_dates does not",
                hint="name the time series of each in pretext.other_dates",
            )
        if self.max_dates < 1:
            raise RecipeError(f"pretext.max_dates is {self.max_dates}", hint="at least 1")
        for name in ("keep_share", "unknown_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)}", hint="0 to 1")
        self.decoder(())  # checks the fields that it takes

    def decoder(self, modalities: tuple[str, ...]) -> ImageSetDecoderSettings:
        """The part that describes the network and its predictions.

        Args:
            modalities: names of those that are predicted.
        """
        return ImageSetDecoderSettings(
            decoder_dim=self.decoder_dim,
            decoder_depth=self.decoder_depth,
            decoder_heads=self.decoder_heads,
            mask_ratio=self.mask_ratio,
            standardise_patches=modalities,
        )
