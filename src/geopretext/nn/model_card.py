"""The README.md of a bundle, as a model card of the Hugging Face hub."""

from collections.abc import Mapping
from typing import Any

from geopretext.modality import Modality
from geopretext.nn.settings import EncoderSettings

_HEADER = """\
---
library_name: geopretext
tags:
- earth-observation
- remote-sensing
- geopretext
---"""

_EXAMPLE = """\
```python
from geopretext.nn.bundle import Encoder

encoder = Encoder.from_pretrained("this folder")
features = encoder(images)  # normalised (tiles, bands, height, width) -> (tiles, features, rows, columns)
```"""


def model_card(
    settings: EncoderSettings,
    modality: Modality,
    *,
    targets: tuple[str, ...],
    standardised: bool,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> str:
    """What the encoder is, how to use it, how it was trained and what it scored, in Markdown.

    Args:
        settings: architecture.
        modality: the input, with the encoder's bands.
        targets: names of what it was trained to predict; empty if unknown.
        standardised: whether the bundle holds statistics of the input.
        recipe: what it was trained with; its ``name`` and scalar fields are shown.
        metrics: what it scored; numbers are shown.
    """
    name = str(recipe.get("name") or f"ConvNeXt V2 {settings.size}")
    bands = "\n".join(f"| {number} | {b.name} | {b.unit} | {b.title} |" for number, b in enumerate(modality.bands))
    levels = f", processing level {' or '.join(modality.levels)}" if modality.levels else ""
    trained = f"It was trained to predict {', '.join(targets)}." if targets else ""
    about = (
        f"An encoder (ConvNeXt V2 {settings.size}) of {modality.title or modality.name}{levels}. It turns an image of "
        f"{len(modality.bands)} bands into one vector of {settings.widths[-1]} numbers for each "
        f"{settings.patch_size} x {settings.patch_size} pixels. {trained}"
    )
    statistics = (
        "`encoder.statistics` holds the mean and standard deviation of each band for each processing level; subtract "
        "and divide before calling"
        if standardised
        else "Standardise images band by band before calling (`encoder.statistics` is empty: those that it was trained "
        "with are not known here)"
    )
    normalise = (
        f"{statistics}, and put 0 where nothing was observed. Height and width are multiples of "
        f"{settings.patch_size} pixels; it was trained on {settings.image_size} x {settings.image_size}."
    )
    table = f"| channel | band | unit | meaning |\n|---|---|---|---|\n{bands}"
    sections = [_HEADER, f"# {name}", about.rstrip(), "## Use", _EXAMPLE, normalise, "## Input", table]
    facts = _table(recipe, ("recipe", "value"))
    scores = _table({k: v for k, v in metrics.items() if isinstance(v, int | float)}, ("metric", "value"))
    sections += ["## Training", facts] if facts else []
    sections += ["## Scores", scores] if scores else []
    return "\n\n".join(sections) + "\n"


def _table(entries: Mapping[str, Any], heading: tuple[str, str]) -> str:
    """The scalars among ``entries``; empty if there are none."""
    rows = [f"| {key} | {_text(value)} |" for key, value in entries.items() if isinstance(value, str | int | float)]
    return "\n".join([f"| {heading[0]} | {heading[1]} |", "|---|---|", *rows]) if rows else ""


def _text(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
