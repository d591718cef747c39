"""Several modalities as the one image that an encoder sees."""

from collections.abc import Sequence

from geopretext.errors import BandError, InputError
from geopretext.modality.spec import Kind, Modality


def join_modalities(modalities: Sequence[Modality]) -> Modality:
    """One continuous map with the bands of all, in order; a single modality stays itself.

    The result describes standardised numbers: it says what bands are called and what unit they had, and not how any of
    them is stored.

    Args:
        modalities: continuous maps.

    Raises:
        InputError: there is none, or one is no continuous map.
        BandError: two have a band of the same name.
    """
    if not modalities:
        raise InputError("an encoder without input", hint="name a modality, for example sentinel2")
    for modality in modalities:
        if modality.kind is not Kind.CONTINUOUS_MAP:
            raise InputError(f"{modality.name!r} is a {modality.kind}", hint="an encoder sees continuous maps")
    if len(modalities) == 1:
        return modalities[0]
    names = [name for modality in modalities for name in modality.band_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BandError(
            f"{' and '.join(m.name for m in modalities)} both have {', '.join(twice)}", hint="rename the bands of one"
        )
    return Modality(
        name="_".join(modality.name for modality in modalities),
        kind=Kind.CONTINUOUS_MAP,
        bands=tuple(band for modality in modalities for band in modality.bands),
        dtype="float32",
        levels=tuple(dict.fromkeys(level for modality in modalities for level in modality.levels)),
        title=", ".join(modality.title or modality.name for modality in modalities),
    )
