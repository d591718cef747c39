"""Which of an encoder's inputs there are to compute from.

An encoder of several inputs (``nn.fused``) takes any of them, and features are then those of an encoder that has no
others (``Encoder.given``). That is never silent: what used an encoder records ``inputs_record`` of it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from geopretext.errors import BandError, InputError
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


def given_bands(
    encoder: Encoder, bands: Sequence[str], *, substitutes: Mapping[str, str] | None = None, where: str = ""
) -> Encoder:
    """The encoder of those of its inputs of which images have a band; one with a single input stays as it is.

    Args:
        encoder: of one input or several.
        bands: of the images.
        substitutes: for bands that they lack, the band to take instead.
        where: the images, for messages.

    Raises:
        BandError: they have no band of any input.
        InputError: the encoder wants all of its inputs.
    """
    if len(encoder.inputs) == 1:
        return encoder
    known = {*bands, *(substitutes or {})}
    found = [modality.name for modality in encoder.inputs if known & set(modality.band_names)]
    if not found:
        raise BandError(
            f"the images have no band of {', '.join(m.name for m in encoder.inputs)}; they have {', '.join(bands)}",
            where=where,
            hint=f"the encoder's bands are {', '.join(encoder.bands)}: name those of the images with --bands",
        )
    return encoder.given(found)


def inputs_record(encoder: Encoder) -> dict[str, Any]:
    """Which inputs an encoder is given, and which it does without; empty of an encoder that was trained with one."""
    if len(encoder.inputs) == 1 and not encoder.absent:
        return {}
    return {"inputs": {"used": [modality.name for modality in encoder.inputs], "absent": list(encoder.absent)}}
