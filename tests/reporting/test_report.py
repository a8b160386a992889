"""The files of a report, its Markdown, and the lines for the terminal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.errors import UsageError
from sentinel_research.record import Check, RunRecord
from sentinel_research.reporting import report, summary
from sentinel_research.reporting.outcome import verdict

Write = Callable[[RunRecord], Path]


def _contents(folder: Path) -> dict[str, bytes]:
    report(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _markdown(folder: Path) -> str:
    return report(folder).markdown.read_text(encoding="utf-8")


def test_two_reports_of_one_record_are_byte_equal(
    cells: Any, make_record: Any, write: Write
) -> None:
    losses = [{"step": step, "loss": 5.0 - step} for step in range(3)]
    folder = write(make_record(cells, train={"losses": losses}, synthetic_data=True))
    first = _contents(folder)
    assert sorted(first) == [
        "figure_toy_task.svg",
        "record.json",
        "report.html",
        "report.json",
        "report.md",
        "training_loss.svg",
    ]
    assert _contents(folder) == first


def test_folder_without_a_record_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*record\.json"):
        report(tmp_path)


def test_record_of_a_run_that_has_only_begun_can_be_reported(
    make_record: Any, write: Write
) -> None:
    text = _markdown(write(make_record([], status="started", finished_at=None)))
    assert "Not run: dense model, magnitude at 0.25, magnitude at 0.5" in text
    assert "No cell of toy\\_task was measured" not in text
    assert "No cell of toy_task was measured" in text


def test_verdict_counts_the_checks_that_hold(cells: Any, make_record: Any) -> None:
    good, bad = (Check(name="n", passed=passed, detail="d") for passed in (True, False))
    cells[0].checks = [good, bad]
    record = make_record(cells, checks=[good])
    assert verdict(record) == "Done: 3 of 3 cells done, 2 of 3 checks passed."


def test_markdown_cell_text_keeps_its_row(
    cells: Any, make_cell: Any, make_record: Any, write: Write
) -> None:
    failed = make_cell(None, "magnitude", 0.5, error="first | line\nsecond <script> $x$")
    text = _markdown(write(make_record([*cells[:2], failed])))
    row = next(line for line in text.splitlines() if line.startswith("| magnitude-0.5"))
    assert row.endswith(r"| first \| line second &lt;script&gt; \$x\$ |")
    assert "<script" not in text


def test_all_rows_of_a_markdown_table_have_as_many_columns_as_its_heading(
    cells: Any, make_record: Any, write: Write
) -> None:
    checks = [Check(name="a|b", passed=False, detail="c\nd")]
    text = _markdown(write(make_record(cells, checks=checks)))
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_description_cannot_become_a_heading_or_leave_its_line(
    cells: Any, make_record: Any, write: Write
) -> None:
    recipe = {"description": "# Great\n\n## numbers `code` *bold*"}
    text = _markdown(write(make_record(cells, recipe=recipe)))
    assert r"\# Great ## numbers \`code\` \*bold\*" in text.splitlines()


def test_run_of_a_recipe_file_is_reproduced_from_the_recipe_in_the_report(
    cells: Any, make_record: Any, write: Write
) -> None:
    text = _markdown(write(make_record(cells, name="demo")))
    assert "Save the recipe above as recipe.yaml" in text
    assert "```sh\nsentinel run recipe.yaml\n```" in text


def test_run_of_a_shipped_recipe_is_reproduced_by_its_name_and_by_the_recipe_in_the_report(
    cells: Any, make_record: Any, write: Write, tmp_path: Path
) -> None:
    from sentinel_research.recipe import load_recipe

    shipped = load_recipe("demo").recipe
    fields = {"recipe": shipped.model_dump(mode="json"), "name": "demo"}
    record = make_record(cells, recipe_fingerprint=shipped.fingerprint(), **fields)
    text = _markdown(write(record))
    assert "```sh\nsentinel run demo\n```" in text
    assert "recipe.yaml" not in text
    saved = tmp_path / "recipe.yaml"
    saved.write_text(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[0])
    assert load_recipe(str(saved)).recipe.fingerprint() == shipped.fingerprint()


def test_recipe_with_a_code_fence_stays_inside_its_block(
    cells: Any, make_record: Any, write: Write
) -> None:
    text = _markdown(write(make_record(cells, recipe={"description": "``` out"})))
    assert "\n````yaml\n" in text


def test_markdown_shows_the_figure_and_says_problems_first(
    cells: Any, make_record: Any, write: Write
) -> None:
    checks = [Check(name="floor", passed=False, detail="below")]
    text = _markdown(write(make_record(cells, checks=checks, synthetic_data=True)))
    assert "(synthetic data)](figure_toy_task.svg)" in text
    assert text.index("Check failed: floor (below)") < text.index("A small run.")


def test_summary_gives_problems_and_the_plotted_metric(
    cells: Any, make_cell: Any, make_record: Any
) -> None:
    failed = make_cell(None, "magnitude", 0.5, error="killed")
    lines = summary(make_record([*cells[:2], failed], status="failed")).splitlines()
    assert lines[0] == "toy: Failed: 2 of 3 cells done, nothing was checked."
    assert "! 1 cell failed: magnitude-0.5-seed0" in lines
    row = "magnitude 0.25 22.00 ± 0.50 21.02 to 22.98 1.100 1"
    assert " ".join(lines[-2].split()) == row
    assert "not measured" in lines[-1]
