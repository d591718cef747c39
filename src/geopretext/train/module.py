"""The training step, the optimiser and the learning rate."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from geopretext.data.loader import Batch
from geopretext.data.sampling import hash_seeds
from geopretext.data.sources import BatchLoader
from geopretext.errors import NonFiniteError
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.response_norm import GlobalResponseNorm
from geopretext.pretext.method import Method
from geopretext.train.settings import Recipe


class PretrainModule(pl.LightningModule):
    """One pretext method in training.

    Args:
        recipe: what is to be done.
        method: network and objective.
        make_loader: (rank, world_size, device) -> this process's batches.
        steps_per_epoch: optimiser steps of an epoch.
        total_steps: optimiser steps of the run.
        folder: where the state is written if a loss is not finite.
    """

    def __init__(
        self,
        recipe: Recipe,
        method: Method,
        make_loader: Callable[[int, int, torch.device], BatchLoader],
        *,
        steps_per_epoch: int,
        total_steps: int,
        folder: Path,
    ) -> None:
        super().__init__()
        self.recipe, self.method, self.tasks = recipe, method, tuple(method.tasks)
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        self.metrics: dict[str, float | None] = {}
        """of the last optimiser step: ``loss``, ``loss/TASK`` (None: no valid target), ``weight/TASK``, and
        ``gradient_norm`` before clipping"""
        self._make_loader, self._folder = make_loader, folder
        self._parts: list[_Part] = []

    @override
    def train_dataloader(self) -> BatchLoader:
        """This process's share of the batches."""
        return self._make_loader(self.global_rank, self.trainer.world_size, self.device)

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The loader has put it there already."""
        return batch

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Losses of this process's part of a batch, weighted and summed."""
        # What layers draw (stochastic depth) follows from the place in the run, so that a resumed run draws the same.
        torch.manual_seed(int(hash_seeds(self.recipe.seed, self.global_step, batch_idx, self.global_rank)[0]))
        losses = self.method(batch.fields, batch.seeds, batch.acquisition)

        # A task's loss is a mean over the valid targets of all processes.
        here = torch.stack([torch.stack([losses[task].total.detach(), losses[task].count]) for task in self.tasks])
        totals, counts = self.trainer.strategy.reduce(here, reduce_op="sum").unbind(1)
        active = dict(zip(self.tasks, counts > 0, strict=True))
        share = self.trainer.world_size / counts.clamp(min=1)  # gradients are averaged over processes, not summed
        objective = self.method.combine(
            {task: losses[task].total * share[i] for i, task in enumerate(self.tasks)}, active
        )

        means = totals / counts.clamp(min=1)
        with torch.no_grad():
            loss, weights = self.method.weighting(dict(zip(self.tasks, means, strict=True)), active)
        numbers = torch.stack([loss, *means, *(weights[task] for task in self.tasks), *counts])
        self._parts.append(_Part(numbers, batch.tiles, batch.seeds))
        return objective

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Move the weights, then what the method moves after them: before a checkpoint sees either."""
        super().optimizer_step(*args, **kwargs)
        self.method.after_step((self.global_step + 1) / self.total_steps)

    @override
    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, and refuse a step that is not finite before it reaches the weights."""
        norm = nn.utils.get_total_norm([p.grad for p in self.method.parameters() if p.grad is not None])
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.method.parameters(), self.recipe.clip_norm, norm)
        # The only numbers fetched from the device in a step, all at once.
        *numbers, self.metrics["gradient_norm"] = torch.cat([*(p.numbers for p in self._parts), norm[None]]).tolist()
        count = len(self.tasks)
        parts = [numbers[i : i + 1 + 3 * count] for i in range(0, len(numbers), 1 + 3 * count)]
        self.metrics["loss"] = fmean(part[0] for part in parts)
        for i, task in enumerate(self.tasks, start=1):
            valid = [part[i] for part in parts if part[i + 2 * count]]
            self.metrics[f"loss/{task}"] = fmean(valid) if valid else None
            self.metrics[f"weight/{task}"] = parts[0][i + count]
        if not all(math.isfinite(number) for number in self.metrics.values() if number is not None):
            raise self._not_finite()
        self._parts.clear()

    def _not_finite(self) -> NonFiniteError:
        """Save what there is to look at, and say where it went wrong."""
        gradients = [n for n, p in self.method.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        losses = [task for task in self.tasks if not math.isfinite(self.metrics[f"loss/{task}"] or 0.0)]
        path = self._folder / f"non_finite_rank{self.global_rank}.pt"
        state = {
            "step": self.global_step,
            "metrics": self.metrics,
            "gradients": gradients,
            "tiles": torch.cat([part.tiles for part in self._parts]),
            "seeds": torch.cat([part.seeds for part in self._parts]),
            "state_dict": self.method.state_dict(),
        }
        torch.save(state, path)
        blame = (
            f"loss of {', '.join(losses)}" if losses else f"gradient of {', '.join(gradients[:3]) or 'all together'}"
        )
        return NonFiniteError(
            f"the {blame} is not finite",
            where=f"step {self.global_step + 1}",
            hint=f"weights and tile numbers are in {path}; try clip_norm 1 or a lower base_learning_rate in a new run,"
            " or run again to resume from the last checkpoint",
        )

    @override
    def configure_optimizers(self) -> Any:
        """AdamW with one learning rate, which changes at every step."""
        settings = self.recipe
        decayed, others = split_parameters(self.method, settings.weight_decay_on)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.learning_rate(step) / settings.learning_rate
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate(self, step: int) -> float:
        """At an optimiser step: a linear rise from 0 over the warm-up, then half a cosine to 0, as MAE has it."""
        warmup = self.recipe.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.recipe.learning_rate * step / warmup
        share = (step - warmup) / (self.total_steps - warmup)
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class _Part(NamedTuple):
    """What is kept of one part of a batch until the optimiser has made its step."""

    numbers: Tensor
    """over all processes: loss; then the mean of each task, its weight, and how many targets the mean is over"""
    tiles: Tensor
    seeds: Tensor


def split_parameters(
    network: nn.Module, decay: Literal["kernels", "matrices"] = "kernels"
) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters that weight decay is for, and all others.

    It is for the weights of convolutions and linear layers; not for biases, norms, response norms, mask tokens and
    loss weights.

    Args:
        network: any.
        decay: "matrices" decays response norms and mask tokens as well. The published code decays what has more than
            one axis and is not called bias (timm's rule); it stores gamma and beta of a response norm as (1, C) or
            (1, 1, 1, C) and the mask token as (1, D, 1, 1). Shapes differ here, so the rule goes by role.
    """
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
    decayed = [module.weight for module in network.modules() if isinstance(module, layers)]
    if decay == "matrices":
        for module in network.modules():
            if isinstance(module, GlobalResponseNorm):
                decayed += [module.gamma, module.beta]
            elif isinstance(module, MaskedAutoencoder):
                decayed.append(module.mask_token)
    methods = [module for module in network.modules() if isinstance(module, Method)]
    spared = {id(parameter) for method in methods for parameter in method.undecayed()}
    decayed = [parameter for parameter in decayed if id(parameter) not in spared]
    chosen = {id(parameter) for parameter in decayed}
    return decayed, [parameter for parameter in network.parameters() if id(parameter) not in chosen]
