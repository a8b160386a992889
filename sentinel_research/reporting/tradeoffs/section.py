"""The parts of a report that weigh quality against cost, each with its figure or what it lacks."""

from sentinel_research.record import RunRecord
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.estimates import Group, list_tasks
from sentinel_research.reporting.numbers import too_many
from sentinel_research.reporting.outcome import compares_models
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.reporting.tradeoffs.fronts import fronts, improvement
from sentinel_research.reporting.tradeoffs.levels import by_task, levels, radar
from sentinel_research.reporting.tradeoffs.task import Lack, measure


def weigh(record: RunRecord, groups: list[Group]) -> tuple[Part, ...]:
    """Everything that a run shows of quality and cost together.

    Args:
        record: Any run.
        groups: Its cells, grouped.

    Returns:
        The parts; none if the run prunes nothing or compares other models than prunings.
    """
    if compares_models(record) or not any(group.cells for group in groups if not group.is_dense):
        return ()
    why = too_many(len(groups), "group")
    if why:
        ask = "the table and report.json have them; a run of fewer fractions or scorers is drawn"
        return (_not_drawn([Lack("all figures of trade-offs", why, ask)]),)
    tasks = [found for task in list_tasks(record) if (found := measure(record, groups, task))]
    lacks: list[Lack] = []
    parts: list[Part] = []
    for found in tasks:
        parts += fronts(record, groups, found, lacks)
        parts += improvement(record, groups, found, lacks)
    parts += by_task(record, groups, tasks, lacks)
    parts += radar(record, groups, tasks, lacks)
    parts += levels(record, groups, lacks)
    if not (record.recipe.get("evaluate") or {}).get("long_context"):
        lacks.append(
            Lack(
                "perplexity by position",
                "no sequence was scored position by position",
                "add `evaluate.long_context` to the recipe: --set "
                "evaluate.long_context={corpus: NAME, lengths: [64, 128, 256]}",
            )
        )
    lacks.append(
        Lack(
            "memory and loading",
            "a run measures neither",
            "sentinel profile MODEL --granularity head --fraction 0.5 --output DIR",
        )
    )
    return (*parts, _not_drawn(lacks))


def _not_drawn(lacks: list[Lack]) -> Part:
    # the same is often missing for every task
    shown = list(dict.fromkeys(lacks))
    rows = tuple((Cell(one.figure), Cell(one.missing), Cell(one.ask, kind="code")) for one in shown)
    table = Table(("figure", "what is missing", "what to run or add"), rows)
    return Part("not-drawn", "Not drawn", table, None, (), "", shown)
