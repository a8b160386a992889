"""Agency beside every other arm: the ratio, the test, and the verdict after Holm's correction."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sentinel_research.compare_agency.points import HIGHER_IS_BETTER, PERPLEXITY, Key, Values
from sentinel_research.compare_agency.schema import Contrast
from sentinel_research.judgement.compare import verdict_on
from sentinel_research.paired import paired_ratio, paired_test
from sentinel_research.statistics import holm

AGENCY = "agency"
OTHERS = ("masked", "removed", "random")
LEVEL = 0.05
_ITERATIONS, _DOCUMENTS = "Student's t over iterations", "documents of the first iteration"
# nobody claimed anything about these
_NOT_TESTED = ("weights_mb", "writing_mb")


class Tested(NamedTuple):
    """A p value, or why there is none."""

    p_value: float | None
    reason: str
    test: str


OnDocuments = Callable[[str, float], Tested]
"""Of an arm and a level: agency's perplexity tested against it on documents."""


def contrasts_of(
    values: Values, iterations: int, on_documents: OnDocuments | None
) -> tuple[Contrast, ...]:
    """Test agency against every other arm, at every level and by every metric.

    Args:
        values: What was measured.
        iterations: How many each value must have.
        on_documents: Tests perplexity where an iteration trains nothing, so that its values hardly
            differ; None tests it over iterations.
    """
    pairs = list(_pairs(values, iterations))
    tested = [
        on_documents(second.arm, second.level)
        if first.metric == PERPLEXITY and on_documents is not None
        else _over_iterations(first.metric, *_lists(values, first, second))
        for first, second in pairs
    ]
    p_values = [one.p_value for one in tested if one.p_value is not None]
    adjusted = iter(holm(p_values))
    return tuple(
        _contrast(values, pair, one, None if one.p_value is None else next(adjusted))
        for pair, one in zip(pairs, tested, strict=True)
    )


def _pairs(values: Values, iterations: int) -> Iterator[tuple[Key, Key]]:
    for key, own in values.items():
        if key.arm != AGENCY or not key.level or key.metric in _NOT_TESTED:
            continue
        for other in OTHERS:
            second = key._replace(arm=other)
            if len(own) == len(values.get(second, {})) == iterations:
                yield key, second


def _lists(values: Values, *keys: Key) -> list[list[float]]:
    return [[values[key][index] for index in sorted(values[key])] for key in keys]


def _over_iterations(metric: str, first: list[float], second: list[float]) -> Tested:
    if len(first) < 2:
        return Tested(None, "one iteration has no spread: ask for more --iterations", _ITERATIONS)
    # times and perplexities differ by factors
    is_ratio = metric in (PERPLEXITY, "first_token_ms", "tokens_per_second")
    pair = [[math.log(one) for one in each] if is_ratio else each for each in (first, second)]
    found = paired_test(*pair)
    if found is None:
        return Tested(None, "the same difference in every iteration", _ITERATIONS)
    return Tested(found.p_value, "", _ITERATIONS)


def _contrast(
    values: Values, pair: tuple[Key, Key], tested: Tested, adjusted: float | None
) -> Contrast:
    key, second = pair
    one, other = _lists(values, *pair)
    means = [sum(each) / len(each) for each in (one, other)]
    interval = paired_ratio(one, other) if len(one) > 1 and means[1] else None
    ratio = means[0] / means[1] if means[1] else None
    return Contrast(
        first=key.arm,
        second=second.arm,
        level=key.level,
        metric=key.metric,
        temperature=key.temperature,
        first_mean=means[0],
        second_mean=means[1],
        ratio=ratio,
        ratio_low=None if interval is None else interval.low,
        ratio_high=None if interval is None else interval.high,
        p_value=tested.p_value,
        p_adjusted=adjusted,
        verdict="not comparable"
        if adjusted is None
        else verdict_on(
            means[0] - means[1], adjusted, LEVEL, higher_is_better=HIGHER_IS_BETTER[key.metric]
        ),
        reason=tested.reason,
        test=tested.test,
    )


def document_tester(plain: str, agency: str, cells: dict[tuple[str, float], str]) -> OnDocuments:
    """Test perplexity on the documents of two runs.

    Args:
        plain: Folder of the plain model's run.
        agency: Folder of the other's.
        cells: By arm and level the id of its cell.
    """
    from sentinel_research.judgement import compare
    from sentinel_research.specs import JudgementSpec

    def tested(arm: str, level: float) -> Tested:
        names = [f"{plain}:{cells[arm, level]}", f"{agency}:{cells[AGENCY, level]}"]
        (finding,) = compare(names, JudgementSpec(metrics=("token_perplexity",))).findings
        if finding.evidence is None:
            return Tested(None, finding.reason, _DOCUMENTS)
        return Tested(finding.evidence.p_value, "", _DOCUMENTS)

    return tested
