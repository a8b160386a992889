"""Everything one run needs, from model to report."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec
from sentinel_research.specs.baseline import BaselineSpec
from sentinel_research.specs.compare import CompareSpec
from sentinel_research.specs.corpus import CorpusSpec
from sentinel_research.specs.downstream import DownstreamSpec
from sentinel_research.specs.generation import GenerationSpec
from sentinel_research.specs.long_context import LongContextSpec
from sentinel_research.specs.model import ModelSpec
from sentinel_research.specs.prune import CalibrationSpec, PruneGrid
from sentinel_research.specs.recover import RecoverGrid
from sentinel_research.specs.study import StudySpec
from sentinel_research.specs.sweep import SweepSpec
from sentinel_research.specs.train import FLOORED, TrainSpec
from sentinel_research.specs.tune import TuneSpec


def _batch_size(value: Any) -> Any:
    if value == "auto" or (type(value) is int and value > 0):
        return value
    raise ValueError(f"{value!r} should be a whole number greater than 0, or auto")


class EvalSpec(Spec):
    """What is measured, through lm-eval."""

    YOUNGER: ClassVar[frozenset[str]] = frozenset({"include_path"})

    tasks: list[str]
    """lm-eval task names; the project's own are listed by `sentinel ls tasks`. None: the recipe
    only trains."""
    include_path: tuple[Path, ...] = ()
    """Folders of task files of your own, as for lm-eval's `--include_path`. They may name Python
    functions, which are then run."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first documents of every task, for a quick look; null evaluates all."""
    batch_size: Annotated[int | Literal["auto"], BeforeValidator(_batch_size)] = 64
    """Windows or requests per forward pass; `auto` takes more of them while that is faster."""
    kv_cache_mib: int = Field(default=1024, ge=0)
    """MiB of keys and values, or states, that are kept of beginnings which several requests share,
    and at least those of one; 0 shares none."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; null keeps each task's own."""
    max_length: int | None = Field(default=None, gt=0)
    """Perplexity window in tokens; null is the model's context, and 2048 where there is no limit
    (Mamba, BLOOM)."""
    prefix_token_id: int | None = Field(default=None, ge=0)
    """Token before a text's first; null is the tokenizer's BOS or EOS."""
    add_bos_token: bool | None = None
    """Whether BOS becomes part of a text (and of its loss); null is the tokenizer's own way."""
    allow_lossy_tokenizer: bool = False
    """Score texts that the tokenizer cannot represent whole."""
    seed: int = 1234
    """Seed of lm-eval's few-shot sampling."""
    cache: Path | None = Field(default=None, exclude=True)
    """Path without `_rank0.db` of a file that keeps the models' answers, as for lm-eval's
    `--use_cache`; each model finds its own only. No number depends on it, nor the fingerprint."""
    long_context: LongContextSpec | None = None
    """Scores by position and costs by length, beside the tasks; null leaves them out."""
    generation: GenerationSpec | None = None
    """Quality of written text and speed of writing, beside the tasks; null leaves them out."""

    @model_validator(mode="after")
    def _tasks_differ(self) -> Self:
        for task in self.tasks:
            if self.tasks.count(task) > 1:
                raise ValueError(f"`tasks` names '{task}' twice, each is measured once")
        for part in ("long_context", "generation"):
            if getattr(self, part) is not None and not self.tasks:
                raise ValueError(f"`{part}` goes with `tasks`: it is part of what is measured")
        return self


