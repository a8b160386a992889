"""The evaluate stage: one lm-eval evaluation of a model in this process, as an EvaluationReport."""

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentinel_research import distributed
from sentinel_research.data.task_documents import evaluated_provenance
from sentinel_research.data.tasks import find_tasks
from sentinel_research.errors import SentinelError
from sentinel_research.evaluation.perplexity import RollingLogLikelihood
from sentinel_research.evaluation.questions import Questions
from sentinel_research.evaluation.samples import write_samples
from sentinel_research.progress import Progress
from sentinel_research.record import EvaluationReport, Measurement
from sentinel_research.specs import EvalSpec

# documents longer than this are stored by their hash: runs never hold copies of books
_MAX_LOGGED_CHARACTERS = 2000
_BOOTSTRAP_SAMPLES = 1000
# lm-eval's hashes of one document, its prompt and its target
_ASKED = ("doc_hash", "prompt_hash", "target_hash")


def evaluate(
    model: Any,
    tokenizer: Any,
    spec: EvalSpec,
    *,
    samples_folder: Path | None = None,
    questions: Questions | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure a model with lm-eval; all processes of a run call this together.

    Args:
        model: A causal LM of transformers, dense or pruned, on its device.
        tokenizer: Its tokenizer.
        spec: Tasks and limits.
        samples_folder: Where per-document samples go (`samples_TASK.jsonl`, or `.parquet` if there
            are many), and written texts; None keeps none.
        questions: What was made for other models that were asked the same; none by default.
        progress: Who is told about every token.

    Returns:
        Every metric with its standard error, lm-eval's own results verbatim, the samples, and the
        scores by position and what the model writes if they are asked for, in the main process.

    Raises:
        UsageError: for an unknown task, or answers that cannot be kept.
        DataError: for missing or empty data.
    """
    from sentinel_research.evaluation.adapter import SentinelLM
    from sentinel_research.evaluation.answer_cache import answering

    # it warns of every model that was loaded before
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = SentinelLM(
        model,
        tokenizer=tokenizer,
        batch_size=spec.batch_size,
        kv_cache_mib=spec.kv_cache_mib,
        max_length=spec.max_length,
        prefix_token_id=spec.prefix_token_id,
        add_bos_token=spec.add_bos_token,
        allow_lossy_tokenizer=spec.allow_lossy_tokenizer,
        quiet=True,
        progress=progress,
        encodings=questions.encodings(tokenizer) if questions is not None else None,
    )
    with answering(lm, spec.cache) as answered:
        report = evaluate_lm(
            answered, spec, lm.max_length, samples_folder=samples_folder, questions=questions
        )
    report.answers_of = lm.answers_of

    def rest() -> None:
        if spec.long_context is not None:
            from sentinel_research.evaluation.long_context import evaluate_long_context

            report.long_context = evaluate_long_context(model, tokenizer, spec.long_context)
        if spec.generation is not None:
            from sentinel_research.evaluation.generation import evaluate_generation

            size = int(lm.batch_sizes[0]) if spec.batch_size == "auto" else spec.batch_size
            report.generation = evaluate_generation(
                model, tokenizer, spec.generation, batch_size=size, folder=samples_folder
            )

    distributed.on_main(rest)
    return report


def evaluate_lm(
    lm: Any,
    spec: EvalSpec,
    max_length: int,
    *,
    samples_folder: Path | None = None,
    questions: Questions | None = None,
) -> EvaluationReport:
    """Measure anything that lm-eval knows as a model.

    Args:
        lm: An `lm_eval.api.model.LM`.
        spec: Tasks and limits.
        max_length: Tokens that it reads at once, for the report.
        samples_folder: See `evaluate`.
        questions: See `evaluate`.

    Raises:
        UsageError, DataError: see `evaluate`.
    """
    from lm_eval.evaluator import evaluate as lm_evaluate

    start = time.perf_counter()
    questions = questions or Questions()
    tasks = questions.tasks(spec.fingerprint(), lambda: _load_tasks(spec))
    results = lm_evaluate(
        lm, tasks, limit=spec.limit, bootstrap_iters=_BOOTSTRAP_SAMPLES, log_samples=True
    )
    assert results is not None  # single process: this is rank 0
    samples = results.pop("samples")
    undefined = _undefined(results, samples)
    return EvaluationReport(
        measurements=_measurements(results, undefined),
        not_measured={**_not_measured(results), **undefined},
        task_hashes={task: task_hash(rows) for task, rows in samples.items()},
        document_hashes={task: task_hash(rows, _ASKED[:1]) for task, rows in samples.items()},
        prompt_hashes={task: task_hash(rows, _ASKED[1:]) for task, rows in samples.items()},
        num_documents={
            task: len({row["doc_id"] for row in rows}) for task, rows in samples.items()
        },
        datasets=[evaluated_provenance(task) for task in tasks["tasks"].values()],
        max_length=max_length,
        samples=_store_samples(samples, samples_folder if distributed.is_main() else None),
        seconds=time.perf_counter() - start,
        lm_eval=_strict(results),
        scoring=getattr(lm, "scoring", None),
    )


def _load_tasks(spec: EvalSpec) -> Any:
    """The task objects, with the spec's few-shot settings where the task leaves them open."""
    loaded = find_tasks(spec.tasks).load(list(spec.tasks))
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        # lm-eval's rule: a task that says 0 keeps it
        if spec.num_fewshot is not None and own != 0:
            task.set_config(key="num_fewshot", value=spec.num_fewshot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=spec.seed)
    return loaded


def _undefined(results: Mapping[str, Any], samples: Mapping[str, Any]) -> dict[str, str]:
    """Metrics without a value although every answer of the model has one, and why."""
    found = {}
    for task, values in results["results"].items():
        tasks = results["group_subtasks"].get(task) or [task]
        rows = [row for name in tasks for row in samples.get(name, ())]
        is_finite = all(map(math.isfinite, _numbers([row["filtered_resps"] for row in rows])))
        for key, value in values.items():
            if is_finite and isinstance(value, float) and math.isnan(value):
                metric = key.partition(",")[0]
                found[f"{task}/{metric}"] = (
                    "it is not defined: all documents got the same prediction, or there is one"
                    if task in samples
                    else "it is not defined for one of the group's tasks"
                )
    return found


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in nested answers."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, float):
        yield value


def _measurements(results: Mapping[str, Any], undefined: Mapping[str, str]) -> list[Measurement]:
    found = []
    for task, values in results["results"].items():
        directions = results.get("higher_is_better", {}).get(task, {})
        for key, value in values.items():
            metric, comma, filter_name = key.partition(",")
            is_error = metric.endswith("_stderr")
            if not comma or is_error or f"{task}/{metric}" in undefined:
                continue
            stderr = values.get(f"{metric}_stderr,{filter_name}")
            if not math.isfinite(value):
                raise SentinelError(
                    f"{task}/{metric} is {value}: the model's outputs are not finite",
                    "the checkpoint is damaged, or its precision does not suit it (`model.dtype`)",
                )
            found.append(
                Measurement(
                    task=task,
                    metric=metric,
                    filter=filter_name,
                    value=value,
                    stderr=stderr if isinstance(stderr, float) else None,
                    higher_is_better=directions.get(metric),
                )
            )
    return found


def _not_measured(results: Mapping[str, Any]) -> dict[str, str]:
    missing = {}
    for task, values in results["results"].items():
        computed = {key.partition(",")[0] for key in values}
        declared = results["configs"].get(task, {}).get("metric_list", [])
        for metric in (entry["metric"] for entry in declared):
            if metric not in computed:
                missing[f"{task}/{metric}"] = "the task returned no value for any document"
    return missing


def task_hash(rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = _ASKED) -> str:
    """Fingerprint of what was asked: documents, prompts and targets, in order of the samples."""
    import hashlib

    digest = hashlib.sha256()
    for row in rows:
        digest.update("".join(row[key] for key in keys).encode())
    return digest.hexdigest()[:16]


def _store_samples(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path | None
) -> dict[str, str]:
    if folder is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    return {
        task: write_samples(
            folder, task, [_strict({**_shortened(row), **_windows(row)}) for row in rows]
        )
        for task, rows in samples.items()
    }


def _windows(row: Mapping[str, Any]) -> dict[str, Any]:
    """The windows of a text's log-likelihood, whose sum alone is in `filtered_resps`."""
    (answer, *_) = row["filtered_resps"]
    if not isinstance(answer, RollingLogLikelihood):
        return {}
    return {
        "window_log_likelihoods": answer.window_log_likelihoods,
        "window_num_tokens": answer.window_num_tokens,
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_LOGGED_CHARACTERS:
        return f"{value[:100]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return value


def _strict(value: Any) -> Any:
    """`value` as JSON knows it: functions and types by name, NaN refused by the caller."""
    return json.loads(json.dumps(value, default=str))
