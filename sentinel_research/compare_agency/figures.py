"""The figures of a comparison: speed, quality, improvement, a front, and the highest level."""

from collections.abc import Iterator, Sequence

from sentinel_research.compare_agency.points import HIGHER_IS_BETTER
from sentinel_research.compare_agency.schema import AgencyResults, Contrast, Point
from sentinel_research.reporting.estimates import DENSE
from sentinel_research.reporting.plots import (
    Line,
    Panel,
    Place,
    Share,
    Spread,
    draw_front,
    draw_lines,
    draw_radar,
)
from sentinel_research.reporting.svg import Drawing

ARM_ORDER = ("masked", "removed", "random", "agency")
SPEED = ("tokens_per_second", "first_token_ms")
QUALITY = ("perplexity", "distinct-2", "seq-rep-4")
_WORDS = {
    "tokens_per_second": "tokens per second",
    "first_token_ms": "first token, ms",
    "perplexity": "perplexity",
    "distinct-1": "distinct-1",
    "distinct-2": "distinct-2",
    "seq-rep-4": "seq-rep-4",
    "self-bleu": "self-BLEU",
    "weights_mb": "weights, MiB",
    "writing_mb": "memory while writing, MiB",
}
_HUMAN = "human text"
_ACROSS = "percent of the heads pruned"


def draw_all(results: AgencyResults) -> list[Drawing]:
    """Every figure that has something to show.

    Args:
        results: Of a comparison, in any state.
    """
    measured = {point.metric for point in results.points}
    found = []
    for name, title, metrics in (
        ("speed", "Speed against heads pruned", SPEED),
        ("quality", "Quality against heads pruned", QUALITY),
        ("summary", "All metrics against heads pruned", tuple(HIGHER_IS_BETTER)),
    ):
        panels = [_panel(results, metric) for metric in metrics if metric in measured]
        if any(panel.lines for panel in panels):
            found.append(
                draw_lines(
                    panels,
                    name=name,
                    title=title,
                    across=_ACROSS,
                    synthetic_data=results.synthetic_data,
                )
            )
    contrasts = [one for one in results.contrasts if one.second == "masked" and one.ratio]
    if contrasts:
        found.append(_draw_improvement(results, contrasts))
    for metric, title in (
        ("first_token_ms", "Perplexity against latency"),
        ("tokens_per_second", "Perplexity against time per token"),
    ):
        places = list(_places(results, metric))
        if len(places) > 1:
            found.append(
                draw_front(
                    places,
                    name=f"front_{metric}",
                    title=title,
                    cost="first token, ms" if metric == "first_token_ms" else "ms per token",
                    quality="perplexity",
                    higher_is_better=False,
                    synthetic_data=results.synthetic_data,
                )
            )
    level = max((point.level for point in results.points), default=0.0)
    radar = draw_radar(
        list(radar_shares(results)),
        name="radar",
        title=f"At {level:g} percent of the heads pruned, shares of the dense model",
        synthetic_data=results.synthetic_data,
    )
    return found if radar is None else [*found, radar]


def radar_shares(results: AgencyResults) -> Iterator[Share]:
    """What the radar shows: every arm by every metric beside the dense model, at the highest level.

    Text is of the first temperature.

    Args:
        results: Of a comparison.
    """
    level = max((point.level for point in results.points), default=0.0)
    at = {(one.arm, one.level, one.metric): one.mean for one in _shown(results)}
    for arm in ARM_ORDER:
        for metric in (*SPEED, *QUALITY):
            own, dense = at.get((arm, level, metric)), at.get((DENSE, 0.0, metric))
            if own and dense:
                yield Share(arm, _WORDS[metric], own, dense, HIGHER_IS_BETTER[metric])


def _shown(results: AgencyResults) -> Iterator[Point]:
    """The points of one temperature, the first, and the file has all."""
    first = results.config["temperatures"][0]
    return (one for one in results.points if one.temperature in (None, first))


def _spread(point: Point) -> Spread:
    return Spread(point.mean, point.low, point.high)


def _panel(results: AgencyResults, metric: str) -> Panel:
    points = [one for one in _shown(results) if one.metric == metric]
    lines = []
    for arm in ARM_ORDER:
        own = sorted((one.level, _spread(one)) for one in points if one.arm == arm and one.level)
        if own:
            lines.append(Line(arm, tuple(own)))
    dense = next((one for one in points if one.arm == DENSE and not one.level), None)
    human = next((one for one in points if one.arm == _HUMAN), None)
    direction = "higher" if HIGHER_IS_BETTER[metric] else "lower"
    has_noise = any(one.temperature is not None for one in points)
    aside = f", temperature {results.config['temperatures'][0]:g}" if has_noise else ""
    return Panel(
        f"{_WORDS[metric]} ({direction} is better{aside})",
        tuple(lines),
        None if dense is None else _spread(dense),
        None if human is None else (human.mean, _HUMAN),
    )


def _draw_improvement(results: AgencyResults, contrasts: Sequence[Contrast]) -> Drawing:
    panels = []
    for metric in dict.fromkeys(one.metric for one in contrasts):
        own = [one for one in contrasts if one.metric == metric]
        lines = []
        for temperature in dict.fromkeys(one.temperature for one in own):
            arm = "any temperature" if temperature is None else f"at {temperature:g}"
            points = sorted(
                (one.level, _percent(one)) for one in own if one.temperature == temperature
            )
            lines.append(Line(arm, tuple(points)))
        direction = "above" if HIGHER_IS_BETTER[metric] else "below"
        title = f"{_WORDS[metric]}, % ({direction} 0 is better)"
        panels.append(Panel(title, tuple(lines), reference=(0.0, "")))
    return draw_lines(
        panels,
        name="improvement",
        title="Agency over the same heads masked",
        across=_ACROSS,
        synthetic_data=results.synthetic_data,
    )


def _percent(one: Contrast) -> Spread:
    assert one.ratio is not None  # others are not drawn
    ends = (one.ratio_low, one.ratio_high)
    low, high = (None if end is None else 100 * (end - 1) for end in ends)
    # Fieller's interval may leave its ratio out, and is none then
    if low is None or high is None or not low <= 100 * (one.ratio - 1) <= high:
        return Spread(100 * (one.ratio - 1))
    return Spread(100 * (one.ratio - 1), low, high)


def _places(results: AgencyResults, metric: str) -> Iterator[Place]:
    """Every arm at every level by its time and its perplexity."""
    at = {(one.arm, one.level, one.metric): _spread(one) for one in _shown(results)}
    for arm, level in dict.fromkeys((one.arm, one.level) for one in results.points):
        time, quality = at.get((arm, level, metric)), at.get((arm, level, "perplexity"))
        if time is not None and quality is not None:
            cost = time if metric == "first_token_ms" else _inverse(time)
            yield Place(arm, f"{arm} at {level:g} percent", cost, quality)


def _inverse(speed: Spread) -> Spread:
    """Milliseconds per token."""
    if speed.low is None or speed.high is None or speed.low <= 0:
        return Spread(1000 / speed.value)
    return Spread(1000 / speed.value, 1000 / speed.high, 1000 / speed.low)
