"""The comparison of architectures as tables."""

from typing import Any

from sentinel_research.record import CellRecord, RunRecord
from sentinel_research.reporting.architectures.results import Result, TaskResults, cells_of
from sentinel_research.reporting.differences import HEADERS, MORE_HEADERS, difference_cells
from sentinel_research.reporting.numbers import number, quantity
from sentinel_research.reporting.tables import Cell, Table
from sentinel_research.specs import AgencySpec

_NONE = Cell("-", kind="number")


def results_table(record: RunRecord, found: TaskResults) -> Table:
    """A row per architecture and n-gram model, the best mean first.

    Args:
        record: The run.
        found: Its results on one task.
    """
    worst = float("inf")
    sign = -1 if found.higher_is_better else 1
    ordered = sorted(found.results, key=lambda one: worst if one.mean is None else sign * one.mean)
    added = _agencies(record)
    headers: tuple[str, ...] = ("model", *(("agency",) if added else ()))
    headers += (f"{found.metric.label}, mean", "sd over seeds", "95% interval over seeds")
    headers += ("seeds", "learning rate", "parameters without embeddings")
    rows = []
    for one in ordered:
        exact = "; ".join(f"seed {seed}: {value}" for seed, value in one.values.items())
        seeds = _seeds(len(one.values), one.num_asked)
        interval = one.interval and f"{number(one.interval.low)} to {number(one.interval.high)}"
        rows.append(
            (
                Cell(one.name),
                *((Cell(added.get(one.name, "-")),) if added else ()),
                Cell("not measured", kind="missing")
                if one.mean is None
                else Cell(number(one.mean), exact, "number"),
                _number(one.sd),
                _text(interval),
                _text(None if one.is_floor else seeds),
                _text(_rate(record, one)),
                _text(_size(record, one)),
            )
        )
    return Table(headers, tuple(rows))


def differences_table(found: TaskResults) -> Table:
    """A row per pair of architectures.

    Args:
        found: Results on one task.
    """
    headers = ("first", "second", "first less second", *HEADERS, *MORE_HEADERS)
    rows = (
        (Cell(one.first), Cell(one.second), *difference_cells(one)) for one in found.differences
    )
    return Table(headers, tuple(rows))


def models_table(record: RunRecord) -> Table:
    """A row per architecture: what was built."""
    added = _agencies(record)
    is_matched = bool((record.recipe.get("compare") or {}).get("match"))
    headers: tuple[str, ...] = ("model", "architecture", *(("agency",) if added else ()))
    headers += ("parameters", "without embeddings", "of these frozen", "training FLOPs per token")
    headers += ("off its target", "configuration")
    return Table(
        headers,
        tuple(
            (
                Cell(name),
                Cell(one["architecture"]),
                *((Cell(added.get(name, "-")),) if added else ()),
                Cell(f"{one['num_parameters']:,}", kind="number"),
                Cell(f"{one['num_non_embedding']:,}", kind="number"),
                _count(one.get("num_frozen")),
                Cell(f"{one['flops_per_token']:,.0f}", kind="number"),
                Cell(f"{one['deviation']:+.2%}", kind="number") if is_matched else _NONE,
                Cell(", ".join(f"{key} {value}" for key, value in one["config"].items())),
            )
            for name, one in _models(record).items()
        ),
    )


def training_table(record: RunRecord) -> Table:
    """A row per trained model, also of rates that were not chosen: what it learnt and cost."""
    headers: tuple[str, ...] = (
        "cell",
        "learning rate",
        "validation loss",
        "kept step",
        "last training loss",
    )
    headers += ("loss spikes", "largest gradient norm", "tokens", "seconds", "tokens per second")
    headers += ("peak memory, MiB", "status")
    rows = [_training_row(cell) for cell in record.cells if cell.arm is not None]
    return Table(headers, tuple(rows))


