"""Settings of pretext methods: plain data, so that recipes and the command line can read them without torch."""

from dataclasses import dataclass, field
from typing import Literal

from geopretext.errors import RecipeError
from geopretext.modality import PRETEXT
from geopretext.nn.settings import SENTINEL2_BANDS, AutoencoderSettings

WEIGHTINGS = ("uncertainty", "equal")
"""Which ways there are to weigh tasks; see ``MPMAESettings.weighting``."""

MISSING_TARGETS = ("ignored", "zero")
"""What becomes of missing numbers of continuous maps; see ``MPMAESettings.missing_targets``."""

DENOMINATORS = ("valid", "nonzero")
"""What the loss of a continuous map is divided by; see ``MPMAESettings.denominator``."""

_CHOICES = {"weighting": WEIGHTINGS, "missing_targets": MISSING_TARGETS, "denominator": DENOMINATORS}


def _all_targets() -> dict[str, tuple[str, ...] | None]:
    return {modality.name: SENTINEL2_BANDS if modality.name == "sentinel2" else None for modality in PRETEXT}


@dataclass(frozen=True)
class MPMAESettings:
    """The multi-pretext masked autoencoder of MMEarth; the defaults are its full model."""

    targets: dict[str, tuple[str, ...] | None] = field(default_factory=_all_targets)
    """what to predict: the bands of each modality by name, or null for all bands that the data have"""
    mask_ratio: float = 0.6
    """share of the patches that is hidden, above 0 and below 1; the number shown is rounded down"""
    decoder_dim: int = 512
    """features of a decoder cell, at least 1"""
    decoder_depth: int = 1
    """ConvNeXt V2 blocks of a decoder, at least 1"""
    decoder: Literal["shared", "per-modality"] = "shared"
    """"shared": one decoder for all modalities, as in MMEarth's weights; "per-modality": one for each"""
    decoder_grn_epsilon: float = 1e-6
    """what response norms of a decoder add to the mean strength, above 0; MMEarth has 1e-4"""
    weighting: Literal["uncertainty", "equal"] = "uncertainty"
    """"uncertainty": each task has a learned weight; "equal": the plain sum of the tasks' losses"""
    standardise_patches: tuple[str, ...] = ("sentinel2",)
    """continuous map targets that are standardised within each patch before they are compared"""
    missing_targets: Literal["ignored", "zero"] = "ignored"
    """"ignored": no loss where nothing was observed; "zero": missing numbers of continuous maps are learned as 0, their
    band's mean, as the published code does (missing vectors and classes are left out by both)"""
    denominator: Literal["valid", "nonzero"] = "valid"
    """of continuous maps; "valid": the loss is the mean over all compared numbers; "nonzero": the mean over a patch,
    then over the patches whose mean is not exactly 0, as in the published code"""
    predict_visible: bool = False
    """false: maps are compared on hidden patches only, as in MMEarth; true: maps other than the input on shown patches
    too, where what is seen says most about them"""

    input_dropout: float = 0.0
    """of encoders of several inputs: probability that an input is hidden wholly in a tile, at least 0, below 1; one
    that the tile has always stays, and what is hidden is compared on all patches, if it is a target"""

    def __post_init__(self) -> None:
        if not 0 <= self.input_dropout < 1:
            raise RecipeError(f"pretext.input_dropout is {self.input_dropout}", hint="at least 0, below 1")
        if not self.targets:
            raise RecipeError("pretext.targets is empty", hint="name at least one modality, for example sentinel2")
        for name, bands in self.targets.items():
            if isinstance(bands, str):
                raise RecipeError(f"pretext.targets.{name} is {bands!r}", hint=f"a list of bands: [{bands}]")
            if bands is not None and not bands:
                raise RecipeError(f"pretext.targets.{name} names no band", hint="null stands for all bands")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)!r}", hint=f"one of {', '.join(choices)}")
        _ = self.autoencoder  # checks the fields that it takes

    @property
    def autoencoder(self) -> AutoencoderSettings:
        """The part that describes the network and its predictions."""
        return AutoencoderSettings(
            decoder_dim=self.decoder_dim,
            decoder_depth=self.decoder_depth,
            decoder=self.decoder,
            decoder_grn_epsilon=self.decoder_grn_epsilon,
            mask_ratio=self.mask_ratio,
            standardise_patches=tuple(name for name in self.standardise_patches if name in self.targets),
            predict_visible=self.predict_visible,
        )
