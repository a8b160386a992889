"""What a pruned model gains when it runs, beside what arithmetic allows.

Reference: [1] Amdahl 1967, Validity of the single processor approach to achieving large scale
computing capabilities, https://doi.org/10.1145/1465482.1465560: what is not
removed bounds the gain.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from sentinel_research.bench.models import (
    FRACTION,
    SCALES,
    Scale,
    describe,
    gpt2,
    half_of_the_heads,
)
from sentinel_research.bench.schema import ForwardCost, ForwardSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.cost.phases import decode, prefill
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.planning import make_plan
from sentinel_research.pruning.surgery import remove
from sentinel_research.record import Check
from sentinel_research.structure import Structure
from sentinel_research.timing import Action, Comparison, compare, measure

CONTROL = "masked"
_TOLERANCE = 0.03
_VARIANTS = {
    "removed": f"{FRACTION:.0%} of the heads removed",
    CONTROL: f"{FRACTION:.0%} of the heads masked: a control, nothing is saved",
    "without_heads": "all heads removed: the limit",
}


class _Mode(NamedTuple):
    """A way to run a model."""

    action: Callable[[PreTrainedModel], Action]
    """What is timed."""
    logits_per_token: float
    """Share of the tokens whose logits are computed."""


def bench_forward(size: Size, device: str, num_pairs: int) -> ForwardSection:
    """Time dense, pruned and masked models in turns, in each way to run them."""
    scale = SCALES[size]
    dense = gpt2(size, device)
    watch = Watch(device, dense.dtype)
    structure, plan = structure_of(dense.config), half_of_the_heads(dense)
    models = {
        "dense": dense,
        "removed": remove(dense, plan),
        CONTROL: mask(dense, plan),
        "without_heads": remove(dense, make_plan(structure, [()] * structure.num_layers)),
    }
    comparisons: list[Comparison] = []
    costs: list[ForwardCost] = []
    for name, mode in _modes(dense, scale).items():
        actions = {variant: mode.action(model) for variant, model in models.items()}
        samples = measure(actions, num_pairs, partial(wait_for, device))
        macs = {
            variant: _macs(structure_of(model.config), dense, scale, mode)
            for variant, model in models.items()
        }
        for variant, words in _VARIANTS.items():
            key = f"{name}/{variant}"
            comparisons.append(
                compare(key, (words, samples[variant]), ("the dense model", samples["dense"]))
            )
            costs.append(
                ForwardCost(
                    comparison=key,
                    mac_ratio=macs[variant] / macs["dense"],
                    mac_ratio_without_heads=macs["without_heads"] / macs["dense"],
                )
            )
    return ForwardSection(
        conditions=watch.conditions(),
        model=describe(dense),
        comparisons=tuple(comparisons),
        checks=tuple(map(check_control, _controls(comparisons))) if scale.has_meaning else (),
        fraction=FRACTION,
        prefill_length=scale.prefill_length,
        decode_steps=scale.decode_steps,
        costs=tuple(costs),
    )


def _modes(dense: PreTrainedModel, scale: Scale) -> dict[str, _Mode]:
    shape = (1, scale.prefill_length)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(dense.config.vocab_size, shape, generator=generator).to(dense.device)
    return {
        "prefill_all_logits": _Mode(lambda model: prefill(ids, model, 0), 1.0),
        "prefill_last_logit": _Mode(lambda model: prefill(ids, model, 1), 1 / scale.prefill_length),
        "decode": _Mode(lambda model: decode(ids, model, scale.decode_steps), 1.0),
    }


def _macs(structure: Structure, dense: PreTrainedModel, scale: Scale, mode: _Mode) -> float:
    """Multiply-adds per token; a mask saves none, and its structure is the dense one."""
    head = structure.hidden_size * dense.config.vocab_size * mode.logits_per_token
    return structure.flops_per_token(scale.prefill_length) / 2 + head


def _controls(comparisons: list[Comparison]) -> list[Comparison]:
    return [one for one in comparisons if one.name.endswith(f"/{CONTROL}")]


def check_control(control: Comparison) -> Check:
    """A masked model computes as much as the dense one, so it must take as long."""
    wall = control.wall
    return Check(
        name=f"{control.name} takes as long as the dense model, within {_TOLERANCE:.0%} and noise",
        passed=wall.low <= 1 + _TOLERANCE and wall.high >= 1 - _TOLERANCE,
        detail=f"{wall.median:.3f} [{wall.low:.3f}, {wall.high:.3f}] of its time",
    )
