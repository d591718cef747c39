"""Each size has the number of parameters that was published."""

import pytest
import torch

from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import SENTINEL2_BANDS, SIZES, EncoderSettings

MILLIONS = {
    "atto": 3.71,
    "femto": 5.23,
    "pico": 9.07,
    "nano": 15.62,
    "tiny": 28.64,
    "base": 88.72,
    "large": 197.96,
    "huge": 660.29,
}
"""With three bands, the original stem, final norm and 1000 classes; the table of arXiv 2301.00808 rounds further."""


def count_parameters(settings: EncoderSettings) -> int:
    with torch.device("meta"):
        encoder = ConvNeXtV2(settings)
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize(("size", "millions"), MILLIONS.items())
def test_sizes_match_the_paper(size, millions):
    settings = EncoderSettings(
        size=size, stem="convnextv2", patch_size=32, image_size=224, bands=("B4", "B3", "B2"), drop_path=0.1
    )
    width = settings.widths[-1]
    norm, head = 2 * width, 1000 * width + 1000
    assert (count_parameters(settings) + norm + head) / 1e6 == pytest.approx(millions, abs=0.005)


def test_atto_with_twelve_bands_has_the_published_number_of_parameters():
    assert count_parameters(EncoderSettings(size="atto")) == 3_389_320


def test_every_size_is_described():
    assert set(SIZES) == {"micro", *MILLIONS}
    assert len(SENTINEL2_BANDS) == 12
