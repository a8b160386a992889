"""`sentinel train`: flags or a recipe, a checkpoint and a record, resumed by the same command."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sentinel_research.cli import main
from sentinel_research.record import RunRecord
from sentinel_research.training.watch import Watch
from tests.cli.conftest import refused

pytestmark = pytest.mark.long

SMALL = ["n_embd=16", "n_layer=1", "n_head=2", "n_positions=32"]
FLAGS = [
    *("--architecture", "gpt2", "--corpus", "synthetic", "--steps", "6", "--batch-size", "4"),
    *("--sequence-length", "32", "--learning-rate", "0.01", "--seed", "3", "--quiet"),
    *(word for pair in SMALL for word in ("--config", pair)),
    *("--set", "train.validate_every=3", "--set", "train.validation_blocks=4"),
]


def test_training_by_flags_leaves_a_checkpoint_and_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *FLAGS, "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == str(tmp_path / "model")
    assert not any(line.startswith("!") for line in shown)
    assert any(line.startswith("training: 6 steps, loss ") for line in shown)
    record = RunRecord.read(tmp_path)
    assert (record.status, record.name, record.cells) == ("done", "train-gpt2", [])
    assert record.train is not None
    assert [entry["step"] for entry in record.train["validation"]] == [3, 6]
    assert [entry["task"] for entry in record.datasets] == ["training"]
    assert record.recipe["train"]["seed"] == 3
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.n_embd == 16
    assert not (tmp_path / "training").exists()


def test_same_command_resumes_to_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Watch.on_step_end

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        if state.global_step == 4:
            raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["train", *FLAGS, "--output", str(whole)]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", fails)
        assert main(["train", *FLAGS, "--output", str(cut)]) == 130
    assert main(["train", *FLAGS, "--output", str(cut)]) == 0
    record = RunRecord.read(cut)
    assert record.train is not None
    assert record.train["resumed"]
    weights = [
        AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
        for folder in (whole, cut)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_training_that_diverges_is_a_failed_record_with_its_history_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*FLAGS, "--output", str(tmp_path)]
    words += ["--set", "train.learning_rate=100", "--set", "train.max_grad_norm=0"]
    words += ["--set", "train.warmup_fraction=0", "--set", "train.num_steps=30"]
    assert "training diverged: the training loss is" in refused(capsys, "train", *words, code=1)
    record = RunRecord.read(tmp_path)
    assert record.status == "failed"
    assert "training diverged" in (record.error or "")
    assert record.train is not None
    assert record.train["losses"][0]["loss"] == pytest.approx(4.9, abs=0.3)  # ln of the vocabulary
    assert record.train["diverged"]["step"] <= 30
    assert "The run failed: training diverged" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "model").exists()


def test_sections_of_a_recipe_are_trained_without_its_pruning_and_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "demo", "--steps", "7", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "recipe train-demo" in shown
    assert "tasks found: none, only training" in shown
    assert "training: 7 steps of 16 x 128 tokens of synthetic" in shown
    assert any("train.num_steps" in line and "command line" in line for line in shown.splitlines())
    assert any("model.config.n_embd" in line and "demo.yaml" in line for line in shown.splitlines())


def test_several_corpora_and_bytes_are_flags(capsys: pytest.CaptureFixture[str]) -> None:
    corpora = ["--corpus", "wikitext2", "--corpus", "gutenberg", "--tokenizer", "bytes"]
    words = ["--architecture", "llama", "--steps", "5", "--config", "hidden_size=32"]
    words += ["--config", "num_hidden_layers=1", "--config", "num_attention_heads=4"]
    words += ["--config", "num_key_value_heads=4"]
    assert main(["train", *words, *corpora, "--dry-run"]) == 0
    assert "tokens of wikitext2, gutenberg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([], "--architecture and --corpus and --steps are missing", id="nothing"),
        pytest.param(
            ["--architecture", "gpt2", "--steps", "1"], "--corpus is missing", id="corpus"
        ),
        pytest.param(["architectures-demo"], "compares architectures", id="comparison"),
        pytest.param(["demo", "--architecture", "gpt3"], "unknown architecture 'gpt3'", id="name"),
        pytest.param(["demo", "--corpus", "piles"], "needs a tokenizer", id="tokenizer"),
        pytest.param(
            ["demo", "--corpus", "piles", "--tokenizer", "bytes"],
            "unknown corpus 'piles'\n  Did you mean 'pile'",
            id="corpus-name",
        ),
        pytest.param(["demo", "--steps", "0"], "`train.num_steps` = 0", id="steps"),
        pytest.param(["demo", "--set", "train.precision=fp16"], "fp16 needs a GPU", id="fp16"),
    ],
)
def test_training_that_cannot_be_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "train", *words, "--quiet", "--output", str(tmp_path / "out"))
