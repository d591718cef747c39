"""Which of an encoder's inputs there are to compute from.

An encoder of several inputs (``nn.fused``) takes any of them. What is not there is 0 in its image, which it was trained
to know; that is never silent: results record which inputs were used and which were absent.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geopretext.errors import InputError
from geopretext.modality import Modality


@dataclass(frozen=True)
class ChosenInputs:
    """The inputs of an encoder, divided into those that it is given and the others."""

    inputs: tuple[Modality, ...]
    """all, in the encoder's order"""
    used: tuple[Modality, ...]
    """at least one, in that order"""

    @property
    def absent(self) -> tuple[Modality, ...]:
        """Those that it is not given."""
        return tuple(modality for modality in self.inputs if modality not in self.used)

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that are used."""
        return tuple(modality.name for modality in self.used)

    def to_dict(self) -> dict[str, list[str]]:
        """For records."""
        return {"used": list(self.names), "absent": [modality.name for modality in self.absent]}

    def __str__(self) -> str:
        absent = ", ".join(modality.name for modality in self.absent)
        return ", ".join(self.names) + (f" (absent: {absent})" if absent else "")

    def image(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The image that the encoder sees.

        Args:
            parts: (B, C, H, W), standardised, of each input that is used, by name.

        Returns:
            (B, sum of C, H, W), 0 where an input is absent.
        """
        if len(self.inputs) == 1:
            return parts[self.names[0]]
        one = parts[self.names[0]]
        return torch.cat(
            [
                parts[modality.name]
                if modality in self.used
                else one.new_zeros((len(one), len(modality.bands), *one.shape[2:]))
                for modality in self.inputs
            ],
            1,
        )


def choose_inputs(
    inputs: Sequence[Modality], held: Collection[str], *, wanted: Sequence[str] | None = None, where: str = ""
) -> ChosenInputs:
    """Take those inputs that there are.

    Args:
        inputs: of an encoder, in order.
        held: names of the modalities that there are.
        wanted: names of the inputs to use; None: all that there are.
        where: what holds them, for messages.

    Raises:
        InputError: there is none of them, or one that is wanted is no input or is not there.
    """
    names = [modality.name for modality in inputs]
    for name in wanted or ():
        if name not in names:
            raise InputError(f"the encoder has no input {name!r}", hint=f"its inputs are {', '.join(names)}")
        if name not in held:
            raise InputError(f"has no modality {name!r}; it has {', '.join(held)}", where=where)
    if wanted is not None and not wanted:
        raise InputError("no input is to be used", hint=f"name some of {', '.join(names)}")
    used = tuple(m for m in inputs if m.name in held and (wanted is None or m.name in wanted))
    if not used:
        what = repr(names[0]) if len(names) == 1 else " or ".join(map(repr, names))
        raise InputError(f"has no modality {what}, which the encoder reads; it has {', '.join(held)}", where=where)
    return ChosenInputs(tuple(inputs), used)
