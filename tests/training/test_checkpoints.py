"""A folder of checkpoints belongs to one request; anything else in it is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinel_research.errors import CheckpointError, UsageError
from sentinel_research.training import train
from tests.training.conftest import make_model, make_spec


def _trained(folder: Path, blocks: np.ndarray, **changes: Any) -> Path:
    train(make_model(), make_spec(num_steps=5, **changes), blocks, folder)
    return folder


def test_checkpoint_of_another_shape_is_refused_with_the_folder_and_what_to_do(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    folder = _trained(tmp_path / "a", blocks)
    message = r"is of another model: .*c_attn\.bias \[48\], the model's \[96\]"
    with pytest.raises(UsageError, match=message) as caught:
        train(make_model(n_embd=32), make_spec(num_steps=5), blocks, folder)
    assert str(folder / "checkpoint-5") in caught.value.message
    assert f"remove {folder} to begin anew" in caught.value.hint


@pytest.mark.parametrize("names", [["llama", "gpt2"], ["gpt2", "llama"]], ids="-".join)
def test_checkpoint_of_another_architecture_is_refused(
    names: list[str], blocks: np.ndarray, tmp_path: Path
) -> None:
    """Trainer itself would go on with random weights for every name that it does not find."""
    for name in names:
        train(make_model(name), make_spec(num_steps=5), blocks, tmp_path / name)
    first, second = (tmp_path / name for name in names)
    shutil.rmtree(first / "checkpoint-5")
    shutil.copytree(second / "checkpoint-5", first / "checkpoint-5")
    with pytest.raises(UsageError, match="is of another model"):
        train(make_model(names[0]), make_spec(num_steps=5), blocks, first)


def test_checkpoint_of_fewer_layers_is_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    train(make_model(n_layer=1), make_spec(num_steps=5), blocks, tmp_path)
    with pytest.raises(UsageError, match=r"h\.1\..* is not in it"):
        train(make_model(), make_spec(num_steps=5), blocks, tmp_path)


def test_checkpoint_of_another_request_is_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    folder = _trained(tmp_path, blocks)
    message = r"another request: learning_rate was 0\.01 and is 0\.02"
    with pytest.raises(UsageError, match=message):
        train(make_model(), make_spec(num_steps=5, learning_rate=0.02), blocks, folder)


def test_other_number_of_processes_is_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    folder = _trained(tmp_path, blocks)
    path = folder / "request.json"
    path.write_text(path.read_text().replace('processes": 1', 'processes": 2'))
    with pytest.raises(UsageError, match="the number of processes was 2 and is 1"):
        train(make_model(), make_spec(num_steps=5), blocks, folder)


def test_checkpoints_from_elsewhere_are_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    folder = _trained(tmp_path, blocks)
    (folder / "request.json").unlink()
    with pytest.raises(UsageError, match="was not begun here"):
        train(make_model(), make_spec(num_steps=5), blocks, folder)


def test_damaged_checkpoint_is_named(blocks: np.ndarray, tmp_path: Path) -> None:
    folder = _trained(tmp_path, blocks)
    weights = folder / "checkpoint-5" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"model\.safetensors has .* bytes"):
        train(make_model(), make_spec(num_steps=5), blocks, folder)
