"""The phases of writing a text, as actions that can be timed in turns.

Prefill reads a prompt up to the logits of its last token; decoding reads one token at a time with
what the model keeps of the past; the first token is what a user waits for, by transformers'
`generate` as a user calls it.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.evaluation.caches import cache_name, given
from sentinel_research.evaluation.continuations import generate
from sentinel_research.models.anatomy import ANATOMIES, context_length, family_of
from sentinel_research.specs import CostSpec
from sentinel_research.timing import Action

PhaseName = Literal["prefill", "first_token", "decode"]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)


class Run(NamedTuple):
    """One phase at one batch size."""

    phase: PhaseName
    batch_size: int
    num_tokens: int
    """Read or written each time, of all sequences."""
    num_repetitions: int
    """Times."""
    action: Callable[[PreTrainedModel], Action]
    """What is timed of a model."""


def runs(model: PreTrainedModel, spec: CostSpec) -> list[Run]:
    """Every phase at every batch size.

    Args:
        model: Any of those that are compared, for vocabulary and device.
        spec: Lengths and batch sizes.

    Raises:
        UsageError: if the model cannot read so many tokens, or carries no state.
    """
    check_length(model, spec)
    found, num = [], spec.num_repetitions
    for batch_size in spec.batch_sizes:
        ids = random_prompt(model, batch_size, spec.prompt_tokens, spec.seed)
        num_read, num_written = ids.numel(), batch_size * spec.new_tokens
        found += [
            Run("prefill", batch_size, num_read, num, _of(prefill, ids, 1)),
            Run("first_token", batch_size, num_read, num, _of(first_token, ids)),
            Run("decode", batch_size, num_written, num, _of(decode, ids, spec.new_tokens)),
        ]
    return found


def _of(action: Callable[..., Action], ids: Tensor, *rest: int) -> Callable[..., Action]:
    """The action of a model that is yet to come, on a prompt."""
    return lambda model: action(ids, model, *rest)


def check_length(model: PreTrainedModel, spec: CostSpec) -> None:
    """Refuse what the model cannot read.

    Raises:
        UsageError: if the model's context is too short, or it carries no state.
    """
    asked = spec.prompt_tokens + spec.new_tokens
    limit = context_length(model.config) if family_of(model.config) in ANATOMIES else None
    if limit is not None and asked > limit:
        raise UsageError(
            f"{spec.prompt_tokens} prompt tokens and {spec.new_tokens} new ones are {asked}, the "
            f"model reads {limit}",
            f"Take fewer: together at most {limit}.",
        )
    if cache_name(model) is None:
        raise UsageError(
            f"a model of type '{model.config.model_type}' carries no state from token to token, "
            "so decoding cannot be told from reading",
            "Its `forward` would have to take past_key_values or cache_params.",
        )


def random_prompt(
    model: PreTrainedModel, batch_size: int, num_tokens: int, seed: int
) -> Int64[Tensor, "batch tokens"]:
    """Random tokens on the model's device, the same for all models of a vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    size = model.config.get_text_config().vocab_size
    ids = torch.randint(size, (batch_size, num_tokens), generator=generator)
    return ids.to(model.device)


def last_logit(model: PreTrainedModel, num: int = 1) -> dict[str, int]:
    """The option that leaves other logits out, for a model that has it."""
    has_option = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": num} if has_option else {}


def prefill(ids: Tensor, model: PreTrainedModel, logits_to_keep: int) -> Action:
    """Read a prompt; 0 keeps the logits of all positions."""
    options = last_logit(model, logits_to_keep)

    @torch.no_grad()
    def run(_: object) -> object:
        return model(ids, use_cache=True, **options)

    return Action(run)


def first_token(ids: Tensor, model: PreTrainedModel) -> Action:
    """Write one token behind a prompt, likeliest first, as a user of transformers does."""
    return Action(lambda _: generate(model, ids, 1, ()))


def decode(ids: Tensor, model: PreTrainedModel, num_steps: int) -> Action:
    """Decode single tokens after a prompt that was read before."""
    cache, token = read_prompt(ids, model), ids[:, -1:]

    @torch.no_grad()
    def run(prepared: Any) -> object:
        for _ in range(num_steps):
            prepared = read_on(token, model, prepared)
        return prepared

    return Action(run, lambda: copy.deepcopy(cache))


@torch.no_grad()
def read_prompt(ids: Tensor, model: PreTrainedModel) -> Any:
    """What a model keeps of a prompt."""
    return model(ids, use_cache=True, **last_logit(model))[_name(model)]


@torch.no_grad()
def read_on(ids: Tensor, model: PreTrainedModel, cache: Any) -> Any:
    """The same behind some more tokens."""
    return model(ids, **given(model, cache))[_name(model)]


def _name(model: PreTrainedModel) -> str:
    name = cache_name(model)
    assert name is not None  # `check_length` has refused others
    return name
