"""The page of a benchmark: every dataset and model, what failed, and the numbers of the files."""

from pathlib import Path

import pytest

from sentinel_research.mamba_vs_bk.page import Measured, benchmark_page
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.mamba_vs_bk.schema import ModelResult, MultiDatasetResult
from sentinel_research.record import RunRecord
from tests.mamba_vs_bk.conftest import read

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("benchmark")]


def test_page_has_a_part_for_every_dataset_that_was_measured(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    for dataset in ("shakespeare", "ptb"):
        assert f"<h2>On {dataset}</h2>" in page
        assert f"Differences on sentinel_{dataset}</h3>" in page
        assert f">report of {dataset}</a>" in page
    assert "8 of 12 models trained and measured" in page
    assert "<h2>On c4" not in page


def test_page_begins_with_what_could_not_be_measured(finished: Path) -> None:
    (problem,) = read(finished, "report.json")["problems"]
    assert problem.startswith("c4: ")
    assert "**Attention.** c4: " in (finished / "report.md").read_text()


def test_links_of_the_page_lead_to_the_reports_of_the_runs(finished: Path) -> None:
    lines = (finished / "report.md").read_text().splitlines()
    links = [line.split("](")[1].rstrip(")") for line in lines if line.startswith("- [report of")]
    assert len(links) == 2
    assert all((finished / link).is_file() for link in links)


def test_numbers_over_datasets_are_those_of_the_files(finished: Path) -> None:
    rows = read(finished, "report.json")["parts"]["datasets"]["rows"]
    assert len(rows) == 4
    for row in rows:
        of = read(finished, f"{row['arm']}_multi_dataset.json")["per_dataset"][row["label"]]
        assert row["spread"]["value"] == of["bits_per_byte"]["mean"]
        assert row["spread"]["low"] == of["bits_per_byte"]["low"]
    assert (finished / "datasets.svg").exists()


def test_costs_of_the_page_are_those_of_the_files(finished: Path) -> None:
    rows = read(finished, "report.json")["parts"]["costs"]["rows"]
    assert len(rows) == 4
    for row in rows:
        single = read(finished, f"{row['model_name']}_{row['dataset']}_seq32_bits32.json")
        for name in ("training_time", "total_flops", "peak_memory_mb", "model_size_mb"):
            assert row[name] == single[name] > 0


def test_only_the_parts_of_the_made_up_language_are_marked_synthetic(finished: Path) -> None:
    measured = {}
    for dataset in ("shakespeare", "ptb"):
        content = read(finished, f"bk_{dataset}_seq32_bits32.json")
        folder = Path(content["provenance"]["record"]).parent
        # as if the second had been made up
        made_up = dataset == "ptb"
        result = ModelResult.model_validate({**content, "synthetic_data": made_up})
        measured[dataset] = Measured({"bk": result}, RunRecord.read(finished / folder), folder)
    request = BenchmarkRequest(model="bk", datasets=tuple(measured), multi_dataset=True)
    over = MultiDatasetResult.model_validate(read(finished, "bk_multi_dataset.json"))
    page = benchmark_page(request, measured, [over], {}, [])
    assert [section.title for section in page.sections[2:]] == [
        "On shakespeare",
        "On ptb (synthetic data)",
    ]
    assert not page.synthetic_data
    figure = page.sections[0].parts[0].figure
    assert figure is not None
    assert "(synthetic data)" in figure.svg
    alone = benchmark_page(request, {"ptb": measured["ptb"]}, [], {}, [])
    assert alone.synthetic_data
