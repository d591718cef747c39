"""Time series that an encoder sees beside its maps: what a bundle says of them.

``config.json`` holds them under ``series``, each with its bands, statistics and relations. Bundles of before this
section was written have the weights of their series, and what else is needed in ``statistics.json``, if that is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geopretext.errors import BundleError
from geopretext.modality import PUBLISHED, Kind, Modality
from geopretext.nn.bundle_files import STATISTICS, read_json
from geopretext.nn.bundle_statistics import (
    Input,
    input_relations,
    input_scales,
    scales_from_plain,
    scales_to_plain,
)


def series_bands(settings: Any) -> Mapping[str, tuple[str, ...]]:
    """Bands of each time series that an architecture takes, by name; none of a family that takes no series."""
    bands: Mapping[str, tuple[str, ...]] = getattr(settings, "series", {})
    return bands


def describe_series(series: Iterable[Modality], statistics: Mapping[str, Any] | None) -> tuple[Input, ...]:
    """Series with what statistics say of them.

    Args:
        series: each with just the encoder's bands.
        statistics: of a store, as plain data; None if they are not known.

    Raises:
        BundleError: they lack a series or a band of it.
    """
    if statistics is None:
        return tuple(Input(modality, {}, {}) for modality in series)
    return tuple(Input(one, input_scales(statistics, one), input_relations(statistics, one)) for one in series)


def check_series(series: Sequence[Input], settings: Any) -> None:
    """That these are series of the network.

    Raises:
        BundleError: one is not, has other bands, or is no series.
    """
    known = series_bands(settings)
    for modality, scales, _ in series:
        if modality.kind is not Kind.CONTINUOUS_SERIES:
            raise BundleError(f"{modality.name!r} is a {modality.kind}, and no time series")
        if known.get(modality.name) != modality.band_names:
            raise BundleError(
                f"the network has {', '.join(known) or 'no series'}"
                f"{' with other bands' if modality.name in known else ''}, its input {modality.name!r}"
            )
        for level, (mean, std) in scales.items():
            if not len(mean) == len(std) == len(modality.bands):
                raise BundleError(f"statistics of level {level!r} of {modality.name!r} are not of its bands")


def series_to_plain(series: Iterable[Input]) -> list[dict[str, Any]]:
    """As JSON; ``series_from_plain`` reads it back."""
    return [
        {"input": modality.to_dict(), "statistics": scales_to_plain(scales), "relations": relations}
        for modality, scales, relations in series
    ]


def series_of_bundle(folder: Path, config: Mapping[str, Any], settings: Any) -> tuple[Input, ...]:
    """The series that a bundle describes; of an older bundle, those published ones that its statistics know.

    Args:
        folder: of the bundle.
        config: its description.
        settings: its architecture.

    Raises:
        AttributeError, InputError, KeyError, TypeError: the description is damaged.
    """
    if "series" in config:
        return tuple(
            Input(Modality.from_dict(one["input"]), scales_from_plain(one["statistics"]), one["relations"])
            for one in config["series"]
        )
    wanted = {name: bands for name, bands in series_bands(settings).items() if name in PUBLISHED}
    if not wanted or not (folder / STATISTICS).exists():
        return ()
    statistics = read_json(folder / STATISTICS)
    return describe_series(
        (PUBLISHED[name].select(bands) for name, bands in wanted.items() if name in statistics.get("modalities", {})),
        statistics,
    )
