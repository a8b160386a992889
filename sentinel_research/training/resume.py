"""Where an interrupted training goes on, and whether there is anything left to do."""

from pathlib import Path
from typing import Any, NamedTuple

from transformers import EarlyStoppingCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import CONFIG_NAME

from sentinel_research.specs import TrainSpec

# Trainer writes it last
_COMPLETE = "trainer_state.json"


class Finished(NamedTuple):
    """What a training that came to its end has left."""

    state: TrainerState
    """With its whole history."""
    weights: str
    """Checkpoint of the last or the best weights, as the spec keeps them."""


def checkpoint(path: Path) -> str:
    """A checkpoint as Trainer can read it.

    Trainer reads the stored configuration with the base class, for its version only, and that class
    does not know layers of different sizes. Nothing else reads it: the model is there already.
    """
    (path / CONFIG_NAME).unlink(missing_ok=True)
    return str(path)


def last_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """Step and path of the last checkpoint that was written to its end; None if there is none."""
    found = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{_COMPLETE}")
    steps = {int(path.parent.name.rpartition("-")[2]): path.parent for path in found}
    return max(steps.items()) if steps else None


def finished(folder: Path, spec: TrainSpec) -> Finished | None:
    """What a training has left, if it has come to its end.

    Trainer itself would do one step more of a training that ended inside a pass over its blocks.

    Args:
        folder: Of its checkpoints.
        spec: Number of steps, patience and which weights are kept.

    Returns:
        None where steps are missing.
    """
    last = last_checkpoint(folder)
    if last is None:
        return None
    step, path = last
    state = TrainerState.load_from_json(str(path / _COMPLETE))
    if step < spec.num_steps and not _has_waited(state, spec):
        return None
    best = state.best_model_checkpoint
    return Finished(state, checkpoint(Path(best) if spec.keep == "best" and best else path))


def _has_waited(state: TrainerState, spec: TrainSpec) -> bool:
    """Whether early stopping ended the training."""
    if spec.patience is None:
        return False
    # a dictionary by class name, once it has been stored
    callbacks: Any = state.stateful_callbacks
    stored = callbacks[EarlyStoppingCallback.__name__]["attributes"]
    waited: int = stored["early_stopping_patience_counter"]
    return waited >= spec.patience
