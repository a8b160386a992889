"""A mirror of a few learnable documents, tiny checkpoints, and one finished run to read."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.data.mmlu import SUBJECTS
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pipeline import run
from sentinel_research.recipe import parse
from sentinel_research.record import RunRecord
from sentinel_research.specs import Recipe
from tests.mirrors import Rows, use, write_repository

LENGTH = 96
TRAIN = {"batch_size": 4, "learning_rate": 0.003}
_SUBJECTS = list(SUBJECTS["stem"])[:2]


def reviews(first: int, number: int) -> Rows:
    """Two of three are good; no text comes twice."""
    rows = range(first, first + number)
    words = ["good", "bad", "good"]
    return [
        {"sentence": f"{words[row % 3]} {row}", "label": int(row % 3 != 1), "idx": row}
        for row in rows
    ]


def _pairs(first: int, number: int) -> Rows:
    rows = range(first, first + number)
    return [
        {"sentence1": f"{row}", "sentence2": f"{row + row % 2}", "label": row % 2, "idx": row}
        for row in rows
    ]


def _passages(first: int, number: int) -> Rows:
    return [
        {
            "id": str(row),
            "title": "N",
            "context": f"It is {row}.",
            "question": "What?",
            "answers": {"text": [str(row)], "answer_start": [6]},
        }
        for row in range(first, first + number)
    ]


def _questions(subject: str, first: int, number: int) -> Rows:
    return [
        {"question": f"{subject[:4]} {row}?", "choices": list("wxyz"), "answer": row % 4}
        for row in range(first, first + number)
    ]


def write_mirror(root: Path, evaluated: Rows | None = None) -> Path:
    """Repositories below `root/hub`: 12 reviews and 10 pairs to learn, others to be asked.

    Args:
        root: An empty folder.
        evaluated: Reviews that are asked.
    """
    overlap = [*reviews(0, 3), *reviews(40, 5)]
    glue = {
        "sst2": {"train": reviews(0, 12), "validation": evaluated or reviews(20, 6)},
        "rte": {"train": _pairs(0, 10), "validation": _pairs(20, 4)},
        # the first three documents of the training split are asked, too
        "cola": {"train": reviews(0, 12), "validation": overlap},
        "wnli": {"train": _pairs(0, 3), "validation": _pairs(0, 3)},
    }
    write_repository(root / "hub", "nyu-mll/glue", glue)
    squad = {"train": _passages(0, 8), "validation": _passages(10, 2)}
    write_repository(root / "hub", "rajpurkar/squad", {"plain_text": squad})
    mmlu = {
        one: {"dev": _questions(one, 0, 5), "test": _questions(one, 10, 4)} for one in _SUBJECTS
    }
    write_repository(root / "hub", "cais/mmlu", mmlu)
    return root


@pytest.fixture(scope="session")
def mirror_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That mirror, written once."""
    return write_mirror(tmp_path_factory.mktemp("lessons"))


@pytest.fixture
def lessons(mirror_files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That mirror, in use."""
    use(mirror_files, monkeypatch)
    return mirror_files / "hub"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny models as folders: two GPT-2 of different seeds, and one that mixes by resolvents."""
    folder = tmp_path_factory.mktemp("checkpoints")
    small = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_inner": 24, "n_positions": LENGTH}
    still = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    resolvent = {"num_hidden_layers": 1, "hidden_size": 16, "mixers": "resolvent"}
    models = {
        "gpt2-0": tiny_model("gpt2", seed=0, **small, **still),
        "gpt2-1": tiny_model("gpt2", seed=1, **small, **still),
        "resolvent": tiny_model("sentinel", num_attention_heads=1, **resolvent),
    }
    return {
        name: str(save(model, byte_tokenizer(), folder / name)) for name, model in models.items()
    }


def recipe_of(models: dict[str, Any], tasks: list[str], **downstream: Any) -> Recipe:
    """A recipe that fine-tunes models on tasks."""
    content = {
        "name": "lessons",
        "description": "Fine-tunes.",
        "model": {},
        "downstream": {"models": models, "train": TRAIN, "epochs": 2, **downstream},
        "evaluate": {"tasks": tasks, "max_length": LENGTH, "batch_size": 8},
    }
    return parse(Recipe, content, "test")


FINISHED = ["sentinel_sst2", "sentinel_rte"]


@pytest.fixture(scope="session")
def finished(
    mirror_files: Path, checkpoints: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> RunRecord:
    """GPT-2 with a checkpoint for each seed, and a resolvent with one for both; two rates."""
    models = {
        "gpt2": [checkpoints["gpt2-0"], checkpoints["gpt2-1"]],
        "resolvent": [checkpoints["resolvent"]],
    }
    recipe = recipe_of(models, FINISHED, seeds=[5, 6], learning_rates=[1e-5, 0.01])
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        use(mirror_files, patch)
        return run(recipe, folder)
