"""What it costs to measure everything that head scorers read, beside one plain training step.

The alternative is what a user would write to get gradients: forward and backward pass through the
model as it was loaded, gradients of all parameters, the same sequences and batch size.
"""

from functools import partial

import torch
from transformers import PreTrainedModel

from sentinel_research.bench.models import SCALES, calibration_set, describe, gpt2
from sentinel_research.bench.schema import CalibrationSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.machine import Watch, wait_for
from sentinel_research.pruning.calibrate import collect
from sentinel_research.pruning.meters import METERS, Need
from sentinel_research.record import Check
from sentinel_research.registry import get, names
from sentinel_research.timing import Action, Comparison, compare, measure

BOUND = 1.3


def head_needs() -> list[Need]:
    """The statistics of all scorers of heads that share one pass over the text."""
    found = {
        (need, "head")
        for plugin in (get("scorers", name) for name in names("scorers"))
        if "head" in plugin.units
        for need in plugin.needs
        if "head" in METERS[need].kinds and not METERS[need].runs_alone
    }
    return sorted(found)


def forward_backward(model: PreTrainedModel, calibration: CalibrationSet, batch_size: int) -> None:
    """Gradients of all parameters, accumulated over the batches as a user would, then dropped."""
    with torch.enable_grad():
        for start in range(0, len(calibration), batch_size):
            ids = calibration.ids[start : start + batch_size].to(model.device)
            model(ids, labels=ids, use_cache=False).loss.backward()
    model.zero_grad(set_to_none=True)


def bench_calibration(size: Size, device: str, num_pairs: int) -> CalibrationSection:
    """Time `collect` beside a plain forward and backward pass."""
    scale = SCALES[size]
    model = gpt2(size, device)
    watch = Watch(device, model.dtype)
    calibration, needs = calibration_set(model, size), head_needs()
    samples = measure(
        {
            "collect": Action(
                lambda _: collect(model, calibration, needs, batch_size=scale.batch_size)
            ),
            "plain": Action(lambda _: forward_backward(model, calibration, scale.batch_size)),
        },
        num_pairs,
        partial(wait_for, device),
    )
    found = compare(
        "collect",
        ("statistics of all head scorers, in one pass", samples["collect"]),
        ("forward and backward pass, gradients of all parameters", samples["plain"]),
    )
    return CalibrationSection(
        conditions=watch.conditions(),
        model=describe(model),
        comparisons=(found,),
        checks=(check_bound(found),) if scale.has_meaning else (),
        statistics=tuple(f"{name}/{kind}" for name, kind in needs),
        num_sequences=scale.num_sequences,
        sequence_length=scale.sequence_length,
        batch_size=scale.batch_size,
    )


def check_bound(found: Comparison) -> Check:
    """All statistics together cost at most 1.3 plain passes."""
    wall = found.wall
    return Check(
        name=f"statistics of all head scorers cost at most {BOUND} forward and backward passes",
        passed=wall.median <= BOUND,
        detail=f"{wall.median:.2f} [{wall.low:.2f}, {wall.high:.2f}], "
        f"processor time {found.cpu.median:.2f}",
    )
