"""Are these inputs what they are said to be? The last look before numbers enter an encoder.

A wrong order of bands, scale or offset shows in nothing but a bad score. The gate asks how likely a sample of the
images is under what the encoder was trained on (``predict.reference``), read as declared and read in the other ways
that such numbers may have been meant (``predict.readings``): two bands exchanged, B8A last, another scale, with or
without Sentinel-2's offset. Per image and reading, in a Student t distribution (heavy tails: snow and cloud are rare,
not wrong), it adds two log-likelihoods in nats a pixel:

* of pixels as they stand, under mean and covariance of all training pixels;
* of deviations from the image's own mean, under the covariance within training tiles. A band of 20 m has less detail
  than one of 10 m, which tells B8A from B8, and red varies more than blue, which tells RGB from BGR even where the unit
  is not known. There, this one is used alone, at the common gain that suits each reading best.

===================== ========================================================================================
another reading       what is said
===================== ========================================================================================
clearly more likely   ``IMPLAUSIBLE``: in three quarters of the images, by more than chance, and itself not far from
                      the training data
neither               ``UNDECIDED``, which is never called right: too few images, bands that look alike in these
                      scenes (snow in the visible), inputs unlike the training data in any reading
clearly less likely   ``PLAUSIBLE``, if that holds for all of them
===================== ========================================================================================

The offset of Sentinel-2 is settled by the darkest pixels instead (``data.offset``), which are sharper. What the gate
cannot see: faults that most of the encoder's training data had too, a wrong gain below about 2, exchanges of bands of
which one is filled or a substitute, and what only few of the images have.

Shapes: n images, N pixels, C bands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.offset import LEVELS as OFFSET_LEVELS
from geopretext.data.offset import OFFSET, Verdict, judge_offset
from geopretext.data.units import REFLECTANCE
from geopretext.errors import InputError
from geopretext.predict.readings import Reading, Shape, likelihoods, ordinary, readings, residuals
from geopretext.predict.reference import Floats, Reference

SAMPLE = 48
"""Images that are looked at; more add little, since images of one source share their faults."""

_PIXELS = 256
"""a sample of each image"""
_FEW = 4
"""Below so many images there is no standard error to speak of, and ``_MARGIN_OF_FEW`` holds."""
_MARGIN, _MARGIN_OF_FEW = 0.5, 2.0
"""nats a pixel by which another reading must be better, beyond twice its standard error"""
_SHARE = 0.75
"""of the images that must say so"""
_CARRY = 0.5
"""of the images, that must show the offset"""
_FAR = 1.0
"""nats a pixel and band below ordinary training data, beyond which no reading is believed"""
_MOST_BANDS = 3
"""that are named; one wrong band makes others look wrong"""
_STRANGE = 12.0
"""deviations from what the other bands let expect, beyond which a band cannot be what it is named"""


UNLIKE = "the inputs are unlike the training data, however they are read"


class GateVerdict(StrEnum):
    """What the gate says."""

    PLAUSIBLE = "plausible"
    """as declared, and every other reading that was tried is clearly less likely"""
    UNDECIDED = "undecided"
    """nothing speaks against it, but some other reading is about as likely"""
    IMPLAUSIBLE = "implausible"
    """another reading is clearly more likely, or a band cannot be what it is named"""
    NOT_CHECKED = "not checked"
    """too little is known of the training data or of the inputs"""


@dataclass(frozen=True)
class GateReport:
    """What the gate found."""

    verdict: GateVerdict
    suspicions: tuple[str, ...]
    """what is not as declared, with the evidence; the strongest first"""
    undecided: tuple[str, ...]
    """readings that are about as likely as the declared one"""
    images: int
    """that were looked at"""
    reference: str
    """what they were held against"""
    level: str | None
    """processing level of the reference that suits them best as declared"""

    def require_plausible(self, *, where: str) -> None:
        """Refuse inputs that are not what they are said to be; undecided ones pass.

        Raises:
            InputError: names the strongest suspicion.
        """
        if self.verdict is GateVerdict.IMPLAUSIBLE:
            raise InputError(
                f"the inputs are not what they are said to be: {self.suspicions[0]}",
                where=where,
                hint="correct --bands, --unit or the files; without --strict this is a warning",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for ``scores.json``."""
        return {
            "verdict": str(self.verdict),
            "suspicions": list(self.suspicions),
            "undecided": list(self.undecided),
            "images": self.images,
            "reference": self.reference,
            "level": self.level,
        }


