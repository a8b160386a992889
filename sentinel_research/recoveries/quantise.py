"""End with weights on the grid of a few bits, and train knowing it or not."""

from typing import Any, Literal

from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sentinel_research.errors import UsageError
from sentinel_research.pruning import PruningPlan
from sentinel_research.quantisation import RoundedForward, quantise_in_place, quantised_names
from sentinel_research.recoveries.inputs import Adjustment, RecoveryInputs
from sentinel_research.recoveries.methods import prunes_itself
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.registry import recovery
from sentinel_research.specs import QuantiseSpec


class QuantiseOptions(QuantiseSpec):
    """The grid, and whether training sees it."""

    when: Literal["after", "throughout"] = "after"
    """`after`: weights are rounded at the end; `throughout`: also in every forward pass of training
    and validation, with straight-through gradients."""


class _Rounding(TrainerCallback):
    """The model computes with rounded weights from the beginning of every phase to its end."""

    def __init__(self, spec: QuantiseSpec, plan: PruningPlan | None) -> None:
        self._spec, self._plan = spec, plan
        self._rounded: RoundedForward | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        """Trainer's hook before a phase, or the rest of one."""
        assert model is not None  # Trainer hands its own
        self._rounded = RoundedForward(model, self._spec, held(model, self._plan))

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Trainer's hook behind a phase, once the best weights are back."""
        assert self._rounded is not None
        self._rounded.remove()


@recovery(
    "quantise",
    summary="weights end on a grid of a few bits, seen by training or not",
    reference="Jacob et al. 2018, section 3, https://arxiv.org/abs/1712.05877; "
    "straight-through: Bengio et al. 2013, https://arxiv.org/abs/1308.3432",
    options=QuantiseOptions,
    costs_quality=True,
)
def quantise(inputs: RecoveryInputs, options: QuantiseOptions) -> Adjustment:
    """Round the projections' weights once every method is done; `throughout` trains through it.

    The rounding is the last thing that happens, wherever the method is named: additions are merged
    and units are gone by then. What pruning masks keeps its bytes, and no grid depends on it.

    Raises:
        UsageError: for a family of which no projections are known, and `throughout` together with
            what it cannot see: additions beside the weights, or masks that change.
    """
    quantised_names(inputs.model)
    if options.when == "throughout":
        _check_sees_everything(inputs)
    report: dict[str, Any] = {}

    def seal(model: PreTrainedModel, plan: PruningPlan | None) -> None:
        done = quantise_in_place(model, options, held(model, plan))
        report.update({**done.model_dump(mode="json"), "when": options.when})

    callbacks = (_Rounding(options, inputs.plan),) if options.when == "throughout" else ()
    return Adjustment(seal=seal, callbacks=callbacks, report=lambda: {"quantise": report})


def _check_sees_everything(inputs: RecoveryInputs) -> None:
    hint = "take `quantise: {when: after}`"
    if "lora" in inputs.spec.methods:
        raise UsageError(
            "`quantise: {when: throughout}` rounds the weights of projections in training, and "
            "`lora` trains additions beside them, which the end rounds together with the weights",
            f"{hint}, or train `full`",
        )
    if prunes_itself(inputs.spec.methods):
        raise UsageError(
            f"`quantise: {{when: throughout}}` with {' and '.join(inputs.spec.methods)}: the grid "
            "of a weight depends on what stays beside it, and that is known at the end",
            f"{hint}, or prune first",
        )
    if inputs.spec.train.compile:
        raise UsageError(
            "`quantise: {when: throughout}` exchanges weights in every forward pass, and "
            "`train.compile` compiles it once",
            f"{hint}, or train without `compile`",
        )
