"""Random crops as the loader lays them out, a share of their numbers missing."""

from collections.abc import Mapping

import torch

from geopretext.modality import Modality, Observed


def random_fields(
    bands: Mapping[str, tuple[str, ...]],
    modalities: Mapping[str, Modality],
    *,
    tiles: int,
    size: int,
    missing: float,
    seed: int,
) -> dict[str, Observed[torch.Tensor]]:
    """Fields of ``tiles`` tiles of ``size`` pixels, by modality; the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    fields = {}
    for name, chosen in bands.items():
        modality = modalities[name]
        shape = (tiles,) if modality.kind.is_categorical else (tiles, len(chosen))
        shape += (size, size) if modality.kind.is_map else ()
        valid = torch.rand(shape, generator=generator) >= missing
        if modality.kind.is_continuous:
            values = torch.randn(shape, generator=generator)
        else:
            high = modality.channels if modality.kind.is_categorical else 2
            values = torch.randint(high, shape, generator=generator)
            values = values if modality.kind.is_categorical else values.float()
        fields[name] = Observed(values.masked_fill(~valid, 0), valid)
    return fields
