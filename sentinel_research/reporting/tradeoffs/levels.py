"""Every task, every measure and every level beside the dense model."""

from collections.abc import Iterator

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.estimates import Group
from sentinel_research.reporting.numbers import fraction
from sentinel_research.reporting.plots import (
    Line,
    Panel,
    RowOf,
    Share,
    Spread,
    draw_lines,
    draw_radar,
    draw_rows,
)
from sentinel_research.reporting.plots.radar import LEAST_AXES, NORMALISATION
from sentinel_research.reporting.tradeoffs import measured
from sentinel_research.reporting.tradeoffs.task import GENERATE, Lack, Measured, last_groups

_BY_TASK = (
    "The metric at the largest fraction over the dense model's. Bars are the intervals of the "
    "pruned model, divided by the dense model's value: the error of that is not in them. "
    "`sentinel compare` tests differences document by document."
)


def by_task(
    record: RunRecord, groups: list[Group], tasks: list[Measured], lacks: list[Lack]
) -> Iterator[Part]:
    title = "Differences by task"
    rows = []
    for found in tasks:
        dense = found.dense(groups)
        for scorer, place in last_groups(groups).items():
            spread = found.values.get(place)
            if spread is not None and dense is not None and dense.value > 0:
                ends = [None if one is None else one / dense.value for one in spread]
                label = f"{found.task}: {found.label}"
                rows.append(RowOf(label, scorer, Spread(ends[0] or 0.0, ends[1], ends[2])))
    if len({row.label for row in rows}) < 2:
        why = "fewer than two tasks were measured on the dense and a pruned model"
        lacks.append(Lack(title, why, "name several in `evaluate.tasks`"))
        return
    share = fraction(max(group.fraction for group in groups))
    figure = draw_rows(
        rows,
        name="tasks",
        title=f"Every task at fraction {share}, over the dense model",
        across="value over the dense model's",
        synthetic_data=record.synthetic_data,
        reference=1.0,
    )
    yield Part("by-task", title, None, figure, (_BY_TASK,), "", rows)


def radar(
    record: RunRecord, groups: list[Group], tasks: list[Measured], lacks: list[Lack]
) -> Iterator[Part]:
    share = fraction(max(group.fraction for group in groups))
    title = f"All measures at fraction {share}, as shares of the dense model's"
    shares: list[Share] = []
    dense_group = next((group for group in groups if group.is_dense), None)
    for scorer, place in last_groups(groups).items():
        group = groups[place]
        for found in tasks:
            own, dense = found.values.get(place), found.dense(groups)
            if own and dense and own.value > 0 and dense.value > 0:
                axis = f"{found.label}\n{found.task}"
                better = found.higher_is_better
                shares.append(Share(scorer, axis, own.value, dense.value, better))
        for axis, read, better in (
            ("tokens per second", measured.tokens_per_second, True),
            ("first token, ms", measured.first_token_ms, False),
        ):
            own = measured.over_cells(group, read)
            dense = measured.over_cells(dense_group, read) if dense_group else None
            if own and dense:
                shares.append(Share(scorer, axis, own.value, dense.value, better))
        counted = measured.over_cells(group, measured.flops_share)
        if counted:
            shares.append(Share(scorer, "operations", counted.value, 1.0, False))
        before = _parameters_before(group)
        after = measured.over_cells(group, measured.parameters)
        if before and after and after.value:
            shares.append(Share(scorer, "parameters", after.value, before, False))
    figure = draw_radar(shares, name="radar", title=title, synthetic_data=record.synthetic_data)
    if figure is None:
        why = f"fewer than {LEAST_AXES} measures of a pruned and the dense model"
        lacks.append(Lack("radar", why, f"name more tasks, or {GENERATE}"))
        return
    yield Part("radar", "At the highest level", None, figure, (f"{NORMALISATION}.",), "", shares)


def _parameters_before(group: Group) -> float | None:
    known = [(cell.prune or {}).get("num_parameters_before") for cell in group.cells]
    return next((float(one) for one in known if one is not None), None)


def levels(record: RunRecord, groups: list[Group], lacks: list[Lack]) -> Iterator[Part]:
    dense_group = next((group for group in groups if group.is_dense), None)
    pruned = [group for group in groups if not group.is_dense]
    speed = []
    for label, read in (
        ("tokens per second after the first (higher is better)", measured.tokens_per_second),
        ("first token, ms (lower is better)", measured.first_token_ms),
    ):
        start = measured.over_cells(dense_group, read) if dense_group else None
        speed.append(Panel(label, _lines(pruned, read), start))
    if any(panel.lines for panel in speed):
        figure = draw_lines(
            speed,
            name="levels_speed",
            title="Speed of writing by fraction",
            across="fraction pruned",
            synthetic_data=record.synthetic_data,
        )
        notes = ("Medians of repetitions with their quartiles, one model after the other.",)
        yield Part("levels-speed", "Speed over levels", None, figure, notes, "", speed)
    else:
        lacks.append(Lack("speed over levels", "no model was timed while it writes", GENERATE))
    counts = _lines(pruned, measured.parameters)
    if len(counts) < 2:
        why = "fewer than two scorers have their parameters counted"
        lacks.append(Lack("parameters over levels", why, "the table of results has those of one"))
    else:
        known = [one for group in pruned if (one := _parameters_before(group))]
        start = Spread(known[0]) if known else None
        figure = draw_lines(
            [Panel("parameters that are not zero", counts, start)],
            name="levels_parameters",
            title="Parameters by fraction",
            across="fraction pruned",
            synthetic_data=record.synthetic_data,
        )
        notes = ("Counted on every model; of several masks the median and the range.",)
        yield Part("levels-parameters", "Parameters over levels", None, figure, notes, "", counts)


def _lines(groups: list[Group], read: measured.Read) -> tuple[Line, ...]:
    found: dict[str, list[tuple[float, Spread]]] = {}
    for group in groups:
        spread = measured.over_cells(group, read)
        if spread is not None:
            found.setdefault(group.scorer, []).append((group.fraction, spread))
    return tuple(Line(arm, tuple(points)) for arm, points in found.items())
