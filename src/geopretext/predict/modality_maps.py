"""Every modality that a pretrained network predicts, of windows of which it is given the whole.

A window goes through several passes that show different parts of it (``predict.passes``); what is kept of each pass is
what pretraining trained: maps at hidden patches, or, of a network that was trained to predict shown patches, too, at
those (decision 121). Vectors are averaged over passes.

Shapes: B windows, C bands, H W pixels, P patches, p pixels on a side of a patch, D numbers a pixel.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.errors import BundleError
from geopretext.modality import Kind
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_files import CONFIG, PRETEXT_WEIGHTS, WEIGHTS, find_bundle
from geopretext.nn.bundle_pretext import load_reconstructor
from geopretext.nn.masking import patch_grid, patchify, unpatchify
from geopretext.nn.reconstructor import Reconstructor
from geopretext.predict.chosen_inputs import given_bands
from geopretext.predict.joined_scene import require_used
from geopretext.predict.passes import Passes, complementary_passes
from geopretext.predict.scene import Scene
from geopretext.predict.scene_door import DoorOptions


class ModalityMaps:
    """Maps of every modality, one above the other: a ``SceneNetwork``.

    Continuous bands come standardised, classes as probabilities. The bands of the input come in the input's own
    standardisation, patch by patch with its own mean and deviation where the network predicts them without.

    Args:
        network: in evaluation mode, on the device where it is to run.
        inputs: names of those of its inputs that images bring; None: all.

    Raises:
        BundleError: the network predicts no map of which anything can be said from the image alone.
    """

    cell = 1

    def __init__(self, network: Reconstructor, inputs: Collection[str] | None = None) -> None:
        self.network = network
        self.inputs = tuple(m for m in network.inputs if inputs is None or m.name in inputs)
        """those that images bring"""
        self.channels: dict[str, slice] = {}
        """numbers of each modality among all D, in the order of the network"""
        self.width = 0
        for name, target in network.targets.items():
            if target.kind.is_map and self._without(name) is None:
                self.channels[name] = slice(self.width, self.width + target.channels)
                self.width += target.channels
        if not self.channels:
            raise BundleError(
                "the network predicts no map from the image alone",
                hint="pretrain with targets such as sentinel1, canopy_height_eth or esa_worldcover",
            )

    @property
    def left_out(self) -> dict[str, str]:
        """Maps that cannot be predicted from the image alone, and why."""
        reasons = {name: self._without(name) for name in self.network.targets}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised windows (B, C, H, W), 0 where missing -> (B, D, H, W) float32.

        What windows lack to a whole number of patches is missing.
        """
        x = self._whole(x)
        height, width = x.shape[2:]
        patch = self.network.encoder.settings.patch_size
        x = F.pad(x, (0, -width % patch, 0, -height % patch))
        grid, passes = self._passes(x)
        sums = {name: x.new_zeros(len(x), grid[0] * grid[1], patch**2 * self._depth(name)) for name in self.channels}
        restorers = {name: self._patch_scale(x, name) for name in self.channels if self._restored(name)}
        for visible in passes.visible.to(x.device):
            predictions = self._predict(x, visible)
            for name, total in sums.items():
                kept = visible if self.network.predicts_visible(name) else ~visible
                tokens = predictions[name][:, kept].float()
                if self.network.targets[name].kind.is_categorical:
                    tokens = tokens.reshape(*tokens.shape[:2], patch**2, -1).softmax(-1).flatten(2)
                if name in restorers:
                    mean, deviation = restorers[name]
                    tokens = tokens * deviation[:, kept] + mean[:, kept]
                total[:, kept] += tokens
        maps = []
        for name, total in sums.items():
            times = passes.shown if self.network.predicts_visible(name) else passes.hidden
            maps.append(unpatchify(total / times, patch, grid=grid))
        return torch.cat(maps, 1)[..., :height, :width]

    def vectors(self, x: Tensor) -> dict[str, Tensor]:
        """Modalities with one answer a window.

        Args:
            x: as for maps.

        Returns:
            By name: standardised numbers (B, C), or probabilities of classes or labels, float32.
        """
        patch = self.network.encoder.settings.patch_size
        x = self._whole(x)
        x = F.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch))
        _, passes = self._passes(x)
        every = [self._predict(x, visible) for visible in passes.visible.to(x.device)]
        found = {}
        for name, target in self.network.targets.items():
            if target.kind.is_map:
                continue
            answers = torch.stack([predictions[name].float() for predictions in every])
            if target.kind is Kind.CATEGORICAL_VECTOR:
                answers = answers.softmax(-1)
            elif target.kind is Kind.MULTILABEL_VECTOR:
                answers = answers.sigmoid()
            found[name] = answers.mean(0)
        return found

    def _whole(self, x: Tensor) -> Tensor:
        """The image of all inputs, 0 in the bands of those that are absent, of one of those that there are."""
        if self.inputs == self.network.inputs:
            return x
        parts = dict(zip(self.inputs, torch.split(x, [len(m.bands) for m in self.inputs], 1), strict=True))
        size = (len(x), *x.shape[2:])
        return torch.cat([parts.get(m, x.new_zeros(size[0], len(m.bands), *size[1:])) for m in self.network.inputs], 1)

    def _without(self, name: str) -> str | None:
        """Why a map cannot be predicted from the image alone; None if it can."""
        target = self.network.targets[name]
        if not target.kind.is_map or not self._restored(name):
            return None
        bands = {band for modality in self.inputs if modality.name == name for band in modality.band_names}
        if not bands:
            return (
                "the network predicts its contrast only: the mean and deviation of a patch cannot be known from the"
                " image"
            )
        if not set(target.band_names) <= bands:
            return "the network predicts its contrast only, over bands that the input does not have"
        return None

    def _passes(self, x: Tensor) -> tuple[tuple[int, int], Passes]:
        settings = self.network.encoder.settings
        grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=settings.patch_size)
        return grid, complementary_passes(grid, self.network.settings.mask_ratio)

    def _predict(self, x: Tensor, visible: Tensor) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = self.network(x, visible.expand(len(x), -1), everywhere=True)
        return predictions

    def _depth(self, name: str) -> int:
        return self.network.targets[name].channels

    def _restored(self, name: str) -> bool:
        return name in self.network.settings.standardise_patches

    def _patch_scale(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each patch of the input over the bands that are predicted, (B, P, 1) each.

        Of what was observed, which ``x`` shows by numbers other than 0.
        """
        bands = self.network.modality.band_indices(self.network.targets[name].band_names)
        patches = patchify(x[:, list(bands)], self.network.encoder.settings.patch_size)
        seen = patches != 0
        count = seen.sum(-1, keepdim=True)
        mean = patches.sum(-1, keepdim=True) / count.clamp(min=1)
        squares = ((patches - mean) * seen).square().sum(-1, keepdim=True)
        return mean, (squares / (count - 1).clamp(min=1)).sqrt()


@dataclass(frozen=True)
class ModalityMapsSource:
    """The ``ModalityMaps`` of a bundle: a ``NetworkSource``. Made by ``ModalityMapsSource.of``."""

    bundle: str
    """folder, or a name on the Hugging Face hub"""
    patch: int
    """see ``NetworkSource``, as all that follow: half a patch of the network's, see ``ramp``"""
    extent: int
    """of training's crops: windows are as large, and response norms are over all of a window"""
    width: int
    cell: int = 1
    inputs: tuple[str, ...] | None = None
    """names of the network's inputs that it is given; None: all"""
    margin: int = 0
    """what is less sure near the edge of a window fades out over the ramp"""

    @classmethod
    def of(cls, bundle: str | Path) -> "ModalityMapsSource":
        """Describe a bundle.

        Raises:
            BundleError: it cannot be read, or cannot predict maps from an image alone.
        """
        maps = ModalityMaps(load_reconstructor(bundle))
        settings = maps.network.encoder.settings
        half = settings.patch_size // 2 if settings.patch_size % 2 == 0 else settings.patch_size
        return cls(str(bundle), half, settings.image_size, maps.width)

    @property
    def window(self) -> int:
        """See ``NetworkSource``."""
        return self.extent

    @property
    def ramp(self) -> int:
        """Pixels over which two windows are blended: at least half of a window.

        Windows follow each other by an odd number of half patches, so that where one has the borders of its patches its
        neighbours have their middles, and no border shows (decision 122).
        """
        halves = max(1, self.extent // 2 // self.patch)
        return self.extent - (halves - 1 + halves % 2) * self.patch

    def encoder(self) -> Encoder:
        """See ``NetworkSource``."""
        encoder = Encoder.from_pretrained(self.bundle)
        return encoder if self.inputs is None else encoder.given(self.inputs)

    def of_scene(self, scene: Scene, options: DoorOptions) -> "ModalityMapsSource":
        """The same from those of the network's inputs that a scene has.

        Raises:
            BandError: it has none of them, or a file of it has nothing of them.
            InputError: the network wants all of its inputs.
            BundleError: nothing can be predicted from them alone.
        """
        substitutes = dict(options.substitutes)
        encoder = self.encoder()
        given = given_bands(encoder, scene.bands, substitutes=substitutes, where=scene.where)
        require_used(scene, [substitutes.get(name, name) for name in encoder.bands])
        names = tuple(modality.name for modality in given.inputs)
        maps = ModalityMaps(load_reconstructor(self.bundle), names)
        return replace(self, width=maps.width, inputs=names)

    def load(self, device: str) -> ModalityMaps:
        """See ``NetworkSource``."""
        return ModalityMaps(load_reconstructor(self.bundle).to(device), self.inputs)

    def fingerprint(self) -> str:
        """See ``NetworkSource``."""
        folder = find_bundle(self.bundle)
        files = files_fingerprint([folder / name for name in (CONFIG, WEIGHTS, PRETEXT_WEIGHTS)])
        return files if self.inputs is None else joined_fingerprint([files, *self.inputs])
