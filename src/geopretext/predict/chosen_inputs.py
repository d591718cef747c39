"""Which of an encoder's inputs there are to compute from.

An encoder of several inputs (``nn.fused``, ``nn.omnisat``) takes any of them, maps and time series, and features are
then those of an encoder that has no others (``Encoder.given``). That is never silent: what used an encoder records
``inputs_record`` of it. Tiles of a store may have series; images and scenes are of one date.
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
    names = encoder.input_names
    found = [name for name in names if name in held]
    if not found:
        what = " or ".join(map(repr, names))
        raise InputError(f"has no modality {what}, which the encoder reads; it has {', '.join(held)}", where=where)
    return encoder.given(found)


def given_bands(
    encoder: Encoder, bands: Sequence[str], *, substitutes: Mapping[str, str] | None = None, where: str = ""
) -> Encoder:
    """The encoder of those of its maps of which images have a band; one with a single map keeps it.

    Images are of one date: there are no time series among them.

    Args:
        encoder: of one input or several.
        bands: of the images.
        substitutes: for bands that they lack, the band to take instead.
        where: the images, for messages.

    Raises:
        BandError: they have no band of any input.
        InputError: the encoder wants all of its inputs, or sees time series only.
    """
    encoder = maps_only(encoder, "an image", where=where)
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


def maps_only(encoder: Encoder, what: str, *, where: str = "") -> Encoder:
    """The encoder of its maps alone, for what takes images of one date.

    Args:
        encoder: of maps, and of time series or none.
        what: takes such images, for the message: "fine-tuning".
        where: likewise.

    Raises:
        InputError: it sees time series only.
    """
    if not encoder.series:
        return encoder
    maps = [modality.name for modality in encoder.inputs]
    if not maps:
        raise InputError(
            f"the encoder sees time series only ({', '.join(encoder.input_names)}), and {what} takes maps",
            where=where,
            hint="give the encoder a map, too: without --inputs it has all of its inputs",
        )
    return encoder.given(maps)


def inputs_record(encoder: Encoder) -> dict[str, Any]:
    """Which inputs an encoder is given, and which it does without; empty of an encoder that was trained with one."""
    if len(encoder.input_names) == 1 and not encoder.absent:
        return {}
    return {"inputs": {"used": list(encoder.input_names), "absent": list(encoder.absent)}}
