"""Long sequences as part of a run: every model has numbers or a reason, in record and report."""

import json
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.dry_run import dry_run
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord
from sentinel_research.reporting import report

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("long-context")]

SENTINEL = "{architecture: sentinel, config: {mixers: resolvent, hidden_size: 8, "
SENTINEL += "num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 12}}"
GPT2 = "{architecture: gpt2, config: {n_embd: 8, n_layer: 1, n_head: 2, n_positions: 128}}"
CHANGES = [
    f"compare.architectures={{gpt2: {GPT2}, bk: {SENTINEL}}}",
    "compare.match=null",
    "compare.seeds=[4, 5]",
    "compare.learning_rates=[]",
    "compare.ngrams=[1]",
    "train.num_steps=2",
    "train.batch_size=4",
    "train.validate_every=null",
    "train.keep=last",
    "evaluate.tasks=[sentinel_synthetic]",
    "evaluate.limit=2",
    "evaluate.long_context={corpus: synthetic, lengths: [32, 128, 200], num_sequences: 3}",
]


def _recipe(*more: str) -> Any:
    return load_recipe("architectures-demo", [*CHANGES, *more]).recipe


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison with long sequences, which tests only read."""
    folder = tmp_path_factory.mktemp("long")
    run(_recipe(), folder)
    return folder


def _long_context(record: RunRecord, cell: str) -> dict[str, Any]:
    evaluation = record.cell(cell).evaluation
    assert evaluation is not None
    assert evaluation.long_context is not None
    return evaluation.long_context


def test_record_has_buckets_costs_and_reasons_of_every_model(measured: Path) -> None:
    record = RunRecord.read(measured)
    assert record.status == "done"
    found = _long_context(record, "bk-seed5")
    assert [(one["start"], one["stop"]) for one in found["buckets"]] == [
        (0, 32),
        (32, 128),
        (128, 200),
    ]
    assert [one["length"] for one in found["costs"]] == [32, 128, 200]
    assert len({one["cache_bytes"] for one in found["costs"]}) == 1
    assert (found["num_sequences"], found["num_not_finite"], found["skipped"]) == (3, 0, {})
    ended = _long_context(record, "gpt2-seed4")
    assert [one["stop"] for one in ended["buckets"]] == [32, 128]
    assert ended["skipped"] == {"200": "the model's context is 128 tokens"}
    reason = "the model carries no state from window to window"
    assert set(_long_context(record, "ngram1")["skipped"].values()) == {reason}
    hashes = {_long_context(record, cell.id)["data"]["sequences_sha256"] for cell in record.cells}
    assert len(hashes) == 1


def test_text_of_long_sequences_is_in_the_provenance_and_was_not_trained_on(
    measured: Path,
) -> None:
    record = RunRecord.read(measured)
    (entry,) = [one for one in record.datasets if one["task"] == "long context"]
    assert (entry["source"], entry["split"]) == ("synthetic", "test")
    (check,) = [one for one in record.checks if one.name.endswith("with long context")]
    assert check.passed


def test_report_shows_positions_with_intervals_costs_and_reasons(measured: Path) -> None:
    files = report(measured)
    text = files.markdown.read_text()
    for words in (
        "### Long context",
        "### Cost by length",
        "| bk | 128 to 199 |",
        "| gpt2 | up to 199 | **not measured** |",
        "gpt2 at 200 tokens: the model's context is 128 tokens.",
        "ngram1 at 32, 128, 200 tokens: the model carries no state",
        "| loss spikes | largest gradient norm |",
    ):
        assert words in text
    numbers = json.loads(files.json.read_text())["architectures"]["long-context"]
    (far,) = [one for one in numbers["buckets"] if (one["model"], one["start"]) == ("bk", 128)]
    record = RunRecord.read(measured)
    values = [
        _long_context(record, cell)["buckets"][2]["nats_per_token"]
        for cell in ("bk-seed4", "bk-seed5")
    ]
    assert far["values"] == values
    assert far["mean"] == pytest.approx(sum(values) / 2)
    assert far["interval"]["low"] < far["mean"] < far["interval"]["high"]


def test_text_too_short_for_the_sequences_is_told_before_any_training(tmp_path: Path) -> None:
    asked = "evaluate.long_context={corpus: synthetic, lengths: [20000], num_sequences: 2}"
    record = run(_recipe(asked, "compare.ngrams=[]", "compare.seeds=[4]"), tmp_path)
    assert record.status == "failed"
    assert all("gives 1 sequences of 20,000 tokens" in (cell.error or "") for cell in record.cells)
    assert not list(tmp_path.glob("cells/*/model"))


def test_single_model_has_its_positions_in_a_section_of_its_own(tmp_path: Path) -> None:
    changes = [
        "model={architecture: mamba, config: {hidden_size: 8, num_hidden_layers: 1}}",
        "train={corpus: synthetic, num_steps: 2, batch_size: 4, sequence_length: 32}",
        "prune=null",
        "evaluate={tasks: [sentinel_synthetic], limit: 2, max_length: 32}",
        "evaluate.long_context={corpus: synthetic, lengths: [64], split: validation}",
    ]
    recipe = load_recipe("demo", changes).recipe
    assert "long context: 4 sequences of synthetic, validation" in dry_run(recipe).text
    run(recipe, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Long context" in text
    assert "| dense | 0 to 63 |" in text
