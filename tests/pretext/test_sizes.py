"""Every size takes a step of MP-MAE with all twelve modalities."""

import pytest
import torch

from geopretext.modality import PUBLISHED, Observed
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

SIDE, TILES = 16, 2


def make_method(size: str) -> MPMAE:
    return MPMAE(EncoderSettings(size=size, image_size=SIDE), MPMAESettings(mask_ratio=0.5), PUBLISHED)


def make_fields(method: MPMAE) -> dict[str, Observed[torch.Tensor]]:
    fields = {}
    for name, bands in method.bands.items():
        kind = PUBLISHED[name].kind
        shape = (TILES,) if kind.is_categorical else (TILES, len(bands))
        shape += (SIDE, SIDE) if kind.is_map else ()
        values = torch.zeros(shape, dtype=torch.int64) if kind.is_categorical else torch.randn(shape)
        fields[name] = Observed(values, torch.ones(shape, dtype=torch.bool))
    return fields


def take_a_step(method: MPMAE) -> torch.Tensor:
    optimiser = torch.optim.SGD(method.parameters(), lr=1.0)  # Adam reads numbers, which meta tensors have none of
    losses = method(make_fields(method), torch.arange(TILES))
    assert len(losses) == 12
    means = {name: loss.total / loss.count for name, loss in losses.items()}
    total = method.combine(means, {name: loss.count > 0 for name, loss in losses.items()})
    total.backward()
    optimiser.step()
    return total.detach()


@pytest.mark.parametrize(
    "size",
    [
        "atto",
        "femto",
        "pico",
        "nano",
        "tiny",
        pytest.param("base", marks=pytest.mark.slow),
        pytest.param("large", marks=pytest.mark.slow),
    ],
)
def test_every_parameter_is_moved_by_a_step(size):
    torch.manual_seed(0)
    method = make_method(size)
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    assert torch.isfinite(take_a_step(method))
    for name, parameter in method.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        assert torch.isfinite(parameter).all(), name


def test_a_step_of_the_largest_needs_no_memory_on_the_meta_device():
    with torch.device("meta"):
        method = make_method("huge")
        total = take_a_step(method)
    assert total.is_meta
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in method.parameters())


def test_atto_and_its_heads_have_the_published_number_of_trainable_parameters():
    with torch.device("meta"):
        method = make_method("atto")
    assert sum(parameter.numel() for parameter in method.parameters()) / 1e6 == pytest.approx(7.58, abs=0.005)
