"""What becomes of a model without the chosen units, measured: first what is quick, then the rest.

Perplexity, parameters and operations come from the very calls that `sentinel run` makes for the
exported recipe, on a model from which the units were removed; the loss on the calibration text from
the whole model with their gates at 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from sentinel_research.cost.phases import runs
from sentinel_research.evaluation import evaluate
from sentinel_research.evaluation.questions import Questions
from sentinel_research.explorer.subject import Subject
from sentinel_research.explorer.worker import Stop
from sentinel_research.machine import wait_for
from sentinel_research.models.anatomy import context_length
from sentinel_research.models.modes import evaluating
from sentinel_research.pruning import PruningPlan, prune
from sentinel_research.pruning.calibrate import forward, sequence_nll
from sentinel_research.pruning.gates import gate_units, plan_gates
from sentinel_research.pruning.named import names_of, share_of
from sentinel_research.specs import CostSpec, PruneSpec
from sentinel_research.specs.granularity import MANUAL
from sentinel_research.timing import measure, ratio_of

_PROMPT, _NEW, _ROUNDS = 128, 8, 7
# of a context that is shorter, the part that is decoded
_NEW_SHARE = 4


class Loss(NamedTuple):
    """Gained on the calibration text, nats per target token."""

    gained: float
    error: float
    """Standard error over sequences."""


class Size(NamedTuple):
    """Parameters, and forward operations per token."""

    parameters: int
    flops_per_token: float
    flops_tokens: int
    """Length of the sequence that operations were counted on."""


class Quality(NamedTuple):
    """The task's headline and all other metrics of all tasks."""

    metric: str
    value: float
    error: float | None
    """Standard error."""
    others: list[tuple[str, str, float, float | None]]
    """Task, metric, value, standard error."""
    num_documents: int


class Speed(NamedTuple):
    """Times as fast as the whole model, with an exact interval of the median of rounds in turns."""

    prefill: tuple[float, float, float]
    decode: tuple[float, float, float]
    clock: str
    rounds: int
    prompt_tokens: int


class Meter:
    """Measures one subject.

    Args:
        subject: Never changed.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._questions = Questions()
        self._dense: np.ndarray | None = None

    def loss(self, plan: PruningPlan, stop: Stop) -> Loss:
        """What the loss on the calibration text gains."""
        model = self._subject.model
        if self._dense is None:
            self._dense = self._losses(stop)
        with gate_units(model, plan_gates(self._subject.structure, plan)):
            gained = self._losses(stop) - self._dense
        spread = float(gained.std(ddof=1)) if len(gained) > 1 else 0.0
        return Loss(float(gained.mean()), spread / len(gained) ** 0.5)

    def _losses(self, stop: Stop) -> np.ndarray:
        model, text = self._subject.model, self._subject.calibration
        size = self._subject.calibration_spec.batch_size
        found = []
        with evaluating(model), torch.no_grad():
            for start in range(0, len(text), size):
                stop.look()
                part = text.select(slice(start, start + size)).to(model.device)
                found.append(sequence_nll(forward(model, part), part).double().cpu().numpy())
        return np.concatenate(found)

    def rest(self, plan: PruningPlan, told: Callable[[str, Any], object], stop: Stop) -> None:
        """Everything else, each told as soon as it is known: `size`, `quality`, `speed`.

        Raises:
            OutdatedError: if nobody wants it any more.
            SentinelError: as the stages of a run.
        """
        dense = self._subject.model
        stop.look()
        if plan.is_identity:
            self._quality(dense, told, stop)
            return
        pruned, report = prune(dense, prune_spec(plan))
        told(
            "size",
            Size(
                report.num_parameters_after,
                report.flops_per_token_after,
                report.flops_sequence_length,
            ),
        )
        self._quality(pruned, told, stop)
        stop.look()
        told("speed", self._speed(pruned, stop))

    def _quality(
        self, model: PreTrainedModel, told: Callable[[str, Any], object], stop: Stop
    ) -> None:
        spec = self._subject.recipe.evaluate
        try:
            with stop.watching(model):
                report = evaluate(model, self._subject.tokenizer, spec, questions=self._questions)
        except BaseException:
            # interrupted, the tasks hold answers of half a pass
            self._questions = Questions()
            raise
        headline = report.headline(self._subject.task)
        assert headline is not None  # a task that measures nothing has failed before
        told(
            "quality",
            Quality(
                headline.metric,
                headline.value,
                headline.stderr,
                [(one.task, one.metric, one.value, one.stderr) for one in report.measurements],
                sum(report.num_documents.values()),
            ),
        )

    def _speed(self, pruned: PreTrainedModel, stop: Stop) -> Speed:
        dense, spec = self._subject.model, cost_spec(self._subject.model)
        device = str(dense.device)
        clock = "cpu" if dense.device.type == "cpu" else "wall"
        found = {}
        # the same looks in both, so that none of them bends the ratio
        once = partial(stop.watching, layer_by_layer=False)
        with once(dense), once(pruned), evaluating(dense), evaluating(pruned):
            for run in runs(dense, spec):
                if run.phase == "first_token":
                    continue
                actions = {"whole": run.action(dense), "pruned": run.action(pruned)}
                samples = measure(actions, run.num_repetitions, partial(wait_for, device))
                times = [
                    [float(getattr(one, f"{clock}_seconds")) for one in samples[name]]
                    for name in ("whole", "pruned")
                ]
                ratio = ratio_of(list(zip(*times, strict=True)))
                found[run.phase] = ratio.median, ratio.low, ratio.high
        return Speed(
            found["prefill"], found["decode"], clock, spec.num_repetitions, spec.prompt_tokens
        )


def cost_spec(model: PreTrainedModel) -> CostSpec:
    """What is timed: a prompt and some new tokens, as far as the context goes."""
    room = context_length(model.config) or _PROMPT + _NEW
    new = max(1, min(_NEW, room // _NEW_SHARE))
    prompt = max(2, min(_PROMPT, room - new))
    return CostSpec(
        prompt_tokens=prompt,
        new_tokens=new,
        num_repetitions=_ROUNDS,
        fresh_process=False,
        modules=False,
    )


def prune_spec(plan: PruningPlan) -> PruneSpec:
    """What an exported recipe asks for, so that both remove the same in the same way."""
    request = prune_request(plan)
    (fraction,) = request.pop("fractions")
    return PruneSpec.model_validate({**request, "scorer": MANUAL, "fraction": fraction})


def prune_request(plan: PruningPlan) -> dict[str, Any]:
    """The `prune` section of a recipe that removes what a plan removes; JSON types only."""
    kinds = [kind for kind in plan.num_removed if kind in ("head", "neuron", "attention", "ffn")]
    units = names_of(plan)
    named = [kind for kind in kinds if any(_is_of(kind, name) for name in units)]
    return {
        "units": list(units),
        "fractions": [float(f"{share_of(plan):.6g}")],
        "budget": "parameters",
        "scope": "global",
        "granularity": named,
    }


def _is_of(kind: str, name: str) -> bool:
    letter = {"head": "H", "neuron": "N"}.get(kind)
    return name.endswith(f".{kind}") if letter is None else letter in name
