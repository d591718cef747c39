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


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_published_classifiers_are_computed_as_the_encoder_computes_them(make_encoder, patch):
    encoder = make_encoder(patch_size=patch, dense_padding="published-classifier", dense_grn_epsilon=0.1)
    images = torch.randn(2, 3, 2 * patch, 3 * patch)
    with torch.no_grad():
        stages = encoder.network.forward_stages(images)
        for plain, stage in zip(plain_stages(encoder.network, images), stages, strict=True):
            torch.testing.assert_close(plain, stage, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(
            stages[1],
            plain_stages(make_encoder(patch_size=patch).network, images)[1][
                ..., : stages[1].shape[2], : stages[1].shape[3]
            ],
            atol=1e-2,
        )


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