def _training_row(cell: CellRecord) -> tuple[Cell, ...]:
    report = cell.train or {}
    losses = report.get("losses") or [{}]
    peak = (report.get("memory") or {}).get("peak_bytes")
    stability = report.get("stability") or {}
    assert cell.arm is not None  # the caller's cells have one
    words: list[str] = ["diverged" if "diverged" in report else cell.status]
    if cell.arm.is_chosen is not None:
        words.append("chosen" if cell.arm.is_chosen else "not chosen")
    return (
        Cell(cell.id),
        _text(cell.arm.learning_rate and f"{cell.arm.learning_rate:g}"),
        _number(report.get("validation_loss")),
        _count(report.get("kept_step")),
        _number(losses[-1].get("loss")),
        _count(stability.get("num_loss_spikes")),
        _number((stability.get("grad_norm") or {}).get("max")),
        _count(report.get("num_tokens")),
        _number(report.get("seconds")),
        _count(report.get("tokens_per_second")),
        _count(None if peak is None else peak / (1 << 20)),
        Cell(", ".join(words), kind="text" if cell.status == "done" else "bad"),
    )


def explain_results(record: RunRecord, found: TaskResults) -> tuple[str, ...]:
    """What the table of one task covers, and which floors were not passed.

    Args:
        record: The run.
        found: Its results on the task.
    """
    covered = (
        "Mean, standard deviation and Student's t interval are over seeds of initialisation and "
        "data order; they do not cover the choice of documents or of the training text."
    )
    sentences = [covered]
    sign = -1 if found.higher_is_better else 1
    floors = [one for one in found.results if one.is_floor and one.mean is not None]
    for one in found.results:
        if one.is_floor or one.mean is None:
            continue
        above = [floor.name for floor in floors if sign * (floor.mean or 0.0) <= sign * one.mean]
        if above:
            sentences.append(f"{one.name} is not better than {', '.join(above)}.")
    for name, one in _models(record).items():
        if one.get("num_frozen"):
            sentences.append(
                f"{name} runs beside a frozen model of {one['num_frozen']:,} parameters without "
                "embeddings, which was trained before: that training is in none of its costs."
            )
    for name, search in ((record.comparison or {}).get("learning_rates") or {}).items():
        if search["at_edge"] and len(cells_of(record, name)):
            sentences.append(
                f"The chosen learning rate of {name} is at the edge of its grid: a better one may "
                "lie outside."
            )
    for name, search in ((record.comparison or {}).get("tuning") or {}).items():
        ends = ", ".join(
            f"{search[f'num_{end}']} {end}"
            for end in ("complete", "stopped", "diverged", "failed")
            if search[f"num_{end}"]
        )
        sentences.append(
            f"The settings of {name} are those of the lowest validation loss of "
            f"{quantity(search['num_trials'], 'trial')} ({ends}) of {search['num_steps']:,} steps "
            "together; the documents that are measured chose nothing."
        )
        sentences += [
            f"The chosen {setting} of {name} is the lowest or highest that was tried: a better one "
            "may lie outside."
            for setting in search["at_edge"]
        ]
    return tuple(sentences)


def _models(record: RunRecord) -> dict[str, Any]:
    return dict((record.comparison or {}).get("models") or {})


def _agencies(record: RunRecord) -> dict[str, str]:
    """Model -> the gates and extra paths that it was built with; nothing if no model has any."""
    found = {name: one.get("agency") for name, one in _models(record).items()}
    return {
        name: AgencySpec.model_validate(agency).in_words()
        for name, agency in found.items()
        if agency is not None
    }


def _rate(record: RunRecord, one: Result) -> str | None:
    """The learning rate, marked where the grid ends with it."""
    if one.learning_rate is None:
        return None
    searches = (record.comparison or {}).get("learning_rates") or {}
    is_at_edge = searches.get(one.name, {}).get("at_edge", False)
    return f"{one.learning_rate:g}{' (edge of grid)' if is_at_edge else ''}"


def _size(record: RunRecord, one: Result) -> str | None:
    """Parameters without embeddings, and how many of them are frozen; None for n-grams."""
    model = _models(record).get(one.name)
    if model is None:
        return None
    frozen = f" ({model['num_frozen']:,} frozen)" if model.get("num_frozen") else ""
    return f"{model['num_non_embedding']:,}{frozen}"


def _seeds(found: int, asked: int) -> str:
    return str(asked) if found == asked else f"{found} of {asked}"


def _text(value: Any) -> Cell:
    return Cell(value, kind="number") if value else _NONE


def _number(value: float | None) -> Cell:
    return _NONE if value is None else Cell(number(value), str(value), "number")


def _count(value: float | None) -> Cell:
    return _NONE if value is None else Cell(f"{value:,.0f}", kind="number")
