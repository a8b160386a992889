"""Speed and memory of all arms in one process: in turns, so that all meet the same machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from transformers import PreTrainedModel

from sentinel_research.cell_plan import plan_cells
from sentinel_research.compare_agency.recipes import ARMS, Kind
from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.compare_agency.times import ArmTimes, Times
from sentinel_research.data.held_out_prompts import held_out_prompts
from sentinel_research.evaluation.generation_speed import write_in_turns
from sentinel_research.files import write_atomically
from sentinel_research.memory import PeakMemory
from sentinel_research.models.stored_linear import held_bytes
from sentinel_research.progress import Progress
from sentinel_research.pruner import Pruner
from sentinel_research.pruning import load
from sentinel_research.specs import GenerationSpec, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_ROUNDS = 5
DENSE_LEVEL = 0.0


def measure_times(
    request: AgencyComparisonRequest,
    recipes: dict[Kind, Recipe],
    path: Path,
    progress: Progress,
) -> Times:
    """Time every arm of one iteration at every level, and keep that; what is kept is read.

    Args:
        request: The flags.
        recipes: What measured the same iteration, by model.
        path: Of the JSON file.
        progress: Who is told about progress.

    Returns:
        The times.
    """
    if path.exists():
        kept = Times.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.has_memory or not request.memory_logging:
            return kept
    loaded = {kind: _Loaded(recipe) for kind, recipe in recipes.items()}
    spec = recipes["plain"].evaluate.generation
    assert spec is not None  # every measuring recipe writes
    timed = spec.model_copy(update={"num_timings": NUM_ROUNDS, "temperature": 0.0})
    prompt = held_out_prompts(spec, loaded["plain"].tokenizer).prompts[0]
    found: list[ArmTimes] = []
    for level, models in _levels(request, loaded):
        progress.say(f"speed at {level:g} percent: {', '.join(models)}")
        for name, rounds in write_in_turns(models, prompt, timed).items():
            found.append(
                ArmTimes(
                    arm=name,
                    level=level,
                    first_token_seconds=tuple(one.first_token for one in rounds),
                    decoding_seconds=tuple(one.decoding for one in rounds),
                    num_decoded=timed.max_new_tokens - 1,
                    weights_bytes=held_bytes(models[name]),
                    writing_bytes=_rise(models[name], prompt, timed, request),
                )
            )
    times = Times(
        arms=tuple(found),
        has_memory=request.memory_logging,
        num_threads=torch.get_num_threads(),
        device=request.device,
        memory_kind=PeakMemory(request.device).kind,
    )
    write_atomically(path, times.model_dump_json(indent=1) + "\n")
    return times


class _Loaded:
    """A model with what prunes it, as the pipeline does."""

    def __init__(self, recipe: Recipe) -> None:
        self.model, self.tokenizer, _ = load(recipe.model)
        self.cells = [cell.prune for cell in plan_cells(recipe) if cell.prune is not None]
        self._pruner = Pruner(self.model, self.tokenizer, recipe, self.cells)

    tokenizer: "PreTrainedTokenizerBase"

    def arm(self, name: str, level: float) -> PreTrainedModel:
        """The model of an arm."""
        for spec in self.cells:
            if spec.variant == name and spec.fraction == level / 100:
                return self._pruner.prune(spec).model
        raise KeyError(name)


def _levels(
    request: AgencyComparisonRequest, loaded: dict[Kind, _Loaded]
) -> Iterator[tuple[float, dict[str, PreTrainedModel]]]:
    whole = {"dense": loaded["plain"].model, "agency": loaded["agency"].model}
    yield DENSE_LEVEL, whole
    for level in request.levels:
        arms = {name: loaded[kind].arm(name, level) for name, (kind, _) in ARMS.items()}
        yield level, {"dense": whole["dense"], **arms}


def _rise(
    model: PreTrainedModel,
    prompt: Int64[np.ndarray, " prompt_length"],
    spec: GenerationSpec,
    request: AgencyComparisonRequest,
) -> int | None:
    if not request.memory_logging:
        return None
    once = spec.model_copy(update={"num_timings": 0})
    with PeakMemory(request.device) as memory:
        write_in_turns({"": model}, prompt, once)
    if memory.peak_bytes is None or memory.before_bytes is None:
        return None
    return memory.peak_bytes - memory.before_bytes
