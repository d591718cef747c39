"""A map that is put together of windows is the map of one pass over the whole scene."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.local_norm import local_norms, needed_margin
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_door import open_scene_door
from geopretext.predict.scene_maps import compute_strips, join_strips
from geopretext.predict.windows import Windows

BANDS = ("B2", "B8A", "B11")
EXTENT, PATCH = 32, 8


def make_encoder():
    """Of one whose response norms do something."""
    torch.manual_seed(0)
    settings = EncoderSettings(size="micro", patch_size=PATCH, image_size=EXTENT, bands=BANDS)
    network = ConvNeXtV2(settings)
    for name, parameter in network.named_parameters():
        if ".grn." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    scale = {"all": ((2000.0,) * 3, (800.0,) * 3)}
    return Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=scale).eval()


def make_scene():
    """Of a size that is no multiple of anything, dark in one half, and with a hole."""
    random = np.random.default_rng(0)
    values = 2000 + 800 * random.standard_normal((3, 347, 341))
    values[:, :, 170:] *= 0.3
    values[:, 90:120, 60:200] = np.nan
    return ArrayScene(
        np.abs(values), BANDS, PUBLISHED["sentinel2"].bands[0].unit, Georeference("", (10, 0, 0, 0, -10, 0))
    )


@dataclass
class Features:
    """As ``SceneNetwork`` wants it."""

    encoder: Encoder
    extent: int | None
    cell = PATCH

    @property
    def width(self):
        return self.encoder.width

    def __call__(self, x):
        if self.extent is None:
            return self.encoder(x)
        with local_norms(self.encoder, self.extent):
            return self.encoder(x)


def compute(door, network, scene, *, size, margin=0):
    windows = Windows.of(
        scene.height, scene.width, patch=PATCH, cell=PATCH, size=size, margin=margin, ramp=2 * PATCH if margin else 0
    )
    rows = join_strips(compute_strips(door, network, windows, range(len(windows.down.starts)), batch=2), windows)
    return np.concatenate([each.values for each in rows]), len(windows)


@pytest.mark.parametrize(("extent", "agree"), [(EXTENT, True), (None, False)], ids=["local norms", "ordinary norms"])
def test_windows_are_one_pass(extent, agree):
    encoder, scene = make_encoder(), make_scene()
    door = open_scene_door(scene, encoder)
    network = Features(encoder, extent)
    whole, one = compute(door, network, scene, size=352)
    margin = needed_margin(encoder.settings, EXTENT)
    parts, several = compute(door, network, scene, size=232, margin=margin)
    assert (one, several) == (1, 9)
    error = np.abs(parts - whole) / whole.std((0, 1))
    assert (error.max() < 1e-3) == agree
