"""What can be counted without a clock: parameters, bytes and operations.

Glossary: `bytes moved` are those that a phase has to fetch from memory at least once: every weight
that it multiplies with, and keys, values or states of the past. Rows that are looked up in a table
of tokens or positions are not counted, activations neither.
"""

from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel

from sentinel_research.cost.phases import (
    PhaseName,
    last_logit,
    random_prompt,
    read_on,
    read_prompt,
)
from sentinel_research.cost.schema import Parameters, Storage
from sentinel_research.evaluation.caches import given
from sentinel_research.evaluation.long_context import cache_bytes
from sentinel_research.models.flops import forward_flops
from sentinel_research.models.matching import num_non_embedding
from sentinel_research.models.stored_linear import held_bytes, num_parameters, stored_projections
from sentinel_research.specs import CostSpec


class Work(NamedTuple):
    """What one sequence takes in a phase."""

    flops: int
    """Operations."""
    weights_bytes: int
    """Moved for all sequences of a batch at once."""
    cache_bytes: int
    """Moved for each sequence."""

    @property
    def bytes_moved(self) -> int:
        """See the module."""
        return self.weights_bytes + self.cache_bytes

    def of_batch(self, size: int) -> "Work":
        """What so many sequences take together."""
        return Work(self.flops * size, self.weights_bytes, self.cache_bytes * size)


def parameters_of(model: PreTrainedModel) -> Parameters:
    """How many parameters there are, tied ones once."""
    total = num_parameters(model)
    stored = total - sum(one.numel() for one in model.parameters())
    others = num_non_embedding(model) + stored
    return Parameters(total=total, embedding=total - others, non_embedding=others)


def storage_of(model: PreTrainedModel, spec: CostSpec) -> Storage:
    """Bytes of weights, and of what one sequence leaves behind in the cache.

    The part that grows with a token is the difference that one more token makes behind the prompt;
    the rest is there whatever the length.
    """
    cache = read_prompt(random_prompt(model, 1, spec.prompt_tokens, spec.seed), model)
    before = cache_bytes(cache)
    token = random_prompt(model, 1, 1, spec.seed)
    growth = cache_bytes(read_on(token, model, cache)) - before
    return Storage(
        weights_bytes=held_bytes(model),
        cache_tokens=spec.prompt_tokens,
        cache_bytes=before,
        cache_bytes_per_token=growth,
        cache_bytes_fixed=before - growth * spec.prompt_tokens,
    )


def work_of(model: PreTrainedModel, spec: CostSpec) -> dict[PhaseName, Work]:
    """Operations and bytes of each phase for one sequence; of decoding, of all its tokens."""
    ids = random_prompt(model, 1, spec.prompt_tokens, spec.seed)
    weights = multiplied_bytes(model)
    read = forward_flops(model, ids, use_cache=True, **last_logit(model))
    cache = read_prompt(ids, model)
    filled = cache_bytes(cache)
    prefill = Work(read, weights, filled)
    flops = moved = 0
    for _ in range(spec.new_tokens):
        # counting runs the pass, which fills the cache
        flops += forward_flops(model, ids[:, -1:], **given(model, cache))
        moved += cache_bytes(cache)
    decode = Work(flops, weights * spec.new_tokens, moved)
    return {"prefill": prefill, "first_token": prefill, "decode": decode}


def multiplied_bytes(model: PreTrainedModel) -> int:
    """Bytes of the weights that every pass multiplies with, the output head's included."""
    head = model.get_output_embeddings()
    in_head = {id(one) for one in head.parameters()} if head is not None else set()
    looked_up = {
        id(one)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for one in module.parameters()
    }
    # by parameter and not by memory: what two modules share is fetched for each of them
    others = [one for one in model.parameters() if id(one) not in looked_up - in_head]
    stored = sum(one.weight_bytes for one in stored_projections(model).values())
    return stored + sum(one.numel() * one.element_size() for one in others)
