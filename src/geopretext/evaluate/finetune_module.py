"""The training step of fine-tuning, its optimiser, and what is kept of each epoch."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from typing_extensions import override

from geopretext.data.sampling import epoch_order, hash_seeds
from geopretext.errors import InputError, NonFiniteError
from geopretext.evaluate.augmentation import mix, turn_at_random
from geopretext.evaluate.batches import Batches, parts_of
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.metrics import METRICS, Metric, best_epoch
from geopretext.evaluate.networks import backbone_of
from geopretext.evaluate.objectives import Objective
from geopretext.evaluate.outcome import Outcome
from geopretext.evaluate.parameter_groups import ParameterGroup, parameter_groups
from geopretext.evaluate.prepared import Labels, Prepared
from geopretext.nn.bundle_heads import Head

Batch: TypeAlias = tuple[Tensor, Labels]
Progress: TypeAlias = Callable[[int, int], None]
"""called with (steps done, steps in all)"""

LARGER_IS_BETTER = frozenset(Metric) - {Metric.RMSE}


class FinetuneModule(pl.LightningModule):
    """One network in fine-tuning; ``network`` is what is trained, ``scored`` what is measured.

    Args:
        network: of ``make_network``; what of it needs a gradient is trained.
        objective: loss, and how outputs are read.
        prepared: the task.
        settings: what is to be done.
        seed: of the order of samples, of augmentation and of drop path.
        progress: told how far training is.
    """

    def __init__(
        self,
        network: Head,
        objective: Objective,
        prepared: Prepared,
        settings: FinetuneSettings,
        *,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # which knows one backward pass a batch; a batch goes through in parts
        self.network, self.objective, self.prepared, self.settings = network, objective, prepared, settings
        self.seed, self.metric = seed, METRICS[prepared.task.kind][0]
        assert self.metric in LARGER_IS_BETTER, "the best epoch is the one with the largest value"
        self.groups: list[ParameterGroup] = parameter_groups(network, settings)
        self.averaged = None if not settings.ema else AveragedModel(network, multi_avg_fn=_averaging(settings.ema))
        self.values: list[float] = []
        """headline metric on the validation split after each epoch"""
        self.outcome: Outcome | None = None
        """of the test split, after ``Trainer.test``"""
        self._encoder = backbone_of(network)
        self._joining = [parameter for parameter in self._encoder.parameters() if parameter.requires_grad]
        self._best_weights: dict[str, Tensor] = {}
        self._parts: list[npt.NDArray[Any]] = []
        self._progress = progress

    @property
    def scored(self) -> Head:
        """The network whose predictions count: the average, if there is one."""
        return self.network if self.averaged is None else cast("Head", self.averaged.module)

    @property
    def best_epoch(self) -> int:
        """The one, from 1, that is best on the validation split, see ``metrics.best_epoch``."""
        return best_epoch(self.values)

    @property
    def kept_epoch(self) -> int:
        """The one, from 1, whose weights are kept."""
        return self.best_epoch if self.settings.keep == "best" else len(self.values)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps."""
        return -(-len(self.prepared.task.train) // self.settings.batch_size)

    def restore_kept(self) -> None:
        """Let ``scored`` have the weights that are to be kept."""
        if self._best_weights:
            self.scored.load_state_dict(self._best_weights)

    @override
    def train_dataloader(self) -> Batches:
        """The training split, in another order in every epoch."""
        train = self.prepared.task.train
        order = epoch_order(train, seed=self.seed, epoch=self.current_epoch)
        return Batches(self.prepared, train[order], self.settings.batch_size)

    @override
    def val_dataloader(self) -> Batches:
        """The validation split, in order."""
        return Batches(self.prepared, self.prepared.task.val, self.settings.batch_size)

    @override
    def test_dataloader(self) -> Batches:
        """The test split, in order."""
        return Batches(self.prepared, self.prepared.task.test, self.settings.batch_size)

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Images and labels."""
        images, (values, labelled) = batch
        return images.to(device), Labels(values.to(device), None if labelled is None else labelled.to(device))

    @override
    def on_train_epoch_start(self) -> None:
        """Freeze the encoder or let it go."""
        frozen = self.current_epoch < self.settings.frozen_epochs
        for parameter in self._joining:
            parameter.requires_grad_(not frozen)
        self.network.train()
        if (frozen or not self._joining) and not self.settings.drop_path_when_frozen:
            self._encoder.eval()

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the optimiser: a batch is augmented, and goes through the network in parts."""
        settings = self.settings
        # All randomness follows from the place in the run.
        torch.manual_seed(int(hash_seeds(self.seed, self.global_step)[0]))
        generator = np.random.default_rng((self.seed, self.global_step))
        images, labels = batch
        if settings.flips:
            images, labels = turn_at_random(images, labels, generator)
        images, labels = mix(
            images, labels, self.objective.outputs, mixup=settings.mixup, cutmix=settings.cutmix, generator=generator
        )
        optimizer = cast("LightningOptimizer", self.optimizers())
        optimizer.zero_grad()
        loss = torch.zeros((), device=images.device)
        for some, wanted, share in parts_of(images, labels, settings.at_once):
            scores = self.network(some).float()
            part = share * self.objective.loss(scores, wanted, smoothing=settings.label_smoothing)
            self.manual_backward(part)
            loss += part.detach()
        self._clip(loss)
        optimizer.step()
        cast("LRScheduler", self.lr_schedulers()).step()

    def _clip(self, loss: Tensor) -> None:
        """Clip gradients, and refuse a step that is not finite before it reaches the weights."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        # The only numbers fetched from the device in a step.
        value, size = torch.stack([loss.to(norm), norm]).tolist()
        if not (math.isfinite(value) and math.isfinite(size)):
            raise NonFiniteError(
                f"the {'gradient' if math.isfinite(value) else 'loss'} of fine-tuning is not finite",
                where=f"task {self.prepared.task.name!r}, step {self.global_step + 1}",
                hint="a lower base_learning_rate; clip_norm 1; precision float32; a longer warmup_epochs",
            )

    @override
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Average the weights, and say how far training is."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        if self._progress is not None:
            self._progress(self.global_step, self.settings.epochs * self.steps_per_epoch)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Predictions of a batch."""
        for images, labels, _ in parts_of(*batch, self.settings.at_once):
            self._parts.append(self.objective.collect(self.scored(images).float(), labels))

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    @override
    def on_validation_epoch_end(self) -> None:
        """Keep weights that are better than all before; stop when none have been for long."""
        outcome = self._collected()
        # with every sample once: as `measure`, which however gives a number where there is none
        value = float(outcome.weighted(self.metric, np.ones((1, len(outcome))))[0])
        if not math.isfinite(value):
            raise InputError(
                f"{self.metric} is undefined on the validation split",
                where=f"task {self.prepared.task.name!r}",
                hint="its labels are all the same, or it has none: use another split",
            )
        self.values.append(value)
        if self.settings.keep == "best" and self.best_epoch == len(self.values):
            self._best_weights = {name: tensor.clone() for name, tensor in self.scored.state_dict().items()}
        # What a frozen encoder reaches is no reason to stop before it is trained.
        waited = len(self.values) - max(self.best_epoch, self.settings.frozen_epochs)
        self.trainer.should_stop = self.settings.patience is not None and waited >= self.settings.patience

    @override
    def on_test_epoch_end(self) -> None:
        """Keep what was said of the test split."""
        self.outcome = self._collected()

    def _collected(self) -> Outcome:
        parts, self._parts = self._parts, []
        return self.objective.outcome(parts)

    @override
    def configure_optimizers(self) -> Any:
        """AdamW with one rate and one decay for each group; rates change at every step."""
        settings = self.settings
        groups = [
            {
                "params": list(group.parameters),
                "lr": settings.learning_rate * group.scale,
                "weight_decay": settings.weight_decay if group.decays else 0.0,
            }
            for group in self.groups
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        schedule = LambdaLR(
            optimizer, lambda step: settings.learning_rate_at(step, self.steps_per_epoch) / settings.learning_rate
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _averaging(decay: float) -> Any:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call] # torch has no annotation there
