"""What a pretrained encoder has to beat: the same encoder with random weights, and statistics of the bands."""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from geopretext.evaluate.labelled import Array
from geopretext.evaluate.seeding import seeded
from geopretext.modality import Observed
from geopretext.nn.bundle import Encoder
from geopretext.nn.families import make_encoder


def random_encoder(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same settings and inputs with the weights that pretraining would have started from.

    Args:
        encoder: the pretrained one.
        seed: of the weights; the global random state stays as it is.
    """
    with seeded(seed):
        network = make_encoder(encoder.settings)
    fresh = Encoder(network, encoder.inputs, statistics=encoder.statistics, series=encoder.series)
    return fresh.to(next(encoder.parameters()).device).eval()


def band_statistics(blocks: Iterable[Observed[Tensor]]) -> Array:
    """What an encoder has to beat: mean and standard deviation of each band, and the share of it that was observed.

    Returns:
        (n, 3 C) float32 over the valid pixels of each sample; 0 where a band was not observed at all.
    """
    parts = []
    for values, valid in blocks:
        count = valid.sum((2, 3))
        mean = values.sum((2, 3)) / count.clamp(min=1)
        centred = (values - mean[:, :, None, None]).masked_fill(~valid, 0.0)
        std = (centred.square().sum((2, 3)) / count.clamp(min=1)).sqrt()
        share = count / valid[0, 0].numel()
        parts.append(np.concatenate([mean.cpu().numpy(), std.cpu().numpy(), share.cpu().numpy()], axis=1))
    return np.concatenate(parts)
