"""Bundles as backbones of TerraTorch: importing this module registers ``geopretext_bundle``.

::

    import geopretext.nn.terratorch_backbone
    from terratorch.registry import BACKBONE_REGISTRY

    backbone = BACKBONE_REGISTRY.build("geopretext_bundle", bundle="runs/mine/bundle", bands=["RED", "GREEN", "BLUE"])

In a configuration: ``backbone: geopretext_bundle`` and ``backbone_bundle: runs/mine/bundle``; TerraTorch imports
a folder ``custom_modules`` where it is started, so that an ``__init__.py`` there with the first line above is enough.

Importing TerraTorch (1.2) sets torch's precision of float32 products to "medium" for the whole process: on hardware
that multiplies in bfloat16, features then differ from the encoder's in the third digit. To have them exactly, call
``torch.set_float32_matmul_precision("highest")`` afterwards.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from geopretext.errors import BandError, InputError
from geopretext.modality import Modality
from geopretext.nn.bundle import Encoder
from geopretext.nn.families import make_encoder
from geopretext.nn.optional import missing
from geopretext.nn.standardise import standardiser

try:
    from terratorch.registry import TERRATORCH_BACKBONE_REGISTRY
except (ImportError, RuntimeError) as error:
    raise missing(error, "terratorch", extra="terratorch", purpose="register a backbone with it") from error

BAND_NAMES: Mapping[str, Mapping[str, str]] = {
    "sentinel2": {
        "COASTAL_AEROSOL": "B1",
        "BLUE": "B2",
        "GREEN": "B3",
        "RED": "B4",
        "RED_EDGE_1": "B5",
        "RED_EDGE_2": "B6",
        "RED_EDGE_3": "B7",
        "NIR_NARROW": "B8A",
        "NIR_BROAD": "B8",
        "WATER_VAPOR": "B9",
        "CIRRUS": "B10",
        "SWIR_1": "B11",
        "SWIR_2": "B12",
    },
    "rgb": {"RED": "R", "GREEN": "G", "BLUE": "B"},
}
"""By modality, TerraTorch's names of bands (``terratorch.datasets.HLSBands`` and ``OpticalBands``), and ours."""


class BundleBackbone(nn.Module):
    """The stages of an encoder, as TerraTorch's necks and decoders take them.

    Args:
        encoder: the encoder.
        bands: names of the channels that come in, by the encoder's names or TerraTorch's; others than the encoder's are
            left out, and the order is mended. None: they are the encoder's.
        level: standardise what comes in, which is then in the bands' units, with the statistics of this processing
            level ("all": of all levels). None: it comes standardised.
        out_indices: which of the four stages to give.

    Raises:
        BandError: a band of the encoder is not among ``bands``, or one is there twice.
        InputError: there are no statistics of the level, or no such stage.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        bands: Sequence[str] | None = None,
        level: str | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
    ) -> None:
        super().__init__()
        if not out_indices or any(not -4 <= index < 4 for index in out_indices):
            raise InputError(f"out_indices are {list(out_indices)}", hint="some of 0, 1, 2, 3: the encoder's stages")
        self.network = encoder.network
        self.standardise = nn.Identity() if level is None else standardiser(encoder, level)
        self.out_indices = tuple(out_indices)
        self.out_channels = [encoder.settings.widths[index] for index in out_indices]
        self.patch_size = encoder.settings.patch_size
        """to a multiple of which TerraTorch pads images"""
        self.channels = None if bands is None else _channels(encoder.modality, bands)
        self.given = None if bands is None else len(bands)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> a grid (B, D, h, w) for each of ``out_indices``."""
        if self.channels is not None:
            if x.shape[1] != self.given:
                raise BandError(
                    f"images have {x.shape[1]} channels, and 'bands' names {self.given}",
                    hint="name every channel of the images, in order",
                )
            x = x[:, self.channels]
        stages = self.network.forward_stages(self.standardise(x))
        return [stages[index] for index in self.out_indices]


@TERRATORCH_BACKBONE_REGISTRY.register  # type: ignore[untyped-decorator]
def geopretext_bundle(
    bundle: str | Path,
    pretrained: bool = True,
    bands: Sequence[str] | None = None,
    level: str | None = None,
    out_indices: Sequence[int] = (0, 1, 2, 3),
) -> BundleBackbone:
    """A backbone from a bundle.

    Args:
        bundle: a folder, or the name of a repository on the Hugging Face hub.
        pretrained: false: the same architecture with random weights.
        bands: see ``BundleBackbone``, as are the others.
        level: likewise.
        out_indices: likewise.

    Raises:
        BundleError: it is not a bundle.
    """
    encoder = Encoder.from_pretrained(bundle)
    if not pretrained:
        encoder.network = make_encoder(encoder.settings)
    return BundleBackbone(
        encoder, bands=[str(b) for b in bands] if bands else None, level=level, out_indices=out_indices
    )


def _channels(modality: Modality, bands: Sequence[str]) -> list[int]:
    theirs = BAND_NAMES.get(modality.name, {})
    ours = [name if name in modality.band_names else theirs.get(name, name) for name in bands]
    absent = [name for name in modality.band_names if name not in ours]
    if absent or len(set(ours)) < len(ours):
        what = f"lack {', '.join(absent)}, which the encoder needs" if absent else "repeat"
        raise BandError(f"the bands {', '.join(bands)} {what}", hint=f"it sees {', '.join(modality.band_names)}")
    return [ours.index(name) for name in modality.band_names]