def judge_inputs(
    values: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    reference: Reference | None,
    *,
    real: Sequence[str] | None = None,
    level: str | None = None,
    unit_known: bool = True,
) -> GateReport:
    """Hold some images against what an encoder was trained on.

    Args:
        values: (n, C, H, W) in the unit of the reference, or in any other that is the same for all bands.
        valid: (n, C, H, W), which of them were observed.
        reference: of the encoder; None: nothing is known.
        real: bands that are neither filled nor substitutes; by default all.
        level: processing level of the images, if it is known.
        unit_known: False if ``values`` are not in the unit of the reference.
    """
    if reference is None:
        return _not_checked("nothing: the bundle does not say how its bands vary together")
    rows, levels = _comparable(reference, valid, reference.bands if real is None else real, level)
    if len(rows) < 2 or not len(values):
        return _not_checked(reference.source)
    seen = valid[:, rows] if unit_known else valid[:, rows] & (values[:, rows] < values[:, rows].max(initial=-np.inf))
    images = _sample(values[:, rows], seen)
    if not images:
        return _not_checked(reference.source)
    bands = tuple(reference.bands[row] for row in rows)
    tried = readings(bands, unit_known=unit_known)
    scores, best = likelihoods(images, tried, levels, unit_known=unit_known)
    suspicions, undecided = _compare(scores, tried, [levels[name] for name in best], unit_known=unit_known)
    if unit_known and reference.unit == REFLECTANCE and best[0] in OFFSET_LEVELS:
        offset, open_question = _judge_offset(values[:, rows], valid[:, rows], bands, best[0])
        suspicions, undecided = [*offset, *suspicions], [*undecided, *open_question]
    if unit_known and not suspicions:
        suspicions = _strange_bands(bands, residuals(images, levels[best[0]]))
        instead = next((name for name in undecided if name != UNLIKE), None)
        if suspicions and instead:
            suspicions[0] += f"; the likeliest of the other readings: {instead}"
    verdict = GateVerdict.UNDECIDED if undecided else GateVerdict.PLAUSIBLE
    return GateReport(
        GateVerdict.IMPLAUSIBLE if suspicions else verdict,
        tuple(suspicions),
        tuple(undecided),
        len(images),
        reference.source,
        best[0],
    )


def _not_checked(reference: str) -> GateReport:
    return GateReport(GateVerdict.NOT_CHECKED, (), (), 0, reference, None)


def _comparable(
    reference: Reference, valid: npt.NDArray[np.bool_], real: Sequence[str], level: str | None
) -> tuple[npt.NDArray[np.int64], dict[str, Shape]]:
    """Rows of the bands that both sides have, and the levels of the reference over them."""
    levels = dict(reference.levels)
    if level in levels:
        levels = {level: levels[level]}
    observed = valid.sum((0, 2, 3)) > valid[:, 0].size / 2
    present = np.array([name in real for name in reference.bands]) & observed
    complete = {name: entry for name, entry in levels.items() if entry.known[present].all()}
    levels = complete or levels  # B10, if it is observed, says which level it is
    rows = np.flatnonzero(present & np.logical_and.reduce([entry.known for entry in levels.values()]))
    return rows, {name: entry.over(rows) for name, entry in levels.items()}


def _sample(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> list[Floats]:
    """(n, C, H, W) -> (N, C) for each image that has enough pixels where all bands were observed."""
    generator = np.random.default_rng(0)
    found = []
    for image, seen in zip(values, valid, strict=True):
        pixels = np.flatnonzero(seen.reshape(len(seen), -1).all(0))
        if len(pixels) >= max(16, len(seen)):
            chosen = generator.choice(pixels, min(_PIXELS, len(pixels)), replace=False)
            found.append(image.reshape(len(image), -1)[:, chosen].T.astype(np.float64))
    return found


def _compare(
    scores: Floats, tried: Sequence[Reading], shapes: Sequence[Shape], *, unit_known: bool
) -> tuple[list[str], list[str]]:
    """The strongest suspicion, and the undecided readings, the likeliest first."""
    suspicions, undecided = [], []
    gains = scores - scores[0]
    mean, images = gains.mean(1), gains.shape[1]
    margins = _MARGIN + 2 * gains.std(1) / np.sqrt(images) if images >= _FEW else np.full(len(mean), _MARGIN_OF_FEW)
    far = [
        unit_known and row.mean() < ordinary(shape) - _FAR * len(shape[0])
        for row, shape in zip(scores, shapes, strict=True)
    ]
    for number in np.argsort(-mean):
        if number == 0:
            continue
        share = float((gains[number] > 0).mean())
        if mean[number] > margins[number] and share >= _SHARE and not far[number]:
            evidence = f"{mean[number]:.2f} nats a pixel likelier, in {share:.0%} of {images} images"
            suspicions.append(f"{tried[number].name} ({evidence})")
        elif mean[number] > -margins[number]:
            undecided.append(tried[number].name)
    if far[0]:
        undecided.insert(0, UNLIKE)
    return suspicions[:1], undecided  # further suspicions follow from the strongest


def _judge_offset(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], bands: Sequence[str], level: str
) -> tuple[list[str], list[str]]:
    """Whether the images carry Sentinel-2's offset: suspicions, and what is undecided."""
    verdicts = [
        judge_offset({name: image[row][seen[row]] for row, name in enumerate(bands)}, level)
        for image, seen in zip(values, valid, strict=True)
    ]
    carry, free = verdicts.count(Verdict.OFFSET), verdicts.count(Verdict.NONE)
    if carry >= _CARRY * len(verdicts) and carry > 9 * free:
        return [f"the offset of {OFFSET} is still in the numbers ({carry} of {len(verdicts)} images show it)"], []
    if carry:
        return [], [f"the offset of {OFFSET} is still in {carry} of {len(verdicts)} images, and not in {free}"]
    return [], [] if free else [f"the offset of {OFFSET} is still in the numbers"]


def _strange_bands(bands: Sequence[str], deviations: Floats) -> list[str]:
    """Bands that do not go with the others; (C,) deviations from what those let expect."""
    return [
        f"{bands[row]} cannot be what it is named (typically {deviations[row]:+.1f} deviations from what the other"
        " bands let expect)"
        for row in np.argsort(-np.abs(deviations))
        if abs(deviations[row]) > _STRANGE
    ][:_MOST_BANDS]
