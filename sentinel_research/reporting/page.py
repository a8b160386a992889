"""Everything a report says, in the order in which it says it, without any markup."""

import shlex
from typing import Any, NamedTuple

import yaml

from sentinel_research.recipe import load_recipe, shipped_recipes
from sentinel_research.record import RECORD_FILE, RunRecord
from sentinel_research.reporting import tables
from sentinel_research.reporting.architectures import compare_architectures, long_context
from sentinel_research.reporting.criteria import Part, compare_criteria, compare_on_task
from sentinel_research.reporting.criteria.panels import MOST_PANELS, draw_panels
from sentinel_research.reporting.curves import TaskCurves, explain_intervals, task_curves
from sentinel_research.reporting.downstream import compare_downstream
from sentinel_research.reporting.estimates import (
    FLOOR,
    FLOOR_RATE,
    Group,
    explain_missing,
    floor_value,
    group_cells,
    list_metrics,
    list_tasks,
)
from sentinel_research.reporting.figures import draw_curves, is_crowded
from sentinel_research.reporting.generation import compare_generations
from sentinel_research.reporting.losses import draw_losses
from sentinel_research.reporting.numbers import number, too_many
from sentinel_research.reporting.outcome import compares_models, list_problems, verdict
from sentinel_research.reporting.recovery import compare_recoveries
from sentinel_research.reporting.shortfalls import explain_shortfalls
from sentinel_research.reporting.studies import present_study
from sentinel_research.reporting.svg import Drawing
from sentinel_research.reporting.tables import Table
from sentinel_research.reporting.text_steps import training_texts
from sentinel_research.reporting.tradeoffs import weigh


class TaskSection(NamedTuple):
    """The results on one task."""

    task: str
    figure: Drawing | None
    panels: Drawing | None
    """The same line by line; null where the figure itself is readable."""
    no_figure: str
    """Why there is no figure; empty if there is one."""
    missing: tuple[str, ...]
    """What is absent from figure and table, and why."""
    intervals: tuple[str, ...]
    """What the intervals of the figure cover."""
    floor: str
    """The entropy floor in words; empty if the task knows none."""
    table: Table | None
    shortfalls: tuple[str, ...]
    """Prunings that removed less than their share, and why."""
    against_random: Part | None
    """The criteria against random masks; null if nothing was measured or pruned."""
    curves: TaskCurves | None
    """What the figure shows, at full precision."""


class Section(NamedTuple):
    """A heading with one table."""

    title: str
    note: str
    table: Table
    figure: Drawing | None = None


class Page(NamedTuple):
    """The whole report."""

    name: str
    description: str
    synthetic_data: bool
    problems: tuple[str, ...]
    """What a reader must know before any number; empty for a clean run."""
    verdict: str
    """How the run ended, in one sentence."""
    facts: tuple[tuple[str, str], ...]
    """Name and value of what identifies the run."""
    tasks: tuple[TaskSection, ...]
    tradeoffs: tuple[Part, ...]
    """What is given for what; empty if the run prunes nothing."""
    study: tuple[Part, ...]
    """What the prunings answer together; empty if the recipe asks for no study."""
    criteria: tuple[Part, ...]
    """How the criteria compare, whatever the task; empty if the run compares none."""
    architectures: tuple[Part, ...]
    """How the architectures compare; empty if the run compares none, else `tasks` is."""
    downstream: tuple[Part, ...]
    """What fine-tuned models answer; empty if the run fine-tunes on no task, else `tasks` is."""
    recovery: tuple[Part, ...]
    """What recovery regained; empty if the run recovers nothing."""
    generation: tuple[Part, ...]
    """What models wrote; empty if the run was not asked for it."""
    training: Section | None
    training_figure: Drawing | None
    training_texts: tuple[Part, ...]
    """What the model wrote while it was trained; empty if it was not asked to."""
    sections: tuple[Section, ...]
    """Everything else in tables; none of them is empty."""
    measurements: Table
    """Every measurement of every cell."""
    recipe: str
    """The resolved recipe as YAML."""
    command: str
    """What to type to run the recipe again."""
    is_shipped: bool
    """Whether the command names a shipped recipe; if not, the recipe must be saved first."""
    fingerprint: str
    """The recipe's fingerprint, whole."""
    kicker: str = "report of one run"
    """What kind of page it is."""
    record_file: str = RECORD_FILE
    """Where the measurements are, beside the report."""

    def figures(self) -> list[Drawing]:
        """Every figure of the report."""
        found = [section.figure for section in self.tasks]
        found += [section.panels for section in self.tasks]
        parts = [
            *self.tradeoffs,
            *self.recovery,
            *self.criteria,
            *self.architectures,
            *self.downstream,
        ]
        found += [*(part.figure for part in parts), self.training_figure]
        found += [section.figure for section in self.sections]
        return [figure for figure in found if figure is not None]


