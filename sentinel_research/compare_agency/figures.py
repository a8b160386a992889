"""The figures of a comparison: speed, quality, improvement, all together, and the highest level."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentinel_research.compare_agency.points import HIGHER_IS_BETTER
from sentinel_research.compare_agency.schema import AgencyResults, Contrast, Point
from sentinel_research.reporting.figures import COLOURS, MARKERS
from sentinel_research.reporting.numbers import number
from sentinel_research.reporting.svg import INK, MARK, Drawing, drawing_style, marked, save

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
_PANEL_INCHES = (3.6, 3.0)
_SEEN_APART = 0.6


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
        shown = [metric for metric in metrics if metric in measured]
        if shown:
            found.append(_draw_panels(results, name, title, shown))
    contrasts = [one for one in results.contrasts if one.second == "masked" and one.ratio]
    if contrasts:
        found.append(_draw_improvement(results, contrasts))
    radar = list(radar_shares(results))
    if len({metric for _, metric, _ in radar}) >= 3:
        found.append(_draw_radar(results, radar))
    return found


def radar_shares(results: AgencyResults) -> Iterator[tuple[str, str, float]]:
    """What the radar shows: by arm and metric its share of the dense model's value.

    1 is the dense model, more is better: perplexity, latency and repetition are inverted. Text is
    of the first temperature.

    Args:
        results: Of a comparison.
    """
    level = max((point.level for point in results.points), default=0.0)
    temperature = results.config["temperatures"][0]
    at: dict[tuple[str, float, str], float] = {
        (one.arm, one.level, one.metric): one.mean
        for one in results.points
        if one.temperature in (None, temperature)
    }
    for arm in ARM_ORDER:
        for metric in (*SPEED, *QUALITY):
            own, dense = at.get((arm, level, metric)), at.get(("dense", 0.0, metric))
            if own and dense:
                share = own / dense
                yield arm, metric, share if HIGHER_IS_BETTER[metric] else 1 / share


def _draw_panels(results: AgencyResults, name: str, title: str, metrics: Sequence[str]) -> Drawing:
    temperatures = results.config["temperatures"]
    columns = min(3, len(metrics))
    with drawing_style():
        figure, panels = _panels(len(metrics), columns, title, results.synthetic_data)
        words = []
        for axes, metric in zip(panels, metrics, strict=True):
            own = [one for one in results.points if one.metric == metric]
            # one temperature in a panel: the first, and the file has all
            own = [one for one in own if one.temperature in (None, temperatures[0])]
            _draw_metric(axes, own)
            direction = "higher" if HIGHER_IS_BETTER[metric] else "lower"
            aside = f", temperature {temperatures[0]:g}" if own and own[0].temperature else ""
            axes.set_title(f"{_WORDS[metric]} ({direction} is better{aside})", fontsize=8)
            words.append(f"{_WORDS[metric]}: {_in_words(own)}")
        _legend(figure, panels)
        return save(figure, name, title, marked(". ".join(words), results.synthetic_data))


def _draw_metric(axes: Axes, points: Sequence[Point]) -> None:
    dense = next((one for one in points if one.arm == "dense" and not one.level), None)
    for index, arm in enumerate(ARM_ORDER):
        own = sorted(
            (one for one in points if one.arm == arm and one.level), key=lambda one: one.level
        )
        if not own:
            continue
        start = [] if dense is None else [dense]
        aside = (index - (len(ARM_ORDER) - 1) / 2) * _SEEN_APART
        axes.plot(
            [0.0, *[one.level + aside for one in own]][-len(own) - len(start) :],
            [one.mean for one in [*start, *own]],
            color=COLOURS[index],
            marker=MARKERS[index],
            markersize=4,
            linewidth=1.4,
            label=arm,
            gid=f"arm-{arm}",
        )
        for one in own:
            _interval(axes, one.level + aside, one.mean, one.low, one.high, COLOURS[index])
    human = next((one for one in points if one.arm == _HUMAN), None)
    if human is not None:
        axes.axhline(human.mean, color=INK, linestyle=(0, (4, 3)), linewidth=1, label=_HUMAN)
    if dense is not None:
        axes.plot([0.0], [dense.mean], "*", color=INK, markersize=9, label="dense", gid="dense")
    axes.set_xlabel("percent of the heads pruned")


def _draw_improvement(results: AgencyResults, contrasts: Sequence[Contrast]) -> Drawing:
    title = "Agency over the same heads masked"
    metrics = list(dict.fromkeys(one.metric for one in contrasts))
    with drawing_style():
        figure, panels = _panels(len(metrics), min(3, len(metrics)), title, results.synthetic_data)
        words = []
        for axes, metric in zip(panels, metrics, strict=True):
            own = [one for one in contrasts if one.metric == metric]
            for index, temperature in enumerate(dict.fromkeys(one.temperature for one in own)):
                line = sorted(
                    (o for o in own if o.temperature == temperature), key=lambda one: one.level
                )
                colour = COLOURS[index % len(COLOURS)]
                label = "any temperature" if temperature is None else f"at {temperature:g}"
                ratios = [_percent(one.ratio) for one in line]
                axes.plot(
                    [one.level for one in line], ratios, color=colour, marker="o", label=label
                )
                for one, ratio in zip(line, ratios, strict=True):
                    low, high = _percent(one.ratio_low), _percent(one.ratio_high)
                    _interval(axes, one.level, ratio, low, high, colour)
                words.append(f"{_WORDS[metric]} {label}: {', '.join(map(number, ratios))} percent")
            axes.axhline(0.0, color=INK, linewidth=0.8)
            direction = "above" if HIGHER_IS_BETTER[metric] else "below"
            axes.set_title(f"{_WORDS[metric]}, % ({direction} 0 is better)", fontsize=8)
            axes.set_xlabel("percent of the heads pruned")
        _legend(figure, panels)
        text = marked(". ".join(words), results.synthetic_data)
        return save(figure, "improvement", title, text)


def _draw_radar(results: AgencyResults, shares: Sequence[tuple[str, str, float]]) -> Drawing:
    level = max(point.level for point in results.points)
    title = f"At {level:g} percent of the heads pruned, shares of the dense model"
    metrics = list(dict.fromkeys(metric for _, metric, _ in shares))
    turns = [2 * math.pi * index / len(metrics) for index in range(len(metrics))]
    with drawing_style():
        figure = Figure(figsize=(5.2, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(projection="polar")
        words = []
        for index, arm in enumerate(ARM_ORDER):
            own = {metric: share for name, metric, share in shares if name == arm}
            if own.keys() != {*metrics}:
                continue
            values = [own[metric] for metric in metrics]
            axes.plot(
                [*turns, turns[0]],
                [*values, values[0]],
                color=COLOURS[index],
                marker=MARKERS[index],
                markersize=4,
                linewidth=1.4,
                label=arm,
                gid=f"radar-{arm}",
            )
            pairs = zip(metrics, values, strict=True)
            words.append(f"{arm}: {', '.join(f'{m} {number(v)}' for m, v in pairs)}")
        axes.set_xticks(turns, [_WORDS[metric] for metric in metrics], fontsize=8)
        axes.tick_params(axis="x", pad=16)
        axes.set_ylim(bottom=0.0)
        figure.suptitle(_marked_title(title, results.synthetic_data), fontsize=9)
        figure.text(
            0.5,
            0.005,
            "1 is the dense model, outside is better: perplexity, latency and repetition inverted",
            ha="center",
            fontsize=7,
        )
        _legend(figure, [axes])
        return save(figure, "radar", title, marked(". ".join(words), results.synthetic_data))


def _panels(num: int, columns: int, title: str, synthetic_data: bool) -> tuple[Figure, list[Axes]]:
    rows = -(-num // columns)
    size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(rows, columns, index + 1) for index in range(num)]
    for axes in panels:
        axes.grid(axis="y")
    colour = MARK if synthetic_data else INK
    figure.suptitle(_marked_title(title, synthetic_data), fontsize=10, color=colour)
    return figure, panels


def _marked_title(title: str, synthetic_data: bool) -> str:
    return f"{title} (synthetic data)" if synthetic_data else title


def _interval(
    axes: Axes, place: float, value: float, low: float | None, high: float | None, colour: str
) -> None:
    if low is None or high is None or not (low <= value <= high):
        return
    axes.errorbar(
        [place], [value], [[value - low], [high - value]], fmt="none", ecolor=colour, capsize=2
    )


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    named: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    figure.legend([*named.values()], [*named], loc="outside lower center", ncols=6, fontsize=8)


def _percent(ratio: float | None) -> float:
    return math.nan if ratio is None else 100 * (ratio - 1)


def _in_words(points: Sequence[Point]) -> str:
    return ", ".join(f"{one.arm} at {one.level:g} percent {number(one.mean)}" for one in points)
