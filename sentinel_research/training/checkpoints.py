"""The checkpoints of one training: whose they are, which is the last, and what it holds.

A folder belongs to one request. Another one, another number of processes, or a checkpoint of
another model in it would go on quietly with the wrong steps, noise or weights, and is refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME

from sentinel_research import distributed
from sentinel_research.errors import UsageError
from sentinel_research.files import write_atomically
from sentinel_research.models.safetensors_header import check_safetensors
from sentinel_research.specs import TrainSpec

REQUEST_FILE = "request.json"
# Trainer writes it last
_COMPLETE = "trainer_state.json"
_WEIGHTS = "model*.safetensors"
_NUM_NAMES_SHOWN = 3


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end; None if there is none."""
    found = [path.parent for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{_COMPLETE}")]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path | None) -> int:
    """After which step it was written; 0 for None."""
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


def open_folder(folder: Path, spec: TrainSpec, model: PreTrainedModel) -> Path | None:
    """Take a folder for a training, or go on with the one that was interrupted in it.

    Args:
        folder: Of the checkpoints; need not exist.
        spec: What is asked for.
        model: What is trained.

    Returns:
        The checkpoint to go on from, as Trainer can read it; None to begin.

    Raises:
        UsageError: if the folder holds checkpoints of another request or another model.
        CheckpointError: if the last checkpoint is damaged.
    """
    checkpoint = last_checkpoint(folder)
    request: dict[str, Any] = {
        "the number of processes": distributed.num_processes(),
        "FSDP": distributed.divides_weights() or None,
    }
    claim(folder, {**request, **spec.model_dump(mode="json")}, is_begun=checkpoint is not None)
    if checkpoint is None:
        return None
    _check_model(checkpoint, model)
    # Trainer reads the stored configuration with the base class, for its version only, and that
    # class does not know layers of different sizes; nothing else reads it
    (checkpoint / CONFIG_NAME).unlink(missing_ok=True)
    return checkpoint


def claim(folder: Path, request: Mapping[str, Any], *, is_begun: bool) -> None:
    """Note in a folder what it is for, or check that it is for the same.

    Args:
        folder: Created where it is missing.
        request: JSON types; what may not differ between an interruption and the resumption.
        is_begun: Whether the folder holds work that somebody goes on with.

    Raises:
        UsageError: if that work is of another request.
    """
    path = folder / REQUEST_FILE
    if not is_begun:
        folder.mkdir(parents=True, exist_ok=True)
        if distributed.is_main():
            write_atomically(path, json.dumps(request, indent=1) + "\n")
        return
    hint = f"remove {folder} to begin anew, or train into another folder"
    if not path.is_file():
        raise UsageError(f"{folder} holds checkpoints of a training that was not begun here", hint)
    stored = json.loads(path.read_text(encoding="utf-8"))
    differ = [
        f"{name} was {stored.get(name)!r} and is {value!r}"
        for name, value in request.items()
        if stored.get(name) != value
    ]
    if differ:
        raise UsageError(
            f"{folder} holds an interrupted training of another request: {'; '.join(differ)}", hint
        )


def _check_model(checkpoint: Path, model: PreTrainedModel) -> None:
    """Compare names and shapes; a name that Trainer does not find keeps its random weights."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(checkpoint.glob(_WEIGHTS)):
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            shapes.update({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    if not shapes:
        # adapters alone, which their own library loads and checks
        return
    own = model.state_dict()
    stored = {own[name].data_ptr() for name in shapes if name in own}
    wrong = [
        f"{name} {shape}, the model's {list(own[name].shape) if name in own else 'has none'}"
        for name, shape in shapes.items()
        if name not in own or list(own[name].shape) != shape
    ]
    # tied weights are stored once
    wrong += [
        f"{name} {list(value.shape)} is not in it"
        for name, value in own.items()
        if name not in shapes and value.data_ptr() not in stored
    ]
    if wrong:
        raise UsageError(
            f"{checkpoint} is of another model: {'; '.join(wrong[:_NUM_NAMES_SHOWN])}"
            f"{f' and {len(wrong) - _NUM_NAMES_SHOWN} more' if wrong[_NUM_NAMES_SHOWN:] else ''}",
            f"remove {checkpoint.parent} to begin anew, or train into another folder",
        )
