"""Fine-tuned heads as networks of scenes: class probabilities, or quantities in their unit, for each pixel."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder, load_settings
from geopretext.nn.bundle_files import CONFIG, HEAD_WEIGHTS, WEIGHTS, find_bundle
from geopretext.nn.bundle_heads import Head, load_head, load_head_labels, load_head_settings, trained_extent
from geopretext.nn.local_norm import local_norms, needed_margin
from geopretext.nn.settings import HeadLabels
from geopretext.predict.windows import blended

CLASSES, QUANTITIES = "segmentation", "dense regression"
"""Tasks whose heads make maps."""

LOCAL = ("linear", "unet", "smp-unet")
"""Decoders that say the same of a pixel whatever else a window holds. FPN's group norms and UPerNet's pooling are over
all of an image, and the grids of DPT and FPN are aligned by its corners."""
_LARGEST = 1024
"""pixels on a side of a window: a decoder keeps a hundred numbers a pixel at once"""

_INSTEAD = {
    CLASSES: "`geopretext segment` makes maps of classes",
    QUANTITIES: "`geopretext regress` makes maps of quantities",
    "change detection": "it compares two images of one place, and a scene is one",
}
_WHOLE_IMAGES = (
    "it says one thing of a whole image; for a map, fine-tune on labels of pixels: `geopretext evaluate finetune BUNDLE"
    " --task FOLDER --preset segmentation --save-bundle`, with a FOLDER of images/ and masks/"
)


class HeadNetwork:
    """A head as ``predict.scene_maps`` computes it; see ``SceneNetwork``.

    Args:
        head: on the device where it is to run, in evaluation mode.
        labels: what its scores mean.
        extent: pixels on a side of the squares of its response norms.
    """

    cell = 1

    def __init__(self, head: Head, labels: HeadLabels, extent: int) -> None:
        self.width = len(labels.names)
        self._head = head
        self._extent = extent
        first = next(head.parameters())
        self._device = first.device
        self._scale: tuple[Tensor, Tensor] | None = None
        if labels.is_quantities:
            mean, std = (first.new_tensor(numbers).view(-1, 1, 1) for numbers in (labels.mean, labels.std))
            self._scale = mean, std

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised windows (B, C, h, w) -> probabilities or quantities (B, K, h, w)."""
        with local_norms(self._head, self._extent):
            scores: Tensor = self._head(x.to(self._device)).float()
        if self._scale is None:
            return torch.softmax(scores, 1)
        mean, std = self._scale
        return scores * std + mean


@dataclass(frozen=True)
class HeadSource:
    """Where a head is: a ``predict.scene_run.NetworkSource``. Made by ``open_head``."""

    folder: Path
    labels: HeadLabels
    patch: int
    """pixels on a side of what the encoder's cells are for"""
    extent: int
    """pixels on a side of the images that the head was trained on; of response norms"""
    local: bool
    """whether its decoder is one of ``LOCAL``, on an encoder that, too, says the same of a place in any window"""
    margin: int
    """pixels at inner edges of windows that are not used: where results are not those of one pass, see
    ``nn.local_norm``; of a network that sees all of its window, an eighth of it"""
    ramp: int | None = None
    """see ``NetworkSource``"""

    @property
    def cell(self) -> int:
        """Pixels on a side of a result."""
        return 1

    @property
    def window(self) -> int:
        """Pixels on a side of windows that suit it: large; of a network that sees all of them, as in training."""
        return min(_LARGEST, 6 * self.margin) if self.local else self.extent

    @property
    def width(self) -> int:
        """K: classes, or quantities."""
        return len(self.labels.names)

    def encoder(self) -> Encoder:
        """What says how a scene's numbers are brought to it."""
        return Encoder.from_pretrained(self.folder)

    def load(self, device: str) -> HeadNetwork:
        """The network.

        Raises:
            BundleError: the bundle is damaged.
            MissingLibraryError: the head needs segmentation-models-pytorch.
        """
        return HeadNetwork(load_head(self.folder).to(device), self.labels, self.extent)

    def fingerprint(self) -> str:
        """Sign of weights and configuration."""
        files = files_fingerprint([self.folder / name for name in (CONFIG, WEIGHTS, HEAD_WEIGHTS)])
        return joined_fingerprint([files, str(self.extent)])


def open_head(bundle: str | Path, task: str) -> HeadSource:
    """A bundle's head, if it is one for the task.

    Args:
        bundle: folder, or the name of a repository on the hub.
        task: ``CLASSES`` or ``QUANTITIES``.

    Raises:
        BundleError: there is no bundle, it has no head, or does not say what its scores mean.
        InputError: its head is for another task.
    """
    folder = find_bundle(bundle)
    labels = load_head_labels(folder)
    if labels.task != task:
        raise InputError(
            f"its head is for {labels.task}, not for {task}",
            where=str(bundle),
            hint=_INSTEAD.get(labels.task, _WHOLE_IMAGES),
        )
    settings, extent = load_settings(folder), trained_extent(folder)
    patch, local = settings.patch_size, load_head_settings(folder).kind in LOCAL
    margin = needed_margin(settings, extent)
    if margin is None:
        margin, ramp = blended(extent, patch)
        return HeadSource(folder, labels, patch, extent, False, margin, ramp)
    if not local:
        margin = ceil(extent / 8 / patch) * patch
    return HeadSource(folder, labels, patch, extent, local, margin)
