"""What a pretext method is: a network with an objective. A batch goes in, named losses come out.

Training knows methods by this class alone; ``pretext.methods`` names those that ship with geopretext and those that
other packages add. ``docs/methods-of-your-own.md`` writes one.

Letters: ``B`` tiles of this process, ``C`` bands, ``H W`` pixels.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geopretext.errors import InputError, RecipeError
from geopretext.modality import Acquisition, Kind, Modality, Observed, Role
from geopretext.nn.bundle_pretext import save_encoder
from geopretext.nn.network import EncoderNetwork


@dataclass(frozen=True)
class TaskLoss:
    """The loss of one task over a batch, in a form that adds up over batches and processes."""

    total: Tensor
    """float32 scalar: a sum, for example over valid numbers, places or rows"""
    count: Tensor
    """float32 scalar: of how many terms; the loss is total / count, over all processes; 0: there is nothing to learn"""


class Method(nn.Module):
    """A pretext method: the encoder that is kept, whatever helps to train it, and the objective.

    Made by ``Method(encoder_settings, settings, modalities)``: the settings of the encoder, those of the method, and
    what the data hold, by name. It raises ``InputError``, ``BandError`` or ``RecipeError`` if these do not fit.

    All randomness follows from ``seeds``, so that a run can be resumed and shared out. What is computed in one process
    of several depends on the others only by collective operations within ``forward``.
    """

    settings: Any
    """of the method"""
    encoder: EncoderNetwork
    """what the bundle keeps; property or attribute"""
    weighting: nn.Module
    """(losses, active) -> (objective, weight of each task), see ``nn.weighting``"""

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Names of the losses that ``forward`` gives, always the same."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Modality, ...]:
        """What the encoder sees, each modality with just its bands, as in ``encoder.settings.inputs``."""

    @property
    @abstractmethod
    def bands(self) -> Mapping[str, tuple[str, ...] | None]:
        """Bands that a batch must bring, by modality, in that order; None: all that the data have."""

    @property
    def crop(self) -> int:
        """Pixels on a side of the crops that a batch must bring."""
        return self.encoder.settings.image_size

    @property
    def dates(self) -> int | None:
        """Images of each series of a tile that a batch must bring, at most; None: all that the data have."""
        return None

    @property
    def targets(self) -> Iterable[str]:
        """Names of the modalities that it is trained to predict or to match, for the model card."""
        return self.tasks

    @abstractmethod
    def forward(
        self, fields: Mapping[str, Observed[Tensor]], seeds: Tensor, acquisition: Acquisition[Tensor] | None = None
    ) -> dict[str, TaskLoss]:
        """The losses of a batch.

        Args:
            fields: standardised crops by modality, with the bands of ``self.bands`` in that order, laid out as
                ``Observed`` says; a missing number of the input is 0, the mean.
            seeds: (B,) int64: each tile's own, the only source of randomness.
            acquisition: where and when the tiles were seen; training always gives it.

        Returns:
            The loss of each task.
        """

    def combine(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> Tensor:
        """The loss to minimise.

        Args:
            losses: each task's mean loss, a finite scalar (0 where there is nothing to average).
            active: bool scalar: whether any process has something to learn of the task in this step.

        Returns:
            A float32 scalar, to which tasks that are not active contribute exactly nothing.
        """
        total: Tensor = self.weighting(losses, active)[0]
        return total

    def learn_scales(self, statistics: Mapping[str, Any]) -> None:
        """Called once before training, with what the batches are standardised with.

        For a method that needs quantities in their units, for example to add two of them.

        Args:
            statistics: as ``data.statistics.Statistics.to_dict`` gives them.

        Raises:
            BundleError: they lack what the method needs.
        """

    def after_step(self, done: float) -> None:
        """Called after each optimiser step, for example to move an average of the weights.

        Args:
            done: share of the run that is done, above 0 to 1.
        """

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Parameters that weight decay must spare, though they are weights of layers."""
        return ()

    def save(self, folder: Any, **facts: Any) -> None:
        """Write the bundle.

        Args:
            folder: where; what a bundle there already has is replaced.
            facts: ``statistics``, ``recipe``, ``metrics`` and ``ground_sampling_distance``, as
                ``nn.bundle_pretext.save_encoder`` takes them.
        """
        save_encoder(folder, self.encoder, inputs=self.inputs, targets=tuple(self.targets), **facts)


def find_inputs(settings: Any, modalities: Mapping[str, Modality]) -> tuple[Modality, ...]:
    """The inputs of an encoder among what data hold, each with just its bands.

    Args:
        settings: of the encoder.
        modalities: what the data hold, by name.

    Raises:
        InputError: an input is lacking.
        BandError: it lacks a band.
        RecipeError: it is no continuous map, or a downstream label.
    """
    if not settings.inputs:
        raise RecipeError("encoder.inputs is empty", hint="name a map, for example sentinel2")
    for name in settings.inputs:
        if name not in modalities:
            raise lacking(name, modalities, "encoder")
        if modalities[name].kind is not Kind.CONTINUOUS_MAP:
            raise RecipeError(
                f"encoder: the input {name!r} is a {modalities[name].kind}",
                hint="an encoder sees continuous maps; classes as cover fractions, a band each (docs/inputs.md)",
            )
        refuse_label(modalities[name])
    return tuple(modalities[name].select(bands) for name, bands in settings.inputs.items())


def refuse_label(modality: Modality) -> None:
    """Raise for what only downstream tasks may see.

    Raises:
        RecipeError: the modality is a downstream label.
    """
    if modality.role is Role.LABEL:
        raise RecipeError(f"{modality.name!r} is a downstream label", hint="labels are never shown to pretraining")


def lacking(name: str, modalities: Mapping[str, Modality], where: str) -> InputError:
    """That the data hold no such modality.

    Args:
        name: of the modality.
        modalities: what they hold.
        where: field of the recipe that names it.
    """
    return InputError(
        f"the data hold no modality {name!r}",
        where=where,
        hint=f"they hold {', '.join(modalities)}; leave it out of the recipe or add it to the data",
    )


def input_image(fields: Mapping[str, Observed[Tensor]], inputs: Mapping[str, tuple[str, ...]]) -> Tensor:
    """The image that an encoder sees, (B, C, H, W): the first bands of each input, one input after the other.

    Args:
        fields: of a batch, in which the bands of an input come before those that are only predicted.
        inputs: bands of each input, see ``NetworkSettings.inputs``.
    """
    parts = [fields[name].values[:, : len(bands)] for name, bands in inputs.items()]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
