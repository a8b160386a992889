"""Models with states instead of heads: trained, measured and refused by the same commands."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.models import kernels_of, save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord

pytestmark = pytest.mark.long

RECIPE = """
name: recurrent
description: a small model with states
model:
  architecture: {family}
  config: {config}
train:
  corpus: synthetic
  num_steps: 6
  sequence_length: 48
  batch_size: 4
  validate_every: 3
  validation_blocks: 4
evaluate: {{tasks: [sentinel_synthetic], limit: 4, max_length: 64}}
"""
CONFIGS = {
    "mamba": "{num_hidden_layers: 2, hidden_size: 16}",
    "mamba2": "{num_hidden_layers: 2, hidden_size: 16, num_heads: 8, head_dim: 4, state_size: 8}",
    "sentinel": "{num_hidden_layers: 3, hidden_size: 16, num_attention_heads: 2, "
    "intermediate_size: 20, mixers: [resolvent, agency, attention]}",
}
KERNELS = {
    "mamba": {"selective_scan": "numba"},
    "mamba2": {"state_space_duality": "torch_chunked"},
    "sentinel": {"resolvent": "numba", "attention": "sdpa"},
}


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def recipe(family: str, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(family=family, config=CONFIGS[family]))
    return path


def test_run_trains_and_measures_it_and_names_its_kernels(
    family: str, recipe: Path, tmp_path: Path
) -> None:
    assert main(["run", str(recipe), "--output", str(tmp_path / "run"), "--quiet"]) == 0
    record = RunRecord.read(tmp_path / "run")
    (cell,) = record.cells
    assert cell.evaluation is not None
    assert cell.evaluation.max_length == 64
    assert cell.evaluation.measurement("sentinel_synthetic", "token_perplexity").value > 1
    assert record.failed_checks() == []
    assert record.train is not None
    assert record.train["kernels"] == KERNELS[family]
    assert record.load is not None
    assert record.load["kernels"] == KERNELS[family]


def test_pruning_its_heads_is_refused_before_training(
    family: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", "prune={scorers: [magnitude_l2], fractions: [0.5]}", "--dry-run"]
    assert main(["run", str(recipe), *words]) == 1
    assert family in capsys.readouterr().out


def test_model_that_lm_eval_loads_itself_runs_on_the_same_kernel(tmp_path: Path) -> None:
    folder = save(tiny_model("mamba"), byte_tokenizer(), tmp_path / "model")
    # an option that changes how weights are loaded
    lm = SentinelLM(
        str(folder), device="cpu", parallelize=True, max_cpu_memory="1GB", dtype="float32"
    )
    assert kernels_of(lm.model) == KERNELS["mamba"]
