"""What published weights see: which modality, which bands in which order, how large a crop and a patch.

A file of weights says how many bands there are and no more. Their names come from the caller, from the options that a
training script left in the file, or from what the published models have; sources that contradict each other are an
error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from geopretext.errors import BundleError, RecipeError
from geopretext.modality import PUBLISHED, Band, Kind, Modality, find_modality
from geopretext.nn.official_file import OfficialFile
from geopretext.nn.official_layout import Layout, Measured
from geopretext.nn.official_names import PublishedName
from geopretext.nn.settings import SENTINEL2_BANDS, EncoderSettings

Value = TypeVar("Value")

RGB = Modality(
    name="rgb",
    kind=Kind.CONTINUOUS_MAP,
    bands=tuple(
        Band(name, "intensity 0..1", 0.0, 1.0, title) for name, title in (("R", "red"), ("G", "green"), ("B", "blue"))
    ),
    dtype="float32",
    title="Colour picture",
    source="photographs such as ImageNet's, 8-bit numbers divided by 255",
)
"""What ImageNet weights see."""

GEOBENCH_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
"""The order that MMEarth fine-tunes with: B8 before B8A, which pretraining has the other way round."""

_NATURAL, _REVERSED = ("B4", "B3", "B2"), ("B2", "B3", "B4")
_NAMELESS = PublishedName("", size="", data="", image_size=0)
_IMAGENET = {"R": (0.485, 0.229), "G": (0.456, 0.224), "B": (0.406, 0.225)}
"""Customary mean and standard deviation of ImageNet in 0..1; both published training scripts take them from timm."""


@dataclass(frozen=True)
class Told:
    """What the caller says about a file; anything left out is found out."""

    patch_size: int | None = None
    """pixels; only held against what the weights say"""
    image_size: int | None = None
    """pixels on a side of the crop that it was trained on"""
    modality: str | None = None
    """that the encoder sees: a published modality, or ``rgb``"""
    bands: tuple[str, ...] | None = None
    """of the input, by name, in the order that it was trained with"""
    targets: Mapping[str, tuple[str, ...] | None] | None = None
    """bands of each modality that it predicts, None for all; those that are not named are found out"""
    statistics: Mapping[str, Any] | None = None
    """of the data that it was trained on, as ``data.statistics.Statistics.to_dict`` gives them"""
    as_published: bool = False
    """without a mask, compute as the published classifier does"""


def agree(what: str, claims: Mapping[str, Value | None], file: OfficialFile) -> Value | None:
    """What all sources that say something say.

    Args:
        what: the quantity, for the message.
        claims: what each source says, by the source's name; None: nothing.
        file: that it is about.

    Raises:
        BundleError: two sources contradict each other.
    """
    said = {source: value for source, value in claims.items() if value is not None}
    first = next(iter(said.items()), None)
    for source, value in said.items():
        if first is not None and value != first[1]:
            raise BundleError(
                f"{what} is {_text(first[1])} by {first[0]}, but {_text(value)} by {source}",
                where=str(file.path),
                hint="leave out the option, give the folder its published name, or take the other file",
            )
    return None if first is None else first[1]


def find_input(
    file: OfficialFile, layout: Layout, measured: Measured, name: PublishedName | None, told: Told
) -> tuple[EncoderSettings, Modality, tuple[str, ...]]:
    """Architecture, input with just its bands, and remarks on what was assumed.

    Raises:
        BundleError: two sources contradict each other, or nothing says which bands there are.
        InputError: no such modality or band.
    """
    patch_size, image_size = _find_sizes(file, measured, name, told)
    default = "sentinel2" if layout.is_mmearth else RGB.name
    modality = find_modality(told.modality or default, {**PUBLISHED, RGB.name: RGB})
    bands, remarks = _find_bands(file, layout, measured, modality, name, told)
    modality = modality.select(bands)
    if image_size is None:
        image_size = 7 * patch_size
        remarks.append(f"trained on crops of {image_size} px: assumed, as in published models")
    # What a model was trained with, if it was trained without a mask; or as the caller asks.
    dense = layout.is_mmearth and (told.as_published or not layout.is_pretraining)
    unpadded = dense and layout is not Layout.MMEARTH_UNET and measured.stem == "mmearth"
    try:
        settings = EncoderSettings(
            size=measured.size,
            modality=modality.name,
            bands=bands,
            patch_size=patch_size,
            image_size=image_size,
            stem=measured.stem,
            dense_padding="published-classifier" if unpadded else "same",
            dense_grn_epsilon=1e-4 if dense else 1e-6,
        )
    except RecipeError as error:
        raise BundleError(error.what, where=str(file.path), hint=error.hint) from error
    return settings, modality, tuple(remarks)


def imagenet_statistics() -> dict[str, Any]:
    """Mean and standard deviation of ``RGB``, as ``data.statistics.Statistics.to_dict`` would give them.

    ``count`` is 1, since it is published nowhere over how many numbers they were taken.
    """
    bands = {
        band: {"mean": mean, "std": std, "min": 0.0, "max": 1.0, "percentiles": {}, "count": 1, "missing": 0}
        for band, (mean, std) in _IMAGENET.items()
    }
    entry = {"bands": {"all": bands}, "class_counts": {}, "missing": 0}
    return {"tiles": 0, "split": "train", "modalities": {RGB.name: entry}}


def _find_sizes(
    file: OfficialFile, measured: Measured, name: PublishedName | None, told: Told
) -> tuple[int, int | None]:
    """Pixels of a patch, and of the crop if anything says so; also holds the encoder's size against the name."""
    named, options = name or _NAMELESS, file.options
    agree("the size", {"the weights": measured.size, named.source: named.size or None}, file)
    patch_size = agree(
        "the patch size",
        {
            "the weights": measured.patch_size,
            "--patch-size": told.patch_size,
            named.source: named.patch_size,
            "the options in the file": _whole(options.get("patch_size")),
        },
        file,
    )
    image_size = agree(
        "the image size",
        {
            "--image-size": told.image_size,
            named.source: named.image_size or None,
            "the options in the file": _whole(options.get("input_size")),
        },
        file,
    )
    assert patch_size is not None
    return patch_size, image_size


