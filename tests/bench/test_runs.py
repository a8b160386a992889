"""What the section of runs compares, with a record that a test made."""

from pathlib import Path

import pytest

from sentinel_research.bench import runs
from sentinel_research.bench.show import lines_of
from sentinel_research.record import RunRecord
from sentinel_research.timing import Sample, compare
from tests.reporting.records import toy_record
from tests.store.conftest import cell, perplexity, pruned


def _record(_: Path | None = None) -> RunRecord:
    cells = [
        cell("dense", perplexity(10.0)),
        pruned("random-0.5", "random", 0.5, perplexity(20.0)),
    ]
    load = {"num_parameters": 10, "attn_implementation": "sdpa"}
    return toy_record(cells, {}, load=load)


def test_varied_records_are_records_and_differ_in_what_a_list_shows() -> None:
    content = _record().model_dump(mode="json")
    found = [RunRecord.model_validate(runs.varied(content, index)) for index in range(1, 40)]
    for values in (
        {one.name for one in found},
        {one.started_at for one in found},
        {one.cells[1].prune_spec["scorer"] for one in found if one.cells[1].prune_spec},
        {one.cells[0].evaluation.measurements[0].value for one in found if one.cells[0].evaluation},
    ):
        assert len(values) > 3
    assert content == _record().model_dump(mode="json")
    assert RunRecord.model_validate(runs.varied(content, 0)).status == "failed"


def test_lists_and_frames_are_compared_with_reading_every_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "real_record", _record)
    monkeypatch.setattr(runs, "_SETTLING_SECONDS", 0)
    section = runs.bench_runs("tiny", "cpu", 2)
    assert [one.name for one in section.comparisons] == ["list", "filter", "cells_frame"]
    assert {one.alternative for one in section.comparisons} == {
        "reading every record, and keeping an index"
    }
    assert (section.num_records, section.num_cells, section.num_measurements) == (20, 40, 40)
    assert section.checks == ()
    assert any("20 records of" in line for line in lines_of(section))


@pytest.mark.parametrize(("seconds", "passed"), [(0.5, True), (1.5, False)])
def test_a_second_of_a_processor_is_the_limit(seconds: float, passed: bool) -> None:
    found = compare("list", ("m", [Sample(9.0, seconds)] * 3), ("p", [Sample(20.0, 20.0)] * 3))
    assert runs.check_seconds(found).passed is passed
