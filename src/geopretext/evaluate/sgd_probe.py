"""A linear layer on frozen features, trained by stochastic gradients as MMEarth's linear probing does.

It is there for comparison with published numbers; ``evaluate.probe`` solves the same model to its optimum. Where the
encoder is frozen, nothing is augmented and blocks are not skipped, the features of an image never change: they are
computed once, and training is a matter of seconds. ``finetune`` with these settings computes them anew in each step.

What differs from that: features are standardised by the training split, and any pooling will do; there a layer norm is
over the mean of the last stage.

Shapes: n samples, D features, K classes, labels or targets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from geopretext.data.sampling import epoch_order
from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.labelled import LabelledFeatures, Part, Prediction
from geopretext.evaluate.metrics import TaskKind, best_epoch
from geopretext.evaluate.objectives import Objective, check_smoothing, sample_objective
from geopretext.evaluate.outcome import SampleOutcome
from geopretext.evaluate.prepared import Labels
from geopretext.evaluate.presets import load_preset
from geopretext.evaluate.seeding import seeded
from geopretext.nn.initialisation import initialise

PRESET = "mmearth-linear-probe"


def sgd_probe(data: LabelledFeatures, *, seed: int = 0, settings: FinetuneSettings | None = None) -> Prediction:
    """Train on the training split, choose the epoch on the validation split, predict the test split.

    Args:
        data: standardised features and labels.
        seed: of the first weights and of the order of samples.
        settings: rates, decay, smoothing, batches, epochs; what is about the encoder is not used. None: MMEarth's,
            whose labels are smoothed unless they are quantities.

    Raises:
        RecipeError: the settings do not fit the kind of task, or ask for mixup, cutmix, ema or patience.
    """
    if settings is None:
        settings = load_preset(PRESET, {"label_smoothing": 0} if data.kind is TaskKind.REGRESSION else None)
    for name in ("mixup", "cutmix", "ema", "patience"):
        if getattr(settings, name):
            raise RecipeError(
                f"{name} is {getattr(settings, name)}, and a probe on features at hand has none",
                hint="null" if name == "patience" else "0",
            )
    check_smoothing(data.kind, settings.label_smoothing)
    objective = sample_objective(data.kind, data.outputs, data.train.labels)
    model = _Model(objective, _first_layer(data, settings.head_scale, seed), data.kind)
    layer = model.layer
    optimizer = torch.optim.AdamW([layer.weight], weight_decay=settings.weight_decay, fused=True)
    optimizer.add_param_group({"params": [layer.bias], "weight_decay": 0.0})
    features, labels = torch.from_numpy(data.train.features), model.labels(data.train)
    steps_per_epoch, step = -(-len(features) // settings.batch_size), 0
    values: list[float] = []
    kept, weights = 0, layer.state_dict()
    for epoch in range(settings.epochs):
        order = epoch_order(np.arange(len(features)), seed=seed, epoch=epoch)
        for start in range(0, len(order), settings.batch_size):
            rows = torch.from_numpy(order[start : start + settings.batch_size])
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(step, steps_per_epoch)
            optimizer.zero_grad()
            batch = Labels(labels.values[rows], None)
            loss = objective.loss(layer(features[rows]), batch, smoothing=settings.label_smoothing)
            torch.autograd.backward(loss)
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(layer.parameters(), settings.clip_norm)
            optimizer.step()
            step += 1
        values.append(model.predict(data.val).measure(data.metric))
        if settings.keep == "last" or best_epoch(values) == len(values):
            kept = len(values)
            weights = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.load_state_dict(weights)
    return Prediction(model.predict(data.test).scores, {"epoch": kept}, values[kept - 1])


@dataclass(frozen=True)
class _Model:
    objective: Objective
    layer: nn.Linear
    kind: TaskKind

    def labels(self, part: Part) -> Labels:
        values = torch.from_numpy(part.labels)
        return Labels(values.long() if self.kind is TaskKind.SINGLE_LABEL else values.float(), None)

    def predict(self, part: Part) -> SampleOutcome:
        with torch.no_grad():
            scores = self.layer(torch.from_numpy(part.features))
        outcome = self.objective.outcome([self.objective.collect(scores, self.labels(part))])
        assert isinstance(outcome, SampleOutcome)
        return outcome


def _first_layer(data: LabelledFeatures, std: float | None, seed: int) -> nn.Linear:
    with seeded(seed):
        layer = nn.Linear(data.train.features.shape[1], data.outputs)
        initialise(layer)
        if std is not None:
            nn.init.trunc_normal_(layer.weight, std=std)
    return layer
