import pytest

from geopretext.errors import RecipeError
from geopretext.pretext.settings import MPMAESettings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("targets", {}, "pretext.targets is empty.*hint: name at least one"),
        ("targets", {"aster": "slope"}, r"pretext.targets.aster is 'slope'.*hint: a list of bands: \[slope\]"),
        ("targets", {"aster": ()}, "pretext.targets.aster names no band.*hint: null stands for all"),
        ("mask_ratio", 1.5, "mask_ratio is 1.5.*hint: above 0, below 1"),
        ("weighting", "magic", "pretext.weighting is 'magic'.*hint: one of uncertainty, equal"),
        ("missing_targets", "mean", "pretext.missing_targets is 'mean'.*hint: one of ignored, zero"),
        ("denominator", "all", "pretext.denominator is 'all'.*hint: one of valid, nonzero"),
        ("decoder", "none", "decoder is 'none'.*hint: one of shared, per-modality"),
        ("decoder_dim", -1, "decoder_dim is -1.*hint: at least 1"),
    ],
)
def test_fields_out_of_range_are_named(field, value, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        MPMAESettings(**{field: value})


def test_only_what_is_predicted_is_standardised():
    settings = MPMAESettings(targets={"biome": None})
    assert settings.autoencoder.standardise_patches == ()
    assert MPMAESettings().autoencoder.standardise_patches == ("sentinel2",)
