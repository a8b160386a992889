"""Measure what models cost, in turns with a reference where there is one."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from sentinel_research.cost.counts import Work, parameters_of, storage_of, work_of
from sentinel_research.cost.fresh import measure_fresh, store, temporary_folder
from sentinel_research.cost.modules import module_costs
from sentinel_research.cost.phases import (
    PhaseName,
    Run,
    check_length,
    decode,
    prefill,
    random_prompt,
    runs,
)
from sentinel_research.cost.predict import bound, machine_rates
from sentinel_research.cost.schema import (
    Clock,
    CostReport,
    Fresh,
    ModuleCost,
    PhaseCost,
    Rates,
)
from sentinel_research.errors import UsageError
from sentinel_research.machine import Watch, wait_for
from sentinel_research.memory import PeakMemory
from sentinel_research.models.kernels import check_comparable, kernels_of
from sentinel_research.models.modes import evaluating
from sentinel_research.progress import Progress, Silent, piece
from sentinel_research.specs import CostSpec
from sentinel_research.timing import Sample, compare, measure, median_interval

REFERENCE = "dense"


def cost(
    model: PreTrainedModel,
    spec: CostSpec | None = None,
    *,
    dense: PreTrainedModel | None = None,
    name: str = "model",
) -> CostReport:
    """Measure what a model costs to run.

    Args:
        model: A causal LM on its device; it is not changed.
        spec: Lengths, batch sizes and repetitions; `CostSpec()` by default.
        dense: What it is compared with, timed in turns with it; None measures it alone.
        name: Of the model, for the report.

    Returns:
        The report; without `dense` it has no ratio and no bound.

    Raises:
        UsageError: if the model cannot read so many tokens or carries no state, or the two run on
            different devices, vocabularies or kinds of kernel.

    Example:
        >>> from sentinel_research.models.tiny import tiny_model
        >>> from sentinel_research.specs import CostSpec
        >>> spec = CostSpec(prompt_tokens=8, new_tokens=2, num_repetitions=2, fresh_process=False)
        >>> cost(tiny_model("gpt2"), spec).storage.cache_bytes_per_token
        720
    """
    if dense is None:
        return _all({name: model}, spec or CostSpec(), None, Silent())[name]
    return costs({name: model}, spec, dense=dense)[name]


def costs(
    models: Mapping[str, PreTrainedModel],
    spec: CostSpec | None = None,
    *,
    dense: PreTrainedModel,
    progress: Progress | None = None,
) -> dict[str, CostReport]:
    """Measure what several models cost, all in turns with one.

    Args:
        models: By name; `dense` is the name of the reference.
        spec: See `cost`.
        dense: The reference; its own report is the first.
        progress: Who is told, between two rounds. One that works in a thread of its own, as live
            lines do, would be timed with the models.

    Returns:
        Reports by name.

    Raises:
        UsageError: see `cost`.
    """
    if REFERENCE in models:
        raise UsageError(
            f"a model that is compared is named '{REFERENCE}', as the reference is",
            "Name it otherwise.",
        )
    for model in models.values():
        _check_pair(model, dense)
    every = {REFERENCE: dense, **models}
    return _all(every, spec or CostSpec(), REFERENCE, progress or Silent())


def _check_pair(model: PreTrainedModel, dense: PreTrainedModel) -> None:
    if model.device != dense.device:
        raise UsageError(
            f"a model on {model.device} and one on {dense.device} cannot be timed in turns",
            "Put both on one device.",
        )
    sizes = [one.config.get_text_config().vocab_size for one in (model, dense)]
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"models with {sizes[0]:,} and {sizes[1]:,} tokens do not read the same prompts",
            "Compare models of one vocabulary.",
        )
    check_comparable(kernels_of(model), kernels_of(dense))


def _all(
    models: Mapping[str, PreTrainedModel],
    spec: CostSpec,
    reference: str | None,
    progress: Progress,
) -> dict[str, CostReport]:
    """Every model's report; the reference is one of them."""
    first = next(iter(models.values()))
    device = str(first.device)
    clock: Clock = "cpu" if first.device.type == "cpu" else "wall"
    watch = Watch(device, first.dtype)
    for model in models.values():
        check_length(model, spec)
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(evaluating(model))
        asked = list(runs(first, spec))
        with piece(progress, "timing", sum(run.num_repetitions for run in asked)):
            timed = [(run, _timed(run, models, device, progress)) for run in asked]
        work = {name: work_of(model, spec) for name, model in models.items()}
        rates = machine_rates(device, first.dtype, clock) if reference is not None else None
        phases = {name: _phases(name, timed, work, reference, rates) for name in models}
        modules = _modules(models, spec, progress)
        storage = {name: storage_of(model, spec) for name, model in models.items()}
    fresh = _fresh(models, spec, device, reference, progress)
    conditions = watch.conditions()
    return {
        name: CostReport(
            name=name,
            against=reference if name != reference else None,
            spec=spec,
            conditions=conditions.model_copy(update={"dtype": name_of(model.dtype)}),
            clock=clock,
            kernels=kernels_of(model),
            parameters=parameters_of(model),
            storage=storage[name],
            rates=rates,
            phases=phases[name],
            fresh=fresh[name][0],
            fresh_absent=fresh[name][1],
            modules=modules[name],
        )
        for name, model in models.items()
    }


