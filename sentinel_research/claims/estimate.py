"""From a statistic and the evidence to an estimate with its interval.

Reference: [1] Snedecor and Cochran 1989, Statistical Methods, section 6.3, paired comparisons;
[2] Fieller 1954, see `paired`; [3] Hahn and Meeker 1991, section 5.2, see `timing`; [4] Welch
1947, The generalization of Student's problem when several different population variances are
involved, Biometrika 34(1/2), pages 28 to 35.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, variance
from typing import Any, NamedTuple

from sentinel_research.claims.evidence import AbsentError, Evidence
from sentinel_research.claims.statistic import (
    SEED,
    AgainstRandom,
    Paired,
    ParameterGrowth,
    Power,
    Regained,
    Side,
    Statistic,
    Times,
    TradeOff,
)
from sentinel_research.paired import paired_ratio
from sentinel_research.record import CellRecord
from sentinel_research.statistics import Interval, mean_interval
from sentinel_research.timing import median_interval

_GENERATION = "generation"
_LONG_CONTEXT = "long_context"


class Estimated(NamedTuple):
    """A quantity with the interval that a verdict is given by."""

    interval: Interval
    confidence: float
    """Coverage; 1 for an exact number."""


def estimate(statistic: Statistic, evidence: Evidence, confidence: float) -> Estimated:
    """Estimate a quantity.

    Args:
        statistic: What is compared.
        evidence: Where its numbers are.
        confidence: Coverage that the interval should have.

    Raises:
        AbsentError: if a number that it needs was not measured, or has no spread to judge by.
    """
    functions: dict[type, Callable[[Any, Evidence, float], Estimated]] = {
        Paired: _paired,
        Regained: _regained,
        AgainstRandom: _against_random,
        Times: _times,
        Power: _power,
        ParameterGrowth: _parameter_growth,
        TradeOff: _trade_off,
    }
    return functions[type(statistic)](statistic, evidence, confidence)


def _paired(spec: Paired, evidence: Evidence, confidence: float) -> Estimated:
    def log(value: float) -> float:
        return math.log(value) if spec.scale == "log" else value

    first = _values(spec.first, spec.metric, spec.seeds, evidence, log)
    second = (
        [0.0] * len(first)
        if spec.second is None
        else _values(spec.second, spec.metric, spec.seeds, evidence, log)
    )
    differences = [one - other for one, other in zip(first, second, strict=True)]
    found = mean_interval(differences, confidence)
    if found.low == found.high:
        raise AbsentError(
            f"the same difference at every repetition, {found.value:.4g}: nothing to judge by"
        )
    if spec.as_ratio:
        found = Interval(*map(math.exp, found))
    return Estimated(found, confidence)


def _regained(spec: Regained, evidence: Evidence, confidence: float) -> Estimated:
    before, after, reference = (
        _values(side, spec.metric, spec.seeds, evidence, math.log)
        for side in (spec.before, spec.after, spec.reference)
    )
    gained = [one - other for one, other in zip(before, after, strict=True)]
    lost = [one - other for one, other in zip(before, reference, strict=True)]
    if fmean(lost) <= 0:
        raise AbsentError(f"nothing was lost that could be regained: {fmean(lost):.3g}")
    found = paired_ratio(gained, lost, confidence)
    if found is None:
        raise AbsentError("what was lost cannot be told from 0, so that any share would fit")
    return Estimated(found, confidence)


def _against_random(spec: AgainstRandom, evidence: Evidence, confidence: float) -> Estimated:
    from scipy import stats

    ours = _values(spec.first, spec.metric, spec.draws, evidence, math.log)
    random = _values(spec.random, spec.metric, spec.seeds, evidence, math.log)
    # squared errors of both means; Welch's degrees of freedom [4]
    errors = [variance(one) / len(one) for one in (ours, random)]
    if not sum(errors):
        raise AbsentError("neither side differs from repetition to repetition: nothing to judge by")
    shares = [error**2 / (len(one) - 1) for error, one in zip(errors, (ours, random), strict=True)]
    freedom = sum(errors) ** 2 / sum(shares)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * sum(errors) ** 0.5
    difference = fmean(ours) - fmean(random)
    return Estimated(Interval(difference, difference - half, difference + half), confidence)


def _times(spec: Times, evidence: Evidence, confidence: float) -> Estimated:
    ratios = _ratios(spec, spec.measured, evidence)
    if spec.over is None:
        found = _median(ratios, confidence)
    elif spec.same_rounds:
        below = _ratios(spec, spec.over, evidence)
        if len(ratios) != len(below):
            raise AbsentError(f"{spec.measured} and {spec.over} were not timed in the same rounds")
        found = _median([one / other for one, other in zip(ratios, below, strict=True)], confidence)
    else:
        # either interval is taken wider, so that together they cover
        each = 0.5 + confidence / 2
        found = _quotient(_median(ratios, each), _median(_ratios(spec, spec.over, evidence), each))
    if not spec.as_speed:
        return found
    value, low, high = found.interval
    return Estimated(Interval(1 / value, 1 / high, 1 / low), found.confidence)


def _median(values: list[float], confidence: float) -> Estimated:
    found = median_interval(values, confidence)
    return Estimated(Interval(found.median, found.low, found.high), found.coverage)


def _quotient(above: Estimated, below: Estimated) -> Estimated:
    over, under = above.interval, below.interval
    found = Interval(over.value / under.value, over.low / under.high, over.high / under.low)
    return Estimated(found, above.confidence + below.confidence - 1)


def _ratios(spec: Times, named: str | tuple[str, ...], evidence: Evidence) -> list[float]:
    """By round, the geometric mean over comparisons of measured over alternative."""
    names = [named] if isinstance(named, str) else named
    found = [evidence.comparison(spec.section, name) for name in names]
    pairs = [one.cpu_seconds if spec.clock == "cpu" else one.wall_seconds for one in found]
    if len({len(rounds) for rounds in pairs}) > 1:
        raise AbsentError(f"{', '.join(names)} were not timed in the same rounds")
    logs = [[math.log(ours / other) for ours, other in rounds] for rounds in pairs]
    return [math.exp(fmean(of_round)) for of_round in zip(*logs, strict=True)]


def _power(spec: Power, evidence: Evidence, confidence: float) -> Estimated:
    from scipy import stats

    rounds: dict[int, list[float]] = {}
    for one in evidence.section(spec.section).comparisons:
        name, _, length = one.name.rpartition("/")
        if name == spec.measured and int(length) >= spec.from_length:
            pairs = one.cpu_seconds if spec.clock == "cpu" else one.wall_seconds
            rounds[int(length)] = [math.log(ours) for ours, _ in pairs]
    if len(rounds) < 3:
        raise AbsentError(f"a power needs three lengths, '{spec.measured}' has {len(rounds)}")
    lengths = [math.log(length) for length in rounds]
    slopes = [
        float(stats.linregress(lengths, of_round).slope)
        for of_round in zip(*rounds.values(), strict=True)
    ]
    return _median(slopes, confidence)


def _parameter_growth(spec: ParameterGrowth, _: Evidence, __: float) -> Estimated:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from sentinel_research.models.agency import add_agency

    # shapes are all that is counted
    with torch.device("meta"):
        config = AutoConfig.for_model(spec.model_type, **spec.config)
        model = AutoModelForCausalLM.from_config(config)
        before = model.num_parameters()
        growth = add_agency(model, spec.agency).num_parameters() / before - 1
    return Estimated(Interval(growth, growth, growth), 1.0)


def _trade_off(spec: TradeOff, evidence: Evidence, confidence: float) -> Estimated:
    # either interval is taken wider, so that together they cover
    each = 0.5 + confidence / 2
    loss = _paired(spec.quality, evidence, each)
    gain = _times(spec.speed, evidence, each)
    speed = Interval(*map(math.log, gain.interval))
    cost = Interval(*(spec.weight * one for one in loss.interval))
    found = Interval(speed.value - cost.value, speed.low - cost.high, speed.high - cost.low)
    return Estimated(found, loss.confidence + gain.confidence - 1)


def _values(
    side: Side,
    metric: str,
    seeds: Iterable[int],
    evidence: Evidence,
    scaled: Callable[[float], float],
) -> list[float]:
    return [_value(side, metric, seed, evidence, scaled) for seed in seeds]


def _value(
    side: Side, metric: str, seed: int, evidence: Evidence, scaled: Callable[[float], float]
) -> float:
    """One side of one repetition, on the scale of the statistic."""
    run = side.run.replace(SEED, str(seed))
    cells = _cells(side, run, seed, evidence)
    metric = side.metric or metric
    value = fmean(scaled(_metric(one, metric)) for one in cells)
    if isinstance(side.relative_to, Side):
        value -= _value(side.relative_to, metric, seed, evidence, scaled)
    elif side.relative_to is not None:
        beside = evidence.cell(run, side.relative_to.replace(SEED, str(seed)))
        value -= scaled(_metric(beside, metric))
    return value


def _cells(side: Side, run: str, seed: int, evidence: Evidence) -> Sequence[CellRecord]:
    if side.arm is not None:
        found = [
            cell
            for cell in evidence.record(run).cells
            if cell.arm is not None
            and cell.arm.name == side.arm
            and cell.arm.seed in (seed, None)
            and (not cell.arm.is_tuning or cell.arm.is_chosen)
            and cell.evaluation is not None
        ]
        if not found:
            raise AbsentError(f"the run '{run}' has no '{side.arm}' of seed {seed}")
        return found[:1]
    if side.cell is None:
        raise AbsentError(f"the statistic names no cell of the run '{run}'")
    names = (side.cell,) if isinstance(side.cell, str) else side.cell
    return [evidence.cell(run, name.replace(SEED, str(seed))) for name in names]


def _metric(cell: CellRecord, metric: str) -> float:
    assert cell.evaluation is not None  # cells are measured ones
    task, _, name = metric.partition("/")
    if task == _GENERATION:
        quality = (cell.evaluation.generation or {}).get("quality", {})
        value = quality.get(name, {}).get("value")
        if value is None:
            raise AbsentError(f"'{cell.id}' has no {metric}: it has {', '.join(quality) or 'none'}")
        return float(value)
    if task == _LONG_CONTEXT:
        for bucket in (cell.evaluation.long_context or {}).get("buckets", ()):
            if str(bucket["start"]) == name and bucket["nats_per_token"] is not None:
                return float(bucket["nats_per_token"])
        raise AbsentError(f"'{cell.id}' has no {metric}")
    try:
        return cell.evaluation.measurement(task, name).value
    except KeyError as error:
        raise AbsentError(f"'{cell.id}': {error.args[0]}") from error