class Recipe(Spec):
    """Everything one run needs, from model to report."""

    CHANGES_NO_NUMBER: ClassVar[frozenset[str]] = frozenset({"baseline", "study"})
    YOUNGER: ClassVar[frozenset[str]] = frozenset({"sweep", "tune"})

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name; also the default name of the run folder."""
    description: str
    """One or two sentences for the report."""
    data: str | None = None
    """Mirror folder laid out as hub repositories; else `SENTINEL_DATA`, else the hub."""
    corpora: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], CorpusSpec] = Field(
        default_factory=dict
    )
    """Corpora of this recipe's own by name, from files or filtered. Everything that names a corpus
    can name them, and task `sentinel_NAME` measures the perplexity of NAME's test split."""
    model: ModelSpec
    """The model; in a comparison, and with `downstream`, what all share: tokenizer and device."""
    train: TrainSpec | None = None
    """Training from scratch; required with `model.architecture` or `compare`, otherwise absent."""
    compare: CompareSpec | None = None
    """Several architectures to train and compare, instead of one model."""
    tune: TuneSpec | None = None
    """A search for the settings of every compared architecture; null searches the grid of
    `compare.learning_rates`, if that has several."""
    prune: PruneGrid | None = None
    """The prunings to compare."""
    recover: RecoverGrid | None = None
    """Recoveries of every pruned model, with their controls; null skips the stage."""
    downstream: DownstreamSpec | None = None
    """Fine-tuning of finished models on the tasks of `evaluate`, instead of one model."""
    evaluate: EvalSpec
    """The measurement."""
    study: StudySpec | None = None
    """A question that the prunings answer together; null asks none."""
    baseline: BaselineSpec | None = None
    """What the run is a baseline for (`sentinel baseline`); null for none."""
    sweep: SweepSpec | None = None
    """Several models, or thousands of cells; null is one run of one model with one record."""

    def of_model(self, name: str) -> "Recipe":
        """The recipe of one model of a sweep, as of a run of its own.

        Args:
            name: In `sweep.models`; empty where that names none.

        Raises:
            ValidationError: if it makes no sense.
        """
        assert self.sweep is not None  # the caller's recipe is a sweep
        content = self.model_dump(exclude={"sweep"})
        content["model"] |= self.sweep.models.get(name, {})
        # no part of what is dumped
        content["evaluate"]["cache"] = self.evaluate.cache
        return Recipe.model_validate(content)

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if self.sweep is not None:
            _check_sweep(self, self.sweep)
            return self
        _check_placed(self)
        if self.study is not None:
            _check_study(self, self.study)
        if self.tune is not None:
            _check_tuning(self, self.tune)
        if self.downstream is not None:
            _check_downstream(self, self.downstream)
            return self
        if not self.evaluate.tasks and (self.train is None or self.prune or self.compare):
            raise ValueError("`evaluate.tasks` names no task: only training goes without one")
        if self.compare is not None:
            _check_comparison(self)
            return self
        if (self.model.pretrained is None) == (self.model.architecture is None):
            raise ValueError("give exactly one of `model.pretrained` and `model.architecture`")
        if (self.train is None) != (self.model.architecture is None):
            raise ValueError("`train` goes with `model.architecture`, and only with it")
        _check_layout(self)
        _check_consent(self)
        return self


def own_task(calibration: CalibrationSpec, tasks: list[str]) -> str | None:
    """The evaluated task that a calibration text belongs to; None if it is none of `tasks`.

    Example:
        >>> own_task(CalibrationSpec(corpus="ptb"), ["sentinel_ptb"])
        'sentinel_ptb'
    """
    name = calibration.task or f"sentinel_{calibration.corpus}"
    return name if name in tasks else None


def _check_sweep(recipe: Recipe, sweep: SweepSpec) -> None:
    for part in ("compare", "downstream"):
        if getattr(recipe, part) is not None:
            raise ValueError(f"`sweep` prunes and recovers models: leave `{part}` out")
    if not recipe.evaluate.tasks:
        raise ValueError("`sweep` measures its cells: name `evaluate.tasks`")
    if recipe.baseline is not None and len(sweep.models) > 1:
        raise ValueError("`baseline` names one model, and `sweep.models` several: leave it out")
    for name in sweep.models or {"": {}}:
        try:
            recipe.of_model(name)
        except ValidationError as error:
            (problem, *_) = error.errors()
            where = ".".join(str(part) for part in problem["loc"] if part != "model")
            place = f"`sweep.models.{name}`: " if name else ""
            what = problem["msg"].removeprefix("Value error, ")
            raise ValueError(f"{place}{f'`{where}`: ' if where else ''}{what}") from None


def _check_placed(recipe: Recipe) -> None:
    if recipe.model.device_map is None:
        return
    for stage in ("train", "prune", "recover", "compare", "downstream"):
        if getattr(recipe, stage) is not None:
            raise ValueError(
                f"`model.device_map` spreads a model out to measure it, and `{stage}` needs it "
                "whole: leave one of them out; see docs/scale.md for models larger than a GPU"
            )
    for name in ("long_context", "generation", "cache"):
        if getattr(recipe.evaluate, name) is not None:
            raise ValueError(
                f"`evaluate.{name}` reads a model that is whole on one device: leave it or "
                "`model.device_map` out"
            )


def _check_study(recipe: Recipe, study: StudySpec) -> None:
    if recipe.prune is None or recipe.compare or recipe.downstream or recipe.recover:
        raise ValueError("`study` looks at the prunings of one model: it needs `prune` alone")
    if recipe.prune.units:
        raise ValueError("`study` compares criteria: leave `prune.units` out")
    if study.judgement.tasks or study.judgement.metrics:
        raise ValueError("`study.judgement` names no `tasks` or `metrics`: the study compares all")
    sources = {(draw.corpus, draw.task): draw for draw in recipe.prune.calibrations}
    if study.kind == "break_points" and len({*recipe.prune.fractions} - {0}) < 2:
        raise ValueError("`study.kind: break_points` needs two or more `prune.fractions` above 0")
    if study.kind == "importance" and len(sources) < 2:
        raise ValueError(
            "`study.kind: importance` needs variants that calibrate on two or more texts: "
            "`prune.variants.NAME.calibration`"
        )
    if study.kind == "transfer" and len({one.transfer_from for _, one in recipe.prune.grids}) < 2:
        raise ValueError(
            "`study.kind: transfer` needs a variant with `transfer_from` and one without"
        )
    own = {own_task(draw, recipe.evaluate.tasks) for draw in sources.values()} - {None}
    if study.kind == "specialisation" and len(own) < 2:
        raise ValueError(
            "`study.kind: specialisation` needs variants that calibrate on two or more of "
            f"`evaluate.tasks` (or on the corpus of one), found {len(own)}"
        )


