"""What turns images into features, by name: the encoder in question, and what it has to beat.

All of them see the images behind the door of an encoder, with the same bands and standardised the same way; the
statistics of the bands are taken before standardising.

Shapes: n samples, D features.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from geopretext.errors import InputError
from geopretext.evaluate.baselines import band_statistics, random_encoder
from geopretext.evaluate.inputs import Feed, Samples
from geopretext.evaluate.labelled import Array
from geopretext.evaluate.random_convolutions import BIAS, FILTERS, SIDE, Filters, draw_filters
from geopretext.evaluate.series_images import image_bands
from geopretext.evaluate.timm_features import TimmModel, TimmSettings
from geopretext.modality import Observed
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_series import series_to_plain
from geopretext.predict.features import Progress

PRETRAINED, RANDOM, BANDS, CONVOLUTIONS = "pretrained", "random_init", "band_statistics", "random_convolutions"
TIMM, BUNDLE = "timm:", "bundle:"
BASELINES = (RANDOM, BANDS, CONVOLUTIONS)
"""Those in a table unless others are asked for."""

_AT_ONCE = 64


class Representation(Protocol):
    """One way to turn images into features."""

    @property
    def name(self) -> str:
        """As in tables, and as ``make_representation`` takes it."""

    @property
    def encoder(self) -> Encoder:
        """Behind whose door it stands: the feed has to be prepared for this one."""

    @property
    def seeded(self) -> bool:
        """True if a seed decides the features: then a score is a mean over several."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What else decides the features, in plain types: settings, versions."""

    def fingerprint(self) -> str:
        """Names all that decides the features beside the feed and the samples: weights, settings, seed, pooling."""

    def features(self, feed: Feed, samples: Samples, *, progress: Progress | None = None) -> Array:
        """Features (n, D) float32 of samples, in their order.

        Args:
            feed: prepared for ``encoder``.
            samples: their numbers in the source.
            progress: told how far it is.

        Raises:
            CorruptError: an input cannot be decoded.
        """


def make_representation(
    spec: str,
    encoder: Encoder,
    *,
    seed: int = 0,
    pooling: str = "stages",
    suited: Callable[[Encoder], Encoder] | None = None,
) -> Representation:
    """What a name stands for.

    Args:
        spec: "pretrained": the encoder; "random_init": the same with random weights; "band_statistics": mean, deviation
            and observed share of each band; "random_convolutions": see there; "timm:NAME" with options
            "?pretrained=false&size=224": see ``evaluate.timm_features``; "bundle:PATH": another encoder, behind its
            own door.
        encoder: behind whose door the others stand.
        seed: of whatever is random.
        pooling: of encoders, see ``geopretext.nn.settings.POOLINGS``.
        suited: gives another encoder of those of its inputs that there are, see ``Task.suited``; None: it has all.

    Raises:
        InputError: there is no such representation, or a model cannot be had.
        BundleError: there is no such bundle.
        MissingLibraryError: timm is not installed.
    """
    if spec.startswith(TIMM):
        return TimmFeatures.create(spec, encoder, seed)
    if spec.startswith(BUNDLE):
        other = Encoder.from_pretrained(spec.removeprefix(BUNDLE)).to(_device(encoder))
        other = other if suited is None else suited(other)
        return EncoderFeatures(spec, other, other, pooling)
    match spec:
        case "pretrained":
            return EncoderFeatures(PRETRAINED, encoder, encoder, pooling)
        case "random_init":
            return EncoderFeatures(RANDOM, encoder, random_encoder(encoder, seed), pooling, seed)
        case "band_statistics":
            return BandStatistics(encoder)
        case "random_convolutions":
            return RandomConvolutions(encoder, seed)
    raise InputError(
        f"there is no representation {spec!r}",
        hint=f"one of {', '.join((PRETRAINED, *BASELINES))}, {TIMM}NAME, {BUNDLE}PATH",
    )


@dataclass(frozen=True)
class EncoderFeatures:
    """Pooled cells of an encoder."""

    name: str
    encoder: Encoder
    network: Encoder
    """that computes the features"""
    pooling: str
    seed: int | None = None
    """of random weights; None: they are trained"""

    @property
    def seeded(self) -> bool:
        """True of random weights."""
        return self.seed is not None

    @property
    def record(self) -> Mapping[str, Any]:
        """Size and pooling."""
        return {"encoder": self.network.settings.title, "pooling": self.pooling}

    def fingerprint(self) -> str:
        """Of weights, architecture, bands, statistics and pooling."""
        settings = [self.network.settings, self.network.modality.to_dict(), self.network.statistics, self.pooling]
        settings += [series_to_plain(self.network.series)] if self.network.series else []
        return _fingerprint("encoder", *map(repr, settings), weights=self.network.network.state_dict())

    def features(self, feed: Feed, samples: Samples, *, progress: Progress | None = None) -> Array:
        """Features (n, D) float32."""
        return feed.features(self.network, samples, pooling=self.pooling, progress=progress)


