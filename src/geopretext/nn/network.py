"""What pretraining, bundles and all that use them ask of an encoder, whatever its architecture.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``P`` patches, ``D`` features.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor, nn

from geopretext.errors import InputError

if TYPE_CHECKING:
    from geopretext.nn.temporal_attention import Series


class NetworkSettings(Protocol):
    """A frozen dataclass that describes an encoder completely, free of torch.

    Its fields are plain (numbers, text, tuples), so that bundles keep them as JSON.
    """

    @property
    def family(self) -> str:
        """Name under which ``nn.families`` knows this class."""

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """Bands by name, in order, of each modality that is an input, in order."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of all inputs, in order."""

    @property
    def patch_size(self) -> int:
        """Pixels on a side of what masking hides or shows, and of a cell of the last map."""

    @property
    def image_size(self) -> int:
        """Pixels on a side of the crops that it is trained on, a multiple of ``patch_size``."""

    @property
    def initialisation(self) -> str:
        """How weights of what stands on it start, one of ``nn.settings.INITIALISATIONS``."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map of ``forward_stages``, from fine to coarse."""

    @property
    def patches(self) -> int:
        """Number of patches of a crop of ``image_size``."""

    @property
    def title(self) -> str:
        """For people: "ConvNeXt V2 micro"."""

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``nn.settings.POOLINGS``."""


class EncoderNetwork(nn.Module):
    """An encoder of images into a grid of features, one cell a patch. Its only argument is its settings."""

    settings: NetworkSettings
    any_input: ClassVar[bool] = False
    """whether an input may be absent, so that ``given`` works"""

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map of ``forward_stages``, from fine to coarse."""
        return self.settings.widths

    @property
    @abstractmethod
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map; the last is ``settings.patch_size``."""

    @abstractmethod
    def forward(self, x: Tensor, visible: Tensor | None = None, count: int | None = None) -> Tensor:
        """Encode images.

        Args:
            x: (B, C, H, W), normalised, bands as in ``settings.bands``, 0 where missing; H and W are multiples of
                ``settings.patch_size``.
            visible: (B, P) bool, patches row by row; None shows all. What is masked influences nothing that is
                visible, and gets no gradient.
            count: the number of visible patches, if it is the same for every tile: only these are then computed,
                where the architecture allows that.

        Returns:
            (B, D, H / patch_size, W / patch_size), zero where masked.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """

    @abstractmethod
    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of images, from fine to coarse.

        Args:
            x: as ``forward`` takes it.

        Returns:
            (B, D, H / stride, W / stride) of each width and stride.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """

    def forward_series(self, x: Tensor, series: "Mapping[str, Series]") -> tuple[Tensor, ...]:  # noqa: ARG002 -- families that take series look at them
        """The maps of images and of time series of the same ground; what ``forward_stages`` gives if there are none.

        Args:
            x: as ``forward`` takes it.
            series: by name, any number of those that the network knows.

        Raises:
            InputError: the architecture takes no time series, or not this one.
            BandError, GridError: images or series have other bands, or another size.
        """
        raise InputError(
            f"a {self.settings.title} takes no time series: {', '.join(series)}",
            hint="encoders of the family omnisat may",
        )

    @property
    def layers(self) -> int:
        """Blocks between an image and its features, for layer-wise learning rates; 1: they are not told apart."""
        return 1

    def layer_of(self, name: str) -> int:  # noqa: ARG002 -- families that tell blocks apart look at it
        """Number of the block that a parameter belongs to, from 1 to ``layers``.

        What is before the first block goes with it, what is between two with the later one, and what is behind the
        last with that.

        Args:
            name: of the parameter, within the encoder.
        """
        return 1

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """Those of the blocks, which low-rank additions may adapt; none if the family has no such layers."""
        return ()

    def given(self, names: Collection[str]) -> "EncoderNetwork":
        """A network of its own, with the same weights, that sees some of the inputs only.

        It computes what this one does where the others are absent. Architectures for which an input is never absent
        cannot give it.

        Args:
            names: of the inputs to keep, maps and time series, at least one.

        Raises:
            InputError: the architecture wants all of its inputs.
        """
        inputs = self.settings.inputs
        raise InputError(
            f"a {self.settings.title} wants all of its inputs: {', '.join(inputs)}",
            hint=f"there are only {', '.join(name for name in inputs if name in names)}; encoders of the families"
            " fused, omnisat and a2_mae take any of theirs",
        )
