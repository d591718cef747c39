"""Images as examples for a search: through the door of images, with the bundle that made the table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.errors import InputError
from geopretext.modality import known_scales
from geopretext.nn.bundle import Encoder
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.features import image_features
from geopretext.predict.images import ImageFiles
from geopretext.predict.joined_door import judge_door, open_door
from geopretext.predict.tile_embeddings import encoder_fingerprint
from geopretext.predict.unit_space import Vectors


def image_vectors(
    table: EmbeddingTable,
    encoder: Encoder,
    paths: Sequence[Path],
    *,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    looked: Callable[[Mapping[str, Any]], None] | None = None,
) -> Vectors:
    """Vectors (m, D) of images, as the rows of a table were made.

    Args:
        table: to be searched.
        encoder: that made its vectors.
        paths: images of one size.
        bands: names in file order, where the files do not tell them.
        unit: of all bands, where the files do not tell it.
        level: processing level, where the encoder knows several.
        looked: told what is done to the images (see ``predict.door_report``), before the encoder sees them.

    Raises:
        InputError: the table was made with another encoder, or has a row for each cell of a scene.
        BandError, UnitError, GridError, CorruptError: see ``ImageFiles.open`` and ``ImageDoor.open``.
    """
    used = table.facts.get("inputs", {}).get("used", ())
    if series := [one.modality.name for one in encoder.series if one.modality.name in used]:
        raise InputError(
            f"was made from time series ({', '.join(series)}), which an image has not",
            where=str(table.path),
            hint=f"embed with --inputs {','.join(modality.name for modality in encoder.inputs)}, or search by a tile",
        )
    if used and set(used) <= {modality.name for modality in encoder.inputs}:
        encoder = encoder.given(used)
    made_with = table.facts.get("encoder")
    if made_with is not None and made_with != encoder_fingerprint(encoder):
        raise InputError(
            "was made with another bundle", where=str(table.path), hint="take the bundle that the table was made with"
        )
    pooling = table.facts.get("pooling")
    if pooling is None:
        raise InputError(
            "does not say how its rows were pooled from images",
            where=str(table.path),
            hint="make a table of the tiles of a store, or give a place or a tile as example",
        )
    images = ImageFiles.open(paths, bands=bands, unit=unit)
    door = open_door(
        lambda _: images,
        encoder,
        statistics="bundle" if known_scales(encoder.statistics) else "auto",
        level=level,
    )
    if looked is not None:
        gate = judge_door(door, encoder, np.arange(len(images)), level=level)
        looked({**door.record, "gate": gate.to_dict()})
    vectors: Vectors = image_features(encoder, door, np.arange(len(images)), pooling=pooling)
    return vectors
