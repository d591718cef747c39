"""Settings of SoftCon: plain data, free of torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from geopretext.errors import RecipeError

_CHOICES = {
    "labels_of": ("view", "tile"),
    "similarity_loss": ("binary", "squared", "rows"),
    "similarity_map": ("sigmoid", "clamp", "linear"),
}
_SHARES = ("least_share", "momentum", "jitter", "jitter_share", "gray_share", "drop_share", "flip_share")
_COUNTS = (
    "projection_width",
    "projection_depth",
    "prediction_depth",
    "embedding_width",
    "drop_most",
    "source_size",
)
_TEMPERATURES = ("temperature", "similarity_temperature")
_WEIGHTS = ("instance_weight", "similarity_weight")


@dataclass(frozen=True)
class SoftConSettings:
    """Multi-label guided soft contrastive learning. What is published and what is ours: docs/methods/softcon.md."""

    labels: str = "dynamic_world"
    """categorical map whose classes are an image's labels"""
    labels_of: Literal["view", "tile"] = "view"
    """"view": the classes within a view's box; "tile": those of the whole crop, for both views, as published labels"""
    least_share: float = 0.0
    """share of the labelled pixels that a class must have to be a label, 0 to 1; 0: one pixel is enough"""
    series: str | None = None
    """time series of which two dates are the two views; null: both views are of the one image of the input"""
    source_size: int | None = None
    """pixels on a side of the crop that views are cut from, at least 1; null: encoder.image_size"""
    start: str | None = None
    """weights to start from, all but the input layer: folder of a bundle, or file of a state dict in the layout of
    DINOv2, timm or torchvision; null: random ones"""
    mask_ratio: float = 0.5
    """share of the patches that is hidden from the trained branch, at least 0 and below 1"""
    projection_width: int = 4096
    """features between layers of projector and predictor, at least 1"""
    projection_depth: int = 3
    """linear layers of the projector, at least 1"""
    prediction_depth: int = 2
    """linear layers of the predictor, at least 1"""
    embedding_width: int = 256
    """features that are compared, at least 1"""
    temperature: float = 0.2
    """of the instance term, above 0"""
    momentum: float = 0.99
    """of the momentum branch at the beginning, 0 to 1; rises to 1 along half a cosine"""
    instance_weight: float = 1.0
    """of the instance term, at least 0"""
    similarity_weight: float = 1.0
    """of the similarity term, at least 0"""
    similarity_loss: Literal["binary", "squared", "rows"] = "binary"
    """"binary": cross-entropy of each pair; "squared": squared difference of each pair; "rows": cross-entropy of each
    row of similarities, as shares of their sum"""
    similarity_map: Literal["sigmoid", "clamp", "linear"] = "sigmoid"
    """what makes 0 to 1 of a cosine c; "sigmoid": of c / similarity_temperature; "clamp": c, at least 0; "linear":
    (c + 1) / 2; "rows" needs none"""
    similarity_temperature: float = 0.2
    """above 0; of the map "sigmoid" and of the loss "rows\""""
    smallest_box: float = 0.2
    """share of the area that a view shows at least, above 0 to 1"""
    jitter: float = 0.4
    """largest change of brightness and of contrast, 0 to 1"""
    jitter_share: float = 0.8
    """of the views whose brightness and contrast change, 0 to 1"""
    gray_share: float = 0.2
    """of the views whose bands all become their mean, 0 to 1"""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """least and largest standard deviation of a blur, pixels, above 0"""
    blur_shares: tuple[float, float] = (1.0, 0.1)
    """of the first and of the second views that are blurred, 0 to 1"""
    flip_share: float = 0.5
    """of the views whose left and right are exchanged, 0 to 1"""
    drop_share: float = 0.5
    """of the views that lack some bands, 0 to 1"""
    drop_most: int = 6
    """bands that a view lacks at most, at least 1; one band always stays"""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)!r}", hint=f"one of {', '.join(choices)}")
        for name, (fits, hint) in _RANGES.items():
            if not fits(getattr(self, name)):
                raise RecipeError(f"pretext.{name} is {getattr(self, name)}", hint=hint)
        if not self.instance_weight + self.similarity_weight:
            raise RecipeError("pretext.instance_weight and pretext.similarity_weight are 0", hint="one of them above 0")


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(_SHARES, (lambda share: 0 <= share <= 1, "from 0 to 1")),
    **dict.fromkeys(_COUNTS, (lambda count: count is None or count >= 1, "at least 1")),
    **dict.fromkeys(_TEMPERATURES, (lambda number: 0 < number < math.inf, "above 0, for example 0.2")),
    **dict.fromkeys(_WEIGHTS, (lambda weight: 0 <= weight < math.inf, "at least 0")),
    "mask_ratio": (lambda ratio: 0 <= ratio < 1, "at least 0, below 1"),
    "smallest_box": (lambda share: 0 < share <= 1, "above 0, at most 1"),
    "blur_sigma": (lambda sigma: 0 < sigma[0] <= sigma[1] < math.inf, "two numbers above 0, for example 0.1,2"),
    "blur_shares": (lambda shares: all(0 <= share <= 1 for share in shares), "two numbers from 0 to 1"),
}
