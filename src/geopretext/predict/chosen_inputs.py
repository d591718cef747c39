"""Which of an encoder's inputs there are to compute from.

An encoder of several inputs (``nn.fused``) takes any of them, and features are then those of an encoder that has no
others (``Encoder.given``). That is never silent: what used an encoder records ``inputs_record`` of it.
"""

from collections.abc import Collection
from typing import Any

from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder


def given_inputs(encoder: Encoder, held: Collection[str], *, where: str = "") -> Encoder:
    """The encoder of those of its inputs that there are.

    Args:
        encoder: of one input or several.
        held: names of the modalities that there are.
        where: what holds them, for messages.

    Raises:
        InputError: there is none of its inputs, or it wants all of them.
    """
    names = [modality.name for modality in encoder.inputs]
    found = [name for name in names if name in held]
    if not found:
        what = " or ".join(map(repr, names))
        raise InputError(f"has no modality {what}, which the encoder reads; it has {', '.join(held)}", where=where)
    return encoder.given(found)


def inputs_record(encoder: Encoder) -> dict[str, Any]:
    """Which inputs an encoder is given, and which it does without; empty of an encoder that was trained with one."""
    if len(encoder.inputs) == 1 and not encoder.absent:
        return {}
    return {"inputs": {"used": [modality.name for modality in encoder.inputs], "absent": list(encoder.absent)}}
