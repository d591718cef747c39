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
from torch import distributed as dist

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
        everyone, theirs, first = gather_tiles(mine), gather_tiles(present), _rank() * len(tokens)
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
    if not _is_shared():
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]  # torch does not type it
    return gathered


class _Gather(torch.autograd.Function):
    """All processes have the sum of their losses' gradients added up for what each of them gave."""

    @staticmethod
    def forward(_: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _rank() -> int:
    return dist.get_rank() if _is_shared() else 0
