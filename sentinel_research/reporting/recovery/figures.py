"""The metric by fraction before and after every recovery: one panel per scorer."""

from collections.abc import Iterable

from matplotlib.axes import Axes

from sentinel_research.reporting.criteria.scores import Mean
from sentinel_research.reporting.curves import Frame, frame_around
from sentinel_research.reporting.figures import scale_values
from sentinel_research.reporting.intervals import interval_parts
from sentinel_research.reporting.numbers import fraction, number
from sentinel_research.reporting.recovery.panels import add_legend, panels, plain_name, style_of
from sentinel_research.reporting.recovery.results import RecoveryResult, TaskRecoveries
from sentinel_research.reporting.recovery.scale import Scale
from sentinel_research.reporting.svg import (
    INK,
    Arm,
    Drawing,
    drawing_style,
    marked,
    printable,
    save,
)

_COLUMNS = 3
# between recoveries of one fraction, so that their intervals can be told apart
_APART = 0.02


def draw_recoveries(
    found: TaskRecoveries, recoveries: list[str], synthetic_data: bool
) -> Drawing | None:
    """Draw what was measured before and after, with the dense model and its controls as lines.

    Args:
        found: The recoveries on one task.
        recoveries: All names of the run, in their order.
        synthetic_data: Whether to mark the figure.

    Returns:
        The figure; None if nothing that was pruned was measured.
    """
    pruned = [one for one in found.results if not one.is_dense and (one.before or one.after)]
    if not pruned:
        return None
    scale = found.scale
    scorers = list(dict.fromkeys(one.scorer for one in pruned))
    label = scale.metric.label.replace("_", " ")
    title = f"{label[0].upper()}{label[1:]} before and after recovery on {scale.task}"
    with drawing_style():
        figure, drawn = panels(scorers, _COLUMNS, synthetic_data, across="fraction pruned")
        frame = _frame(found)
        for axes, scorer in zip(drawn, scorers, strict=True):
            own = [one for one in pruned if one.scorer == scorer]
            _draw_references(axes, found, recoveries)
            _draw_before(axes, own, scale)
            for recovery in dict.fromkeys(one.recovery for one in own):
                same = [one for one in own if one.recovery == recovery]
                _draw_after(axes, same, found, recoveries)
            shares = sorted({one.fraction for one in pruned})
            axes.set_xticks(shares, [f"{share:g}" for share in shares])
        scale_values(drawn[0], frame)
        better = {True: " (higher is better)", False: " (lower is better)", None: ""}
        figure.supylabel(printable(label) + better[scale.higher_is_better], fontsize=10)
        add_legend(figure, drawn)
        return save(
            figure,
            plain_name("recovery", scale.task),
            title,
            marked("; ".join(_in_words(found)), synthetic_data),
            labels=_labels(found, pruned),
            arms=_arms(pruned, recoveries),
        )


def _means(found: TaskRecoveries) -> Iterable[Mean]:
    for one in found.results:
        yield from (mean for mean in (one.before, one.after) if mean is not None)


def _frame(found: TaskRecoveries) -> Frame:
    scale = found.scale
    values = [scale.in_metric(mean.value) for mean in _means(found)]
    intervals = [scale.interval_in_metric(one.interval) for one in _means(found) if one.interval]
    return frame_around(values, intervals, scale.is_log)


def _draw_references(axes: Axes, found: TaskRecoveries, recoveries: list[str]) -> None:
    scale = found.scale
    if found.dense is not None:
        value = scale.in_metric(found.dense.value)
        axes.axhline(value, color=INK, linewidth=1.2, label="dense, as it is", gid="dense")
    for one in found.results:
        if not one.is_dense or one.after is None:
            continue
        colour = style_of(one.recovery, recoveries)["color"]
        name = f"dense, after {one.recovery}"
        value = scale.in_metric(one.after.value)
        axes.axhline(value, color=colour, linestyle=":", linewidth=1.4, label=printable(name))


def _draw_before(axes: Axes, results: list[RecoveryResult], scale: Scale) -> None:
    known = {one.fraction: one.before.value for one in results if one.before is not None}
    shares = sorted(known)
    axes.plot(
        shares,
        [scale.in_metric(known[share]) for share in shares],
        color=INK,
        linestyle="--",
        marker="x",
        markersize=5,
        linewidth=1.4,
        label="pruned, not recovered",
        gid=plain_name("before", results[0].scorer),
    )


