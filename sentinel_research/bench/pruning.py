"""What each step of a pruning costs: time beside something plain of its kind, and memory."""

import tempfile
from functools import partial
from pathlib import Path

from sentinel_research.bench.memory import measure_memory
from sentinel_research.bench.models import FRACTION, describe, gpt2
from sentinel_research.bench.schema import PruningSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.bench.steps import steps
from sentinel_research.machine import Watch, wait_for
from sentinel_research.timing import compare, measure


def bench_pruning(size: Size, device: str, num_pairs: int) -> PruningSection:
    """Time every step in this process; measure its memory in another one."""
    model = gpt2(size, device)
    watch = Watch(device, model.dtype)
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        for step in steps(model, size, Path(folder)):
            samples = measure(
                {"measured": step.action, "alternative": step.plain},
                num_pairs,
                partial(wait_for, device),
            )
            comparisons.append(
                compare(
                    step.name,
                    (step.measured, samples["measured"]),
                    (step.alternative, samples["alternative"]),
                )
            )
    described = describe(model)
    model_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    watched = watch.conditions()
    del model
    used = measure_memory(size, device)
    return PruningSection(
        conditions=watched,
        model=described,
        comparisons=tuple(comparisons),
        fraction=FRACTION,
        model_bytes=model_bytes,
        memory_kind=used.kind,
        memory=used.rows,
        memory_reason=used.reason,
    )
