"""What `sentinel bench adapter` compares, at a size whose times mean nothing."""

from pathlib import Path

import pytest

from sentinel_research.bench.adapter import MAX_MEMORY, bench_adapter, checks, floor_of
from sentinel_research.bench.adapter_workloads import WORKLOADS, Workload
from sentinel_research.bench.schema import AdapterMemory, AdapterSection, SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.timing import Sample, compare

# one worker measures the section once
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("bench-adapter")]


@pytest.fixture(scope="module")
def section() -> AdapterSection:
    return bench_adapter("tiny", "cpu", 2)


def test_every_workload_is_compared_with_stock_and_gives_its_results(
    section: AdapterSection,
) -> None:
    names = [one.name for one in WORKLOADS["tiny"]]
    assert [one.name for one in section.comparisons] == [*names, "tiny/generation"]
    assert {one.alternative for one in section.comparisons} == {"lm-eval's hf"}
    assert [one.name for one in section.workloads] == names
    for one in section.workloads:
        assert one.same_greedy
        assert one.largest_difference < 1e-4 < one.allowed_difference < 3e-4
        assert one.fraction > 0
    assert section.checks == ()


def test_memory_is_that_of_fresh_processes(section: AdapterSection) -> None:
    (row,) = section.memory
    assert row.name == "tiny/choices"
    # an interpreter with torch
    assert min(row.ours_bytes, row.stock_bytes) > 100e6


def test_section_is_shown_and_read_back(section: AdapterSection, tmp_path: Path) -> None:
    lines = lines_of(section)
    assert any("distinct tokens to read" in line for line in lines)
    assert any("MB, stock" in line for line in lines)
    content = SpeedFile(device="a processor", size="tiny", adapter=section)
    assert SpeedFile.model_validate_json(content.model_dump_json()).adapter == section


def test_floor_counts_every_beginning_and_every_row_once() -> None:
    workload = Workload("tiny/choices", "choices", 2, None, header_length=30, max_length=200)
    asked = [request.args for request in workload.requests()]
    sequences = {context + answer for context, answer in asked}
    beginnings = {text[:end] for text in sequences for end in range(1, len(text))}
    rows = {context + answer[:place] for context, answer in asked for place in range(len(answer))}
    model = workload.model("cpu")
    read, scored, flops = floor_of(workload, model)
    assert (read, scored) == (len(beginnings), len(rows))
    assert flops > 2 * scored * model.config.hidden_size * model.config.vocab_size


def test_texts_are_floored_by_their_tokens() -> None:
    (workload,) = (one for one in WORKLOADS["tiny"] if one.name == "tiny/short")
    read, scored, _ = floor_of(workload, workload.model("cpu"))
    texts = {request.args[0] for request in workload.requests()}
    assert scored == len({"\n" + text[:end] for text in texts for end in range(len(text))})
    assert read == scored


def test_too_slow_too_different_and_too_large_fail(section: AdapterSection) -> None:
    one = section.workloads[0]
    name = "124m/choices"
    slow = compare(name, ("o", [Sample(1, 1)] * 2), ("s", [Sample(2, 2)] * 2))
    wrong = one.model_copy(update={"name": name, "largest_difference": 3e-4, "fraction": 0.5})
    large = AdapterMemory(name=name, ours_bytes=13, stock_bytes=10)
    assert [check.passed for check in checks([slow], [wrong], (large,))] == [False] * 4
    fast = compare(name, ("o", [Sample(1, 1)] * 2), ("s", [Sample(3, 3)] * 2))
    right = wrong.model_copy(update={"largest_difference": 1e-5, "fraction": 0.7})
    small = AdapterMemory(name=name, ours_bytes=int(10 * MAX_MEMORY), stock_bytes=10)
    assert [check.passed for check in checks([fast], [right], (small,))] == [True] * 4
    greedy = right.model_copy(update={"same_greedy": False})
    assert [check.passed for check in checks([], [greedy], ())] == [False, True]
