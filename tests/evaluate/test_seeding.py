"""First weights by a seed: the same each time, and nobody else's random numbers change."""

import pytest
import torch

from geopretext.evaluate.baselines import random_encoder
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.seeding import seeded
from geopretext.evaluate.sgd_probe import sgd_probe

from .conftest import make_problem
from .small_store import make_encoder


def test_a_seed_gives_the_numbers_of_manual_seed() -> None:
    with seeded(5):
        drawn = torch.randn(4)
    assert torch.equal(drawn, torch.randn(4, generator=torch.Generator().manual_seed(5)))


def test_neither_the_cpu_nor_an_accelerator_is_seeded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, problem = make_encoder(), make_problem(TaskKind.SINGLE_LABEL)
    touched: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched.append)
    state = torch.random.get_rng_state()
    first, again = (random_encoder(encoder, 3).network.state_dict() for _ in range(2))
    sgd_probe(problem)
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert not touched
