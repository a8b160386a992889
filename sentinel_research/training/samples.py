"""What a model writes while it is trained: fixed prompts, the same noise every time.

Texts are kept in Trainer's log, which is part of every checkpoint: an interrupted training neither
loses nor repeats one. The noise comes from generators of its own, and the model is in evaluation
mode, so that training does not depend on whether somebody looks.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sentinel_research.data.packing import separator_id
from sentinel_research.errors import UsageError
from sentinel_research.models import ANATOMIES, context_length
from sentinel_research.models.anatomy import family_of
from sentinel_research.models.modes import evaluating
from sentinel_research.specs import SampleSpec

_KEY = "samples"


def encoded_prompts(
    model: PreTrainedModel, spec: SampleSpec, tokenizer: PreTrainedTokenizerBase
) -> list[Int[Tensor, " tokens"]]:
    """The prompts as a document of the training text begins.

    Args:
        model: Whose context they must fit into, with what is written.
        spec: Prompts and lengths.
        tokenizer: The model's.

    Raises:
        UsageError: for a prompt that does not fit, or without any token.
    """
    longest = context_length(model.config) if family_of(model.config) in ANATOMIES else None
    separator = separator_id(tokenizer)
    found = []
    for prompt in spec.prompts:
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        ids = ids if separator is None else [separator, *ids]
        if not ids:
            raise UsageError(
                "`train.samples.prompts` has an empty prompt, and the tokenizer has no token that "
                "begins a text",
                "give at least one character",
            )
        if longest is not None and len(ids) + spec.max_new_tokens > longest:
            raise UsageError(
                f"`train.samples.prompts`: {prompt[:40]!r} has {len(ids)} tokens, and with "
                f"`max_new_tokens` = {spec.max_new_tokens} they are more than the model's context "
                f"of {longest}",
                "shorten the prompt, or lower `train.samples.max_new_tokens`",
            )
        found.append(torch.tensor(ids))
    return found


@torch.no_grad()
def continuation(
    model: PreTrainedModel, prompt: Int[Tensor, " tokens"], spec: SampleSpec, seed: int
) -> Int[Tensor, " new_tokens"]:
    """Write on, token by token.

    Args:
        model: In evaluation mode.
        prompt: Token ids, on the CPU.
        spec: Temperature, `top_k` and length.
        seed: Of the noise, which is drawn on the CPU for all devices alike.

    Returns:
        `max_new_tokens` new token ids.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = prompt
    for _ in range(spec.max_new_tokens):
        logits = model(input_ids=ids[None].to(model.device), use_cache=False).logits[0, -1]
        chosen = _choose(logits.float().cpu(), spec, generator)
        ids = torch.cat([ids, chosen])
    return ids[len(prompt) :]


def _choose(
    logits: Float[Tensor, " vocabulary"], spec: SampleSpec, generator: torch.Generator
) -> Int[Tensor, " one"]:
    if spec.temperature == 0:
        return logits.argmax()[None]
    if spec.top_k is not None and spec.top_k < len(logits):
        lowest = logits.topk(spec.top_k).values[-1]
        logits = logits.masked_fill(logits < lowest, float("-inf"))
    return torch.multinomial(torch.softmax(logits / spec.temperature, 0), 1, generator=generator)


class SampleCallback(TrainerCallback):
    """Writes before the first step, every so many steps, and with the weights of the end.

    Args:
        spec: What to write.
        tokenizer: The model's.
        prompts: See `encoded_prompts`.
    """

    def __init__(
        self,
        spec: SampleSpec,
        tokenizer: PreTrainedTokenizerBase,
        prompts: list[Int[Tensor, " tokens"]],
    ) -> None:
        self._spec, self._tokenizer, self._prompts = spec, tokenizer, prompts

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Before the first step; a resumed training has that behind it."""
        if state.global_step == 0:
            self._write(model, state, 0)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Every so many steps."""
        if state.global_step % self._spec.every == 0:
            self._write(model, state, state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """With the weights that training ends with, which may be earlier ones."""
        is_best = args.load_best_model_at_end and state.best_global_step is not None
        step = state.best_global_step if is_best else state.global_step
        assert step is not None
        if step not in {one["step"] for one in written(state)}:
            self._write(model, state, step)

    def _write(self, model: PreTrainedModel | None, state: TrainerState, step: int) -> None:
        assert model is not None  # Trainer always hands it over
        texts = []
        with evaluating(model):
            for index, ids in enumerate(self._prompts):
                # its own noise for every prompt, whatever the others are
                seed = int(np.random.SeedSequence((self._spec.seed, index)).generate_state(1)[0])
                text = self._tokenizer.decode(continuation(model, ids, self._spec, seed).tolist())
                texts.append({"prompt": self._spec.prompts[index], "text": text})
        entry: dict[str, Any] = {"step": step, _KEY: texts}
        state.log_history.append(entry)


def written(state: TrainerState) -> list[dict[str, Any]]:
    """Everything that was written: `step`, `prompt` and the new `text`, in the order of steps."""
    history: list[dict[str, Any]] = state.log_history
    found = [
        {"step": int(entry["step"]), **one} for entry in history for one in entry.get(_KEY, ())
    ]
    return sorted(found, key=lambda one: int(one["step"]))
