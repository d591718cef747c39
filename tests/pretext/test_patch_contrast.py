"""The contrast between modalities, against loops, in one process and in two."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.pretext.patch_contrast import gather_tiles, patch_contrast

TEMPERATURE = 0.1


def made(tiles: int, modalities: int = 3, patches: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(tiles, modalities, patches, 5, generator=generator)
    present = torch.rand(tiles, modalities, patches, generator=generator) < 0.8
    return tokens, present


def by_hand(tokens: np.ndarray, present: np.ndarray) -> tuple[float, int]:
    tiles, modalities, patches, _ = tokens.shape
    places = [(b, m, p) for b in range(tiles) for m in range(modalities) for p in range(patches) if present[b, m, p]]
    total, count = 0.0, 0
    for b, m, p in places:
        whole, alike = 0.0, 0.0
        for c, n, q in places:
            if (c, n) == (b, m):
                continue
            one, other = tokens[b, m, p].astype(np.float64), tokens[c, n, q].astype(np.float64)
            e = math.exp(one @ other / np.linalg.norm(one) / np.linalg.norm(other) / TEMPERATURE)
            whole += e
            alike += e if (c, q) == (b, p) else 0.0
        if alike:
            total, count = total + math.log(whole) - math.log(alike), count + 1
    return total, count


@pytest.mark.parametrize(("tiles", "modalities"), [(1, 2), (3, 2), (3, 3), (2, 4)])
def test_losses_are_those_of_a_loop(tiles: int, modalities: int) -> None:
    tokens, present = made(tiles, modalities)
    loss = patch_contrast(tokens, present, TEMPERATURE)
    total, count = by_hand(tokens.numpy(), present.numpy())
    assert float(loss.total) == pytest.approx(total, rel=1e-5)
    assert float(loss.count) == count


def test_what_was_not_observed_takes_no_part() -> None:
    tokens, present = made(3)
    changed = torch.where(present[..., None], tokens, torch.full_like(tokens, 7.0))
    one, other = (patch_contrast(part, present, TEMPERATURE) for part in (tokens, changed))
    assert torch.equal(one.total, other.total)
    changed.requires_grad_()
    patch_contrast(changed, present, TEMPERATURE).total.backward()
    assert changed.grad is not None
    assert changed.grad.isfinite().all()
    assert not changed.grad[~present].any()


@pytest.mark.parametrize("modalities", [1, 2])
def test_without_positives_there_is_nothing_to_learn(modalities: int) -> None:
    tokens, present = made(2, modalities)
    present[:, 1:] = False
    tokens.requires_grad_()
    loss = patch_contrast(tokens, present, TEMPERATURE)
    loss.total.backward()
    assert loss.count == 0
    assert loss.total == 0
    assert tokens.grad is not None
    assert not tokens.grad.any()


def test_equal_tokens_of_a_tile_are_no_negatives_within_a_modality() -> None:
    """One tile, two modalities whose patches all look the same: only the P candidates across remain."""
    tokens = torch.ones(1, 2, 6, 3)
    loss = patch_contrast(tokens, torch.ones(1, 2, 6, dtype=torch.bool), TEMPERATURE)
    assert float(loss.total / loss.count) == pytest.approx(math.log(6), rel=1e-5)


TWO = """
import sys
import torch
from torch import distributed as dist
from geopretext.pretext.patch_contrast import patch_contrast
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
tokens, present = torch.load(f"{folder}/made.pt")
mine = tokens[2 * rank : 2 * rank + 2].clone().requires_grad_()
loss = patch_contrast(mine, present[2 * rank : 2 * rank + 2], 0.1)
loss.total.backward()
torch.save((loss.total.detach(), loss.count, mine.grad), f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    tokens, present = made(4)
    torch.save((tokens, present), tmp_path / "made.pt")
    script = tmp_path / "two.py"
    script.write_text(TWO)
    ranks = [subprocess.Popen([sys.executable, "-W", "ignore", script, str(rank), tmp_path]) for rank in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    tokens.requires_grad_()
    whole = patch_contrast(tokens, present, TEMPERATURE)
    whole.total.backward()
    assert float(found[0][0] + found[1][0]) == pytest.approx(whole.total.item(), rel=1e-5)
    assert found[0][1] + found[1][1] == whole.count
    assert tokens.grad is not None
    assert torch.allclose(torch.cat([part[2] for part in found]), tokens.grad, atol=1e-5)


def test_alone_there_is_nothing_to_gather() -> None:
    x = torch.randn(2, 3)
    assert gather_tiles(x) is x
