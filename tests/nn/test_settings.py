import subprocess
import sys

import pytest

from geopretext.errors import BandError, RecipeError
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", "giant", "encoder.size is 'giant'.*hint: one of micro, atto"),
        ("patch_size", 7, "encoder.patch_size is 7.*hint: one of 8, 16, 32"),
        ("image_size", 60, "encoder.image_size 60 is not a multiple of encoder.patch_size 8"),
        ("stem", "resnet", "encoder.stem is 'resnet'.*hint: one of mmearth, convnextv2"),
        ("grn_scope", "world", "encoder.grn_scope is 'world'.*hint: one of sample, batch"),
        ("initialisation", "zero", "encoder.initialisation is 'zero'.*hint: one of small, published"),
        ("drop_path", 1.0, "encoder.drop_path is 1.0.*hint: at least 0, below 1"),
        ("bands", (), "encoder.bands is empty.*hint: for example B2, B3, B4"),
        ("dense_padding", "valid", "encoder.dense_padding is 'valid'.*hint: one of same, published-classifier"),
        ("dense_grn_epsilon", 0.0, "encoder.dense_grn_epsilon is 0.0.*hint: above 0"),
    ],
)
def test_encoder_fields_out_of_range_are_named(field, value, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        EncoderSettings(**{field: value})


def test_unknown_input_bands_are_named():
    with pytest.raises(BandError, match=r"(?s)no band 'B13'.*hint: it has B1, B2"):
        EncoderSettings(bands=("B2", "B13"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("decoder", "none", "decoder is 'none'.*hint: one of shared, per-modality"),
        ("decoder_dim", 0, "decoder_dim is 0.*hint: at least 1"),
        ("decoder_depth", 0, "decoder_depth is 0.*hint: at least 1"),
        ("mask_ratio", 0.0, "mask_ratio is 0.0.*hint: above 0, below 1"),
        ("mask_ratio", 1.0, "mask_ratio is 1.0.*hint: above 0, below 1"),
        ("decoder_grn_epsilon", 0.0, "decoder_grn_epsilon is 0.0.*hint: above 0"),
    ],
)
def test_autoencoder_fields_out_of_range_are_named(field, value, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        AutoencoderSettings(**{field: value})


def test_settings_need_no_torch():
    code = (
        "import sys, geopretext.nn.settings, geopretext.pretext.settings;"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
