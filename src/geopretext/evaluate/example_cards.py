"""The best and the worst test samples of a run as cards: picture, truth, prediction, confidence; maps side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import GeopretextError
from geopretext.evaluate.cells import CellResult
from geopretext.evaluate.examples import ExampleMaps, choose_examples
from geopretext.evaluate.metrics import METRICS, THRESHOLD, Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, SampleOutcome
from geopretext.evaluate.report_names import metric_name
from geopretext.evaluate.task import Task
from geopretext.evaluate.thumbnails import (
    centre,
    class_color,
    class_picture,
    pictures,
    png,
    quantity_gradient,
    quantity_picture,
)

Array = npt.NDArray[Any]

_CARDS, _MAPS = 6, 3
_SAMPLE_SIDE, _MAP_SIDE = 96, 128
_LEGEND = 16


@dataclass(frozen=True)
class Album:
    """Pictures of samples; what keeps them from being shown is said once."""

    task: Task | None
    note: str
    """why there are no pictures; empty if there are"""

    @classmethod
    def of(cls, result: CellResult, task: Task | None, note: str) -> "Album":
        """Of a task as it can be opened now, if it is still the one that was scored."""
        if task is not None and not _is_same(task, result):
            return cls(None, "the task is not the one that was scored any more, so its samples are not shown")
        return cls(task, note)

    def earlier_and_later(self, positions: npt.NDArray[np.int64]) -> list[Array]:
        """Pictures (m, H, W, 3) of the samples; of change detection of both images; an empty list if there are none."""
        if self.task is None:
            return []
        both = [inputs for inputs in (self.task.inputs, self.task.later) if inputs is not None]
        shown = [pictures(inputs, self.task.samples[positions]) for inputs in both]
        return [part for part in shown if part is not None]


def _is_same(task: Task, result: CellResult) -> bool:
    if task.kind is not result.task.kind or task.classes != result.task.classes:
        return False
    if result.test.max() >= len(task.samples):
        return False
    outcome = result.run.outcome
    return not isinstance(outcome, SampleOutcome) or np.array_equal(task.labels[result.test], outcome.labels)


def example_cards(result: CellResult, maps: ExampleMaps | None, task: Task | None, note: str) -> str:
    """HTML of the best and worst samples of a result.

    Args:
        result: of the method in question.
        maps: kept beside it; dense kinds only.
        task: for the pictures; None: there are none.
        note: why not.
    """
    album = Album.of(result, task, note)
    try:
        if not result.task.kind.is_dense:
            return _note(album) + _samples(result, album)
        if maps is None:
            return '<p class="quiet">No maps were kept beside this result.</p>'
        return _note(album) + _maps(result, maps, album)
    except GeopretextError as error:
        return f'<p class="quiet">Examples cannot be shown: {escape(error.what)}. {escape(error.hint)}</p>'


def _note(album: Album) -> str:
    return f'<p class="quiet">Without pictures: {escape(album.note)}</p>' if album.task is None else ""


def _samples(result: CellResult, album: Album) -> str:
    outcome = result.run.outcome
    assert isinstance(outcome, SampleOutcome)
    chosen = choose_examples(outcome, _CARDS)
    parts = []
    for title, rows in (("Best", chosen.best), ("Worst", chosen.worst)):
        if not len(rows):
            continue
        shown = album.earlier_and_later(result.test[rows])
        cards = []
        for place, row in enumerate(rows.tolist()):
            image = _image(shown[0][place], "test sample", _SAMPLE_SIDE) if shown else ""
            words = "".join(_words(outcome, row, result.task.classes))
            cards.append(f'<figure class="example">{image}<figcaption>{words}</figcaption></figure>')
        parts.append(f'<h4>{title}</h4><div class="examples">{"".join(cards)}</div>')
    return "".join(parts)


def _words(outcome: SampleOutcome, row: int, classes: Sequence[str]) -> Iterator[str]:
    """Lines on one sample."""
    scores, truth = outcome.scores[row], outcome.labels[row]
    if outcome.kind is TaskKind.SINGLE_LABEL:
        guess = int(scores.argmax())
        yield f"<span>{escape(classes[int(truth)])}</span>"
        if guess == truth:
            yield f'<span class="right">✓ {100 * scores[guess]:.0f}\N{NO-BREAK SPACE}%</span>'
        else:
            yield f'<span class="wrong">✗ {escape(classes[guess])} {100 * scores[guess]:.0f}\N{NO-BREAK SPACE}%</span>'
    elif outcome.kind is TaskKind.MULTI_LABEL:
        for number in np.flatnonzero((scores > THRESHOLD) | (truth > THRESHOLD)).tolist():
            kind, mark = _decision(bool(truth[number] > THRESHOLD), bool(scores[number] > THRESHOLD))
            share = f"{100 * scores[number]:.0f}\N{NO-BREAK SPACE}%"
            yield f'<span class="{kind}">{mark} {escape(classes[number])} {share}</span>'
    else:
        for name, value, guess in zip(classes, truth, scores, strict=True):
            yield f"<span>{escape(name)} {value:.4g}, predicted {guess:.4g}</span>".replace("-", "\N{MINUS SIGN}")


def _decision(there: bool, said: bool) -> tuple[str, str]:
    if there and said:
        return "right", "✓"
    return ("wrong", "✗ missed:") if there else ("wrong", "✗ not there:")


def _maps(result: CellResult, maps: ExampleMaps, album: Album) -> str:
    outcome = result.run.outcome
    chosen = choose_examples(outcome, len(outcome))
    parts = []
    for title, rows in (("Best", chosen.best), ("Worst", chosen.worst)):
        places = [
            (row, int(found[0]))
            for row in rows.tolist()
            if len(found := np.flatnonzero(maps.positions == result.test[row]))
        ]
        lines = [_map_line(result, maps, album, row, place) for row, place in places[:_MAPS]]
        if lines:
            parts.append(f'<h4>{title}</h4><div class="map-examples">{"".join(lines)}</div>')
    return "".join(parts) + _legend(result, maps)


def _map_line(result: CellResult, maps: ExampleMaps, album: Album, row: int, place: int) -> str:
    """One image with its maps."""
    truth, labelled, predicted = maps.truth[place], maps.labelled[place], maps.predicted[place]
    everywhere = np.ones_like(labelled)
    shown = album.earlier_and_later(maps.positions[place : place + 1])
    titles = ("earlier", "later") if len(shown) == 2 else ("image",)
    panels = [
        _panel(name, _image(centre(part[0], *truth.shape), name, _MAP_SIDE))
        for name, part in zip(titles, shown, strict=False)
    ]
    for name, values, known in (("truth", truth, labelled), ("prediction", predicted, everywhere)):
        if result.task.kind is TaskKind.DENSE_REGRESSION:
            drawn = quantity_picture(values, known, *_ends(maps))
        else:
            drawn = class_picture(values, known, len(result.task.classes))
        panels.append(_panel(name, _image(drawn, name, _MAP_SIDE, smooth=False)))
    return (
        f'<figure class="maps"><div>{"".join(panels)}</div><figcaption>{_map_score(result, row)}</figcaption></figure>'
    )


def _map_score(result: CellResult, row: int) -> str:
    outcome = result.run.outcome
    if isinstance(outcome, ErrorOutcome):
        alone = ErrorOutcome(outcome.kind, outcome.sums[row : row + 1], outcome.centre)
        return f"{metric_name(Metric.RMSE)} of this image {alone.measure(Metric.RMSE):.4g}"
    assert isinstance(outcome, ConfusionOutcome)
    metric = METRICS[outcome.kind][0]
    value = ConfusionOutcome(outcome.kind, outcome.confusion[row : row + 1]).measure(metric)
    return f"{metric_name(metric)} of this image {value:.2f}"


def _ends(maps: ExampleMaps) -> tuple[float, float]:
    known = maps.truth[maps.labelled]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def _legend(result: CellResult, maps: ExampleMaps) -> str:
    if result.task.kind is TaskKind.DENSE_REGRESSION:
        low, high = (f"{end:.4g}".replace("-", "\N{MINUS SIGN}") for end in _ends(maps))
        name = escape(", ".join(result.task.classes))
        return f'<p class="ramp">{low}<i style="background:{quantity_gradient()}"></i>{high}<span>{name}</span></p>'
    seen, counts = np.unique(np.concatenate([maps.truth[maps.labelled], maps.predicted.ravel()]), return_counts=True)
    seen = seen[np.argsort(-counts, kind="stable")]
    entries = [
        f'<li><i style="background:{class_color(int(number))}"></i>{escape(result.task.classes[int(number)])}</li>'
        for number in seen[:_LEGEND]
    ]
    if len(seen) > _LEGEND:
        entries.append(f"<li>and {len(seen) - _LEGEND} more</li>")
    if not maps.labelled.all():
        entries.append('<li><i class="unlabelled"></i>no label</li>')
    return f'<ul class="key swatches">{"".join(entries)}</ul>'


def _panel(title: str, image: str) -> str:
    return f"<div>{image}<span>{title}</span></div>"


def _image(picture: Array, alternative: str, side: int, *, smooth: bool = True) -> str:
    kind = "" if smooth else ' class="map"'
    return f'<img{kind} alt="{escape(alternative)}" src="{png(picture, side, smooth=smooth)}">'
