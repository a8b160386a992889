"""Prune while training: re-score at given steps, change the mask, and really prune at the end.

What a recovery that prunes decides is when, how much, and which (`mask_choices`); the rest is here.
The state of the mask lives in the log of Trainer's state, which Trainer writes last into every
checkpoint: either a checkpoint has weights, moments and mask of one step, or it does not count. An
update belongs to the step that follows it, so it is never half in a checkpoint.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.modes import without_autocast
from sentinel_research.pruning import (
    Planned,
    PruneReport,
    PruningPlan,
    Scores,
    parse_plan,
    plan_units,
    score_units,
)
from sentinel_research.pruning.apply import carry_out
from sentinel_research.pruning.select import Selection
from sentinel_research.recoveries.inputs import Adjustment, Phase, RecoveryInputs
from sentinel_research.recoveries.live_mask import LiveMask
from sentinel_research.recoveries.mask_changes import changes, overlap
from sentinel_research.registry import get
from sentinel_research.specs import PruneSpec

_ENTRY, _STATE = "mask_update", "mask_state"
HIDES_WEIGHTS = "a changing mask acts on the weights of units, which adapters stand beside"
"""Why `lora` does not go with these recoveries."""
Updates = Mapping[int, float]
"""By step, before which it happens, the fraction that is masked from then on."""


@dataclass(frozen=True)
class Moment:
    """One update of a mask: what the choice of units may read."""

    model: PreTrainedModel
    """As it is now, with the mask before; not to be changed."""
    spec: PruneSpec
    """The pruning, with the fraction of this update."""
    calibration: CalibrationSet | None
    """Text for scorers."""
    mask: LiveMask
    """Of the model."""
    before: PruningPlan | None
    """The mask before; None at the first update."""
    step: int
    """Of the phase."""
    scores: Scores | None
    """Of the model as it is now, where it has been scored already."""


Choice = Callable[[Moment], Planned]
"""Decides what is masked from now on."""


class Masks(TrainerCallback):
    """Updates the mask of a model in training, and prunes the model in the end.

    Args:
        inputs: Of the recovery; the dense model is scored and gets gates.
        updates: Of every phase, the first of them before the first step of the first phase or
            later.
        choose: Which units.
    """

    def __init__(self, inputs: RecoveryInputs, updates: Sequence[Updates], choose: Choice) -> None:
        assert inputs.prune is not None  # `recover` refuses it
        self._model, self._spec, self._calibration = inputs.model, inputs.prune, inputs.calibration
        self._updates, self._choose = updates, choose
        self._scores = score_units(self._model, self._spec, self._calibration)
        self._one_shot = plan_units(
            self._model, self._spec, self._calibration, scores=self._scores
        ).plan
        self._planned: Planned | None = None
        self._history: list[dict[str, Any]] = []
        self._report: PruneReport | None = None
        self._phase = -1
        self.mask = LiveMask(self._model, self._spec.granularities)

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Trainer's hook before a phase, or the rest of one: take up the mask of its checkpoint."""
        self._phase += 1
        entries: list[dict[str, Any]] = [one for one in state.log_history if _ENTRY in one]
        self._history += [one[_ENTRY] for one in entries]
        if entries:
            self._planned = _parse(entries[-1][_STATE])
            self.mask.put(self._planned.plan)

    def on_step_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        optimizer: torch.optim.Optimizer | None = None,
        **_: Any,
    ) -> None:
        """Trainer's hook before every optimiser step: the update, if it is time for one."""
        fraction = self._updates[self._phase].get(state.global_step)
        if fraction is None:
            return
        began = time.perf_counter()
        before = self._planned.plan if self._planned is not None else None
        is_dense = self._phase == state.global_step == 0
        moment = Moment(
            model=self._model,
            spec=self._spec.model_copy(update={"fraction": fraction}),
            calibration=self._calibration,
            mask=self.mask,
            before=before,
            step=state.global_step,
            scores=self._scores if is_dense else None,
        )
        # as one-shot pruning scores, whatever training's precision
        with without_autocast(self._model):
            self._planned = self._choose(moment)
        self.mask.put(self._planned.plan, optimizer)
        self._log(state, fraction, before, time.perf_counter() - began)

    def _log(
        self, state: TrainerState, fraction: float, before: PruningPlan | None, seconds: float
    ) -> None:
        assert self._planned is not None
        plan = self._planned.plan
        entry = {
            "phase": self._phase,
            "step": state.global_step,
            "fraction": fraction,
            "num_removed": plan.num_removed,
            **changes(before, plan),
            "overlap_before": None if before is None else overlap(before, plan),
            "overlap_one_shot": overlap(self._one_shot, plan),
            "seconds": seconds,
        }
        self._history.append(entry)
        log: list[Any] = state.log_history
        # only the last mask is needed to go on, and those of single weights are large
        for one in log:
            one.pop(_STATE, None)
        log.append({"step": state.global_step, _ENTRY: entry, _STATE: _dump(self._planned)})

    def finish(self, model: PreTrainedModel) -> PreTrainedModel:
        """The trained model without what is masked, or masked as a pruning leaves it."""
        assert self._planned is not None  # every schedule has an update
        self.mask.remove()
        seconds = self._scores.seconds + sum(entry["seconds"] for entry in self._history)
        pruned, self._report = carry_out(model, self._spec, self._planned, seconds)
        return pruned

    def report(self) -> dict[str, Any]:
        """Every update of the mask, for the record."""
        return {"masks": self._history}

    def pruned(self) -> PruneReport:
        """What was pruned in the end; the time of scoring is that of every update together."""
        assert self._report is not None  # asked for after `finish`
        return self._report


