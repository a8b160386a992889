"""The causal resolvent over lengths, beside a copy of as much memory as it reads and writes.

The recursion does some twenty operations for every value that it reads, so that nothing but memory
limits it once it leaves the cache: a copy of the same bytes is the floor, and its ratio to that is
a figure that other machines can be asked for. Time has to be linear in the length.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sentinel_research.bench.models import SCALES
from sentinel_research.bench.schema import ResolventSection
from sentinel_research.bench.schema_base import BenchModel, Size
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models.sentinel import SentinelConfig, SentinelModel
from sentinel_research.ops.resolvent import implementation_for, resolvent
from sentinel_research.record import Check
from sentinel_research.timing import Action, Comparison, compare, measure

CHANNELS = 64
FORWARD, TRAINING = "forward", "forward_backward"
# float32 values a position and channel: h, c and u in; Re and Im of x out, with g for the adjoint,
# which reads c, u, x, g and the gradient of x, and writes three gradients
VALUES = {FORWARD: 5, TRAINING: 7 + 11}
MAX_EXPONENT = 1.1
"""Of the length, in a straight line through the logarithms of the times."""
MAX_COPIES = 12.0
"""Forward passes in copies: twice what a plain numba loop took on the machine where both were
first measured (25.8 ms for 65,536 positions of 64 channels, where memory was copied at 29 GB/s)."""


def bench_resolvent(size: Size, device: str, num_pairs: int) -> ResolventSection:
    """Time both passes at every length, each in turns with a copy."""
    scale = SCALES[size]
    config = SentinelConfig(mixers="resolvent", hidden_size=CHANNELS, num_hidden_layers=1)
    model: Any = SentinelModel(config)
    mixer = model.to(device).layers[0].mixer
    watch = Watch(device, torch.float32)
    comparisons = [
        one
        for length in scale.resolvent_lengths
        for one in _at_length(length, mixer, device, num_pairs)
    ]
    exponents = {name: exponent_of(comparisons, name) for name in VALUES}
    return ResolventSection(
        conditions=watch.conditions(),
        model=BenchModel(
            family=config.model_type,
            num_layers=1,
            num_heads=None,
            num_kv_heads=None,
            hidden_size=CHANNELS,
            num_parameters=sum(one.numel() for one in mixer.parameters()),
            attn_implementation=None,
        ),
        comparisons=tuple(comparisons),
        checks=tuple(_checks(comparisons, exponents)) if scale.has_meaning else (),
        kernel=implementation_for(torch.device(device)),
        exponents=exponents,
    )


def _at_length(length: int, mixer: Any, device: str, num_pairs: int) -> list[Comparison]:
    generator = torch.Generator().manual_seed(0)
    fused = torch.randn((1, length, 4 * CHANNELS), generator=generator).to(device)
    inputs = [*fused.chunk(4, -1)[:3], mixer.energy.detach(), mixer.width.detach()]
    leaves = [one.clone().requires_grad_() for one in inputs]
    upstream = torch.randn((1, length, 2, CHANNELS), generator=generator).to(device)

    def forward(_: object) -> None:
        with torch.no_grad():
            resolvent(*inputs)

    def training(_: object) -> tuple[Tensor, ...]:
        return torch.autograd.grad(resolvent(*leaves).row, leaves, upstream)

    actions = {FORWARD: Action(forward), TRAINING: Action(training)}
    found = []
    for name, action in actions.items():
        # half of the values are read, half are written
        source = torch.ones(length * CHANNELS * VALUES[name] // 2, device=device)
        target = torch.empty_like(source)
        copy = Action(partial(_copy, source, target))
        samples = measure({"ours": action, "copy": copy}, num_pairs, partial(wait_for, device))
        measured = (f"{name} of the resolvent, {length:,} positions", samples["ours"])
        alternative = ("copy of as many bytes", samples["copy"])
        found.append(compare(f"{name}/{length}", measured, alternative))
    return found


def _copy(source: Tensor, target: Tensor, _: object) -> None:
    target.copy_(source)


def exponent_of(comparisons: list[Comparison], name: str) -> float:
    """Slope of log time over log length, by least squares through the medians.

    Args:
        comparisons: Of at least two lengths, named `NAME/LENGTH`.
        name: Which pass.
    """
    chosen = [one for one in comparisons if one.name.split("/")[0] == name]
    lengths = [math.log(int(one.name.split("/")[1])) for one in chosen]
    times = [math.log(np.median([pair[0] for pair in one.cpu_seconds])) for one in chosen]
    return float(np.polyfit(lengths, times, 1)[0])


def _checks(comparisons: list[Comparison], exponents: dict[str, float]) -> list[Check]:
    found = [
        Check(
            name=f"time of {name} grows with at most the power {MAX_EXPONENT} of the length",
            passed=exponent <= MAX_EXPONENT,
            detail=f"power {exponent:.3f}, processor time, medians",
        )
        for name, exponent in exponents.items()
    ]
    for one in comparisons:
        if one.name.startswith(f"{FORWARD}/"):
            found.append(
                Check(
                    name=f"{one.name} takes at most {MAX_COPIES:g} copies of its memory",
                    passed=one.cpu.median <= MAX_COPIES,
                    detail=f"{one.cpu.median:.2f} [{one.cpu.low:.2f}, {one.cpu.high:.2f}]",
                )
            )
    return found
