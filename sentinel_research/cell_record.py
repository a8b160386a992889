"""What a record says of one cell: what was asked for, measured and checked."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["started", "done", "failed"]
_HEADLINES = ("token_perplexity", "word_perplexity", "acc")


class Part(BaseModel):
    """Base of all that a record is made of: strict, and no number that is not finite."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        validate_assignment=True,
    )


class Measurement(Part):
    """One metric of one task."""

    task: str
    """lm-eval task name."""
    metric: str
    """Metric name, without lm-eval's filter suffix."""
    filter: str = "none"
    """lm-eval's filter name."""
    value: float
    """The measured value."""
    stderr: float | None
    """Standard error in the metric's unit; null where none could be computed."""
    higher_is_better: bool | None
    """Direction; null if the task does not say."""


class EvaluationReport(Part):
    """One lm-eval evaluation."""

    measurements: list[Measurement]
    """Every metric that was computed."""
    not_measured: dict[str, str] = Field(default_factory=dict)
    """`task/metric` -> reason, for metrics a task declares but did not return."""
    task_hashes: dict[str, str]
    """Hash of the documents, prompts and targets of each task, in order, by lm-eval's hash of
    each."""
    document_hashes: dict[str, str] = Field(default_factory=dict)
    """The same of the documents only; empty in records that were written before it was kept."""
    prompt_hashes: dict[str, str] = Field(default_factory=dict)
    """The same of the prompts and targets only; empty as above."""
    num_documents: dict[str, int]
    """Documents evaluated, per task."""
    datasets: list[dict[str, Any]] = Field(default_factory=list)
    """Where each task's documents came from."""
    max_length: int
    """Perplexity window in tokens."""
    samples: dict[str, str] = Field(default_factory=dict)
    """Task -> file with per-document samples, relative to the run folder."""
    seconds: float
    """Wall time of the evaluation."""
    lm_eval: dict[str, Any]
    """lm-eval's own results, verbatim."""
    scoring: dict[str, Any] | None = None
    """How log-likelihoods were computed: `reads_shared_beginnings_once`, or every request whole;
    and the `batch_size`, found if that was `auto`. Null if it is not known."""
    long_context: dict[str, Any] | None = None
    """Scores by position and costs by length, see `evaluation.long_context`; null if not asked
    for."""
    generation: dict[str, Any] | None = None
    """Quality of written text and speed of writing, see `evaluation.generation`; null if not asked
    for."""
    answers_of: str | None = None
    """Fingerprint of the model under which answers were kept, and found if there were any: then
    `seconds` is not the time that they take. Null if all were computed."""

    def measurement(self, task: str, metric: str) -> Measurement:
        """The measurement of `metric` on `task`; KeyError names what was measured."""
        for one in self.measurements:
            if one.task == task and one.metric == metric:
                return one
        raise KeyError(
            f"{task}/{metric} not in {[f'{m.task}/{m.metric}' for m in self.measurements]}"
        )

    def headline(self, task: str | None) -> Measurement | None:
        """The measurement that stands for all where there is room for one.

        Args:
            task: The recipe's first; where it was not measured, as a group, the first that was.

        Returns:
            Perplexity or accuracy if the task has one, else its first metric; None without any.
        """
        tasks = [one.task for one in self.measurements]
        own = [
            one for one in self.measurements if one.task == (task if task in tasks else tasks[0])
        ]
        for metric in _HEADLINES:
            for one in own:
                if one.metric == metric:
                    return one
        return own[0] if own else None


class Check(Part):
    """Something that must hold about a result, and whether it did."""

    name: str
    """What was checked."""
    passed: bool
    """Whether it held."""
    detail: str
    """The numbers behind the verdict."""


class Arm(Part):
    """One of several models that are trained and compared."""

    name: str
    """Its architecture's or model's name in the recipe; `ngramN`; `majority class`."""
    seed: int | None
    """Of initialisation and data order; null for what has none."""
    learning_rate: float | None
    """Peak rate; null for what is not trained, and while the grid has not been searched."""
    is_tuning: bool = False
    """Whether it is a point of the grid of learning rates."""
    is_chosen: bool | None = None
    """Whether its rate was the best of the grid; null while that is open, and outside a grid."""
    trial: int | None = None
    """Which trial of a search it is, from 0; null outside a search."""
    settings: dict[str, float] | None = None
    """Of the training, as searched; null while that is open, and outside a search."""


class CellRecord(Part):
    """The dense model of a run (`prune_spec` null), a pruning, a recovery, or a compared model."""

    id: str
    """Stable name of the cell, also its folder."""
    status: Status = "started"
    """How far it came."""
    prune_spec: dict[str, Any] | None
    """The PruneSpec asked for; null for the dense model."""
    recover_spec: dict[str, Any] | None = None
    """The RecoverSpec asked for; null for a model as pruning left it."""
    arm: Arm | None = None
    """Which of the compared models it is; null in a run that compares none."""
    fine_tuned_on: str | None = None
    """The task or group that a downstream run fine-tuned the model on; null for any other model."""
    train: dict[str, Any] | None = None
    """The train stage's report of a compared or fine-tuned model, also of one that diverged."""
    prune: dict[str, Any] | None = None
    """The prune stage's report with its plan; null until it ran, and for the dense model."""
    recover: dict[str, Any] | None = None
    """The recover stage's report, also of one that diverged; null if the cell has no recovery."""
    precision: dict[str, Any] | None = None
    """How the measured model's weights are held, a StoreReport; null where they keep their type, or
    where all models of the run are loaded so (`load`)."""
    evaluation: EvaluationReport | None = None
    """The evaluate stage's report; null until it ran."""
    checks: list[Check] = Field(default_factory=list)
    """Checks on this cell's results."""
    model_folder: str | None = None
    """Saved checkpoint relative to the run folder, if the recipe keeps models."""
    error: str | None = None
    """Why the cell failed."""

    def moved(self, out_of: str = "", into: str = "") -> "CellRecord":
        """The same with the paths of its files as they are from another folder.

        Args:
            out_of: Beginning of the paths to leave out, with a slash at its end.
            into: What to put there instead.
        """

        def place(path: str) -> str:
            return into + path.removeprefix(out_of)

        found = self.model_copy()
        if self.evaluation is not None:
            samples = {task: place(path) for task, path in self.evaluation.samples.items()}
            found.evaluation = self.evaluation.model_copy(update={"samples": samples})
        if self.model_folder is not None:
            found.model_folder = place(self.model_folder)
        return found


class CellOf(Part):
    """Where the record of one cell belongs, and what the cell took."""

    run: str
    """Folder of the sweep's model, relative to the cell's own; the training's report is there."""
    dense: str | None
    """Folder of the dense model's record, relative to the cell's own; null for the dense model."""
    kind: str
    """Cells of one kind take about the same time."""
    seconds: float
    """Wall time of all stages."""
    processor_seconds: float
    """Time that the threads of the process that computed it were on a processor."""
    peak_memory_bytes: int | None
    """Largest memory of that process while it computed the cell; null where it is not known."""
    computed_on: str
    """Machine and process."""
