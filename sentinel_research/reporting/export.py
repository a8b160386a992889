"""`report.json`: what tables and figures show, at full precision, under names that stay.

`tasks.TASK.estimates` has a row per scorer and fraction, `tasks.TASK.against_random` its
comparison with random masks; `tradeoffs.KEY` has values with costs; `study.KEY`, `criteria.KEY`,
`architectures.KEY`, `downstream.KEY`, `recovery.KEY` and `generation.KEY` have one comparison each.
A part without numbers has `absent` alone.

Of `recovery`, `results-TASK` has the metric, the unit of its values (`is_log`: they are natural
logarithms) and a row per recovery with every seed before and after, and `regained` against either
reference; `claim-TASK` the claim at 50 percent case by case; `against-full-TASK` and
`against-random-TASK` paired tests; `costs` tokens, seconds and parameters; `samples` texts; and
`not-recovered` what has no result. Curves of losses and masks are in `record.json`.
"""

import json
from typing import Any

from sentinel_research.reporting.criteria import Part
from sentinel_research.reporting.curves import TaskCurves
from sentinel_research.reporting.document import Document
from sentinel_research.reporting.estimates import DENSE
from sentinel_research.reporting.numbers import fraction
from sentinel_research.reporting.page import Page, TaskSection

_VERSION = 1


def render_json(page: Page) -> str:
    """The derived numbers as strict JSON.

    Args:
        page: What the report says.
    """
    content = {
        "version": _VERSION,
        "name": page.name,
        "recipe_fingerprint": page.fingerprint,
        "synthetic_data": page.synthetic_data,
        "tasks": {section.task: _task(section) for section in page.tasks},
        "tradeoffs": _measured(page.tradeoffs),
        "study": _measured(page.study),
        "criteria": _measured(page.criteria),
        "architectures": {part.key: _part(part) for part in page.architectures},
        "downstream": {part.key: _part(part) for part in page.downstream},
        "recovery": _measured(page.recovery),
        "generation": _measured(page.generation),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render_document(document: Document) -> str:
    """The numbers of a page of parts, by their keys, as strict JSON.

    Args:
        document: What the page says.
    """
    parts = [part for section in document.sections for part in section.parts]
    content = {
        "version": _VERSION,
        "name": document.name,
        "synthetic_data": document.synthetic_data,
        "problems": document.problems,
        "parts": _measured(tuple(part for part in parts if part.numbers is not None)),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _measured(parts: tuple[Part, ...]) -> dict[str, Any]:
    """Without what only a figure shows: its numbers are in `record.json`."""
    return {
        part.key: _part(part) for part in parts if part.numbers is not None or part.figure is None
    }


def _task(section: TaskSection) -> dict[str, Any]:
    if section.curves is None:
        return {"absent": section.no_figure}
    content = {
        "metric": section.curves.metric.label,
        "higher_is_better": section.curves.higher_is_better,
        "estimates": _estimates(section.curves),
    }
    if section.against_random is not None:
        content["against_random"] = _part(section.against_random)
    return content


def _estimates(curves: TaskCurves) -> list[dict[str, Any]]:
    found = [(DENSE, 0.0, curves.dense)]
    found += [
        (curve.scorer, point.fraction, point.estimate)
        for curve in curves.curves
        for point in curve.points
    ]
    return [
        {"scorer": scorer, "fraction": share, **as_json(estimate)}
        for scorer, share, estimate in found
        if estimate is not None
    ]


def _part(part: Part) -> Any:
    if part.numbers is None:
        return {"absent": part.absent}
    numbers = as_json(part.numbers)
    return {"rows": numbers} if isinstance(numbers, list) else numbers


def as_json(value: Any) -> Any:
    """Named tuples as objects with their fields, fractions as keys as they were asked for.

    Example:
        >>> from sentinel_research.statistics import Interval
        >>> as_json({0.25: (Interval(2.0, 1.0, 3.0),)})
        {'0.25': [{'value': 2.0, 'low': 1.0, 'high': 3.0}]}
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: as_json(getattr(value, name)) for name in value._fields}
    if isinstance(value, dict):
        return {
            fraction(key) if isinstance(key, float) else str(key): as_json(item)
            for key, item in value.items()
        }
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value