def _find_bands(
    file: OfficialFile, layout: Layout, measured: Measured, modality: Modality, name: PublishedName | None, told: Told
) -> tuple[tuple[str, ...], list[str]]:
    """Names of the input bands, and remarks on them."""
    named, by_name = name or _NAMELESS, None
    if named.targets and modality.name == "sentinel2":
        by_name = _REVERSED if named.targets == "rgb" else SENTINEL2_BANDS
        agree("the number of bands", {"the weights": measured.bands, named.source: len(by_name)}, file)
    claims = {"--bands": told.bands, named.source: by_name, "the options in the file": _stated(file)}
    bands, remark = agree("the order of the bands", claims, file), ""
    if bands is None:
        bands, remark = _published_bands(layout, measured.bands, modality)
    if not bands:
        raise BundleError(
            f"{measured.first} takes {measured.bands} bands, and nothing says which",
            where=str(file.path),
            hint="name them in the order that it was trained with: --bands B2,B3,B4 (or B4,B3,B2)",
        )
    if len(bands) != measured.bands:
        raise BundleError(
            f"{measured.first} takes {measured.bands} bands, but {len(bands)} are named: {', '.join(bands)}",
            where=str(file.path),
            hint=f"--bands with {measured.bands} names, in the order that it was trained with",
        )
    remarks = [remark] if remark else []
    if file.options.get("data_set") == "m-so2sat" and measured.bands == len(GEOBENCH_BANDS):
        remarks.append("m-so2sat has no B1 and no B9: MMEarth fine-tuned with B2 in the place of B1 and B8A in B9's")
    return bands, remarks


def _stated(file: OfficialFile) -> tuple[str, ...] | None:
    """Bands that the training script's options name."""
    options = file.options
    modalities = options.get("modalities", options.get("inp_modalities"))
    if isinstance(modalities, Mapping):
        bands = modalities.get("sentinel2")
        if bands == "all":
            return PUBLISHED["sentinel2"].band_names
        if isinstance(bands, list | tuple) and all(isinstance(band, str) for band in bands):
            return tuple(bands)
    if options.get("data_set") == "m-brick-kiln":
        return _NATURAL
    return {"full": GEOBENCH_BANDS, "rgb": _NATURAL, "bgr": _REVERSED}.get(str(options.get("geobench_bands_type")))


def _published_bands(layout: Layout, count: int, modality: Modality) -> tuple[tuple[str, ...], str]:
    """What published models of so many bands see, and a remark if that is not certain; nothing if there are none."""
    if count == len(modality.bands):
        return modality.band_names, ""
    if modality.name != "sentinel2":
        return (), ""
    match layout, count:
        case Layout.MMEARTH_PRETRAINING, 12:
            return SENTINEL2_BANDS, ""
        case Layout.MMEARTH_PRETRAINING, 3:
            return _REVERSED, "bands B2, B3, B4: assumed, as in published models of three"
        case ((Layout.MMEARTH_DENSE | Layout.MMEARTH_UNET), 12):
            return GEOBENCH_BANDS, "bands in GEO-Bench's order, B8 before B8A: assumed, as MMEarth fine-tunes"
        case ((Layout.CONVNEXTV2_PRETRAINING | Layout.CONVNEXTV2_DENSE), 3):
            return _NATURAL, "red, green and blue of ImageNet weights are taken to be B4, B3, B2"
    return (), ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
