"""Patches to tokens and back, through the switches of poolings."""

import pytest
import torch

from geopretext.nn.patch_projector import PatchDecoder, PatchProjector, pooling_sides

SIDES = {
    4: (2,),
    5: (3,),
    8: (4, 2),
    10: (5, 2),
    16: (8, 4, 2),
    40: (20, 10, 5, 2),
    50: (25, 12, 6, 3),
}


@pytest.mark.parametrize("patch_size", SIDES)
def test_a_patch_of_any_size_becomes_a_token_and_a_patch_again(patch_size: int) -> None:
    torch.manual_seed(0)
    assert pooling_sides(patch_size) == SIDES[patch_size]
    projector, decoder = PatchProjector(3, 8, patch_size), PatchDecoder(5, 8, patch_size)
    for count in (1, 4):
        projected = projector(torch.randn(count, 3, patch_size, patch_size))
        assert projected.tokens.shape == (count, 8)
        pooled = [side // 2 for side in SIDES[patch_size]]
        assert [switch.shape[-1] for switch in projected.switches] == pooled
        assert [level.shape[-1] for level in projected.levels] == list(SIDES[patch_size][1:])
        patches = decoder(projected.tokens, projected.switches, torch.ones(count, dtype=torch.bool))
        assert patches.shape == (count, 5, patch_size, patch_size)


def test_poolings_are_undone_where_they_were_done() -> None:
    """Numbers go back to where the largest stood; without that knowledge, a quarter to each of four cells."""
    decoder = PatchDecoder(1, 4, 10)
    seen = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    tokens = torch.arange(1.0, 9.0).reshape(2, 4)
    fine = torch.tensor([[0, 4], [12, 18]]).expand(2, 4, 2, 2)  # rows and columns (0, 0), (0, 4), (2, 2), (3, 3)
    fine = torch.where(fine == 4, 3, fine)
    switches = (fine.contiguous(), torch.tensor([[3]]).expand(2, 4, 1, 1).contiguous())
    decoder(tokens, switches, torch.tensor([True, False]))
    coarse, wide = seen
    for feature in range(4):
        assert coarse[0, feature].tolist() == [[0, 0], [0, tokens[0, feature]]]
        assert coarse[1, feature].tolist() == [[tokens[1, feature] / 4] * 2] * 2
    entering = decoder.layers[0](coarse)
    wanted = torch.zeros(2, 4, 5, 5)
    for (row, column), (y, x) in {(0, 0): (0, 0), (0, 1): (0, 3), (1, 0): (2, 2), (1, 1): (3, 3)}.items():
        wanted[0, :, y, x] = entering[0, :, row, column]
    for row in range(4):
        for column in range(4):
            wanted[1, :, row, column] = entering[1, :, row // 2, column // 2] / 4
    assert torch.allclose(wide, wanted)


def test_what_is_not_known_does_not_pass() -> None:
    torch.manual_seed(0)
    projector, decoder = PatchProjector(2, 8, 8), PatchDecoder(2, 8, 8)
    one, other = projector(torch.randn(3, 2, 8, 8)), projector(torch.randn(3, 2, 8, 8))
    nothing, everything = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    assert torch.equal(decoder(one.tokens, one.switches, nothing), decoder(one.tokens, other.switches, nothing))
    assert not torch.equal(
        decoder(one.tokens, one.switches, everything), decoder(one.tokens, other.switches, everything)
    )


def test_a_patch_is_projected_alone() -> None:
    """Batch norms would make a patch depend on its neighbours, and fail on one patch."""
    torch.manual_seed(0)
    projector = PatchProjector(2, 8, 16).train()
    patches = torch.randn(5, 2, 16, 16)
    together = projector(patches).tokens
    alone = torch.cat([projector(patch[None]).tokens for patch in patches])
    assert torch.allclose(together, alone, atol=1e-6)
