"""What happens beside training: rows of numbers, checkpoints, and a line that says how far it is."""

import csv
import io
import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import override

from geopretext.data.local_file import replace_file
from geopretext.train.folder import CHECKPOINTS, LAST, METRICS
from geopretext.train.module import PretrainModule

log = logging.getLogger(__name__)


class Metrics(pl.Callback):
    """Writes ``metrics.csv`` and TensorBoard events, one row every so many steps and for the last one.

    Columns: step, epoch, tiles seen, seconds of training, tiles per second since the last row, learning rate, norm of
    the gradients before clipping, loss, loss of each task (empty: no valid target), weight of each task. Rows after the
    checkpoint that a run is resumed from are dropped, since they come again.

    Args:
        folder: of the run.
        every: steps between two rows.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._path, self._every = folder / METRICS, every
        self._board: Any = None
        self._before = 0.0
        self._since = (0.0, 0)
        self._started = 0.0

    @property
    def seconds(self) -> float:
        """Time in training, over all resumed parts of the run."""
        return self._before + time.perf_counter() - self._started

    @override
    def state_dict(self) -> dict[str, float]:
        """Part of each checkpoint."""
        return {"seconds": self.seconds}

    @override
    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """From the checkpoint that a run is resumed from."""
        self._before = state_dict["seconds"]

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the file where the checkpoint left it."""
        self._started = time.perf_counter()
        self._since = (self.seconds, trainer.global_step)
        if trainer.is_global_zero:
            assert isinstance(pl_module, PretrainModule)
            replace_file(self._path, _rows_until(self._path, trainer.global_step, _columns(pl_module)))
            self._board = _open_board(self._path.parent, trainer.global_step)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the row of this step if it is due."""
        assert isinstance(pl_module, PretrainModule)
        step = trainer.global_step
        due = step % self._every == 0 or step == pl_module.total_steps
        if not (trainer.is_global_zero and due and completes_step(trainer, batch_idx)):
            return
        size, (seconds, since) = pl_module.recipe.batch_size, self._since
        self._since = (self.seconds, step)
        row = {
            "step": step,
            "epoch": step / pl_module.steps_per_epoch,
            "tiles": step * size,
            "seconds": round(self.seconds, 3),
            "tiles_per_second": round((step - since) * size / max(self.seconds - seconds, 1e-9), 1),
            "learning_rate": pl_module.learning_rate(step - 1),
            **pl_module.metrics,
        }
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _columns(pl_module)).writerow(row)
        if self._board is not None:
            for name, number in row.items():
                if name != "step" and number is not None:
                    self._board.add_scalar(name, number, step)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close what is open."""
        if self._board is not None:
            self._board.close()


def completes_step(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the batch that just ended was the last part of an optimiser step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def last_row(folder: Path) -> dict[str, float]:
    """The numbers of the last row of ``metrics.csv``; empty cells are left out."""
    with (folder / METRICS).open(encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    return {name: float(text) for name, text in row.items() if text}


def _columns(module: PretrainModule) -> list[str]:
    first = ["step", "epoch", "tiles", "seconds", "tiles_per_second", "learning_rate", "gradient_norm", "loss"]
    return first + [f"{kind}/{task}" for kind in ("loss", "weight") for task in module.tasks]


def _rows_until(path: Path, step: int, columns: list[str]) -> bytes:
    """The header and the whole rows up to ``step``; a row that a crash cut short is not whole."""
    rows = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(columns) and row[0].isdecimal()]
    kept = io.StringIO(newline="")
    csv.writer(kept).writerows([columns, *(row for row in rows if int(row[0]) <= step)])
    return kept.getvalue().encode()


def _open_board(folder: Path, step: int) -> Any:
    """A TensorBoard writer, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # an optional library
    except ImportError:
        log.info('no TensorBoard events: pip install "geopretext[loggers]"')
        return None
    return SummaryWriter(folder, purge_step=step + 1)


class Checkpoints(pl.Callback):
    """Writes ``checkpoints/last.ckpt`` every so many steps and after the last one.

    Args:
        folder: of the run.
        every: steps between two checkpoints.
        keep: steps between two that stay, as ``step-N.ckpt``; None: none stays.
    """

    def __init__(self, folder: Path, every: int, keep: int | None) -> None:
        self._folder, self._every, self._keep = folder / CHECKPOINTS, every, keep

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what is due; every process takes part, the first one writes."""
        assert isinstance(pl_module, PretrainModule)
        step = trainer.global_step
        if not completes_step(trainer, batch_idx):
            return
        if self._keep is not None and step % self._keep == 0:
            trainer.save_checkpoint(self._folder / f"step-{step}.ckpt", weights_only=False)
        if step % self._every == 0 or step == pl_module.total_steps:
            trainer.save_checkpoint(self._folder / LAST, weights_only=False)


class ProgressLine(pl.Callback):
    """Steps, tiles per second, loss and time left, on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._started, self._first = 0.0, 0

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show an empty bar."""
        assert isinstance(pl_module, PretrainModule)
        self._started, self._first = time.perf_counter(), trainer.global_step
        self._bar.start()
        self._bar.add_task(pl_module.recipe.name, total=pl_module.total_steps, completed=self._first, numbers="")

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Bring the bar up to this step."""
        assert isinstance(pl_module, PretrainModule)
        if not completes_step(trainer, batch_idx):
            return
        step, total = trainer.global_step, pl_module.total_steps
        rate = (step - self._first) * pl_module.recipe.batch_size / (time.perf_counter() - self._started)
        numbers = f"{rate:.0f} tiles/s  loss {pl_module.metrics['loss']:.3f}"
        self._bar.update(self._bar.task_ids[0], completed=step, numbers=numbers)
        if not self._console.is_terminal and step * 10 // total > (step - 1) * 10 // total:
            left = (total - step) * pl_module.recipe.batch_size / rate
            self._console.print(
                f"{pl_module.recipe.name}: step {step}/{total}  {numbers}  {left:.0f} s left", highlight=False
            )

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._bar.stop()
