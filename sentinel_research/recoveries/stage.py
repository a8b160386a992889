"""The recover stage: one training, or one after the other, with what the methods change."""

import contextlib
import copy
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research import distributed
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.training_set import TrainingSet, training_set, whole_batches
from sentinel_research.errors import DivergedError, UsageError
from sentinel_research.progress import Progress, Silent
from sentinel_research.pruning import PruneReport, PruningPlan
from sentinel_research.recoveries.inputs import Adjustment, Phase, RecoveryInputs
from sentinel_research.recoveries.methods import adjust, merged_arguments, prunes_itself
from sentinel_research.recoveries.phases import compose, phase_specs
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import PruneSpec, RecoverSpec, TrainSpec
from sentinel_research.training import Adjustments, UpdateScaling, train
from sentinel_research.training.checkpoints import claim, last_checkpoint


class Recovered(NamedTuple):
    """What `recover` returns."""

    model: PreTrainedModel
    """A new model in evaluation mode; the one given is unchanged."""
    report: dict[str, Any]
    """The stage's report: methods, and a train report for every phase."""
    pruned: PruneReport | None
    """Of methods that prune while they train: what they did."""


def recover(
    model: PreTrainedModel,
    spec: RecoverSpec,
    tokenizer: PreTrainedTokenizerBase,
    *,
    plan: PruningPlan | None = None,
    prune: PruneSpec | None = None,
    calibration: CalibrationSet | None = None,
    teacher: PreTrainedModel | None = None,
    data: TrainingSet | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    title: str = "recovery",
) -> Recovered:
    """Train a pruned model back.

    Args:
        model: Pruned (units removed or masked, or single weights at zero), or dense; it is not
            changed.
        spec: Methods, text and budget.
        tokenizer: The model's.
        plan: What pruning left, with its scores. Units that it masks and weights that it zeroes
            keep every bit, whatever the methods do.
        prune: The pruning, for methods that carry it out themselves; the model is dense then.
        calibration: Text for the pruning's scorer.
        teacher: The model before pruning, for methods that learn from it.
        data: Blocks, where the caller has them already; packed from `spec.train` otherwise.
        folder: Checkpoints go here, an interrupted recovery with the same folder resumes; a
            temporary folder by default, which stays only where training diverged after a
            checkpoint.
        progress: Who is told about every step.
        title: What is recovered, for people.

    Returns:
        The recovered model, its report, and the pruning's if a method pruned.

    Raises:
        UsageError: for methods or options that do not fit together, the model or the data.
        DataError: with fewer blocks than one batch.
        DivergedError: see `training.train`; with the stage's report up to there.
    """
    data = data or distributed.together(lambda: training_set(spec.train, tokenizer))
    with _workspace(folder) as workspace:
        inputs = RecoveryInputs(
            model=_trainable(model),
            tokenizer=tokenizer,
            spec=spec,
            data=data,
            plan=plan,
            prune=prune,
            calibration=calibration,
            teacher=teacher,
            folder=workspace,
        )
        _claim(inputs)
        always = held(inputs.model, plan)
        if prunes_itself(spec.methods) and prune is None:
            raise UsageError(
                f"{' and '.join(spec.methods)} prunes while it trains, and no pruning was given",
                "give `prune`, with a scorer and a fraction",
            )
        inputs, made = distributed.together(lambda: adjust(inputs))
        report: dict[str, Any] = {"methods": spec.methods, "data": data.report, "phases": []}
        phases = compose(always, made)
        _train_phases(inputs, made, phases, report, (progress or Silent(), title))
        result = inputs.model
        for one in reversed(made):
            result = one.finish(result) if one.finish is not None else result
        pruned = next((one.pruned() for one in made if one.pruned is not None), None)
        for one in made:
            if one.seal is not None:
                one.seal(result, plan if pruned is None else pruned.plan)
        for one in made:
            report.update(one.report() if one.report is not None else {})
    if _is_masked(model):
        # still masked by hooks, so still not to be saved
        result.save_pretrained = model.save_pretrained  # type: ignore[method-assign]
    return Recovered(result.eval(), report, pruned)


def _claim(inputs: RecoveryInputs) -> None:
    """A folder with checkpoints of other methods is not gone on with: they fit in shape."""
    prune = inputs.prune.model_dump(mode="json") if inputs.prune is not None else None
    is_begun = any(last_checkpoint(one) for one in inputs.folder.glob("phase*"))
    request = {"methods": inputs.spec.methods, "the pruning": prune}
    distributed.together(lambda: claim(inputs.folder, request, is_begun=is_begun))


def _train_phases(
    inputs: RecoveryInputs,
    made: list[Adjustment],
    phases: list[Phase],
    report: dict[str, Any],
    shown: tuple[Progress, str],
) -> None:
    progress, title = shown
    specs = distributed.together(lambda: _checked_specs(inputs, phases))
    for index, (phase, own) in enumerate(zip(phases, specs, strict=True)):
        adjustments = Adjustments(
            factors=phase.factors,
            changing=tuple(one.changing for one in made if one.changing),
            loss_terms=tuple(one.loss for one in made if one.loss is not None),
            forward_arguments=merged_arguments(made),
            callbacks=tuple(callback for one in made for callback in one.callbacks),
        )
        try:
            _, found = train(
                inputs.model,
                own,
                inputs.data.blocks,
                inputs.folder / f"phase{index}",
                validation=inputs.data.validation,
                progress=progress,
                adjustments=adjustments,
                tokenizer=inputs.tokenizer,
                title=title if len(phases) == 1 else f"{title}, {phase.name}",
            )
        except DivergedError as error:
            report["phases"].append({"name": phase.name, **error.report})
            raise DivergedError(error.message, error.hint, report) from error
        report["phases"].append({"name": phase.name, **found})


def _checked_specs(inputs: RecoveryInputs, phases: list[Phase]) -> list[TrainSpec]:
    """Every phase's training; what would only fail in a later one is refused before the first."""
    specs = phase_specs(inputs.spec.train, phases)
    for phase, own in zip(phases, specs, strict=True):
        whole_batches(inputs.data.blocks, own.batch_size)
        if not UpdateScaling(inputs.model, phase.factors).num_moving(inputs.model):
            raise UsageError(
                f"nothing is left to train in the phase '{phase.name}': "
                f"{', '.join(inputs.spec.methods)} hold every parameter of this model",
                "leave a method out, or give a factor above 0",
            )
    return specs


def _is_masked(model: PreTrainedModel) -> bool:
    return "save_pretrained" in model.__dict__


def _trainable(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that Trainer can write checkpoints of, also where the model carries a mask."""
    found = copy.deepcopy(model)
    # a mask is no part of a checkpoint, but this run knows its plan and puts it on again
    found.__dict__.pop("save_pretrained", None)
    return found


@contextlib.contextmanager
def _workspace(folder: Path | None) -> Iterator[Path]:
    """A folder for checkpoints; one that nobody named is gone afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    temporary = Path(distributed.from_main(lambda: tempfile.mkdtemp(prefix="recovery-")))
    is_wanted = False
    try:
        yield temporary
    except DivergedError:
        # its message names the last good checkpoint
        is_wanted = any(last_checkpoint(one) is not None for one in temporary.glob("phase*"))
        raise
    finally:
        if distributed.is_main() and not is_wanted:
            shutil.rmtree(temporary)
