"""HF Trainer on packed blocks, with what a recovery adjusts; one process and several are alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_utils import EvalLoopOutput

from sentinel_research import distributed
from sentinel_research.data.training_set import IGNORED
from sentinel_research.training.adjust import Adjustments, UpdateScaling
from sentinel_research.training.part_checkpoints import load_moments, load_rows, save_moments
from sentinel_research.training.sharded import whole

# official Mamba marks it so: decay would pull every half-life towards one token
_NEVER_DECAYED = ("A_log",)


class BlockDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Token blocks as Trainer's examples.

    Args:
        blocks: Token ids.
        labels: What every position is trained on, `IGNORED` for nothing; its own token by default.
    """

    def __init__(
        self,
        blocks: Int64[np.ndarray, "num_blocks sequence_length"],
        labels: Int64[np.ndarray, "num_blocks sequence_length"] | None = None,
    ) -> None:
        self.is_whole = labels is None
        """Whether every token is trained on."""
        self._blocks = torch.from_numpy(blocks.astype(np.int64))
        self._labels = self._blocks
        if labels is not None:
            self._labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._blocks[index], "labels": self._labels[index]}

    def share(self, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of those blocks that are this process' own; every block is that of one."""
        return self._batches(distributed.process_index(), batch_size)

    def equal_share(self, batch_size: int) -> Iterator[tuple[dict[str, torch.Tensor], bool]]:
        """As many batches in every process; False beside one that is there for the others' sake.

        Where weights are divided, all processes compute a layer together.
        """
        num_batches = -(-len(self._blocks[:: distributed.num_processes()]) // batch_size)
        own = ((batch, True) for batch in self.share(batch_size))
        filler = repeat((next(self._batches(0, batch_size)), False))
        for batch, _ in zip(chain(own, filler), range(num_batches), strict=False):
            yield batch

    def _batches(self, process: int, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
        own = slice(process, None, distributed.num_processes())
        batches = zip(
            self._blocks[own].split(batch_size), self._labels[own].split(batch_size), strict=True
        )
        for blocks, labels in batches:
            batch = {"input_ids": blocks, "labels": labels}
            yield batch if self.is_whole else _cut(batch)


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch of labelled examples, up to the last token that any of them is trained on.

    Args:
        rows: What `BlockDataset` gives, padded on the right.
    """
    return _cut({name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def _cut(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    (places,) = (batch["labels"] != IGNORED).any(0).nonzero(as_tuple=True)
    return {name: values[:, : int(places.max()) + 1] for name, values in batch.items()}


class AdjustedTrainer(Trainer):
    """Trainer with scaled updates and added losses, alike in one process and in several.

    Its weight decay leaves vectors alone: biases, norms, time constants, gates.

    Args:
        adjustments: To the loss.
        scaling: Of the updates.
        is_divided: Whether every process holds a part of the model, see `sharded`.
        options: Trainer's own.
    """

    def __init__(
        self,
        adjustments: Adjustments,
        scaling: UpdateScaling,
        *,
        is_divided: bool = False,
        **options: Any,
    ) -> None:
        self._is_divided = is_divided
        super().__init__(**options)
        self._adjustments, self._scaling = adjustments, scaling
        # what Trainer calls it; known from the start, it would refuse to write checkpoints
        self.is_distributed_loading_by_transformers = is_divided

    def _move_model_to_device(self, model: torch.nn.Module, device: torch.device) -> None:
        """Trainer's own; parts are where they belong."""
        if not self._is_divided:
            super()._move_model_to_device(model, device)

    def create_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        """Trainer's own optimiser, with scaled updates."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **options)
        if is_new:
            self._scaling.attach(optimizer)
        return optimizer

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Nothing waits: gradients that are whole until the last part of a batch take memory."""
        yield

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        """Trainer's own, with gradients of what is held at zero."""
        loss = super().training_step(*args, **options)
        self._scaling.hold_parts()
        return loss

    def _run_epoch(self, *args: Any, **options: Any) -> None:
        """Trainer's own pass over the data; none where the checkpoint is of the last step.

        Trainer would do one step more of a training that ended inside a pass.
        """
        if self.state.global_step >= self.state.max_steps or self._has_waited():
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **options)

    def _has_waited(self) -> bool:
        """Whether early stopping has ended the training already."""
        return any(
            one.early_stopping_patience_counter >= one.early_stopping_patience
            for one in self.callback_handler.callbacks
            if isinstance(one, EarlyStoppingCallback)
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's own loss; in training with the adjustments' terms."""
        if not model.training or not self._adjustments.loss_terms:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {**inputs, **self._adjustments.forward_arguments}
        loss, outputs = super().compute_loss(model, given, True, num_items_in_batch)
        # in several processes `model` is what gathers the gradients
        own = self.model
        assert own is not None  # `train` gives one
        for term in self._adjustments.loss_terms:
            loss = term(own, inputs, outputs, loss)
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(
        self,
        dataloader: torch.utils.data.DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The mean loss over all predicted tokens, in several processes of their shares.

        Trainer fills the last batches of the processes up with blocks of the first ones, and counts
        those twice; and a batch with few labels counts there as much as one with many.
        """
        blocks, model = dataloader.dataset, self.model
        # what `train` gives
        assert isinstance(blocks, BlockDataset)
        assert model is not None
        if distributed.num_processes() == 1 and blocks.is_whole:
            return super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        model.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch, counts in blocks.equal_share(self.args.eval_batch_size):
            if not counts and not self._is_divided:
                continue
            loss, _, _ = self.prediction_step(model, batch, prediction_loss_only=True)
            assert loss is not None
            number = int((batch["labels"][:, 1:] != IGNORED).sum()) * counts
            total += torch.stack([loss.double() * number, torch.full_like(loss, number).double()])
        losses, number = self.accelerator.reduce(total, "sum").tolist()
        metrics = {f"{metric_key_prefix}_loss": losses / number}
        return EvalLoopOutput(np.zeros(0), None, metrics, int(number))

    def _save_rng_state(self, output_dir: str) -> None:
        """Every process' own; the file that makes a checkpoint complete comes after all of them."""
        super()._save_rng_state(output_dir)
        distributed.wait()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Trainer's own; weights in parts are put together first."""
        if self._is_divided:
            assert self.model is not None
            state_dict = whole(self.model)
            if not distributed.is_main():
                return
        super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Trainer's own; moments in parts by every process."""
        if not self._is_divided:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        save_moments(self.optimizer, Path(output_dir))
        if distributed.is_main():
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, SCHEDULER_NAME))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Trainer's own; moments in parts by every process."""
        if not self._is_divided or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        load_moments(self.optimizer, Path(checkpoint))
        state = torch.load(Path(checkpoint, SCHEDULER_NAME), weights_only=True)
        self.lr_scheduler.load_state_dict(state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Trainer's own; of weights in parts every process reads its rows."""
        if not self._is_divided:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        assert self.model is not None
        load_rows(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        """Trainer's own; of weights in parts every process reads its rows."""
        if not self._is_divided:
            super()._load_best_model()
            return
        assert self.model is not None
        assert self.state.best_model_checkpoint is not None
        load_rows(self.model, Path(self.state.best_model_checkpoint))

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Names of Trainer's own choice that are matrices."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        return [
            name
            for name in super().get_decay_parameter_names(model)
            if parameters[name].ndim > 1 and name.rpartition(".")[2] not in _NEVER_DECAYED
        ]
