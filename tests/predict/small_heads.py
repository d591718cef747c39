"""Fine-tuned bundles and scenes that are small, and maps of them by one pass, computed with torch alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import IMAGE_HEIGHT, IMAGE_WIDTH, Head, load_head, make_head, save_head
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.local_norm import local_norms
from geopretext.nn.settings import EncoderSettings, HeadLabels, HeadSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.scene import Georeference

BANDS = ("B2", "B3", "B4")
MEANS, STDS = (800.0, 900.0, 1000.0), (300.0, 250.0, 400.0)
UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
EXTENT = 32
"""pixels on a side of the images that heads are said to have been trained on"""
CLASSES = HeadLabels("segmentation", ("tree cover", "cropland", "built-up"), codes=(10, 40, 50))
HEIGHTS = HeadLabels("dense regression", ("elevation", "age"), "m, years", (-6.5, 40.0), (3.0, 9.0))


def write_bundle(folder: Path, labels: HeadLabels, kind: str = "linear", *, extent: int = EXTENT) -> Path:
    """An encoder and a head of random weights that are far from zero, so that its maps have some contrast."""
    settings = EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=16)
    torch.manual_seed(3)
    network = make_head(HeadSettings(kind, len(labels.names)), _encoder(settings))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not name.startswith("encoder.") and weight.ndim > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)
            elif "grn" in name:
                weight.normal_(0, 0.3)
    save_head(
        folder,
        network.eval(),
        modality=PUBLISHED["sentinel2"].select(BANDS),
        statistics={"all": (MEANS, STDS)},
        recipe={IMAGE_HEIGHT: extent, IMAGE_WIDTH: extent},
        metrics={},
        labels=labels,
    )
    return folder


def _encoder(settings: EncoderSettings) -> ConvNeXtV2:
    encoder = ConvNeXtV2(settings)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if weight.ndim > 1 and "grn" not in name:
                weight.normal_(0, weight[0].numel() ** -0.5)
    return encoder


def make_scene(height: int = 352, width: int = 248, *, seed: int = 0, hole: bool = True) -> ArrayScene:
    """Fields of different reflectance; of some pixels nothing was observed."""
    generator = np.random.default_rng(seed)
    fields = generator.normal(0, 1, (3, height // 20 + 1, width // 20 + 1)).repeat(20, 1).repeat(20, 2)
    noise = generator.normal(0, 0.3, (3, height, width))
    column = np.array([MEANS, STDS])[:, :, None, None]
    values = column[0] + column[1] * (fields[:, :height, :width] + noise)
    valid = np.ones((height, width), np.bool_)
    if hole:
        valid[30:50, 90:130] = False
    return ArrayScene(np.clip(values, 1, 9000).astype(np.uint16), BANDS, "reflectance x 10000", UTM, valid, "L2A")


def one_pass(bundle: Path, scene: ArrayScene, extent: int = EXTENT) -> np.ndarray:
    """Scores (H, W, K) of the whole scene at once, by nothing but the network and its statistics."""
    head: Head = load_head(bundle)
    patch = Encoder.from_pretrained(bundle).settings.patch_size
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (MEANS, STDS))
    x = np.where(True if scene.valid is None else scene.valid, (scene.values - mean) / std, 0)
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (0, -height % patch), (0, -width % patch)))
    with torch.inference_mode(), local_norms(head, extent):
        scores = head(torch.from_numpy(padded[None].astype(np.float32)))[0].permute(1, 2, 0).numpy()
    return scores[:height, :width]


def smaller(labels: HeadLabels, names: int) -> HeadLabels:
    """The same with fewer classes or quantities."""
    cut = {field: getattr(labels, field)[:names] for field in ("names", "mean", "std", "codes")}
    return replace(labels, **cut)
