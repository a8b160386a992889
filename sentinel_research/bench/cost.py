"""What pruning and fewer bits buy: prefill and decoding apart, beside what arithmetic allows."""

from sentinel_research.bench.models import SCALES, describe, gpt2
from sentinel_research.bench.schema_base import Size
from sentinel_research.bench.schema_cost import CostBound, CostSection
from sentinel_research.cost import CostReport, costs
from sentinel_research.machine import Watch
from sentinel_research.profiling.subject import Loaded, Subject
from sentinel_research.record import Check
from sentinel_research.specs import CostSpec
from sentinel_research.specs.profile import Combination, ProfileSpec
from sentinel_research.timing import Comparison

TWICE = Combination(head=0.5, neuron=0.75, layer=0.5)
"""Twice as fast in both phases without fewer bits."""
FIVE = Combination(head=0.5, neuron=0.75, layer=0.5, bits=8)
"""Five times as fast in prefill."""
COMBINATIONS = (
    Combination(head=0.5),
    Combination(head=0.5, neuron=0.5),
    Combination(head=0.5, neuron=0.5, layer=0.34),
    TWICE,
    Combination(bits=8),
    FIVE,
)
_BOUNDS = ((TWICE, "prefill", 2.0), (TWICE, "decode", 2.0), (FIVE, "prefill", 5.0))
_TIMED = ("prefill", "decode")


def bench_cost(size: Size, device: str, num_pairs: int) -> CostSection:
    """Time every combination in turns with the dense model."""
    scale, dense = SCALES[size], gpt2(size, device)
    watch = Watch(device, dense.dtype)
    subject = Subject(ProfileSpec(model="random weights"), Loaded(dense, None))
    spec = CostSpec(
        prompt_tokens=scale.prefill_length,
        new_tokens=scale.decode_steps,
        num_repetitions=num_pairs,
        fresh_process=False,
        modules=False,
    )
    models = {one.name: subject.build(one) for one in COMBINATIONS}
    reports = costs(models, spec, dense=dense)
    comparisons: list[Comparison] = []
    bounds: list[CostBound] = []
    for name in models:
        for phase in _TIMED:
            comparison, bound = _of_phase(reports[name], phase)
            comparisons.append(comparison)
            bounds.append(bound)
    return CostSection(
        conditions=watch.conditions(),
        model=describe(dense),
        comparisons=tuple(comparisons),
        checks=tuple(checks(comparisons, on_cpu=device == "cpu")) if scale.has_meaning else (),
        prompt_tokens=spec.prompt_tokens,
        new_tokens=spec.new_tokens,
        bounds=tuple(bounds),
    )


def _of_phase(report: CostReport, phase: str) -> tuple[Comparison, CostBound]:
    found = report.phase(phase)
    assert found.against is not None  # it was timed beside the dense model
    assert found.bound is not None
    name = f"{phase}/{report.name}"
    comparison = found.against.model_copy(
        update={"name": name, "measured": report.name, "alternative": "the dense model"}
    )
    return comparison, CostBound(comparison=name, **found.bound.model_dump())


def checks(comparisons: list[Comparison], *, on_cpu: bool) -> list[Check]:
    """What has to be reached.

    Args:
        comparisons: Of all combinations.
        on_cpu: True judges processor time, which other processes do not lengthen; False wall time.
    """
    by_name = {one.name: one for one in comparisons}
    found = []
    for combination, phase, least in _BOUNDS:
        one = by_name[f"{phase}/{combination.name}"]
        times = one.cpu if on_cpu else one.wall
        found.append(
            Check(
                name=f"{one.name}: at least {least:g} times as fast as the dense model",
                passed=1 / times.median >= least,
                detail=f"{1 / times.median:.2f} [{1 / times.high:.2f}, {1 / times.low:.2f}]",
            )
        )
    return found
