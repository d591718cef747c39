"""The loss of the published code, written from its specification in plain loops over NumPy arrays.

It knows nothing of ``geopretext.pretext``: predictions come in as ``MaskedAutoencoder`` lays them out, and targets as
the published dataset hands them over (NaN where a number is missing, -1 where a label is).

Left out, as it is in ``geopretext``: missing biomes and ecoregions count as class 0 there.
"""

import numpy as np

VECTORS = ("era5", "lat", "lon", "month")
CLASSES = ("biome", "ecoregion")
CLASS_MAPS = ("dynamic_world", "esa_worldcover")


def published_targets(fields) -> dict[str, np.ndarray]:
    """What the published dataset holds for ``Observed`` fields."""
    targets = {}
    for name, (values, valid) in fields.items():
        values = values.numpy().astype(np.float64)
        filler = -1 if name in (*CLASSES, *CLASS_MAPS) else np.nan
        targets[name] = np.where(valid.numpy(), values, filler)
    return targets


def published_losses(predictions, targets, removed, patch: int) -> dict[str, float]:
    """Each task's loss.

    Args:
        predictions: by task, (B, P, p p C) at all patches, or (B, C).
        targets: by task, see ``published_targets``.
        removed: (B, P), 1 where the patch was hidden.
        patch: p.
    """
    losses = {}
    for task, prediction in predictions.items():
        target = targets[task]
        if task in VECTORS:
            known = ~np.isnan(target)
            losses[task] = np.mean((prediction[known] - target[known]) ** 2)
        elif task in CLASSES:
            labels = [(row, int(label)) for row, label in zip(prediction, target, strict=True) if label >= 0]
            losses[task] = np.mean([cross_entropy(row, label) for row, label in labels])
        elif task in CLASS_MAPS:
            each = []
            for tile, number in np.argwhere(removed == 1):
                labels = cut(target[tile][None], number, patch)
                logits = prediction[tile, number].reshape(patch * patch, -1)
                each += [cross_entropy(row, int(k)) for row, k in zip(logits, labels, strict=True) if k != -1]
            losses[task] = np.mean(each)
        else:
            losses[task] = pixel_loss(prediction, target, removed, patch, standardise=task == "sentinel2")
    return losses


def pixel_loss(prediction, target, removed, patch, *, standardise) -> float:
    """Missing numbers are 0 with full weight; the sum over removed patches is divided by those that are not 0."""
    target = np.nan_to_num(target, nan=0.0)
    loss = np.zeros(removed.shape)
    for tile, number in np.ndindex(removed.shape):
        wanted = cut(target[tile], number, patch)
        if standardise:
            wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var(ddof=1) + 1e-6)
        loss[tile, number] = np.mean((prediction[tile, number] - wanted) ** 2)
    loss = loss * removed
    return loss.sum() / np.count_nonzero(loss)


def uncertainty(losses, log_variances) -> float:
    """The loss of the batch."""
    return sum(
        np.exp(-s) * loss + s if loss != 0 else 0.0 for loss, s in zip(losses.values(), log_variances, strict=True)
    )


def cut(image, number: int, patch: int) -> np.ndarray:
    """Patch ``number`` of an image (C, H, W), by row, column, channel."""
    y, x = divmod(int(number), image.shape[2] // patch)
    block = image[:, y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
    return np.moveaxis(block, 0, 2).ravel()


def cross_entropy(logits, label: int) -> float:
    top = logits.max()
    return top + np.log(np.exp(logits - top).sum()) - logits[label]