def prune_while_training(
    name: str,
    inputs: RecoveryInputs,
    updates: Sequence[Updates],
    choose: Choice,
    phases: tuple[Phase, ...] = (),
) -> Adjustment:
    """What a recovery that prunes changes about a training.

    Args:
        name: Of the recovery, for messages.
        inputs: Its own.
        updates: Of every phase.
        choose: Which units.
        phases: See `Adjustment`.

    Raises:
        UsageError: for a pruning or a training that cannot change its mask on the way.
    """
    assert inputs.prune is not None  # `recover` refuses it
    _check(name, inputs, inputs.prune)
    masks = Masks(inputs, updates, choose)
    return Adjustment(
        changing=masks.mask.factors,
        callbacks=(masks,),
        phases=phases,
        finish=masks.finish,
        report=masks.report,
        pruned=masks.pruned,
    )


def _check(name: str, inputs: RecoveryInputs, spec: PruneSpec) -> None:
    if spec.compensate != "none":
        raise UsageError(
            f"`{name}` trains while it prunes, and `prune.compensate: {spec.compensate}` stands in "
            "for training",
            "leave out `prune.compensate`, or recover with `full`",
        )
    if spec.quantise is not None and spec.quantise.when != "scores":
        raise UsageError(
            f"`{name}` prunes while it trains, and `prune.quantise.when: {spec.quantise.when}` "
            "rounds weights around a pruning in one go",
            "take `when: scores`, or the recovery `quantise` beside it",
        )
    if spec.transfer_from is not None:
        raise UsageError(
            f"`{name}` chooses units by the model in training, and `prune.transfer_from` by "
            f"{spec.transfer_from}",
            "leave out `prune.transfer_from`, or recover with `full`",
        )
    if spec.units:
        raise UsageError(
            f"`{name}` chooses units while it trains, and `prune.units` names them",
            "leave out `prune.units`, or recover with `full`",
        )
    if get("scorers", spec.scorer).solver:
        raise UsageError(
            f"`{name}` asks for scores again and again, and '{spec.scorer}' gives none: it sets "
            "the weights that stay, once",
            "choose another scorer, such as magnitude_l2 or wanda",
        )
    if "2:4" in spec.granularities:
        raise UsageError(
            f"`{name}` changes what is masked step by step, and `granularity: 2:4` is two of four "
            "or nothing",
            "take `granularity: weight`, or recover with `full`",
        )
    if inputs.spec.train.keep == "best":
        raise UsageError(
            f"`{name}` ends with the mask of the last step, and `train.keep: best` with the "
            "weights of another",
            "give this variant `train: {keep: last, patience: null}`",
        )


def _dump(planned: Planned) -> dict[str, Any]:
    """What an interrupted training needs to go on, as JSON types."""
    selection = planned.selection
    return {
        "plan": planned.plan.model_dump_json(),
        "selection": selection and selection._asdict(),
        "overlap": planned.overlap,
    }


def _parse(state: dict[str, Any]) -> Planned:
    given = state["selection"]
    selection = None
    if given is not None:
        removed = {kind: tuple(map(tuple, layers)) for kind, layers in given["removed"].items()}
        selection = Selection(removed, given["requested"], given["achieved"])
    return Planned(parse_plan(state["plan"]), selection, state["overlap"])
