"""From a run's record to baselines: what every measured cell would be kept as."""

from typing import Any

from sentinel_research.baselines.schema import (
    Baseline,
    Identity,
    KeptMetric,
    MeasuredTask,
    sha256_of,
)
from sentinel_research.errors import UsageError
from sentinel_research.recipe import parse
from sentinel_research.record import CellRecord, EvaluationReport, Measurement, RunRecord
from sentinel_research.specs import PruneSpec, Recipe, RecoverSpec, Spec
from sentinel_research.specs.baseline import BaselineSpec, Exact, Relative, Statistical

CPU = "cpu"
_SECTIONS = {"model", "train", "compare", "downstream", "corpora"}
# of a request to train, what may change without another model
_PLACES = {"device"}


def baselines_of(record: RunRecord) -> list[Baseline]:
    """What every measured cell of a run would be kept as, in the record's order.

    Args:
        record: Of a finished run whose recipe has a section `baseline`, or was given one.

    Returns:
        Baselines without a reason, which `accept` gives them.

    Raises:
        UsageError: if the record names no baseline, or was written before hashes were kept.
    """
    asked = spec_of(record)
    used: set[str] = set()
    found = [
        _baseline(record, cell, cell.evaluation, asked, used)
        for cell in record.cells
        if cell.evaluation is not None
    ]
    unused = sorted(asked.tolerances.keys() - used)
    if found and unused:
        known = dict.fromkeys(key for one in found for key in one.metrics)
        raise UsageError(
            f"`baseline.tolerances` names {', '.join(map(repr, unused))}, which was not measured",
            f"measured were: {', '.join(known)}",
        )
    return found


def spec_of(record: RunRecord) -> BaselineSpec:
    """What the run is a baseline for.

    Raises:
        UsageError: if its recipe does not say.
    """
    given = record.recipe.get("baseline")
    if given is None:
        raise UsageError(
            f"the run '{record.name}' names no baseline",
            "give --suite and --model, or the recipe a section "
            "`baseline: {suite: NAME, model: NAME}`",
        )
    return parse(BaselineSpec, given, "baseline")


def device_class(record: RunRecord) -> str:
    """What a run was measured on: `cpu`, or `cuda` with the GPU's name."""
    kind = str(record.environment["device"]).partition(":")[0]
    name = record.environment.get("device_name")
    return kind if name is None else f"{kind} {name}"


def _baseline(
    record: RunRecord,
    cell: CellRecord,
    evaluation: EvaluationReport,
    asked: BaselineSpec,
    used: set[str],
) -> Baseline:
    device = device_class(record)
    return Baseline(
        suite=asked.suite,
        model=asked.model,
        variant=cell.id,
        why="",
        accepted_at=record.finished_at or record.started_at,
        device=device,
        versions=dict(record.environment["packages"]),
        identity=_identity(record, cell),
        tasks={task: _task(record, evaluation, task) for task in evaluation.task_hashes},
        metrics={
            key: _kept(key, one, asked, device, used)
            for one in evaluation.measurements
            for key in [key_of(one)]
        },
    )


def key_of(one: Measurement) -> str:
    """`task/metric`, with lm-eval's filter if there is one."""
    own = "" if one.filter == "none" else f",{one.filter}"
    return f"{one.task}/{one.metric}{own}"


def _identity(record: RunRecord, cell: CellRecord) -> Identity:
    load = record.load or {}
    is_loaded = record.recipe.get("train") is None and "weights_sha256" in load
    if is_loaded and "config_sha256" not in load:
        raise UsageError(
            f"the run '{record.name}' was measured before records kept what identifies a model",
            "run its recipe again, in another --output",
        )
    # what is searched for counts where there was a search
    unsearched = {"trial", "settings"} if cell.arm and cell.arm.settings is None else set()
    arm = None if cell.arm is None else cell.arm.model_dump(exclude={"is_chosen", *unsearched})
    changes = {
        "pruning": beside_defaults(PruneSpec, cell.prune_spec),
        "recovery": beside_defaults(RecoverSpec, cell.recover_spec),
        "arm": arm,
    }
    return Identity(
        source=_stored(load) if is_loaded else _trained(record),
        dtype=load.get("dtype"),
        plan=None if cell.prune is None else sha256_of(_units(cell.prune["plan"])),
        changes=sha256_of(changes) if any(changes.values()) else None,
    )


def _stored(load: dict[str, Any]) -> dict[str, str]:
    weights = {f"weights {name}": value for name, value in load["weights_sha256"].items()}
    tokenizer = {f"tokenizer {name}": value for name, value in load["tokenizer_sha256"].items()}
    agency = {"agency": sha256_of(load["agency"])} if load.get("agency") else {}
    return {**weights, **tokenizer, **agency, "configuration": load["config_sha256"]}


def _trained(record: RunRecord) -> dict[str, str]:
    asked = beside_defaults(Recipe, record.recipe) or {}
    request = {name: asked.get(name) for name in sorted(_SECTIONS)}
    request["model"] = {key: one for key, one in asked["model"].items() if key not in _PLACES}
    texts = {
        f"training text {one.get('repo_id') or one['source']}": str(one["text_sha256"])
        for one in record.datasets
        if one["task"] == "training"
    }
    return {"request": sha256_of(request), **texts}


def beside_defaults(spec: type[Spec], content: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a request says beside the defaults: a key that later versions add is none of them.

    Args:
        spec: Of the request.
        content: As a record holds it; null if nothing was asked for.
    """
    if content is None:
        return None
    return parse(spec, content, "the record").model_dump(mode="json", exclude_defaults=True)


def _units(plan: dict[str, Any]) -> Any:
    return {"before": plan["before"], "kept": plan["kept"], "weights": plan.get("weights")}


def _task(record: RunRecord, evaluation: EvaluationReport, task: str) -> MeasuredTask:
    if task not in evaluation.document_hashes:
        raise UsageError(
            f"the run '{record.name}' was measured before records kept hashes of documents",
            "run its recipe again, in another --output",
        )
    asked = record.recipe["evaluate"]
    shots = evaluation.lm_eval.get("n-shot", {}).get(task)
    version = evaluation.lm_eval.get("versions", {}).get(task)
    return MeasuredTask(
        documents=evaluation.document_hashes[task],
        prompts=evaluation.prompt_hashes[task],
        num_documents=evaluation.num_documents[task],
        settings={
            "limit": asked["limit"],
            "num_fewshot": shots,
            "seed": asked["seed"],
            "window": evaluation.max_length,
            "version": version,
        },
    )


def _kept(
    key: str, one: Measurement, asked: BaselineSpec, device: str, used: set[str]
) -> KeptMetric:
    named = [name for name in (key, one.metric) if name in asked.tolerances]
    used.update(named)
    own = asked.tolerances[named[0]] if named else None
    if isinstance(own, Statistical) and one.stderr is None:
        raise UsageError(
            f"`baseline.tolerances.{named[0]}` is statistical, and {key} has no standard error",
            "give it {kind: relative, fraction: 1.0e-4}, or {kind: exact}",
        )
    is_certain = device == CPU or one.stderr is None
    default: Exact | Relative | Statistical = Relative() if is_certain else Statistical()
    return KeptMetric(
        value=one.value,
        stderr=one.stderr,
        higher_is_better=one.higher_is_better,
        tolerance=own or default,
    )
