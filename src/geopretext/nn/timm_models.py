"""Architectures of geopretext among those of timm: importing this module registers them.

::

    import geopretext.nn.timm_models
    import timm

    timm.create_model("geopretext_convnextv2_atto_patch8", in_chans=12, num_classes=10)
    timm.create_model("local-dir:exported", pretrained=True, features_only=True)  # what `geopretext export` wrote

Names are ``geopretext_convnextv2_SIZE_patchP`` with MMEarth's stem, and ``..._origstem`` with the original one. They
are timm's own ``ConvNeXt`` but for the stem, so that everything timm does with it works: ``features_only`` (four
stages, with reductions P / 8, P / 4, P / 2 and P), ``forward_intermediates``, ``reset_classifier``, layer decay.
"""

from typing import Any, cast

from torch import Tensor, nn

from geopretext.nn.optional import missing
from geopretext.nn.settings import SENTINEL2_BANDS, SIZES, STEMS
from geopretext.nn.timm_weights import registered_name

try:
    from timm.layers import LayerNorm2d, trunc_normal_
    from timm.layers.grn import GlobalResponseNorm
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
    from timm.models.convnext import ConvNeXt
except (ImportError, RuntimeError) as error:
    raise missing(error, "timm", extra="timm", purpose="use geopretext's architectures with it") from error

PATCH_SIZES = (8, 16, 32)


class GeopretextConvNeXt(ConvNeXt):  # type: ignore[misc]
    """timm's ConvNeXt V2 with the stems of geopretext.

    Args:
        size: key of ``SIZES``.
        patch_size: pixels on a side of a cell of the last stage: 8, 16 or 32.
        stem: "mmearth" or "convnextv2", see ``EncoderSettings.stem``.
        dense_padding: of the stem "mmearth", see ``EncoderSettings.dense_padding``.
        dense_grn_epsilon: see ``EncoderSettings.dense_grn_epsilon``.
        in_chans: number of bands.
        num_classes: of the classifier; 0 leaves it out, the model then gives pooled, normalised features.
        **others: ``global_pool``, ``drop_rate``, ``drop_path_rate``, ``device``, ``dtype``, as timm has them.
    """

    def __init__(
        self,
        *,
        size: str,
        patch_size: int,
        stem: str,
        dense_padding: str = "same",
        dense_grn_epsilon: float = 1e-6,
        in_chans: int = len(SENTINEL2_BANDS),
        num_classes: int = 0,
        **others: Any,
    ) -> None:
        depths, widths = SIZES[size]
        super().__init__(
            in_chans=in_chans,
            num_classes=num_classes,
            depths=depths,
            dims=widths,
            patch_size=1,  # another stem takes its place
            use_grn=True,
            ls_init_value=None,
            **others,
        )
        stride, width = patch_size // 8, widths[0]
        placement: dict[str, Any] = {"device": others.get("device"), "dtype": others.get("dtype")}
        if stem == "mmearth":
            # without padding at the border, half a cell of it before the second convolution
            outer, inner = (1, 0) if dense_padding == "same" else (0, stride // 2)
            self.stem = nn.Sequential(
                nn.Conv2d(in_chans, width, kernel_size=3, padding=outer, **placement),
                LayerNorm2d(width, **placement),
                nn.GELU(),
                nn.Conv2d(width, width, kernel_size=stride, stride=stride, padding=inner, groups=width, **placement),
                LayerNorm2d(width, **placement),
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv2d(in_chans, width, kernel_size=stride, stride=stride, **placement),
                LayerNorm2d(width, **placement),
            )
        for layer in self.stem:
            if isinstance(layer, nn.Conv2d):
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(cast("Tensor", layer.bias))
        for norm in self.modules():
            if isinstance(norm, GlobalResponseNorm):
                norm.eps = dense_grn_epsilon
        for stage in self.feature_info:
            stage["reduction"] *= stride
        self._tell_width()

    def reset_classifier(self, num_classes: int, *others: Any, **named: Any) -> None:
        """Replace the classifier; arguments are timm's."""
        super().reset_classifier(num_classes, *others, **named)
        self._tell_width()

    def _tell_width(self) -> None:
        """For trainers of torchgeo, which ask the last module of a model for it; timm's head does not have it."""
        self.head.out_features = self.num_classes or self.num_features


def _register(size: str, patch_size: int, stem: str) -> None:
    name = registered_name(size, patch_size, stem)

    def build(pretrained: bool = False, **arguments: Any) -> nn.Module:
        model: nn.Module = build_model_with_cfg(
            GeopretextConvNeXt,
            name,
            pretrained,
            feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
            **{"size": size, "patch_size": patch_size, "stem": stem, **arguments},
        )
        return model

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"ConvNeXt V2 {size}, patches of {patch_size} pixels, stem {stem!r}."
    globals()[name] = register_model(build)  # which puts the name into __all__


def _description(patch_size: int) -> dict[str, Any]:
    """Inputs are expected as the encoder was trained with them, which an export says and an architecture cannot."""
    bands = len(SENTINEL2_BANDS)
    return {
        "input_size": (bands, 7 * patch_size, 7 * patch_size),
        "mean": (0.0,) * bands,
        "std": (1.0,) * bands,
        "num_classes": 0,
        "pool_size": (7, 7),
        "crop_pct": 1.0,
        "first_conv": None,  # timm would otherwise invent weights for bands that were never seen
        "classifier": "head.fc",
    }


default_cfgs = generate_default_cfgs(
    {registered_name(size, p, stem): _description(p) for size in SIZES for p in PATCH_SIZES for stem in STEMS}
)

for _size in SIZES:
    for _patch_size in PATCH_SIZES:
        for _stem in STEMS:
            _register(_size, _patch_size, _stem)
