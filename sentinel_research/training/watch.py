"""What happens beside training: progress, the history for the record, and when to stop."""

import math
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sentinel_research.progress import Progress

_HINT = "lower `train.learning_rate`, lengthen `train.warmup_fraction`, or clip gradients earlier"


class DivergenceError(Exception):
    """Training went wrong in a way that more steps do not mend.

    Args:
        reason: What was seen, with its value.
        step: After which step.
    """

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step
        self.hint = _HINT


class Watch(TrainerCallback):
    """Tells about every step, logs the last one, and stops training that has diverged.

    Args:
        progress: Who is told.
        max_loss_ratio: Loss at which training has diverged, in losses of the first step.
        tokens_per_step: Of all processes.

    Attributes:
        num_skipped_steps: Steps of this process whose gradients overflowed in half precision, so
            that their update was left out and the scale lowered.
    """

    def __init__(self, progress: Progress, max_loss_ratio: float, tokens_per_step: int) -> None:
        self._progress = progress
        self._max_loss_ratio = max_loss_ratio
        self._tokens_per_step = tokens_per_step
        self._started, self._first_step = 0.0, 0
        self._was_skipped = False
        self.num_skipped_steps = 0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Trainer's hook before the first step of this process."""
        self._started, self._first_step = time.monotonic(), state.global_step

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **about: Any,
    ) -> None:
        """Trainer's hook after every optimiser step, before it logs."""
        # accelerate's own note: the scaler of fp16 found an infinite gradient
        self._was_skipped = bool(getattr(about.get("optimizer"), "step_was_skipped", False))
        self.num_skipped_steps += self._was_skipped
        # Trainer leaves the last steps out of its log where they do not fill an interval; with an
        # entry at the end of every pass over the blocks, each has a mean loss of its own
        is_whole_pass = state.epoch is not None and float(state.epoch).is_integer()
        control.should_log |= is_whole_pass or state.global_step >= state.max_steps
        # a loss that is not finite is seen before its weights are saved as good ones
        control.should_log |= control.should_save
        self._progress.advance(self._note(state))

    def _speed(self, state: TrainerState) -> float | None:
        """Tokens per second of this process' steps so far."""
        seconds = time.monotonic() - self._started
        tokens = (state.global_step - self._first_step) * self._tokens_per_step
        return tokens / seconds if seconds > 0 else None

    def _note(self, state: TrainerState) -> str:
        """What is known about the training by now, as one line."""
        found = []
        for name, word, form in _SHOWN:
            value = next((one[name] for one in reversed(state.log_history) if name in one), None)
            found += [] if value is None else [f"{word} {value:{form}}"]
        speed = self._speed(state)
        found += [] if speed is None else [f"{speed:,.0f} tokens/s"]
        return ", ".join(found)

    def _tell(self, logs: dict[str, float], state: TrainerState) -> None:
        """An entry of the log for charts, and for who wants to know everything."""
        values = {name: float(logs[key]) for key, name in _CHARTED.items() if key in logs}
        if not values:
            return
        said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._progress.detail(f"step {state.global_step}: {said}")
        speed = self._speed(state)
        if speed:
            values["tokens_per_second"] = speed
        self._progress.log(values, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Trainer's hook after every entry of its log."""
        found = logs or {}
        self._tell(found, state)
        names = ["loss", "eval_loss"] if self._was_skipped else ["loss", "eval_loss", "grad_norm"]
        for name in names:
            value = found.get(name)
            if value is not None and not math.isfinite(value):
                raise DivergenceError(f"{_WORDS[name]} is {value}", state.global_step)
        first = next((entry["loss"] for entry in state.log_history if "loss" in entry), None)
        loss = found.get("loss")
        if loss is not None and first is not None and loss > self._max_loss_ratio * first:
            raise DivergenceError(
                f"the training loss is {loss:.4g}, more than {self._max_loss_ratio:g} times the "
                f"{first:.4g} of the first step",
                state.global_step,
            )


# what Trainer's log calls them, and what charts do
_CHARTED = {
    "loss": "loss",
    "eval_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}
# the newest of each in Trainer's log, for people
_SHOWN = (
    ("loss", "loss", ".3f"),
    ("eval_loss", "validation", ".3f"),
    ("learning_rate", "rate", ".2g"),
)
_WORDS = {
    "loss": "the training loss",
    "eval_loss": "the validation loss",
    "grad_norm": "the norm of the gradient",
}


def training_history(state: TrainerState) -> list[dict[str, Any]]:
    """The training log: mean loss in nats per token since the entry before, learning rate and
    gradient norm (before clipping) of the step. What is not finite is left out."""
    names = ("loss", "learning_rate", "grad_norm")
    return [_entry(entry, names) for entry in state.log_history if _is_finite(entry.get("loss"))]


def validation_history(state: TrainerState) -> list[dict[str, Any]]:
    """The validation log, losses in nats per token. What is not finite is left out."""
    return [
        {"step": int(entry["step"]), "loss": float(entry["eval_loss"])}
        for entry in state.log_history
        if _is_finite(entry.get("eval_loss"))
    ]


def _entry(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: float(entry[name]) for name in names if _is_finite(entry.get(name))}
    return {"step": int(entry["step"]), **found}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
