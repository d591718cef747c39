"""With one input, a step of MP-MAE is bit for bit its network and its losses put together by hand, and no more work."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from geopretext.modality import PUBLISHED, Observed
from geopretext.nn import kernels
from geopretext.nn.convnextv2 import EPSILON, Block, ConvNeXtV2
from geopretext.nn.masking import patchify, sample_visible
from geopretext.nn.products import Linear
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.sites import Whole
from geopretext.pretext.mp_mae import MPMAE, standardise
from geopretext.pretext.settings import MPMAESettings

from .random_fields import random_fields

BANDS = ("B2", "B3", "B4", "B8")
ENCODER = EncoderSettings(size="micro", bands=BANDS, image_size=32)
TARGETS: dict[str, tuple[str, ...] | None] = {
    "sentinel2": BANDS,
    "sentinel1": None,
    "dynamic_world": None,
    "era5": None,
    "biome": None,
}
SEEDS = torch.tensor([11, 12, 13])
DIM, PATCH, PATCHES, HIDDEN = 32, 8, 16, 10
Fields = dict[str, Observed[Tensor]]


class ByHand(nn.Module):
    """The published network for these targets, with the names of ``nn.autoencoder``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ConvNeXtV2(ENCODER)
        self.projection = Linear(ENCODER.widths[-1], DIM)
        self.mask_token = nn.Parameter(torch.empty(DIM))
        self.decoders = nn.ModuleDict({"shared": nn.Sequential(Block(DIM, grn_scope="sample"))})
        self.vector_norm = nn.LayerNorm(DIM, eps=EPSILON)
        sizes = {"sentinel2": 4 * 64, "sentinel1": 8 * 64, "dynamic_world": 9 * 64, "era5": 12, "biome": 14}
        self.heads = nn.ModuleDict({name: Linear(DIM, size) for name, size in sizes.items()})

    def forward(self, fields: Fields) -> dict[str, tuple[Tensor, Tensor]]:
        """Total and count of each loss."""
        visible = sample_visible(SEEDS, PATCHES, 0.6)
        masked = (~visible).nonzero()[:, 1].reshape(len(SEEDS), HIDDEN)
        cells = self.projection(self.encoder(fields["sentinel2"].values, visible, PATCHES - HIDDEN).permute(0, 2, 3, 1))
        cells = torch.where(visible.reshape(-1, 4, 4, 1), cells, self.mask_token)
        tokens = self.decoders["shared"][0](cells, Whole(1e-6)).flatten(1, 2)  # type: ignore[index]  # a Sequential
        chosen = tokens.gather(1, masked[..., None].expand(-1, -1, DIM))
        summary = self.vector_norm(tokens).mean(1)
        losses = {}
        for name, head in self.heads.items():
            is_map = name in ("sentinel2", "sentinel1", "dynamic_world")
            prediction = head(chosen if is_map else summary)
            if is_map and kernels.can_run(prediction):
                losses[name] = by_kernels(name, prediction, fields[name], masked)
                continue
            values, valid = fields[name]
            if is_map:
                values, valid = (hidden_patches(part, masked) for part in (values, valid))
            if name == "sentinel2":
                values = standardise(values, valid)
            if name in ("dynamic_world", "biome"):
                each = F.cross_entropy(prediction.reshape(values.numel(), -1), values.flatten(), reduction="none")
                losses[name] = torch.where(valid.flatten(), each, 0.0).sum(), valid.sum()
            else:
                losses[name] = torch.where(valid, prediction - values, 0.0).square().sum(), valid.sum()
        return losses


def by_kernels(name: str, prediction: Tensor, field: Observed[Tensor], masked: Tensor) -> tuple[Tensor, Tensor]:
    if name == "dynamic_world":
        return kernels.cross_entropy(prediction, *field, masked, PATCH)
    return kernels.squared_error(prediction, *field, masked, PATCH, standardise=name == "sentinel2")


def hidden_patches(x: Tensor, masked: Tensor) -> Tensor:
    patches = patchify(x if x.ndim == 4 else x[:, None], PATCH)
    return patches.gather(1, masked[..., None].expand(-1, -1, patches.shape[-1]))


class Work(TorchDispatchMode):
    """Floating-point numbers that operators write."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            parts = result if isinstance(result, tuple | list) else (result,)
            self.numbers += sum(x.numel() for x in parts if isinstance(x, Tensor) and x.is_floating_point())
        return result


def learn(network: nn.Module, losses: Callable[[], dict[str, tuple[Tensor, Tensor]]]) -> tuple[dict[str, float], int]:
    """Gradients into ``network``; each loss, and how many numbers were written."""
    with Work() as work:
        found = losses()
        torch.stack([total / count for total, count in found.values()]).sum().backward()
    return {name: float((total / count).detach()) for name, (total, count) in found.items()}, work.numbers


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_is_the_network_and_the_losses_bit_for_bit(compiled: bool) -> None:
    torch.manual_seed(0)
    method = MPMAE(ENCODER, MPMAESettings(targets=TARGETS, decoder_dim=DIM), PUBLISHED).train()
    plain = ByHand().train()
    plain.load_state_dict(method.network.state_dict())
    fields = random_fields(method.bands, PUBLISHED, tiles=len(SEEDS), size=32, missing=0.2, seed=0)
    with kernels.kernels_enabled(compiled):
        if compiled and not kernels.can_run(torch.zeros(1)):
            pytest.skip("needs a C compiler")
        expected, least = learn(plain, lambda: plain(fields))
        found, work = learn(
            method, lambda: {name: (loss.total, loss.count) for name, loss in method(fields, SEEDS).items()}
        )
    assert found == expected
    for name, parameter in plain.named_parameters():
        gradient = method.network.get_parameter(name).grad
        assert gradient is not None
        assert parameter.grad is not None
        assert torch.equal(gradient, parameter.grad), name
    image = fields["sentinel2"].values.numel()
    assert work - least < image / 4, "something of the size of the image is computed once more"