def _check_layout(recipe: Recipe) -> None:
    if recipe.recover is None or recipe.prune is None or recipe.recover.layout == "pruned":
        return
    if recipe.prune.forms != {"remove"}:
        raise ValueError(
            "`recover.layout: dense` puts back what was removed, and `prune.form: mask` removes "
            "nothing: leave one of them out"
        )
    if any(grid.compensate != "none" for _, grid in recipe.prune.grids):
        raise ValueError(
            "`recover.layout: dense` has no place for the biases of `prune.compensate`: leave one "
            "of them out"
        )


def _check_consent(recipe: Recipe) -> None:
    """What `form: withdraw` needs, where that is known before a model is loaded."""
    if recipe.prune is None or "withdraw" not in recipe.prune.forms:
        return
    if recipe.recover is not None:
        raise ValueError(
            "`recover` trains what `prune.form: remove` or `mask` leaves; after `withdraw` leave "
            "it out"
        )
    # our own architecture has gates as one of its mixers
    if recipe.model.architecture not in (None, "sentinel") and recipe.model.agency is None:
        raise ValueError(
            "`prune.form: withdraw` needs head gates: give `model.agency`, for example {gate: "
            "static}"
        )


def _check_comparison(recipe: Recipe) -> None:
    assert recipe.compare is not None
    if recipe.model.pretrained is not None or recipe.model.architecture is not None:
        raise ValueError("`compare` names the architectures: leave `model.architecture` out")
    if recipe.model.agency is not None:
        raise ValueError("`compare` compares agency too: give it to one of `compare.architectures`")
    if recipe.prune is not None or recipe.recover is not None:
        raise ValueError("`compare` trains and measures: leave `prune` and `recover` out")
    if recipe.train is None:
        raise ValueError("`compare` needs `train`: corpus, steps, sequence length")
    if recipe.evaluate.max_length is None:
        raise ValueError(
            "`compare` needs `evaluate.max_length`, the window in tokens that all architectures "
            "are measured in: each has another context of its own"
        )
    if len(recipe.compare.learning_rates) > 1 and recipe.train.validate_every is None:
        raise ValueError("`compare.learning_rates` needs `train.validate_every`, to choose by")


def _check_tuning(recipe: Recipe, tune: TuneSpec) -> None:
    if recipe.compare is None or recipe.train is None:
        raise ValueError(
            "`tune` searches settings of the architectures of `compare`: a recipe without that "
            "section has nothing to search for"
        )
    if recipe.compare.learning_rates:
        raise ValueError(
            "`tune` takes the place of the grid `compare.learning_rates`: leave one of them out"
        )
    if recipe.train.validate_every is None:
        raise ValueError("`tune` needs `train.validate_every`, a number of steps, to choose by")
    if "min_learning_rate_fraction" in tune.space and recipe.train.schedule not in FLOORED:
        raise ValueError(
            f"`min_learning_rate_fraction` is for {' and '.join(FLOORED)}, and `train.schedule` is "
            f"{recipe.train.schedule}"
        )
    chosen_by = {f"sentinel_{name}_validation" for name in recipe.train.corpora}
    if set(recipe.evaluate.tasks) <= chosen_by:
        raise ValueError(
            "`tune` chooses by the validation text, and `evaluate.tasks` measures nothing else: "
            "name a task of text that the search does not read, such as "
            f"sentinel_{recipe.train.corpora[0]}"
        )


def _check_downstream(recipe: Recipe, spec: DownstreamSpec) -> None:
    if recipe.model.pretrained is not None or recipe.model.architecture is not None:
        raise ValueError("`downstream.models` names the models: leave `model.pretrained` out")
    for stage in ("train", "compare", "prune", "recover"):
        if getattr(recipe, stage) is not None:
            raise ValueError(
                f"`downstream` fine-tunes finished models: leave `{stage}` out, and name the "
                "checkpoints that it leaves"
            )
    evaluate = recipe.evaluate
    if not evaluate.tasks:
        raise ValueError("`downstream` needs `evaluate.tasks`: they are what is learnt")
    if evaluate.max_length is None:
        raise ValueError(
            "`downstream` needs `evaluate.max_length`, the tokens that every model reads of a "
            "prompt with its answer, in training and in measuring"
        )
    if evaluate.num_fewshot:
        raise ValueError(
            "`downstream` trains on prompts without examples: leave `evaluate.num_fewshot` out"
        )
    for name in ("long_context", "generation"):
        if getattr(evaluate, name) is not None:
            raise ValueError(f"`downstream` measures tasks: leave `evaluate.{name}` out")
    for name in spec.together:
        if name not in evaluate.tasks:
            raise ValueError(
                f"`downstream.together` names '{name}', which is none of `evaluate.tasks`: "
                f"{', '.join(evaluate.tasks)}"
            )
