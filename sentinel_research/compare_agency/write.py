"""The files of a comparison: results as JSON, CSV and Markdown, figures, and the written texts."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from sentinel_research.compare_agency.figures import draw_all
from sentinel_research.compare_agency.page import agency_page
from sentinel_research.compare_agency.points import Source, arm_of, folder_of
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.compare_agency.schema import AgencyResults, Contrast, Point
from sentinel_research.evaluation.generation import CONTINUATIONS_FILE
from sentinel_research.files import create_folder, write_atomically
from sentinel_research.record import RunRecord
from sentinel_research.reporting.numbers import number, p_value
from sentinel_research.reporting.render import render_html

RESULTS_FILE = "results.json"
OUTPUTS_FILE = "outputs.jsonl"
FIGURES_FOLDER = "figures"


def write_files(
    request: AgencyComparisonRequest, results: AgencyResults, records: dict[Source, RunRecord]
) -> tuple[Path, ...]:
    """Write everything that a person or a program reads.

    Args:
        request: The flags.
        results: What was measured.
        records: The runs, for the written texts.

    Returns:
        The files, JSON first.
    """
    folder = request.folder
    drawings = draw_all(results)
    contents = {
        RESULTS_FILE: results.model_dump_json(indent=1) + "\n",
        "results.csv": _table(results),
        "results.md": markdown(results, [one.file_name for one in drawings]),
        "results.html": render_html(agency_page(results, drawings)),
    }
    if request.save_outputs:
        contents[OUTPUTS_FILE] = "".join(_outputs(request, records))
    create_folder(folder / FIGURES_FOLDER)
    contents.update({f"{FIGURES_FOLDER}/{one.file_name}": one.svg for one in drawings})
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return tuple(folder / name for name in contents)


def markdown(results: AgencyResults, figures: list[str]) -> str:
    """The results for people.

    Args:
        results: Of a comparison.
        figures: Names of the files in the folder of figures.
    """
    lines = ["# Agency under pruning", ""]
    if results.synthetic_data:
        lines += ["Measured on synthetic data.", ""]
    lines += [f"![{name.removesuffix('.svg')}]({FIGURES_FOLDER}/{name})" for name in figures]
    lines += ["", "## What was measured", "", _HEADER, _RULE]
    lines += [_point_row(one) for one in results.points]
    lines += ["", "## Agency beside the others", "", _CONTRAST_HEADER, _CONTRAST_RULE]
    lines += [_contrast_row(one) for one in results.contrasts]
    lines += ["", "p after Holm's correction over all rows; intervals are 95%.", ""]
    lines += [f"- **{word}**: {meaning}." for word, meaning in results.definitions.items()]
    failed = [check for check in results.checks if not check.passed]
    lines += ["", "## Checks", ""]
    lines += [f"- failed: {check.name}: {check.detail}" for check in failed]
    lines += [f"- held: {check.name}" for check in results.checks if check.passed]
    if not results.checks:
        lines += ["Models that are trained apart obey no law that could be checked."]
    lines += [f"- not measured: {name}: {why}" for name, why in results.not_measured.items()]
    return "\n".join(lines) + "\n"


def contrast_lines(results: AgencyResults) -> Iterator[str]:
    """The verdicts for a terminal: agency beside the same heads masked.

    Args:
        results: Of a comparison.
    """
    for one in results.contrasts:
        if one.second == "masked":
            aside = "" if one.temperature is None else f" at temperature {one.temperature:g}"
            why = f" ({one.reason})" if one.reason else ""
            yield (
                f"{one.level:g} percent, {one.metric}{aside}: agency {number(one.first_mean)}, "
                f"masked {number(one.second_mean)}: {one.verdict}{why}"
            )


_HEADER = "| arm | heads pruned | metric | temperature | mean | interval |"
_RULE = "| --- | --- | --- | --- | --- | --- |"
_CONTRAST_HEADER = (
    "| beside | heads pruned | metric | temperature | agency | other | ratio | p | agency is |"
)
_CONTRAST_RULE = "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"


def _point_row(one: Point) -> str:
    return _row(
        one.arm,
        f"{one.level:g} %",
        one.metric,
        "" if one.temperature is None else f"{one.temperature:g}",
        number(one.mean),
        _span(one.low, one.high),
    )


def _contrast_row(one: Contrast) -> str:
    ratio = (
        "" if one.ratio is None else f"{number(one.ratio)} {_span(one.ratio_low, one.ratio_high)}"
    )
    return _row(
        one.second,
        f"{one.level:g} %",
        one.metric,
        "" if one.temperature is None else f"{one.temperature:g}",
        number(one.first_mean),
        number(one.second_mean),
        ratio.strip(),
        "" if one.p_adjusted is None else p_value(one.p_adjusted),
        one.verdict + (f": {one.reason}" if one.reason else ""),
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({number(low)} to {number(high)})"


def _table(results: AgencyResults) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("arm", "level", "metric", "temperature", "iteration", "value"))
    for one in results.points:
        for index, value in enumerate(one.values):
            writer.writerow((one.arm, one.level, one.metric, one.temperature, index, value))
    return buffer.getvalue()


def _outputs(request: AgencyComparisonRequest, records: dict[Source, RunRecord]) -> Iterator[str]:
    """Every text, one JSON line each; what a cell that failed did not write is not there."""
    for source, record in records.items():
        for cell in record.cells:
            path = request.folder / folder_of(source) / "cells" / cell.id / CONTINUATIONS_FILE
            if not path.exists():
                continue
            arm, level = arm_of(source.kind, cell)
            where = {
                "arm": arm,
                "level": level,
                "iteration": source.iteration,
                "temperature": source.temperature,
            }
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                texts = {name: row[name] for name in ("prompt", "human", "continuations")}
                yield json.dumps({**where, **texts}, ensure_ascii=False) + "\n"
