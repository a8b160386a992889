"""What gated attention costs beside plain SDPA and beside a loop over heads.

All three read the same heads with the same weights: all heads of the layer, or the half that a
removal left. One layer, forward, without gradients; all of one length are timed in the same rounds.
"""

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.bench.agency import (
    attend,
    attention_of,
    gated,
    hidden_states,
    one_layer,
)
from sentinel_research.bench.head_loop import HeadLoop
from sentinel_research.bench.models import SCALES, built, describe, half_of_the_heads
from sentinel_research.bench.schema import AttentionSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.errors import UsageError
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models.agency import gated_layers
from sentinel_research.progress import Progress, Silent, piece
from sentinel_research.pruning.surgery import remove
from sentinel_research.record import Check
from sentinel_research.timing import Comparison, Sample, compare, measure

LENGTHS: dict[Size, tuple[int, ...]] = {
    "tiny": SCALES["tiny"].attention_lengths,
    "124m": (32, *SCALES["124m"].attention_lengths),
}
TOLERANCE = 1e-5
"""Of the loop's output: float32 sums of hundreds of products in another order."""
_HEADS = {
    "all_heads": "all heads",
    "half_removed": "half of the heads, the others removed",
}
_ALTERNATIVES = {
    "sdpa": "the same attention on SDPA without gates",
    "loop": "the same attention as a loop over its heads",
}


def ways(plain: PreTrainedModel, max_length: int) -> dict[str, nn.Module]:
    """Attention blocks by `HEADS/WAY`; the way is `ours`, `sdpa` or `loop`.

    Args:
        plain: A GPT-2 of one layer, without gates.
        max_length: Positions that the loop has to read.
    """
    plan, ours = half_of_the_heads(plain), gated(plain, "static/trained")
    models = {
        "all_heads": (ours, plain),
        "half_removed": (remove(ours, plan), remove(plain, plan)),
    }
    found: dict[str, nn.Module] = {}
    for heads, (with_gates, without) in models.items():
        (place,) = gated_layers(with_gates, with_gates.config)
        found[f"{heads}/ours"] = place.attention
        found[f"{heads}/sdpa"] = attention_of(without)
        found[f"{heads}/loop"] = HeadLoop(place.attention, place.gate, max_length).to(plain.device)
    return found


def bench_attention(size: Size, device: str, num_pairs: int) -> AttentionSection:
    """Time all ways in turns, at several lengths."""
    found = _measured(one_layer(size, device), LENGTHS[size], num_pairs, Silent())
    if not SCALES[size].has_meaning:
        return found
    return found.model_copy(update={"checks": (check_same(found.largest_difference),)})


def attention_section(
    model: PreTrainedModel, num_pairs: int, progress: Progress
) -> AttentionSection:
    """Time all ways on the first layer of a model, at lengths that it reads.

    Args:
        model: Dense.
        num_pairs: Rounds at each length.
        progress: Who is told, see `sentinel_research.cost.costs`.

    Raises:
        UsageError: for a family other than GPT-2, whose loop over heads there is none of.
    """
    if model.config.model_type != "gpt2":
        raise UsageError(
            f"the loop over heads is of GPT-2, this model is of type '{model.config.model_type}'",
            "Leave --attention out, or name a dense GPT-2, such as shape:124m.",
        )
    config = copy.deepcopy(model.config)
    config.n_layer = 1
    plain = built(type(model), config, str(model.device))
    own = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        parameter.data.copy_(own[name].data)
    lengths = tuple(one for one in LENGTHS["124m"] if one <= config.n_positions)
    with piece(progress, "timing", len(lengths) * num_pairs):
        found = _measured(plain, lengths, num_pairs, progress)
    return found.model_copy(update={"checks": (check_same(found.largest_difference),)})


def _measured(
    plain: PreTrainedModel, lengths: tuple[int, ...], num_pairs: int, progress: Progress
) -> AttentionSection:
    """All ways of one layer, unchecked."""
    device = str(plain.device)
    watch = Watch(device, plain.dtype)
    blocks = ways(plain, max(lengths))
    comparisons: list[Comparison] = []
    differences: list[float] = []
    for length in lengths:
        hidden = hidden_states(plain, length)
        differences += [difference(blocks, heads, hidden) for heads in _HEADS]
        actions = {name: attend(block, hidden) for name, block in blocks.items()}
        told = partial(progress.advance, f"{length} tokens")
        samples = measure(actions, num_pairs, partial(wait_for, device), told)
        comparisons += _comparisons(length, samples)
    largest = max(differences)
    return AttentionSection(
        conditions=watch.conditions(),
        model=describe(plain),
        comparisons=tuple(comparisons),
        lengths=lengths,
        batch_size=1,
        largest_difference=largest,
    )


@torch.no_grad()
def difference(blocks: Mapping[str, nn.Module], heads: str, hidden: Tensor) -> float:
    """Largest difference of the loop's output from ours, by the largest output or 1."""
    ours = blocks[f"{heads}/ours"](hidden)[0]
    found = (blocks[f"{heads}/loop"](hidden) - ours).abs().max()
    return float(found / ours.abs().max().clamp(min=1))


def _comparisons(length: int, samples: Mapping[str, list[Sample]]) -> list[Comparison]:
    return [
        compare(
            f"T{length}/{heads}/over_{way}",
            (f"attention with static gates, {words}", samples[f"{heads}/ours"]),
            (alternative, samples[f"{heads}/{way}"]),
        )
        for heads, words in _HEADS.items()
        for way, alternative in _ALTERNATIVES.items()
    ]


def check_same(largest: float) -> Check:
    """What is compared computes the same."""
    return Check(
        name=f"the loop over heads returns what gated attention does, within {TOLERANCE:g}",
        passed=largest <= TOLERANCE,
        detail=f"largest difference {largest:.1e}",
    )
