"""`sentinel evaluate`: a recipe of two sections, the pipeline's record, and an early start."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from sentinel_research.cli import main
from sentinel_research.evaluation import read_samples
from sentinel_research.evaluation.scoring_lm import ScoringLM
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe
from tests.cli.conftest import refused, values

ROOT = Path(__file__).parents[2]
FLAGS = ["--tasks", "sentinel_synthetic", "--limit", "3", "--max_length", "32", "--quiet"]
# the issue's: of stock lm-eval's time
MOST_OF_STOCK = 0.6


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "My Model"))


def test_every_metric_is_printed_and_recorded(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    flags = ["--num_fewshot", "0", "--batch_size", "2", "--dtype", "float32", "--seed", "7"]
    assert main(["evaluate", model, *FLAGS, *flags, "--output", str(output)]) == 0
    *lines, folder = capsys.readouterr().out.splitlines()
    assert folder == str(output)
    record = RunRecord.read(output)
    assert (record.status, record.name) == ("done", "evaluate-my-model")
    asked = Recipe.model_validate(record.recipe)
    assert (asked.evaluate.limit, asked.evaluate.max_length, asked.evaluate.seed) == (3, 32, 7)
    assert (asked.model.pretrained, asked.model.dtype) == (model, "float32")
    for name in values(record):
        metric = name.split("/")[1]
        assert any(line.split()[:2] == ["sentinel_synthetic", metric] for line in lines)
    assert (output / "report.html").exists()


def test_samples_have_the_windows_of_every_text(model: str, tmp_path: Path) -> None:
    assert main(["evaluate", model, *FLAGS, "--output", str(tmp_path)]) == 0
    (cell,) = RunRecord.read(tmp_path).cells
    assert cell.evaluation is not None
    rows = read_samples(tmp_path / cell.evaluation.samples["sentinel_synthetic"])
    assert len(rows) == 3
    for row in rows:
        assert len(row["window_num_tokens"]) > 1
        assert sum(row["window_num_tokens"]) == row["token_perplexity"][1]
        # the same numbers, summed in the same order
        assert sum(row["window_log_likelihoods"]) == row["token_perplexity"][0]


def test_second_command_measures_nothing_again(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", model, *FLAGS, "--output", str(tmp_path / "out")]
    assert main(words) == 0
    monkeypatch.setattr(ScoringLM, "_read", None)
    assert main(words) == 0


def test_kept_answers_serve_another_run_of_the_same_model_only(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ["--use_cache", str(tmp_path / "kept" / "answers")]
    assert main(["evaluate", model, *FLAGS, *cache, "--output", str(tmp_path / "one")]) == 0
    assert (tmp_path / "kept" / "answers_rank0.db").is_file()
    monkeypatch.setattr(ScoringLM, "_read", None)
    assert main(["evaluate", model, *FLAGS, *cache, "--output", str(tmp_path / "two")]) == 0
    assert values(RunRecord.read(tmp_path / "two")) == values(RunRecord.read(tmp_path / "one"))
    other = str(save(tiny_model("llama"), byte_tokenizer(), tmp_path / "other"))
    assert main(["evaluate", other, *FLAGS, *cache, "--output", str(tmp_path / "three")]) == 1


def test_other_keys_of_a_recipe_are_set_as_in_a_run(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dry_run", "--set", "evaluate.allow_lossy_tokenizer=true"]
    assert main(["evaluate", model, *FLAGS, *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "evaluate.allow_lossy_tokenizer True --set" in shown
    assert "evaluate.limit 3 command line" in shown


def test_batch_size_can_be_found_while_measuring(model: str, tmp_path: Path) -> None:
    words = [*FLAGS, "--batch_size", "auto", "--output", str(tmp_path / "out")]
    assert main(["evaluate", model, *words]) == 0
    (cell,) = RunRecord.read(tmp_path / "out").cells
    assert cell.evaluation is not None
    assert cell.evaluation.scoring is not None
    # how far it grew depends on the machine
    assert cell.evaluation.scoring["batch_size"] in (4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--limit", "0"], "`evaluate.limit` = 0"),
        (["--set", "evaluate.limt=2"], "Did you mean 'limit'"),
        (["--max_length", "65"], "longer than the model's context"),
    ],
    ids=["value", "key", "window"],
)
def test_request_that_cannot_be_served_is_refused(
    words: list[str], why: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", model, "--tasks", "sentinel_synthetic", "--quiet", *words]
    assert why in refused(capsys, *words, "--output", str(tmp_path / "out"))


def test_run_imports_no_stage_that_it_does_not_have() -> None:
    code = """
import sys, sentinel_research.pipeline
names = ("reporting", "comparison", "downstream", "training", "recoveries")
print([name for name in names if f"sentinel_research.{name}" in sys.modules])
print([name for name in ("matplotlib", "scipy", "peft", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def _process_seconds(*words: str) -> float:
    """Process time from the start of a command to its first forward pass."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STARTED_AT": str(time.time())}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "startup.py"), *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return float(json.loads(done.stdout.splitlines()[-1])["process_seconds"])


@pytest.mark.slow
def test_first_forward_pass_comes_within_60_percent_of_stock_lm_evals_time(
    mirror: Path, real_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTINEL_DATA", str(mirror))
    name, task = str(real_models / "stories260K"), "sentinel_wikitext2"
    stock, ours = [], []
    # in pairs, so that a busy minute of the machine is one of both
    for pair in range(3):
        arguments = ["--model", "hf", "--model_args", f"pretrained={name}", "--device", "cpu"]
        tasks = ["--tasks", task, "--include_path", str(ROOT / "tasks"), "--batch_size", "8"]
        stock.append(_process_seconds("lm_eval", "run", *arguments, *tasks))
        output = ["--output", str(tmp_path / str(pair))]
        ours.append(_process_seconds("sentinel", "evaluate", name, "--tasks", task, *output))
    assert median(ours) <= MOST_OF_STOCK * median(stock)
