"""The page of a sweep: how far it came, then its models beside each other, task by task."""

from collections.abc import Iterable, Iterator

from sentinel_research.record import MODELS_FOLDER
from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.document import Document, Section
from sentinel_research.reporting.estimates import DENSE
from sentinel_research.reporting.joined.results import (
    Row,
    Swept,
    TaskOfModels,
    tasks_of,
)
from sentinel_research.reporting.numbers import fraction, quantity, too_many
from sentinel_research.reporting.outcome import verdict
from sentinel_research.reporting.plots import (
    Line,
    Panel,
    Place,
    RowOf,
    Spread,
    draw_front,
    draw_lines,
    draw_rows,
)
from sentinel_research.reporting.tables import Cell, Table

_RATIO_NOTE = (
    "Every model at its largest fraction, over the same model before pruning. Bars are the "
    "intervals of the pruned model; the error of the dense one is not in them."
)
_FRONT_NOTE = (
    "Forward operations per token, counted by torch, of all models and prunings. The front joins "
    "what no other model beats in both, by values and not by intervals."
)
_OWN_TOKENS = (
    "Not drawn: {metric} depends on what cuts text into tokens, and does not compare models. "
    "Take tasks that give bits_per_byte or word_perplexity."
)
_NONE = Cell("-", kind="number")


def joined_page(swept: Swept) -> Document:
    """Everything that a sweep of several models found.

    Args:
        swept: Its records, in any state.
    """
    records = swept.records
    tasks = tasks_of(swept)
    cells = [cell for record in records.values() for cell in record.cells]
    done = sum(cell.status == "done" for cell in cells)
    problems = [
        f"{name}, {cell.id}: {cell.error or f'it is {cell.status}'}"
        for name, record in records.items()
        for cell in record.cells
        if cell.status != "done"
    ]
    problems += [
        f"{name}: check failed: {check.name} ({check.detail})"
        for name, record in records.items()
        for check in record.failed_checks()
    ]
    is_synthetic = any(record.synthetic_data for record in records.values())
    first = next(iter(records.values()))
    return Document(
        kicker="report of a sweep",
        name=swept.name,
        description=first.recipe.get("description", ""),
        synthetic_data=is_synthetic,
        problems=tuple(problems),
        verdict=(
            f"{quantity(len(records), 'model')}: {done:,} of {quantity(len(cells), 'cell')} done."
        ),
        facts=(
            ("device", ", ".join(_distinct(r.environment.get("device") for r in records.values()))),
            ("tasks", ", ".join(one.task for one in tasks) or "none measured"),
            ("started", min(record.started_at for record in records.values())),
        ),
        sections=(
            Section("Models", (), (_models(swept),)),
            *(
                Section(f"Results on {one.task}", (), tuple(_parts(one, is_synthetic)))
                for one in tasks
            ),
        ),
        source="The numbers at full precision are in report.json beside this file, every "
        "measurement in the records of the models.",
        links=tuple(
            (f"report of {name}", f"{MODELS_FOLDER}/{name}/report.html") for name in records
        ),
    )


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))


def _models(swept: Swept) -> Part:
    rows = []
    for name, record in swept.records.items():
        before = [(cell.prune or {}).get("num_parameters_before") for cell in record.cells]
        known = next((one for one in before if one is not None), None)
        status = Cell(record.status, kind="good" if record.status == "done" else "bad")
        model = record.recipe.get("model") or {}
        rows.append(
            (
                Cell(name),
                Cell(str(model.get("pretrained") or model.get("architecture") or "-")),
                status,
                Cell(verdict(record)),
                _NONE if known is None else Cell(f"{known:,}", kind="number"),
            )
        )
    table = Table(("model", "from", "status", "cells", "parameters"), tuple(rows))
    return Part("models", "How far each came", table, None, (), "", None)


