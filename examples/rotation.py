"""A pretext method of one's own, in one file: by how much was the image turned (Gidaris et al., ICLR 2018).

``docs/methods/your-own.md`` goes through it; ``examples/rotation.yaml`` is its recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.modality import Acquisition, Modality, Observed
from geopretext.nn.families import make_encoder
from geopretext.nn.network import NetworkSettings
from geopretext.nn.weighting import EqualWeighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image
from geopretext.pretext.methods import MethodEntry


@dataclass(frozen=True)
class RotationSettings:
    """Fields of ``pretext`` in a recipe; what stands below a field is its text in ``pretrain RECIPE --help``."""

    turns: int = 4
    """quarter turns to tell apart: 2 or 4"""

    def __post_init__(self) -> None:
        if self.turns not in (2, 4):
            raise RecipeError(f"pretext.turns is {self.turns}", hint="2 or 4")


class Rotations(Method):
    """Turn each tile, and predict how far."""

    def __init__(
        self, encoder: NetworkSettings, settings: RotationSettings, modalities: Mapping[str, Modality]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.found = find_inputs(encoder, modalities)
        self.encoder = make_encoder(encoder)
        self.head = nn.Linear(encoder.widths[-1], settings.turns)
        self.weighting = EqualWeighting(self.tasks)

    @property
    def tasks(self) -> tuple[str, ...]:
        """One loss."""
        return ("rotation",)

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """What the encoder sees."""
        return self.found

    @property
    def bands(self) -> Mapping[str, tuple[str, ...]]:
        """Nothing but the input is needed."""
        return self.encoder.settings.inputs

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,  # noqa: ARG002 -- not looked at
    ) -> dict[str, TaskLoss]:
        """Cross-entropy over the tiles. A tile's seed alone says how far it is turned."""
        image = input_image(fields, self.encoder.settings.inputs)
        turns = seeds % self.settings.turns
        step = 4 // self.settings.turns
        turned = torch.stack([torch.rot90(x, int(k) * step, (1, 2)) for x, k in zip(image, turns, strict=True)])
        scores = self.head(self.encoder(turned).mean((2, 3)))
        total = F.cross_entropy(scores.float(), turns, reduction="sum")
        return {"rotation": TaskLoss(total, torch.tensor(float(len(turns)), device=total.device))}


METHOD = MethodEntry(settings="rotation:RotationSettings", method="rotation:Rotations")
