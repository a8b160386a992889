"""Mamba behind this package's scan, beside transformers' own ways to run it on a CPU.

Forward passes are compared with the loop that transformers runs eagerly; the backward pass of that
loop takes time quadratic in the length, so forward and backward passes are compared with mambapy's
parallel scan instead, which transformers uses if asked to. One process, the same weights.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.bench.models import SCALES, mamba
from sentinel_research.bench.schema import MambaSection
from sentinel_research.bench.schema_base import BenchModel, Size
from sentinel_research.errors import UsageError
from sentinel_research.machine import Watch
from sentinel_research.models import kernels_of, use_scan
from sentinel_research.record import Check
from sentinel_research.timing import Action, Comparison, compare, measure

FORWARD, TRAINING = "forward", "forward_backward"
BOUNDS = {FORWARD: 4.0, TRAINING: 5.0}
"""How many times as fast this package has to be."""
_WORDS = {FORWARD: "transformers' eager loop", TRAINING: "transformers with mambapy"}
_EXPECTED = {FORWARD: "torch_loop", TRAINING: "mambapy"}


def bench_mamba(size: Size, device: str, num_pairs: int) -> MambaSection:
    """Time both passes in turns with their alternatives.

    Raises:
        UsageError: for another device than the CPU, or where transformers' eager path is fused.
    """
    if torch.device(device).type != "cpu":
        raise UsageError(
            f"the scan that is measured runs on the CPU, not on '{device}'",
            "leave --device out",
        )
    scale = SCALES[size]
    ours = mamba(size)
    use_scan(ours)
    theirs = {FORWARD: mamba(size), TRAINING: mamba(size, use_mambapy=True)}
    kernels = {name: kernels_of(model)["selective_scan"] for name, model in theirs.items()}
    if kernels[FORWARD] != _EXPECTED[FORWARD]:
        raise UsageError(
            f"transformers runs Mamba by {kernels[FORWARD]} here, not by its loop in torch",
            "measure in an environment without that package",
        )
    watch = Watch(device, ours.dtype)
    generator = torch.Generator().manual_seed(0)
    shape = (1, scale.mamba_length)
    ids = torch.randint(ours.config.vocab_size, shape, generator=generator)
    passes = {FORWARD: read, TRAINING: train}
    measured = [name for name in passes if kernels[name] == _EXPECTED[name]]
    comparisons = [
        _compared(name, passes[name], ours, theirs[name], ids, num_pairs) for name in measured
    ]
    why = "mambapy is not installed: pip install sentinel-research[peers]"
    return MambaSection(
        conditions=watch.conditions(),
        model=_describe(ours),
        comparisons=tuple(comparisons),
        checks=tuple(map(check_speed, comparisons)) if scale.has_meaning else (),
        sequence_length=scale.mamba_length,
        kernels={"ours": kernels_of(ours)["selective_scan"], **{n: kernels[n] for n in measured}},
        not_measured={name: why for name in passes if name not in measured},
    )


@torch.no_grad()
def read(model: PreTrainedModel, ids: Tensor) -> None:
    """Forward pass, all logits, no cache."""
    model(ids, use_cache=False)


def train(model: PreTrainedModel, ids: Tensor) -> None:
    """Forward and backward pass, gradients of all parameters, then dropped."""
    model(ids, labels=ids, use_cache=False).loss.backward()
    model.zero_grad(set_to_none=True)


def _compared(
    name: str,
    action: Callable[[PreTrainedModel, Tensor], None],
    ours: PreTrainedModel,
    theirs: PreTrainedModel,
    ids: Tensor,
    num_pairs: int,
) -> Comparison:
    actions = {
        "ours": Action(lambda _: action(ours, ids)),
        "theirs": Action(lambda _: action(theirs, ids)),
    }
    samples = measure(actions, num_pairs)
    measured = (f"{action.__doc__} Compiled scan.", samples["ours"])
    return compare(name, measured, (_WORDS[name], samples["theirs"]))


def _describe(model: PreTrainedModel) -> BenchModel:
    return BenchModel(
        family=model.config.model_type,
        num_layers=model.config.num_hidden_layers,
        num_heads=None,
        num_kv_heads=None,
        hidden_size=model.config.hidden_size,
        num_parameters=model.num_parameters(),
        attn_implementation=None,
    )


def check_speed(found: Comparison) -> Check:
    """At least as many times as fast as `BOUNDS` says, in wall time."""
    bound, wall = BOUNDS[found.name], found.wall
    return Check(
        name=f"{found.name} is at least {bound:g} times as fast as {found.alternative}",
        passed=1 / wall.median >= bound,
        detail=f"{1 / wall.median:.2f} [{1 / wall.high:.2f}, {1 / wall.low:.2f}], "
        f"processor time {1 / found.cpu.median:.2f}",
    )