def _parts(found: TaskOfModels, is_synthetic: bool) -> Iterator[Part]:
    label = found.metric.label.replace("_", " ")
    better = {True: " (higher is better)", False: " (lower is better)", None: ""}
    panels = [
        _panel(found, model, f"{model}: {label}{better[found.higher_is_better]}")
        for model in dict.fromkeys(row.model for row in found.rows)
    ]
    key = found.task
    title = "Every model by fraction pruned"
    why = too_many(len(found.rows), "value")
    if why:
        absent = f"Not drawn: {why}. The reports of the models draw their own."
        yield Part(f"curves-{key}", title, _table(found), None, (), absent, found.rows)
        return
    if any(panel.lines for panel in panels):
        figure = draw_lines(
            panels,
            name=f"models_{key}",
            title=f"{label[0].upper()}{label[1:]} by fraction pruned on {key}",
            across="fraction pruned",
            synthetic_data=is_synthetic,
        )
        yield Part(f"curves-{key}", title, _table(found), figure, (), "", found.rows)
    else:
        absent = "Not drawn: nothing that was pruned is measured."
        yield Part(f"curves-{key}", title, _table(found), None, (), absent, found.rows)
    yield from _ratios(found, is_synthetic)
    yield from _front(found, label, is_synthetic)


def _panel(found: TaskOfModels, model: str, title: str) -> Panel:
    own = [row for row in found.rows if row.model == model]
    lines: dict[str, list[Row]] = {}
    for row in own:
        if row.scorer != DENSE:
            lines.setdefault(row.scorer, []).append(row)
    return Panel(
        title,
        tuple(
            Line(scorer, tuple((row.fraction, row.value) for row in rows))
            for scorer, rows in lines.items()
        ),
        next((row.value for row in own if row.scorer == DENSE), None),
    )


def _table(found: TaskOfModels) -> Table:
    headers = ("model", "scorer", "fraction", found.metric.label, "low", "high", "ratio to dense")
    rows = []
    for row in found.rows:
        ratio = row.ratio
        rows.append(
            (
                Cell(row.model),
                Cell(row.scorer),
                Cell(fraction(row.fraction), kind="number"),
                *row.value.cells(),
                _NONE if ratio is None else Cell(f"{ratio.value:.3f}", str(ratio.value), "number"),
            )
        )
    return Table(headers, tuple(rows))


def _ratios(found: TaskOfModels, is_synthetic: bool) -> Iterator[Part]:
    title = "Models beside each other at the largest fraction"
    most = max((row.fraction for row in found.rows), default=0.0)
    rows = [
        RowOf(row.scorer, row.model, ratio)
        for row in found.rows
        if row.fraction == most and row.scorer != DENSE and (ratio := row.ratio) is not None
    ]
    if not rows:
        absent = "Not drawn: no pruning stands beside its dense model."
        yield Part(f"ratios-{found.task}", title, None, None, (), absent, None)
        return
    figure = draw_rows(
        rows,
        name=f"ratios_{found.task}",
        title=f"{found.metric.label.replace('_', ' ')} at fraction {fraction(most)}, over dense",
        across="value over the dense model's",
        synthetic_data=is_synthetic,
        reference=1.0,
    )
    yield Part(f"ratios-{found.task}", title, None, figure, (_RATIO_NOTE,), "", rows)


def _front(found: TaskOfModels, label: str, is_synthetic: bool) -> Iterator[Part]:
    key, title = f"front-{found.task}", "Quality against operations, all models"
    places = [
        Place(
            row.model,
            f"{row.model}, {row.scorer} at {fraction(row.fraction)}",
            Spread(row.flops_per_token),
            row.value,
        )
        for row in found.rows
        if row.flops_per_token is not None
    ]
    if not found.is_comparable or found.higher_is_better is None:
        absent = _OWN_TOKENS.format(metric=found.metric.label)
        yield Part(key, title, None, None, (), absent, None)
        return
    if len(places) < 2:
        absent = "Not drawn: operations were counted of fewer than two models."
        yield Part(key, title, None, None, (), absent, None)
        return
    figure = draw_front(
        places,
        name=f"front_{found.task}",
        title=f"{title} ({found.task})",
        cost="operations per token",
        quality=label,
        higher_is_better=found.higher_is_better,
        synthetic_data=is_synthetic,
    )
    yield Part(key, title, None, figure, (_FRONT_NOTE,), "", places)
