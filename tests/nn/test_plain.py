import pytest
import torch

from geopretext.nn.plain import PlainEncoder, plain_stages
from geopretext.nn.standardise import standardiser


@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
@pytest.mark.parametrize(("patch", "scope"), [(8, "batch"), (16, "sample"), (32, "sample")])
def test_standard_operations_give_the_encoder(make_encoder, stem, patch, scope):
    encoder = make_encoder(stem=stem, patch_size=patch, grn_scope=scope, drop_path=0.5)
    images = torch.randn(2, 3, 2 * patch, 3 * patch)
    with torch.no_grad():
        for plain, stage in zip(
            plain_stages(encoder.network, images), encoder.network.forward_stages(images), strict=True
        ):
            torch.testing.assert_close(plain, stage, rtol=1e-5, atol=1e-5)


def test_both_pooled_forms_are_those_of_the_encoder(make_encoder):
    encoder = make_encoder()
    standardise = standardiser(encoder, "L2A")
    images = 1000 + 300 * torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        grid, mean, stages = PlainEncoder(encoder.network, standardise)(images)
        seen = standardise(images)
        torch.testing.assert_close(grid, encoder(seen), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mean, encoder.features(seen, "mean"), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(stages, encoder.features(seen, "stages"), rtol=1e-5, atol=1e-5)
