"""The hook by which a search stops a training."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StopTrial(TrainerCallback):
    """Stops a training that is given up, after a validation.

    Args:
        given_up_at: Called with `step` and `loss` of every validation so far; the step after which
            the training is given up, or None. It keeps no state: a resumed training asks again.
    """

    def __init__(self, given_up_at: Callable[[Sequence[dict[str, Any]]], int | None]) -> None:
        self._given_up_at = given_up_at

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Trainer's hook after every validation."""
        losses = [
            {"step": entry["step"], "loss": entry["eval_loss"]}
            for entry in state.log_history
            if "eval_loss" in entry
        ]
        control.should_training_stop |= self._given_up_at(losses) is not None
