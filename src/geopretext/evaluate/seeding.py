"""First weights by a seed, without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers on the CPU begin at a seed within the block; the global random state of all devices stays.

    ``torch.manual_seed`` would seed accelerators as well, and to give them their state back they would have to be
    started, all of them, where they may not be used at all.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
