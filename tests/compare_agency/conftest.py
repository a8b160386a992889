"""A tiny model, the flags of a small comparison, and one that is finished and only read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.cli import main
from sentinel_research.compare_agency import run as comparing
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.mamba_vs_bk.conftest import merged

SMALL = [
    *("--dataset", "synthetic", "--pruning_levels", "50", "--temperatures", "1.0"),
    *("--num_tokens", "4", "--prompt_tokens", "8", "--max_prompts", "2", "--iterations", "2"),
    *("--limit", "12", "--batch_size", "8"),
]
Asked = Callable[..., AgencyComparisonRequest]


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of four heads, with the byte tokenizer."""
    size = {"n_layer": 2, "n_head": 4, "n_embd": 16, "n_inner": 24, "n_positions": 128}
    folder = tmp_path_factory.mktemp("agency") / "tiny"
    return save(tiny_model("gpt2", **size), byte_tokenizer(), folder)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, plain_folder: Path) -> Asked:
    """The request that words of the command line become; nothing runs."""

    def make(*words: str) -> AgencyComparisonRequest:
        seen: list[AgencyComparisonRequest] = []

        def planned(request: AgencyComparisonRequest) -> list[str]:
            seen.append(request)
            return []

        monkeypatch.setattr(comparing, "planned", planned)
        given = merged("--model_name", str(plain_folder), *SMALL, *words)
        assert main(["compare-agency", "--dry_run", *given]) == 0
        return seen[0]

    return make


def results_of(folder: Path) -> dict[str, Any]:
    """The JSON file of a comparison."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def compare(folder: Path, *words: str) -> int:
    """The exit code of the command."""
    given = merged(*SMALL, *words, "--output_dir", str(folder))
    return main(["compare-agency", "--quiet", *given])


@pytest.fixture(scope="session")
def finished(plain_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison of a stored model, with everything that flags can ask for."""
    folder = tmp_path_factory.mktemp("comparison")
    flags = ["--save_outputs", "--memory_logging", "--model_name", str(plain_folder)]
    assert compare(folder, *flags) == 0
    return folder
