"""A mirror of small texts, flags of small models, and one finished benchmark that is only read."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from sentinel_research.cli import main
from tests.mirrors import use

SMALL = [
    *("--seq_len", "32", "--batch_size", "4", "--epochs", "2", "--num_steps", "25"),
    *("--d_model", "16", "--n_layers", "1", "--validation_blocks", "4", "--quiet"),
]
"""Models of a few thousand parameters and a few steps, on a corpus of some twenty steps a pass."""
_WORDS = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler", "slings"]
_SIZES = {"train": 500, "validation": 60, "test": 60}


def merged(*words: str) -> list[str]:
    """Words of a command line of which the last of each flag counts."""
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            flags[word] = current = []
        else:
            current.append(word)
    return [word for flag, values in flags.items() for word in (flag, *values)]


def text(num_words: int, seed: int) -> str:
    """Words in random order."""
    return " ".join(np.random.default_rng(seed).choice(_WORDS, num_words))


def repository(root: Path, repo_id: str, config: str, column: str, seed: int) -> None:
    """A repository of a mirror, with one document a split."""
    folder = root / repo_id
    folder.mkdir(parents=True)
    files = [{"split": name, "path": f"{name}.parquet"} for name in _SIZES]
    card = json.dumps({"configs": [{"config_name": config, "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    for place, (name, size) in enumerate(_SIZES.items()):
        rows = {column: [text(size, 10 * seed + place)]}
        datasets.Dataset.from_dict(rows).to_parquet(folder / f"{name}.parquet")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a mirror that holds shakespeare and ptb, of a few hundred words each."""
    root = tmp_path_factory.mktemp("mirror")
    repository(root / "hub", "karpathy/tiny_shakespeare", "default", "text", 1)
    repository(root / "hub", "ptb-text-only/ptb_text_only", "penn_treebank", "sentence", 2)
    return root


@pytest.fixture
def small_mirror(texts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That mirror, in use."""
    use(texts, monkeypatch)
    return texts / "hub"


@pytest.fixture(scope="session")
def finished(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of both models on two datasets that are there and one that is not."""
    folder = tmp_path_factory.mktemp("benchmark")
    words = ["--model", "both", "--multi_dataset", "--datasets", "shakespeare", "c4", "ptb"]
    words += ["--seeds", "3", "4", "--output_dir", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        use(texts, patch)
        assert main(["mamba-vs-bk", *SMALL, *words]) == 1
    return folder


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file in which NaN and infinity are errors."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{name} holds {constant}")

    content = (folder / name).read_text()
    return dict(json.loads(content, parse_constant=refuse))
