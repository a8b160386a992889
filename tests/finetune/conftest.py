"""A tiny model in a folder, small texts in a mirror, and short words for both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sentinel_research.finetune.run as finetuning
from sentinel_research.cli import main
from sentinel_research.finetune.request import FinetuneRequest
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.record import RunRecord
from tests.mamba_vs_bk.conftest import merged, repository
from tests.mirrors import use

SMALL = [
    *("--dataset", "shakespeare", "--max_length", "32", "--batch_size", "4", "--quiet"),
    *("--eval_samples", "2"),
]
"""Twenty steps a pass, over a text of a few hundred words."""
Asked = Callable[..., FinetuneRequest]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of four heads, with the byte tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    # dropout would draw other numbers for other numbers of heads
    still = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    size = {"n_layer": 2, "n_head": 4, "n_embd": 16, "n_inner": 24, "n_positions": 256}
    model = tiny_model("gpt2", **size, **still)
    return save(model, byte_tokenizer(), folder)


@pytest.fixture(scope="session")
def small_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a mirror of the corpora that the published commands name."""
    root = tmp_path_factory.mktemp("texts")
    hub = root / "hub"
    repository(hub, "karpathy/tiny_shakespeare", "default", "text", 1)
    repository(hub, "sentinel/gutenberg_books", "default", "text", 2)
    repository(hub, "EleutherAI/wikitext_document_level", "wikitext-2-raw-v1", "page", 3)
    repository(hub, "Salesforce/wikitext", "wikitext-2-raw-v1", "text", 4)
    repository(hub, "roneneldan/TinyStories", "default", "text", 5)
    return root


@pytest.fixture
def small_mirror(small_texts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That mirror, in use."""
    use(small_texts, monkeypatch)
    return small_texts / "hub"


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, small_mirror: Path, tmp_path: Path
) -> Asked:
    """The request that words of the command line become; nothing runs."""

    def make(*words: str) -> FinetuneRequest:
        seen: list[FinetuneRequest] = []

        def note(request: FinetuneRequest, **_: Any) -> finetuning.Outcome:
            seen.append(request)
            record = RunRecord(
                name="none",
                recipe={},
                recipe_fingerprint="",
                synthetic_data=False,
                started_at="",
                environment={},
                status="done",
            )
            return finetuning.Outcome(record, tmp_path, ())

        monkeypatch.setattr(finetuning, "run_finetune", note)
        given = merged("--model_name", str(model_folder), *SMALL, *words)
        assert main(["finetune", *given]) == 0
        return seen[0]

    return make


def ran(folder: Path, model: Path, *words: str) -> RunRecord:
    """The record of a command that ends well."""
    given = merged("--model_name", str(model), *SMALL, "--output_dir", str(folder), *words)
    assert main(["finetune", *given]) == 0
    return RunRecord.read(folder)
