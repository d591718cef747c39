"""What a recipe's ``compile`` compiles is one graph, made once: a graph break or a recompilation is an error here."""

import pytest
import torch
from torch._dynamo.utils import counters

from geopretext.modality import PRETEXT, PUBLISHED
from geopretext.nn.kernels import kernels_enabled
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

from .random_fields import random_fields


def make_batch(method: MPMAE, seed: int):
    """Random tiles of all modalities, with other numbers missing in each batch."""
    fields = random_fields(method.bands, PUBLISHED, tiles=3, size=32, missing=0.2 * seed, seed=seed)
    return fields, torch.randint(2**62, (3,), generator=torch.Generator().manual_seed(seed))


# torch's own: its compiler instantiates autograd functions while it traces them.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("kernels", "precision"),
    [
        pytest.param(True, "fp32", id="kernels-fp32"),
        pytest.param(False, "bf16", id="plain-bf16", marks=pytest.mark.slow),
        pytest.param(True, "bf16", id="kernels-bf16", marks=pytest.mark.slow),
        pytest.param(False, "fp32", id="plain-fp32", marks=pytest.mark.slow),
    ],
)
def test_a_training_step_compiles_once_and_whole(kernels, precision):
    torch.manual_seed(0)
    torch.compiler.reset()
    encoder = EncoderSettings(size="micro", patch_size=16, image_size=32)
    plain = MPMAE(encoder, MPMAESettings(decoder_dim=32), {modality.name: modality for modality in PRETEXT})
    compiled = MPMAE(encoder, MPMAESettings(decoder_dim=32), {modality.name: modality for modality in PRETEXT})
    compiled.load_state_dict(plain.state_dict())
    compiled.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    optimizers = [torch.optim.AdamW(method.parameters(), lr=1e-3) for method in (plain, compiled)]
    counters.clear()
    with kernels_enabled(kernels), torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(3):
            losses = []
            for method, optimizer in zip((plain, compiled), optimizers, strict=True):
                fields, seeds = make_batch(method, seed)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    parts = method(fields, seeds)
                loss = sum(part.total / part.count.clamp(min=1) for part in parts.values())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            torch.testing.assert_close(losses[1], losses[0], rtol=1e-5 if precision == "fp32" else 1e-2, atol=0)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
