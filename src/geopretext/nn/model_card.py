"""The README.md of a bundle, as a model card of the Hugging Face hub."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from geopretext.modality import POOLED, Modality, known_scales
from geopretext.nn.bundle_series import series_bands
from geopretext.nn.network import NetworkSettings

_HEADER = """\
---
library_name: {library}
license: {licence}
tags:
- earth-observation
- remote-sensing
- geopretext
---"""

_EXAMPLE = """\
```python
from geopretext.nn.bundle import Encoder
from geopretext.nn.standardise import standardiser

encoder = Encoder.from_pretrained("owner/name")  # or this folder
{standardise}
images = standardise(images)  # (tiles, bands, height, width) in the units below
grid = encoder(images)  # (tiles, features, rows, columns)
vectors = encoder.features(images)  # (tiles, features)
```"""

_EXAMPLE_WITHOUT_STATISTICS = """\
```python
from geopretext.nn.bundle import Encoder

encoder = Encoder.from_pretrained("owner/name")  # or this folder
grid = encoder(images)  # standardised (tiles, bands, height, width) -> (tiles, features, rows, columns)
vectors = encoder.features(images)  # (tiles, features)
```"""

_UNKNOWN = "The statistics that it was trained with are not known here (`encoder.statistics` is empty). "


def model_card(
    settings: NetworkSettings,
    modality: Modality,
    *,
    statistics: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]],
    targets: tuple[str, ...],
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    licence: str,
    library: str = "geopretext",
    example: str = "",
    any_input: bool = False,
) -> str:
    """What the encoder is, how to use it, how it was trained and what it scored, in Markdown.

    Args:
        settings: architecture.
        modality: the input, with the encoder's bands.
        statistics: mean and standard deviation of each band by processing level.
        targets: names of what it was trained to predict; empty if unknown.
        recipe: what it was trained with; its ``name`` and scalar fields are shown.
        metrics: what it scored; numbers are shown.
        licence: of the weights, as the hub spells it.
        library: what loads the weights, as the hub spells it.
        example: how they are loaded, in Markdown; empty for how geopretext does.
        any_input: whether inputs may be absent.
    """
    name = str(recipe.get("name") or settings.title)
    bands = "\n".join(f"| {number} | {b.name} | {b.unit} | {b.title} |" for number, b in enumerate(modality.bands))
    levels = f", processing level {' or '.join(modality.levels)}" if modality.levels else ""
    trained = f"It was trained to predict {', '.join(targets)}." if targets else ""
    about = (
        f"An encoder ({settings.title}) of {modality.title or modality.name}{levels}. It turns an image of "
        f"{len(modality.bands)} bands into one vector of {settings.widths[-1]} numbers for each "
        f"{settings.patch_size} x {settings.patch_size} pixels. {trained}"
    )
    known = known_scales(statistics)
    normalise = (
        "It sees numbers from which the mean of each band is subtracted, which are then divided by the band's standard "
        f"deviation, with 0 where nothing was observed{_missing(modality)}. {'' if known else _UNKNOWN}Height and "
        f"width are multiples of {settings.patch_size} pixels; it was trained on {settings.image_size} x "
        f"{settings.image_size}."
    )
    example = example or (_EXAMPLE.format(standardise=_call(known)) if known else _EXAMPLE_WITHOUT_STATISTICS)
    if any_input and len(settings.inputs) > 1:
        normalise += f"\n\n{_any_input(settings)}"
    if series := series_bands(settings):
        normalise += f"\n\n{_series(series)}"
    header = _HEADER.format(library=library, licence=licence)
    table = f"| channel | band | unit | meaning |\n|---|---|---|---|\n{bands}"
    sections = [header, f"# {name}", about.rstrip(), "## Use", example, normalise, "## Input", table]
    sections += ["## Statistics", _statistics(modality, statistics)] if statistics else []
    facts = _table(recipe, ("recipe", "value"))
    scores = _table({k: v for k, v in metrics.items() if isinstance(v, int | float)}, ("metric", "value"))
    sections += ["## Training", facts] if facts else []
    sections += ["## Scores", scores] if scores else []
    return "\n\n".join(sections) + "\n"


def _any_input(settings: NetworkSettings) -> str:
    """That inputs may be absent, and how that is said."""
    first = next(iter(settings.inputs))
    of = "; ".join(f"{name} ({', '.join(bands)})" for name, bands in settings.inputs.items())
    return (
        f"Any of its inputs may be absent: {of}. One that is 0 in all its bands has no influence;"
        f' `encoder.given(["{first}"])` is the encoder of one of them alone.'
    )


def _series(series: Mapping[str, Sequence[str]]) -> str:
    """That it takes time series, and how."""
    of = "; ".join(f"{name} ({', '.join(bands)})" for name, bands in series.items())
    return (
        f"It also takes time series: {of}. `encoder.series` has their statistics; `encoder(images, series=...)` and"
        " `encoder.features` take, by name, a `geopretext.nn.temporal_attention.Series` of images (tiles, dates, bands,"
        " height, width) and days. Any may be left out."
    )


def _call(levels: Collection[str]) -> str:
    """The line that makes what standardises; with a level where the encoder cannot tell which one is meant."""
    named = [level for level in levels if level != POOLED]
    if len(named) < len(levels) or len(levels) == 1:
        other = f'  # standardiser(encoder, "{named[-1]}") for one processing level' if len(levels) > 1 else ""
        return f"standardise = standardiser(encoder){other}"
    others = " or ".join(f'"{level}"' for level in named[1:])
    return f'standardise = standardiser(encoder, "{named[0]}")  # or {others}: the images\' processing level'


def _missing(modality: Modality) -> str:
    codes = ", ".join(f"{number:g}" for number in modality.missing)
    return f" (stored as {codes})" if codes else ""


def _statistics(modality: Modality, statistics: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> str:
    """Mean and standard deviation of each band, two columns a processing level."""
    columns = [f"{part} ({level})" for level in statistics for part in ("mean", "standard deviation")]
    lines = [f"| band | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for number, band in enumerate(modality.bands):
        cells = [f"{part[number]:.6g}" for scale in statistics.values() for part in scale]
        lines.append(f"| {band.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(entries: Mapping[str, Any], heading: tuple[str, str]) -> str:
    """The scalars among ``entries``; empty if there are none."""
    rows = [f"| {key} | {_text(value)} |" for key, value in entries.items() if isinstance(value, str | int | float)]
    return "\n".join([f"| {heading[0]} | {heading[1]} |", "|---|---|", *rows]) if rows else ""


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
