"""A finished tiny run, a recipe file, and the longest test first: two workers finish together."""

from pathlib import Path

import pytest

from sentinel_research.cli import main
from sentinel_research.pipeline import run
from sentinel_research.recipe import load_recipe
from sentinel_research.record import RunRecord

RECIPE = """
name: mine
description: a recipe
model: {pretrained: nowhere/model}
evaluate: {tasks: [sentinel_synthetic]}
"""
# seconds, not minutes: two layers, a dozen steps, a few documents
TINY = [
    "model.config={n_embd: 16, n_layer: 2, n_head: 4, n_positions: 128}",
    "train.num_steps=12",
    "train.batch_size=4",
    "prune.fractions=[0, 0.5]",
    "prune.scorers=[random, gate_gradient]",
    "prune.seeds=[0, 1]",
    "prune.calibration.num_sequences=4",
    "evaluate.limit=6",
]
# the README's examples of both benchmarks
REHEARSAL = ["sentinel", "bench", "pruning", "--size", "tiny"]
SMOKE = [
    *("sentinel", "mamba-vs-bk", "--model", "both", "--dataset", "synthetic", "--seq_len", "64"),
    *("--batch_size", "4", "--num_steps", "4", "--d_model", "32", "--n_layers", "1"),
    *("--validation_blocks", "4", "--limit", "3"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the README's examples to the front."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that tests only read."""
    folder = tmp_path_factory.mktemp("finished")
    run(load_recipe("demo", TINY).recipe, folder)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """What a command that fails says on stderr: no traceback, and nothing on stdout."""
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def values(record: RunRecord) -> dict[str, float]:
    """Every number that a finished run measured, by cell and metric."""
    found = {}
    for cell in record.cells:
        assert cell.evaluation is not None, cell.error
        for one in cell.evaluation.measurements:
            found[f"{cell.id}/{one.metric}"] = one.value
    return found
