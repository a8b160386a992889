"""Written text as part of a run: in the record, in all reports, and beside the human text."""

import html
import json
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.dry_run import dry_run
from sentinel_research.paired import paired_test
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from sentinel_research.reporting import report, summary
from tests.cli.conftest import TINY

pytestmark = pytest.mark.xdist_group("generation")

# hardly trained, the models differ little: a low temperature makes their texts differ
GENERATION = "evaluate.generation={corpus: synthetic, num_prompts: 6, prompt_tokens: 8, "
GENERATION += "max_new_tokens: 12, num_samples: 2, num_timings: 2, temperature: 0.05, top_p: 0.95}"
PRUNED = "random-0.5-seed0"


def _recipe() -> Any:
    changes = [*TINY, "train.num_steps=4", "prune.scorers=[random]", "prune.seeds=[0]"]
    return load_recipe("demo", [*changes, "prune.calibration=null", GENERATION]).recipe


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with generation, which tests only read."""
    folder = tmp_path_factory.mktemp("written")
    run(_recipe(), folder)
    return folder


def _generation(record: RunRecord, cell: str) -> dict[str, Any]:
    evaluation = record.cell(cell).evaluation
    assert evaluation is not None
    assert evaluation.generation is not None
    return evaluation.generation


def test_record_has_quality_speed_and_data_of_every_model(written: Path) -> None:
    record = RunRecord.read(written)
    assert record.status == "done"
    assert record.synthetic_data
    found = [_generation(record, cell.id) for cell in record.cells]
    assert len(found) == 2
    for cell, one in zip(record.cells, found, strict=True):
        assert one["num_continuations"] == 12
        assert len(one["quality"]["distinct-2"]["values"]) == 6
        assert one["speed"]["num_decoded"] == 11
        rows = (written / "cells" / cell.id / "continuations.jsonl").read_text().splitlines()
        assert len(rows) == 6
        assert json.loads(rows[0])["continuations"] == one["examples"][0]["continuations"]
    assert found[0]["human"] == found[1]["human"]
    assert len({one["data"]["prompts_sha256"] for one in found}) == 1


def test_text_of_prompts_is_in_the_provenance_and_was_not_trained_on(written: Path) -> None:
    record = RunRecord.read(written)
    (entry,) = [one for one in record.datasets if one["task"] == "generation"]
    assert (entry["source"], entry["split"]) == ("synthetic", "test")
    (check,) = [one for one in record.checks if one.name.endswith("with generation")]
    assert check.passed


def test_report_shows_human_text_errors_ratios_and_examples(written: Path) -> None:
    files = report(written)
    record = RunRecord.read(written)
    dense, pruned = _generation(record, "dense"), _generation(record, PRUNED)
    text = files.markdown.read_text()
    for words in (
        "## Generation",
        "| human text | 12.00 ± 0 |",
        "2 continuations of each of 6 prompts of synthetic, test, with 8 tokens",
        "temperature 0.05, top_p 0.95.",
        f"| {PRUNED} | self-BLEU |",
        "### Speed of writing",
        "behind 9 tokens; speed is that of the 11 tokens after it. Medians and quartiles of 2 ",
        "float32 on cpu, 1 thread",
    ):
        assert words in text
    page = html.unescape(files.html.read_text())
    for one in dense["examples"]:
        assert one["human"] in page
        assert one["continuations"][0] in page
    numbers = json.loads(files.json.read_text())["generation"]
    models = [row["model"] for row in numbers["quality"]["rows"]]
    assert models == ["human text", "dense", PRUNED]
    (row,) = [one for one in numbers["differences"]["rows"] if one["metric"] == "distinct-1"]
    expected = paired_test(*(one["quality"]["distinct-1"]["values"] for one in (pruned, dense)))
    assert expected is not None
    assert row["test"]["difference"]["value"] == pytest.approx(expected.difference.value)
    values = [one["quality"]["distinct-1"]["value"] for one in (pruned, dense)]
    assert row["test"]["difference"]["value"] == pytest.approx(values[0] - values[1])
    medians = [one["speed"]["first_token_seconds"]["median"] for one in (pruned, dense)]
    assert numbers["speed"]["rows"][1]["latency_ratio"] == medians[0] / medians[1]
    medians = [one["speed"]["decode_seconds_per_token"]["median"] for one in (pruned, dense)]
    assert numbers["speed"]["rows"][1]["decode_speed_ratio"] == medians[1] / medians[0]


def test_terminal_shows_quality_and_speed(written: Path) -> None:
    lines = summary(RunRecord.read(written)).splitlines()
    place = lines.index("Quality of written text")
    assert lines[place + 1].split() == ["model", "distinct-2", "seq-rep-4", "self-BLEU"]
    assert [line.split()[0] for line in lines[place + 2 : place + 5]] == ["human", "dense", PRUNED]
    assert "Speed of writing" in lines


def _changed(written: Path, tmp_path: Path, **changes: Any) -> RunRecord:
    record = RunRecord.read(written)
    generation = {**_generation(record, PRUNED), **changes}
    evaluation = record.cell(PRUNED).evaluation
    assert evaluation is not None
    evaluation.generation = generation
    record.write(tmp_path)
    return record


def test_model_that_cannot_write_is_named_with_its_reason(written: Path, tmp_path: Path) -> None:
    record = _changed(written, tmp_path, skipped="it cannot")
    text = report(tmp_path).markdown.read_text()
    assert f"**Absent.** {PRUNED}: it cannot." in text
    assert f"| {PRUNED} | self-BLEU |" not in text
    assert f"{PRUNED}: it cannot." in summary(record)


def test_models_with_other_prompts_are_not_compared(written: Path, tmp_path: Path) -> None:
    _changed(written, tmp_path, data={"prompts_sha256": "other"})
    text = report(tmp_path).markdown.read_text()
    assert f"| {PRUNED} | distinct-2 | **not tested** |" in text
    assert f"{PRUNED}, distinct-2: other prompts than the dense model's." in text


def test_markup_that_a_model_writes_is_shown_and_not_run(written: Path, tmp_path: Path) -> None:
    text = "<script>alert(1)</script>"
    examples = [{"prompt": text, "human": text, "continuations": [text]}] * 3
    _changed(written, tmp_path, examples=examples)
    page = report(tmp_path).html.read_text()
    assert text not in page
    assert html.escape(text) in page


def test_dry_run_shows_the_number_of_continuations() -> None:
    text = dry_run(_recipe()).text
    assert "generation: 12 continuations a model, of up to 12 tokens, behind 6 prompts" in text
