"""The steps of a pruning, each with something plain of about its kind."""

import copy
import shutil
from pathlib import Path
from typing import NamedTuple

from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.bench.calibration import forward_backward
from sentinel_research.bench.models import FRACTION, SCALES, calibration_set, half_of_the_heads
from sentinel_research.bench.schema_base import Size
from sentinel_research.models import place, save
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.pruning import load
from sentinel_research.pruning.apply import plan_units
from sentinel_research.pruning.score import score_units
from sentinel_research.pruning.surgery import remove
from sentinel_research.specs import CalibrationSpec, ModelSpec, PruneSpec
from sentinel_research.timing import Action

_COPY = "copy.deepcopy of the model"
_WORDS = {
    "score_magnitude_l2": ("scoring by magnitude_l2", _COPY),
    "score_gate_gradient": (
        "scoring by gate_gradient, with standard errors",
        "forward and backward pass over the same text, gradients of all parameters",
    ),
    "plan": ("choosing heads from their scores", _COPY),
    "remove": ("removing the heads into a new model, self-check included", _COPY),
    "save": (
        "saving the pruned model with its tokenizer, atomically",
        "save_pretrained of the dense model",
    ),
    "reload": (
        "loading the pruned model with its tokenizer, weights hashed and searched for zeros",
        "from_pretrained of the dense model, which maps the weights and reads none of them",
    ),
}


class Step(NamedTuple):
    """One step of a pruning, and what it is compared with."""

    name: str
    """Unique."""
    measured: str
    """What is timed, in words."""
    alternative: str
    """What it is compared with, in words."""
    action: Action
    """The step."""
    plain: Action
    """The alternative."""


def steps(model: PreTrainedModel, size: Size, folder: Path) -> list[Step]:
    """The steps, in the order of a pruning.

    Args:
        model: Dense.
        size: How much calibration text.
        folder: For checkpoints, empty.
    """
    scale, device = SCALES[size], model.device
    copied = Action(lambda _: copy.deepcopy(model))
    calibration = calibration_set(model, size)
    trained = Action(lambda _: forward_backward(model, calibration, scale.batch_size))
    text = CalibrationSpec(
        corpus="random tokens",
        num_sequences=scale.num_sequences,
        sequence_length=scale.sequence_length,
        batch_size=scale.batch_size,
    )
    magnitude = PruneSpec(scorer="magnitude_l2", fraction=FRACTION)
    gradient = PruneSpec(scorer="gate_gradient", fraction=FRACTION, calibration=text)
    scores, plan = score_units(model, magnitude), half_of_the_heads(model)
    actions = {
        "score_magnitude_l2": (Action(lambda _: score_units(model, magnitude)), copied),
        "score_gate_gradient": (
            Action(lambda _: score_units(model, gradient, calibration)),
            trained,
        ),
        "plan": (Action(lambda _: plan_units(model, magnitude, scores=scores)), copied),
        "remove": (Action(lambda _: remove(model, plan)), copied),
        **_storage(model, remove(model, plan), folder, str(device)),
    }
    return [
        Step(name, measured, alternative, *actions[name])
        for name, (measured, alternative) in _WORDS.items()
    ]


def _storage(
    dense: PreTrainedModel, pruned: PreTrainedModel, folder: Path, device: str
) -> dict[str, tuple[Action, Action]]:
    """Writing and reading the pruned model, and the dense one as transformers does it."""
    tokenizer, target = byte_tokenizer(), folder / "written"
    for name, model in (("dense", dense), ("pruned", pruned)):
        save(model, tokenizer, folder / name)
    spec = ModelSpec(pretrained=str(folder / "pruned"), device=device)

    def cleared() -> None:
        shutil.rmtree(target, ignore_errors=True)

    def read_dense(_: object) -> object:
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder / "dense")
        place(loaded, device)
        return loaded

    return {
        "save": (
            Action(lambda _: save(pruned, tokenizer, target), cleared),
            Action(lambda _: dense.save_pretrained(target), cleared),
        ),
        "reload": (Action(lambda _: load(spec)), Action(read_dense)),
    }
