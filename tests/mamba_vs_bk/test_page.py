"""The page of a benchmark: every dataset and model, what failed, and the numbers of the files."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from tests.mamba_vs_bk.conftest import SMALL, merged, read

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
        assert all(single[name] == value for name, value in row.items())


@pytest.mark.usefixtures("small_mirror")
def test_only_the_parts_of_the_made_up_language_are_marked_synthetic(tmp_path: Path) -> None:
    words = ["--model", "bk", "--multi_dataset", "--datasets", "shakespeare", "synthetic"]
    words += ["--num_steps", "3", "--limit", "2", "--output_dir", str(tmp_path)]
    assert main(["mamba-vs-bk", *merged(*SMALL, *words)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<h2>On synthetic (synthetic data)</h2>" in page
    assert "<h2>On shakespeare</h2>" in page
    assert "Numbers here were measured on a made-up language" not in page
    assert "(synthetic data)" in (tmp_path / "datasets.svg").read_text()
