"""What a network that predicts modalities is asked, whatever pretext method trained it.

Letters: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``P`` patches, ``M`` masked patches, ``p`` pixels on a side of one.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor, nn

from geopretext.errors import BundleError
from geopretext.modality import Modality, join_modalities
from geopretext.nn.network import EncoderNetwork, NetworkSettings


class ReconstructorSettings(Protocol):
    """What predictions mean; a frozen dataclass."""

    @property
    def mask_ratio(self) -> float:
        """Share of the patches that was hidden in training."""

    @property
    def standardise_patches(self) -> tuple[str, ...]:
        """Continuous map targets that are predicted as standardised within each patch (mean 0, variance 1)."""


class Reconstructor(nn.Module):
    """Predicts modalities from the visible patches of an image; bundles keep it beside its encoder."""

    settings_class: ClassVar[type[Any]]
    """of ``settings``"""
    kind: ClassVar[str]
    """name under which ``RECONSTRUCTORS`` knows the class"""
    settings: ReconstructorSettings
    encoder: EncoderNetwork
    inputs: tuple[Modality, ...]
    """what the encoder sees, each modality with just its bands"""
    targets: Mapping[str, Modality]
    """what is predicted, by name, each with just the bands that are predicted"""

    @property
    def modality(self) -> Modality:
        """All inputs as one image."""
        return join_modalities(self.inputs)

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Bands that data must bring, by modality: those of the inputs first, then those that are only predicted."""
        bands = {modality.name: modality.band_names for modality in self.inputs}
        for name, target in self.targets.items():
            bands[name] = tuple(dict.fromkeys((*bands.get(name, ()), *target.band_names)))
        return bands

    @abstractmethod
    def forward(
        self, x: Tensor, visible: Tensor | None, *, count: int | None = None, everywhere: bool = False
    ) -> dict[str, Tensor]:
        """Predict every target.

        Args:
            x: (B, C, H, W): the bands of the inputs, normalised, 0 where missing.
            visible: (B, P) bool, patches row by row; the same number in every tile. None: nothing is hidden; maps are
                then predicted everywhere.
            count: that number, if it is known.
            everywhere: predict all maps on all patches.

        Returns:
            By target: maps (B, M, p p channels) on the masked patches in order, or (B, P, p p channels) if
            ``everywhere`` or ``predicts_visible``; vectors (B, channels). By row, column, then channel of a patch.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """

    @abstractmethod
    def predicts_visible(self, name: str) -> bool:
        """Whether a target is a map that is predicted on the patches that are shown, too."""

    def to_plain(self) -> dict[str, Any]:
        """What ``from_plain`` needs, beside the encoder's settings, inputs and targets, as plain data for JSON."""
        plain: dict[str, Any] = asdict(self.settings)  # type: ignore[call-overload]  # a protocol is no dataclass to mypy
        return plain

    @classmethod
    def from_plain(
        cls,
        plain: Mapping[str, Any],
        encoder: NetworkSettings,
        *,
        inputs: Sequence[Modality],
        targets: Mapping[str, Modality],
    ) -> Self:
        """A new network, as ``to_plain`` described it."""
        return cls(encoder, cls.read_settings(plain), inputs=inputs, targets=targets)

    @classmethod
    def read_settings(cls, plain: Mapping[str, Any]) -> Any:
        """What ``to_plain`` wrote, also through JSON."""
        return cls.settings_class(**{key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()})


RECONSTRUCTORS: dict[str, str] = {
    "masked-autoencoder": "geopretext.nn.autoencoder:MaskedAutoencoder",
    "omnisat": "geopretext.nn.omnisat_reconstructor:OmniSatReconstructor",
    "image-set-autoencoder": "geopretext.nn.image_set_autoencoder:ImageSetAutoencoder",
    "column-renderer": "geopretext.nn.columns:ColumnRenderer",
}
"""Where each kind is, as ``module:class``."""


def reconstructor_class(kind: str) -> type[Reconstructor]:
    """The class of a kind.

    Raises:
        BundleError: there is none.
    """
    if kind not in RECONSTRUCTORS:
        raise BundleError(f"there is no {kind!r}", hint=f"one of {', '.join(RECONSTRUCTORS)}, or a newer geopretext")
    module, _, name = RECONSTRUCTORS[kind].partition(":")
    found: type[Reconstructor] = getattr(import_module(module), name)
    return found