@dataclass(frozen=True)
class BandStatistics:
    """Mean, standard deviation and observed share of each band."""

    encoder: Encoder
    name: str = BANDS
    seeded: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Of the bands."""
        return _fingerprint(BANDS, repr(self.encoder.modality.to_dict()))

    def features(self, feed: Feed, samples: Samples, *, progress: Progress | None = None) -> Array:
        """Features (n, 3 C) float32."""
        return band_statistics(_counted(feed.blocks(samples), len(samples), progress))


@dataclass(frozen=True)
class RandomConvolutions:
    """Patches of training images as filters, see ``evaluate.random_convolutions``."""

    encoder: Encoder
    seed: int
    name: str = CONVOLUTIONS
    seeded: bool = True
    _drawn: list[tuple[Feed, Filters]] = field(default_factory=list, repr=False, compare=False)

    @property
    def record(self) -> Mapping[str, Any]:
        """Number, size and bias of the filters."""
        return {"filters": FILTERS, "side": SIDE, "bias": BIAS}

    def fingerprint(self) -> str:
        """Of the bands and what was drawn."""
        return _fingerprint(CONVOLUTIONS, repr(self.encoder.modality.to_dict()), self.seed, *self.record.values())

    def features(self, feed: Feed, samples: Samples, *, progress: Progress | None = None) -> Array:
        """Features (n, 2 F) float32."""
        return _each_block(self._filters(feed).features, feed, samples, progress, device=_device(self.encoder))

    def _filters(self, feed: Feed) -> Filters:
        """Drawn once for a feed, since features of many samples are asked for a block at a time."""
        if not self._drawn or self._drawn[0][0] is not feed:
            self._drawn[:] = [(feed, draw_filters(feed, seed=self.seed))]
        return self._drawn[0][1]


@dataclass(frozen=True)
class TimmFeatures:
    """What a timm model has before its classifier."""

    name: str
    encoder: Encoder
    settings: TimmSettings
    model: TimmModel

    @classmethod
    def create(cls, name: str, encoder: Encoder, seed: int) -> "TimmFeatures":
        """Make the model.

        Raises:
            InputError, MissingLibraryError: as ``TimmModel.create``.
        """
        settings = TimmSettings.parse(name.removeprefix(TIMM))
        model = TimmModel.create(settings, image_bands(encoder), seed=seed, device=_device(encoder))
        return cls(name, encoder, settings, model)

    @property
    def seeded(self) -> bool:
        """True of random weights."""
        return not self.settings.pretrained

    @property
    def record(self) -> Mapping[str, Any]:
        """Version of timm, and what is done to the input."""
        return {
            "timm": self.model.library,
            "pretrained": self.settings.pretrained,
            "size": self.model.size,
            "input": "as the encoder's: each band with mean 0 and deviation 1 by the statistics of the door",
        }

    def fingerprint(self) -> str:
        """Of weights, size and version."""
        return _fingerprint(self.name, repr(self.record), weights=self.model.model.state_dict())

    def features(self, feed: Feed, samples: Samples, *, progress: Progress | None = None) -> Array:
        """Features (n, D) float32."""
        return _each_block(self.model.features, feed, samples, progress, device=_device(self.encoder))


def _each_block(
    compute: Callable[[Tensor], Tensor],
    feed: Feed,
    samples: Samples,
    progress: Progress | None,
    *,
    device: torch.device,
) -> Array:
    parts = []
    done = 0
    with torch.inference_mode():
        for images in feed.standardised(samples, _AT_ONCE):
            parts.append(compute(images.to(device)).cpu().numpy())
            done += len(images)
            if progress is not None:
                progress(done, len(samples))
    return np.concatenate(parts)


def _counted(blocks: Iterator[Observed[Tensor]], count: int, progress: Progress | None) -> Iterator[Observed[Tensor]]:
    done = 0
    for block in blocks:
        yield block
        done += len(block.values)
        if progress is not None:
            progress(done, count)


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device


def _fingerprint(*words: object, weights: Mapping[str, Tensor] | None = None) -> str:
    content = hashlib.sha256(json.dumps([str(word) for word in words]).encode())
    for name, tensor in sorted((weights or {}).items()):
        plain = tensor.detach().cpu().contiguous()
        content.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        content.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