def build_page(record: RunRecord) -> Page:
    """Collect what the record says.

    Args:
        record: A run in any state.
    """
    is_comparison = compares_models(record)
    groups = [] if is_comparison else group_cells(record)
    losses = (record.train or {}).get("losses", [])
    is_shipped = _is_shipped(record)
    return Page(
        name=record.name,
        description=record.recipe.get("description", ""),
        synthetic_data=record.synthetic_data,
        problems=tuple(list_problems(record, groups)),
        verdict=verdict(record),
        facts=tuple(_facts(record)),
        tasks=()
        if is_comparison
        else tuple(_task_section(record, groups, task) for task in list_tasks(record)),
        tradeoffs=weigh(record, groups),
        study=present_study(record, groups),
        criteria=compare_criteria(groups, record.synthetic_data),
        architectures=compare_architectures(record),
        downstream=compare_downstream(record),
        recovery=compare_recoveries(record),
        generation=compare_generations(record),
        training=_training(record, bool(losses)),
        training_figure=draw_losses(
            losses, record.synthetic_data, validation=(record.train or {}).get("validation") or ()
        )
        if losses
        else None,
        training_texts=training_texts(record.train or {}, record.synthetic_data),
        sections=tuple(section for section in _sections(record) if section.table.rows),
        measurements=tables.measurements_table(record),
        recipe=yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True),
        command=f"sentinel run {shlex.quote(record.name) if is_shipped else 'recipe.yaml'}",
        is_shipped=is_shipped,
        fingerprint=record.recipe_fingerprint,
    )


def _is_shipped(record: RunRecord) -> bool:
    """Whether the run is that of a shipped recipe as it stands."""
    if record.name not in shipped_recipes():
        return False
    return load_recipe(record.name).recipe.fingerprint() == record.recipe_fingerprint


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    model: dict[str, Any] = record.recipe.get("model") or {}
    compared = ", ".join(
        (record.recipe.get("compare") or {}).get("architectures")
        or (record.recipe.get("downstream") or {}).get("models", {})
    )
    source = model.get("pretrained") or model.get("architecture") or compared
    limit = (record.recipe.get("evaluate") or {}).get("limit")
    facts = [
        ("model", f"{source} (trained from scratch)" if record.train else str(source or "-")),
        ("device", str(record.environment.get("device", "-"))),
        ("started", _moment(record.started_at)),
        ("finished", _moment(record.finished_at) if record.finished_at else "not finished"),
        ("recipe fingerprint", record.recipe_fingerprint),
    ]
    if limit is not None:
        facts.insert(1, ("documents", f"only the first {limit} of every task"))
    return facts


def _moment(iso: str) -> str:
    return iso.replace("T", " ").replace("+00:00", " UTC")


def _task_section(record: RunRecord, groups: list[Group], task: str) -> TaskSection:
    metrics = list_metrics(record, task)
    if not metrics:
        nothing = f"No cell of {task} was measured, so there is nothing to draw."
        floor = _floor(record, task, "")
        return TaskSection(task, None, None, nothing, (), (), floor, None, (), None, None)
    curves = task_curves(record, groups, task, metrics[0])
    missing = [explain_missing(group, task, metrics[0]) for group in groups]
    figure, panels = None, None
    no_figure = too_many(len(curves.estimates()), "value")
    if no_figure:
        no_figure = f"Not drawn: {no_figure}. The table and report.json have them."
    elif curves.curves:
        figure = draw_curves(curves, record.synthetic_data)
        shares = {point.fraction for curve in curves.curves for point in curve.points}
        if is_crowded(curves) and len(shares) <= MOST_PANELS:
            panels = draw_panels(curves, record.synthetic_data)
    else:
        no_figure = "The recipe prunes nothing, so there is no curve to draw."
    return TaskSection(
        task=task,
        figure=figure,
        panels=panels,
        no_figure=no_figure,
        missing=tuple(reason for reason in missing if reason is not None),
        intervals=tuple(explain_intervals(curves)),
        floor=_floor(record, task, "" if curves.floor is not None else metrics[0].label),
        table=tables.results_table(record, groups, task, metrics),
        shortfalls=explain_shortfalls(groups),
        against_random=compare_on_task(curves),
        curves=curves,
    )


def _floor(record: RunRecord, task: str, not_drawn_over: str) -> str:
    exact = floor_value(record, task, FLOOR)
    if exact is None:
        return ""
    words = (
        f"Entropy floor ({FLOOR}): {number(exact)}, the exact perplexity of the true source on the "
        "same documents. No model that does not see the future goes below it, except by chance."
    )
    rate = floor_value(record, task, FLOOR_RATE)
    if rate is not None:
        words += f" Its expectation ({FLOOR_RATE}): {number(rate)}."
    if not_drawn_over:
        words += f" It is per word and so not comparable with {not_drawn_over}: it is not drawn."
    return words


def _training(record: RunRecord, has_losses: bool) -> Section | None:
    if record.train is None:
        return None
    note = "" if has_losses else "No loss was recorded, so there is no curve to draw."
    return Section("Training", note, tables.settings_table(record.train))


def _long_context(record: RunRecord) -> list[Section]:
    found = long_context.long_context_results(record)
    if found is None:
        return []
    covered, timed = long_context.explain_long_context(record)
    note = " ".join(part for part in (covered, long_context.explain_absent(found)) if part)
    return [
        Section(
            "Long context",
            note,
            long_context.positions_table(found),
            long_context.draw_positions(found, record.synthetic_data),
        ),
        Section("Cost by length", timed, long_context.costs_table(found)),
    ]


def _sections(record: RunRecord) -> list[Section]:
    return [
        Section("Errors", "These cells have no result.", tables.errors_table(record)),
        Section("Checks", "What must hold about a result.", tables.checks_table(record)),
        Section(
            "Not measured",
            "Metrics that a task declares and did not return.",
            tables.not_measured_table(record),
        ),
        *(() if compares_models(record) else _long_context(record)),
        Section("Datasets", "", tables.datasets_table(record)),
        Section("Model as loaded", "", tables.settings_table(record.load)),
        Section("Environment", "", tables.settings_table(record.environment)),
    ]
