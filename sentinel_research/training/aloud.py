"""What a model writes while it is trained, read out for who watches; nothing of it is kept.

A recipe that asks for samples (`training.samples`) has its own read out. For any other the model
goes on with the beginning of the text that it is trained on, a few times in a training. Neither
weights nor random numbers nor the record depend on whether somebody listens.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sentinel_research import distributed
from sentinel_research.models.modes import evaluating
from sentinel_research.progress import Progress, printable
from sentinel_research.specs import SampleSpec, TrainSpec
from sentinel_research.training.samples import continuation, written

_TEXTS_PER_TRAINING = 5
_PROMPT_TOKENS = 16
_NEW_TOKENS = 40


class KeptAloud(TrainerCallback):
    """Reads out the samples that a recipe asks for, as they are kept.

    Args:
        progress: Who listens.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step = -1

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Trainer's hook after every optimiser step."""
        self._read(state)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Trainer's hook after the last one."""
        self._read(state)

    def _read(self, state: TrainerState) -> None:
        fresh = [one for one in written(state) if one["step"] > self._step]
        for one in fresh:
            _tell(self._progress, one["step"], one["prompt"], one["text"])
            self._step = max(self._step, one["step"])


class Aloud(TrainerCallback):
    """Lets the model write a few times in a training.

    Args:
        progress: Who listens.
        tokenizer: The model's.
        prompt: Token ids that it goes on with.
        spec: Length and noise.
    """

    def __init__(
        self,
        progress: Progress,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Int64[np.ndarray, " tokens"],
        spec: SampleSpec,
    ) -> None:
        self._progress, self._tokenizer, self._spec = progress, tokenizer, spec
        self._prompt = torch.from_numpy(prompt.astype(np.int64))

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Every so many steps."""
        if state.global_step % self._spec.every:
            return
        assert model is not None  # Trainer always hands it over
        with evaluating(model):
            ids = continuation(model, self._prompt, self._spec, self._spec.seed)
        prompt, text = (str(self._tokenizer.decode(one.tolist())) for one in (self._prompt, ids))
        _tell(self._progress, state.global_step, prompt, text)


def _tell(progress: Progress, step: int, prompt: str, text: str) -> None:
    progress.detail(f"step {step}: {printable(prompt)} \N{RIGHTWARDS ARROW} {printable(text)}")


def aloud(
    spec: TrainSpec,
    blocks: Int64[np.ndarray, "num_blocks sequence_length"],
    tokenizer: PreTrainedTokenizerBase | None,
    progress: Progress | None,
) -> list[TrainerCallback]:
    """What reads out texts of a training; nothing where nobody listens, or the model cannot write.

    Args:
        spec: The training.
        blocks: Token ids, the first ones are gone on with.
        tokenizer: The model's.
        progress: Who may listen.
    """
    if progress is None or not progress.is_verbose or tokenizer is None:
        return []
    if spec.samples is not None:
        return [KeptAloud(progress)]
    num_prompt = min(_PROMPT_TOKENS, blocks.shape[1] // 2)
    num_new = min(_NEW_TOKENS, blocks.shape[1] - num_prompt)
    if distributed.num_processes() > 1 or num_prompt == 0:
        # the others would wait, or have other parts of the model
        return []
    every = max(1, spec.num_steps // _TEXTS_PER_TRAINING)
    own = SampleSpec(prompts=("",), every=every, max_new_tokens=num_new)
    return [Aloud(progress, tokenizer, blocks[0, :num_prompt], own)]