def name_of(dtype: torch.dtype) -> str:
    """As users write it."""
    return str(dtype).removeprefix("torch.")


def _timed(
    run: Run, models: Mapping[str, PreTrainedModel], device: str, progress: Progress
) -> dict[str, list[Sample]]:
    """Times of one phase of all models, in the same rounds."""
    actions = {name: run.action(model) for name, model in models.items()}
    told = partial(progress.advance, f"{run.phase}, batch {run.batch_size}")
    return measure(actions, run.num_repetitions, partial(wait_for, device), told)


def _phases(
    name: str,
    timed: list[tuple[Run, dict[str, list[Sample]]]],
    work: dict[str, dict[PhaseName, Work]],
    reference: str | None,
    rates: Rates | None,
) -> tuple[PhaseCost, ...]:
    found = []
    for run, samples in timed:
        mine = samples[name]
        ours = work[name][run.phase].of_batch(run.batch_size)
        limit = against = None
        if reference is not None and rates is not None and name != reference:
            limit = bound(ours, work[reference][run.phase].of_batch(run.batch_size), rates)
            title = f"{run.phase}/batch {run.batch_size}"
            against = compare(title, (name, mine), (reference, samples[reference]))
        found.append(
            PhaseCost(
                phase=run.phase,
                batch_size=run.batch_size,
                num_tokens=run.num_tokens,
                flops=ours.flops,
                bytes_moved=ours.bytes_moved,
                wall_seconds=median_interval([one.wall_seconds for one in mine]),
                cpu_seconds=median_interval([one.cpu_seconds for one in mine]),
                tokens_per_second=median_interval(
                    [run.num_tokens / one.wall_seconds for one in mine]
                ),
                bound=limit,
                against=against,
            )
        )
    return tuple(found)


def _modules(
    models: Mapping[str, PreTrainedModel], spec: CostSpec, progress: Progress
) -> dict[str, tuple[ModuleCost, ...]]:
    """Where the time of every model goes, if that is asked for."""
    if not spec.modules:
        return dict.fromkeys(models, ())
    found = {}
    with piece(progress, "modules", len(models)):
        for name, model in models.items():
            found[name] = _modules_of(model, spec)
            progress.advance(name)
    return found


def _modules_of(model: PreTrainedModel, spec: CostSpec) -> tuple[ModuleCost, ...]:
    """Of reading the prompt and of decoding one token, of one sequence."""
    ids = random_prompt(model, 1, spec.prompt_tokens, spec.seed)
    read, step = prefill(ids, model, 1), decode(ids, model, 1)
    cache = step.prepare()
    return (
        *module_costs(model, "prefill", lambda: read.run(None)),
        # a token more each time, which is nothing beside the prompt
        *module_costs(model, "decode", lambda: step.run(cache)),
    )


def _fresh(
    models: Mapping[str, PreTrainedModel],
    spec: CostSpec,
    device: str,
    reference: str | None,
    progress: Progress,
) -> dict[str, tuple[Fresh | None, str]]:
    """Each model's memory and loading, or why there are none."""
    if not spec.fresh_process:
        return dict.fromkeys(models, (None, "not asked for"))
    absent = PeakMemory(device).absent
    if absent:
        return dict.fromkeys(models, (None, absent))
    found: dict[str, tuple[Fresh | None, str]] = {}
    with temporary_folder() as name_of_folder, piece(progress, "memory and loading", len(models)):
        folder = Path(name_of_folder)
        beside = folder / "reference" if reference is not None else None
        if reference is not None and beside is not None:
            store(models[reference], beside)
        for name, model in models.items():
            is_reference = name == reference
            try:
                place = beside if is_reference and beside is not None else folder / "model"
                if not is_reference:
                    store(model, place)
            except UsageError as error:
                found[name] = None, error.message
            else:
                other = None if is_reference else beside
                words = name, reference or ""
                found[name] = measure_fresh(place, other, spec, device, *words), ""
                if not is_reference:
                    shutil.rmtree(place)
            progress.advance(name)
    return found
