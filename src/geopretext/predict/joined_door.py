"""The door of an encoder of several inputs: one of each input (``predict.image_door``), side by side.

Each input comes in a unit of its own, may come from files of its own, and is standardised and judged by itself.

Shapes: B images, C bands, H W pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.normalise import Normaliser, Scale
from geopretext.data.statistics import POOLED
from geopretext.modality import Modality, Observed, join_modalities, known_scales
from geopretext.nn.bundle import Encoder
from geopretext.predict.image_door import ImageDoor, StatisticsChoice
from geopretext.predict.images import Images
from geopretext.predict.input_gate import GateReport, GateVerdict
from geopretext.predict.reference import reference_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class JoinedDoor:
    """How the images of several inputs become one; as ``ImageDoor``."""

    doors: tuple[ImageDoor, ...]
    """of each input, in the encoder's order; all of the same number and size of images"""

    @property
    def images(self) -> Images:
        """Of the first input: their number and size are those of all."""
        return self.doors[0].images

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """As ``ImageDoor.modality``, of each input."""
        return tuple(door.modality for door in self.doors)

    @property
    def modality(self) -> Modality:
        """All inputs as one."""
        return join_modalities(self.inputs)

    @property
    def scale(self) -> Scale:
        """See ``ImageDoor``."""
        means, stds = zip(*(door.scale for door in self.doors), strict=True)
        return np.concatenate(means).astype(np.float32), np.concatenate(stds).astype(np.float32)

    @property
    def height(self) -> int:
        """See ``ImageDoor``."""
        return self.doors[0].height

    @property
    def width(self) -> int:
        """See ``ImageDoor``."""
        return self.doors[0].width

    @property
    def record(self) -> dict[str, Any]:
        """What all inputs have in common, and the record of each under ``by_input``."""
        records = {door.modality.name: dict(door.record) for door in self.doors}
        each = list(records.values())
        own = {record["statistics"] for record in each}
        return {
            "bands": list(self.modality.band_names),
            "matched": [name for record in each for name in record["matched"]],
            "substituted": {k: v for record in each for k, v in record["substituted"].items()},
            "filled": [name for record in each for name in record["filled"]],
            "unused": [name for name in each[0]["unused"] if all(name in record["unused"] for record in each)],
            "statistics": "bundle" if own == {"bundle"} else "dataset",
            "level": next((record["level"] for record in each if record["level"] is not None), None),
            "mean": [number for record in each for number in record["mean"]],
            "std": [number for record in each for number in record["std"]],
            "image_size": each[0]["image_size"],
            "centre_crop": each[0]["centre_crop"],
            "by_input": records,
        }

    @property
    def normaliser(self) -> Normaliser:
        """See ``ImageDoor``."""
        return Normaliser(self.modality, {POOLED: self.scale})

    def like(self, other: "Door") -> "JoinedDoor":
        """See ``ImageDoor``."""
        assert isinstance(other, JoinedDoor)  # both are doors of one encoder
        return JoinedDoor(tuple(door.like(its) for door, its in zip(self.doors, other.doors, strict=True)))

    def moved(self, place: Callable[[Images], Images], *, height: int, width: int) -> "JoinedDoor":
        """See ``ImageDoor``."""
        return JoinedDoor(tuple(door.moved(place, height=height, width=width) for door in self.doors))

    def blocks(self, samples: Array | None = None, size: int = 64) -> Iterator[Observed[Tensor]]:
        """See ``ImageDoor``."""
        for parts in zip(*(door.blocks(samples, size) for door in self.doors), strict=True):
            yield Observed(torch.cat([part.values for part in parts], 1), torch.cat([part.valid for part in parts], 1))

    def seen(self, valid: Tensor) -> Tensor:
        """Pixels (B, H, W) at which some input was observed in all bands that its images have."""
        parts = torch.split(valid, [len(modality.bands) for modality in self.inputs], 1)
        each = [door.seen(part) for door, part in zip(self.doors, parts, strict=True)]
        return torch.stack(each).any(0)


Door: TypeAlias = ImageDoor | JoinedDoor


def open_door(
    images: Callable[[Modality], Images],
    encoder: Encoder,
    *,
    statistics: StatisticsChoice = "auto",
    training: Array | None = None,
    level: str | None = None,
    substitutes: Mapping[str, str] | None = None,
    fill: Sequence[str] = (),
) -> Door:
    """Decide what is done to the images of each input of an encoder.

    Args:
        images: of an input.
        encoder: of the inputs that there are, see ``chosen_inputs``.
        statistics: as ``ImageDoor.open`` takes it, likewise the following.
        training: positions of the training images.
        level: processing level; of an input without levels, or of another level only, it is not heeded.
        substitutes: for bands that the images lack, the band to take instead.
        fill: bands that may be missing everywhere.

    Raises:
        BandError, UnitError, GridError, InputError: as ``ImageDoor.open``.
    """
    several = len(encoder.inputs) > 1

    def one(modality: Modality) -> ImageDoor:
        scales = encoder.alone(modality.name).statistics
        own = {name: source for name, source in (substitutes or {}).items() if name in modality.band_names}
        return ImageDoor.open(
            images(modality),
            modality,
            scales,
            patch_size=encoder.settings.patch_size,
            statistics=statistics,
            training=training,
            level=None if several and level not in known_scales(scales) else level,
            substitutes=own if several else substitutes,
            fill=[name for name in fill if name in modality.band_names] if several else fill,
        )

    doors = tuple(map(one, encoder.inputs))
    return JoinedDoor(doors) if several else doors[0]


def judge_door(door: Door, encoder: Encoder, samples: Array, *, level: str | None = None) -> GateReport:
    """Hold some of the images against what the encoder was trained on, each input by itself.

    Args:
        door: of the encoder.
        encoder: as ``open_door`` took it.
        samples: positions of images.
        level: processing level of the images, if it is known.
    """
    doors = door.doors if isinstance(door, JoinedDoor) else (door,)
    return join_reports(
        {
            each.modality.name: each.judge(reference_of(encoder, each.modality.name), samples, level=level)
            for each in doors
        }
    )


def join_reports(reports: Mapping[str, GateReport]) -> GateReport:
    """What the gate says of several inputs: the worst that it says of any that it could check.

    Args:
        reports: by input; the only one stays as it is.
    """
    if len(reports) == 1:
        return next(iter(reports.values()))
    checked = {name: report for name, report in reports.items() if report.verdict is not GateVerdict.NOT_CHECKED}
    worst = (GateVerdict.IMPLAUSIBLE, GateVerdict.UNDECIDED, GateVerdict.PLAUSIBLE, GateVerdict.NOT_CHECKED)
    said = checked or reports
    return GateReport(
        min((report.verdict for report in said.values()), key=worst.index),
        tuple(f"{name}: {line}" for name, report in said.items() for line in report.suspicions),
        tuple(f"{name}: {line}" for name, report in said.items() for line in report.undecided),
        max(report.images for report in said.values()),
        "; ".join(f"{name}: {_reference(report)}" for name, report in said.items()),
        POOLED if checked else None,
    )


def _reference(report: GateReport) -> str:
    """What one input was held against; each has levels of its own, or none."""
    return report.reference + (f" at level {report.level}" if report.level not in (None, POOLED) else "")