def _draw_after(
    axes: Axes, results: list[RecoveryResult], found: TaskRecoveries, recoveries: list[str]
) -> None:
    scale, recovery = found.scale, results[0].recovery
    style = style_of(recovery, recoveries)
    shares = [one.fraction for one in found.results if not one.is_dense]
    wide = max(shares) - min(shares) or 1.0
    aside = _APART * wide * (recoveries.index(recovery) - (len(recoveries) - 1) / 2)
    known = sorted((one.fraction + aside, one.after) for one in results if one.after is not None)
    axes.plot(
        [share for share, _ in known],
        [scale.in_metric(mean.value) for _, mean in known],
        **style,
        markersize=4.5,
        linewidth=1.6,
        label=printable(recovery),
        gid=plain_name("after", results[0].scorer, recovery),
    )
    bars = [(share, scale.interval_in_metric(m.interval)) for share, m in known if m.interval]
    if not bars:
        return
    errors = [[one.value - one.low for _, one in bars], [one.high - one.value for _, one in bars]]
    drawn = axes.errorbar(
        [share for share, _ in bars],
        [one.value for _, one in bars],
        errors,
        fmt="none",
        ecolor=style["color"],
        capsize=3,
        elinewidth=1,
    )
    parts = interval_parts(plain_name(results[0].scorer, recovery))
    for artist, part in zip(drawn.get_children(), parts, strict=True):
        artist.set_gid(part)


def _labels(found: TaskRecoveries, pruned: list[RecoveryResult]) -> dict[str, list[str]]:
    """What every marker says."""
    scale, labels = found.scale, {}
    before: dict[str, dict[float, Mean]] = {}
    after: dict[tuple[str, str], dict[float, Mean]] = {}
    for one in pruned:
        if one.before is not None:
            before.setdefault(one.scorer, {})[one.fraction] = one.before
        if one.after is not None:
            after.setdefault((one.scorer, one.recovery), {})[one.fraction] = one.after
    for scorer, known in before.items():
        labels[plain_name("before", scorer)] = [
            f"{scorer}, {fraction(share)} pruned, not recovered: {_value(scale, known[share])}"
            for share in sorted(known)
        ]
    for (scorer, recovery), known in after.items():
        labels[plain_name("after", scorer, recovery)] = [
            f"{scorer}, {fraction(share)} pruned, after {recovery}: {_value(scale, known[share])}"
            for share in sorted(known)
        ]
    return labels


def _value(scale: Scale, mean: Mean) -> str:
    text = number(scale.in_metric(mean.value))
    if mean.interval is None:
        return text
    _, low, high = scale.interval_in_metric(mean.interval)
    return f"{text} (95% over seeds: {number(low)} to {number(high)})"


def _arms(pruned: list[RecoveryResult], recoveries: list[str]) -> list[Arm]:
    """What was not recovered, and every recovery, in all panels."""
    scorers = list(dict.fromkeys(one.scorer for one in pruned))
    parts = tuple(plain_name("before", scorer) for scorer in scorers)
    found = [Arm("pruned, not recovered", INK, "x", "--", parts)]
    for recovery in dict.fromkeys(one.recovery for one in pruned):
        style = style_of(recovery, recoveries)
        parts = ()
        for scorer in scorers:
            same = [one for one in pruned if (one.scorer, one.recovery) == (scorer, recovery)]
            if same:
                parts += (plain_name("after", scorer, recovery),)
            if any(one.after is not None and one.after.interval for one in same):
                parts += interval_parts(plain_name(scorer, recovery))
        found.append(Arm(recovery, style["color"], style["marker"], "-", parts))
    return found


def _in_words(found: TaskRecoveries) -> Iterable[str]:
    scale = found.scale
    if found.dense is not None:
        yield f"dense model: {number(scale.in_metric(found.dense.value))}"
    for one in found.results:
        if one.after is not None:
            where = "dense model" if one.is_dense else f"{one.scorer} at {fraction(one.fraction)}"
            yield f"{where} after {one.recovery}: {number(scale.in_metric(one.after.value))}"
