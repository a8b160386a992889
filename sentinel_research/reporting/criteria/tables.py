"""The comparison of criteria as tables."""

from sentinel_research.reporting.criteria.against_random import LEVEL, RandomComparison
from sentinel_research.reporting.criteria.agreement import Agreement
from sentinel_research.reporting.criteria.scores import Mean
from sentinel_research.reporting.criteria.stability import ScoreNoise, Stability
from sentinel_research.reporting.numbers import coefficient, fraction, number, p_value, quantity
from sentinel_research.reporting.tables import Cell, Table


def agreement_table(rows: list[Agreement]) -> Table:
    """A row per criterion, the one that agrees most first.

    Args:
        rows: Comparisons with one and the same criterion.
    """
    headers: tuple[str, ...] = ("criterion", "Spearman's rho", "95% interval", "Kendall's tau-b")
    headers += ("rho within layers", "95% interval within", "draws", "units")
    lowest = -2.0
    ranked = sorted(rows, key=lambda row: -(row.spearman.value if row.spearman else lowest))
    return Table(
        headers,
        tuple(
            (
                Cell(row.scorer),
                _mean(row.spearman, row.reason),
                _interval(row.spearman),
                _mean(row.kendall, row.reason),
                _mean(row.within_layers, row.reason),
                _interval(row.within_layers),
                Cell(str(row.spearman.num_draws) if row.spearman else "-", kind="number"),
                Cell(f"{row.num_units:,}", kind="number"),
            )
            for row in ranked
        ),
    )


def stability_table(rows: list[Stability]) -> Table:
    """A row per criterion and fraction.

    Args:
        rows: In the order of the report.
    """
    headers: tuple[str, ...] = ("criterion", "fraction", "overlap", "expected at random")
    headers += ("overlap of halves", "draws")
    return Table(
        headers,
        tuple(
            (
                Cell(row.scorer),
                Cell(fraction(row.fraction), kind="number"),
                _number(row.overlap, row.reason),
                _number(row.expected, row.reason),
                _number(row.halves, "one selection only, or it reads no text"),
                Cell(str(row.num_draws), kind="number"),
            )
            for row in rows
        ),
    )


def noise_table(rows: list[ScoreNoise]) -> Table:
    """A row per criterion.

    Args:
        rows: In the order of the report.
    """
    headers: tuple[str, ...] = ("criterion", "rho with itself", "noise to signal", "draws")
    return Table(
        headers,
        tuple(
            (
                Cell(row.scorer),
                _number(row.self_correlation, row.reason),
                _number(row.noise_to_signal, row.reason),
                Cell(str(row.num_draws), kind="number"),
            )
            for row in rows
        ),
    )


def random_table(found: RandomComparison, metric: str) -> Table:
    """A row per criterion and fraction.

    Args:
        found: At least one comparison.
        metric: What was compared.
    """
    headers: tuple[str, ...] = (
        "criterion",
        "fraction",
        metric,
        "masks beaten",
        "exact p",
        "after Holm",
    )
    headers += ("exact verdict", "t", "t test p", "after Holm (t)", "t verdict")
    rows = []
    for row in found.rows:
        place, t = row.position, row.prediction
        rows.append(
            (
                Cell(row.scorer),
                Cell(fraction(row.fraction), kind="number"),
                Cell(number(row.value), str(row.value), "number"),
                Cell(f"{place.num_beaten} of {place.num_reference}", kind="number"),
                Cell(p_value(place.p_better), str(place.p_better), "number"),
                Cell(p_value(row.exact_p_adjusted), str(row.exact_p_adjusted), "number"),
                _verdict(row.exact_verdict),
                Cell("-") if t is None else Cell(f"{t.t:.1f}", str(t.t), "number"),
                Cell("-") if t is None else Cell(p_value(t.p_value), str(t.p_value), "number"),
                Cell("-")
                if row.t_p_adjusted is None
                else Cell(p_value(row.t_p_adjusted), str(row.t_p_adjusted), "number"),
                _verdict(row.t_verdict or "no spread"),
            )
        )
    return Table(headers, tuple(rows))


def explain_random(found: RandomComparison) -> tuple[str, ...]:
    """What the comparison with random masks can and cannot tell, in sentences.

    Args:
        found: At least one comparison.
    """
    masks = min(found.num_masks.values())
    num = len(found.rows)
    first = (
        f"The exact p is (1 + masks at least as good) / (1 + masks), one-sided. Holm's correction "
        f"is over {quantity(num, 'comparison')} of this table, two-sided. A criterion with several "
        "calibration seeds is tested by its mean, which makes both tests cautious."
    )
    sentences = [first]
    if masks < found.masks_needed:
        sentences.append(
            f"With {quantity(masks, 'mask')} no exact p is below {1 / (1 + masks):.3f}, and after "
            f"the correction none is below {LEVEL}: that takes {found.masks_needed:,} masks. The "
            "exact verdict cannot be anything else."
        )
    scale = "the logarithm of the metric" if found.is_log else "the metric"
    known = ", ".join(
        f"{p_value(p)} at {fraction(share)}" for share, p in sorted(found.normality_p.items())
    )
    sentences.append(
        f"The t test asks whether one more random mask would lie as far out, if {scale} is normal "
        f"over masks. Shapiro and Wilk's p of that: {known or 'too few masks to compute'}."
    )
    sentences.append(f'"Better" and "worse" mean an adjusted two-sided p below {LEVEL}.')
    return tuple(sentences)


def _verdict(text: str) -> Cell:
    if text == "better":
        return Cell(text, kind="good")
    return Cell(text, kind="bad") if text == "worse" else Cell(text)


def _number(value: float | None, reason: str) -> Cell:
    if value is None:
        return Cell("-", reason, "number")
    return Cell(coefficient(value), str(value), "number")


def _mean(mean: Mean | None, reason: str) -> Cell:
    return _number(None if mean is None else mean.value, reason)


def _interval(mean: Mean | None) -> Cell:
    if mean is None or mean.interval is None:
        return Cell("-", "one draw has no interval", "number")
    low, high = coefficient(mean.interval.low), coefficient(mean.interval.high)
    return Cell(f"{low} to {high}", "t over draws", "number")
