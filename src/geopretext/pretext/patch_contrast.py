"""The contrast of OmniSat between modalities (arXiv 2404.08351, section 3, after MIL-NCE), over all processes.

A token and those of the same patch in other modalities are alike; it is told apart from all others but those of its own
modality in the same tile, which may well look the same. With n tokens f, cosine s and temperature t::

    loss = (1 / n) sum_i  log sum_{j not in block(i)} exp(s_ij / t)  -  log sum_{j in positives(i)} exp(s_ij / t)

Positives are part of the first sum. Tokens of patches where a modality was not observed take part nowhere, and tokens
without a positive are no i. In the published code a process sees its own tiles only.

Letters: ``B`` tiles of this process, ``R`` of all, ``M`` modalities, ``P`` patches, ``D`` features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.nn.processes import gather_rows, process_count, process_rank, sum_over_processes
from geopretext.pretext.method import TaskLoss


def patch_contrast(tokens: Tensor, present: Tensor, temperature: float) -> TaskLoss:
    """The loss of this process's tokens, among those of all processes.

    Needs memory for M B P x M R P numbers.

    Args:
        tokens: (B, M, P, D), the same B in every process.
        present: (B, M, P) bool.
        temperature: above 0.
    """
    device = tokens.device.type
    with torch.autocast(device, enabled=False):
        mine = F.normalize(tokens.float(), dim=-1)
        everyone, theirs, first = gather_tiles(mine), gather_rows(present), process_rank() * len(tokens)
        similar = torch.einsum("bmpd,rnqd->bmprnq", mine, everyone) / temperature
    batch, modalities, patches = present.shape
    tile = torch.arange(first, first + batch, device=tokens.device)
    same_tile = tile[:, None] == torch.arange(len(everyone), device=tokens.device)  # (B, R)
    same_kind = torch.eye(modalities, dtype=torch.bool, device=tokens.device)
    same_patch = torch.eye(patches, dtype=torch.bool, device=tokens.device)
    block = same_tile[:, None, :, None] & same_kind[:, None]  # (B, M, R, N)
    among = (theirs[None, None] & ~block[..., None])[:, :, None]  # (B, M, 1, R, N, Q)
    whole = similar.masked_fill(~among, -torch.inf).flatten(3).logsumexp(-1)

    own = similar[tile - first, :, :, tile]  # (B, M, P, N, Q): within a tile
    alike = (~same_kind)[:, None, :, None] & same_patch[:, None] & present[:, None, None]
    anchors = present & alike.flatten(3).any(-1)
    alike = alike | ~anchors[..., None, None]  # an anchor that is none must not divide by nothing
    each = torch.where(anchors, whole, 0.0) - own.masked_fill(~alike, -torch.inf).flatten(3).logsumexp(-1)
    return TaskLoss(torch.where(anchors, each, 0.0).sum(), anchors.sum().float())


def gather_tiles(x: Tensor) -> Tensor:
    """(B, ...) of each process -> (R, ...) of all, in order of their ranks; gradients find their way back."""
    count, rank = process_count(), process_rank()
    if count == 1:
        return x
    parts = [x if other == rank else torch.zeros_like(x) for other in range(count)]
    return sum_over_processes(torch.cat(parts))
