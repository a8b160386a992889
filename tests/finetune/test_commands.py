"""The commands of both published documents, on a tiny model and small texts, to their end.

Words are those of the documents; behind them come a tiny model, fewer steps and fewer documents.
"""

import shlex
from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.record import RunRecord
from sentinel_research.training import settings
from tests.mamba_vs_bk.conftest import merged

pytestmark = pytest.mark.long

ACTIVE_HEADS = "--model_name gpt2 --pruning_level 0.5 --optimization_level 3 --active_heads_only \
--epochs 3"
BASIC = "--model_name gpt2 --pruning_level 0.5 --dataset wikitext --batch_size 8 --epochs 3 \
--learning_rate 5e-5"
ADVANCED = "--model_name gpt2 --pruning_level 0.5 --optimization_level 3 --per_head_lr \
--active_heads_only --adaptive_masking --dataset wikitext --batch_size 8 --epochs 5 \
--learning_rate 2e-5 --visualize"
BENCHMARK = '--model_name distilgpt2 --output_dir ./benchmark_results_basic \
--pruning_strategies "random" --pruning_levels "0.3" --learning_steps 100'
COMPREHENSIVE = '--model_name distilgpt2 --output_dir ./benchmark_results_full \
--pruning_strategies "random,entropy,magnitude" --pruning_levels "0.1,0.2,0.3,0.4,0.5" \
--learning_steps 500 --learning_rate 5e-6 --early_stop_patience 15 --eval_interval 25 \
--use_adaptive_lr --batch_size 4 --eval_dataset "gutenberg" --use_real_data --eval_samples 2000 \
--max_length 256 --save_checkpoints --verbose'
# torch.compile looks at the gradients of what its graph hands over, which have none
_COMPILING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
# one pass over few blocks, and one document
SHORT = "--dataset wikitext --max_length 64 --batch_size 8 --epochs 1 --limit 1 --quiet"


def _run(
    command: str, changes: str, model: Path, folder: Path, name: str = "finetune"
) -> RunRecord:
    words = merged(*shlex.split(command), *shlex.split(changes))
    given = merged(*words, "--model_name", str(model), "--output_dir", str(folder))
    assert main([name, *given]) == 0
    record = RunRecord.read(folder)
    assert record.status == "done"
    return record


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled training without its compiler, which takes minutes: the graph runs as it is."""
    original = settings.training_arguments

    def eager(*args: object, **options: object) -> object:
        found = original(*args, **options)  # type: ignore[arg-type]
        if found.torch_compile:
            found.torch_compile_backend = "eager"
        return found

    monkeypatch.setattr("sentinel_research.training.trainer.training_arguments", eager)


@_COMPILING
@pytest.mark.usefixtures("small_mirror", "uncompiled")
def test_selective_head_fine_tuning_runs(model_folder: Path, tmp_path: Path) -> None:
    record = _run(ACTIVE_HEADS, SHORT, model_folder, tmp_path)
    cell = record.cell("magnitude_l2-0.5+heads-seed42")
    assert cell.recover is not None
    (phase,) = cell.recover["phases"]
    assert phase["num_trained_parameters"] < phase["num_parameters"] / 2


@pytest.mark.usefixtures("small_mirror")
def test_basic_usage_runs(model_folder: Path, tmp_path: Path) -> None:
    record = _run(BASIC, "--epochs 1 --max_length 64 --limit 1 --quiet", model_folder, tmp_path)
    assert {cell.id for cell in record.cells} == {
        "dense",
        "magnitude_l2-0.5",
        "random-0.5-seed42",
        "dense+full-seed42",
        "magnitude_l2-0.5+full-seed42",
        "random-0.5-seed42+full",
    }
    assert not (tmp_path / "figures").exists()


@_COMPILING
@pytest.mark.usefixtures("small_mirror", "uncompiled")
def test_advanced_usage_runs_and_draws(model_folder: Path, tmp_path: Path) -> None:
    record = _run(ADVANCED, SHORT, model_folder, tmp_path)
    cell = record.cell("magnitude_l2-0.5+heads-per_head_lr-adaptive_masking-seed42")
    assert cell.recover is not None
    # five steps: at each of the first ones
    assert [entry["step"] for entry in cell.recover["masks"]] == [0, 1, 2, 3]
    assert (tmp_path / "figures" / "masks.csv").exists()


@pytest.mark.usefixtures("small_mirror")
def test_basic_benchmark_runs(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = "--learning_steps 3 --dataset shakespeare --max_length 64 --limit 1 --quiet"
    changes += " --max_prompts 2 --num_tokens 6 --temperature 0.5"
    record = _run(BENCHMARK, changes, model_folder, tmp_path, "benchmark")
    assert [cell.id for cell in record.cells if cell.prune_spec] == [
        "random-0.3-seed42",
        "random-0.3-seed42+full",
    ]
    for cell in record.cells:
        assert cell.evaluation is not None
        written = cell.evaluation.generation
        assert written is not None
        assert written["quality"]["tokens"]["value"] <= 6
        assert written["speed"]["num_decoded"] == 5
    asked = record.recipe["evaluate"]["generation"]
    assert (asked["num_prompts"], asked["temperature"]) == (2, 0.5)
    assert (asked["prompt_tokens"], asked["corpus"]) == (16, "shakespeare")
    out = capsys.readouterr().out
    assert str(tmp_path / "record.json") in out
    assert str(tmp_path / "report.html") in out
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("small_mirror")
def test_comprehensive_evaluation_runs(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = "--pruning_levels 0.5 --learning_steps 4 --eval_interval 2 --eval_samples 2 \
--max_length 64 --early_stop_patience 1"
    changes += " --max_prompts 2"
    record = _run(COMPREHENSIVE, changes, model_folder, tmp_path, "benchmark")
    pruned = {cell.prune_spec["scorer"] for cell in record.cells if cell.prune_spec}
    assert pruned == {"random", "entropy_low", "magnitude_l2"}
    assert all(cell.model_folder for cell in record.cells if cell.recover_spec)
    assert "step 2: validation_loss" in capsys.readouterr().err
