"""What the benchmark is asked for: the flags of `sentinel mamba-vs-bk`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec

ModelChoice = Literal["mamba", "bk", "mamba2", "transformer", "agency", "both", "all"]
Task = Literal["glue", "superglue", "squad", "mmlu"]
DEFAULT_DATASET = "wikitext-2"
DEFAULT_DATASETS = ("wikitext-2", "wikitext-103", "ptb")
DEFAULT_SEED = 42
DEFAULT_TASKS: tuple[Task, ...] = ("glue", "squad")


def _number(value: Any) -> Any:
    """A flag's text, of which pydantic accepts no choice between numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class BenchmarkRequest(Spec):
    """Everything that one benchmark is asked for."""

    model: ModelChoice
    """Which model: `both` is mamba and bk (the causal resolvent), `all` adds mamba2, a transformer
    and agency, the transformer with gates on its heads."""
    dataset: str | None = None
    """Dataset: wikitext-2 (default), wikitext-103, ptb, c4, pile, or a corpus of this package
    (`sentinel ls corpora`); synthetic needs no data."""
    seq_len: int = Field(default=128, gt=1)
    """Tokens of a sequence, in training and in measuring."""
    bits: Annotated[Literal[32, 16, 8, 4], BeforeValidator(_number)] = 32
    """Precision: 32 is float32, 16 is bfloat16 autocast; 8 and 4 are not there yet."""
    batch_size: int = Field(default=32, gt=0)
    """Sequences per step."""
    epochs: int = Field(default=10, gt=0)
    """Passes over the training blocks."""
    num_steps: int | None = Field(default=None, gt=0)
    """At most so many steps, on small machines less than an epoch."""
    lr: tuple[float, ...] = Field(default=(1e-3,), min_length=1)
    """Peak learning rate; of several the best by validation loss of the first seed is taken, model
    by model."""
    tune: int | None = Field(default=None, gt=0)
    """Search the learning rate of every model with so many trials, between 0.0001 and 0.01 and on
    the validation split, in place of --lr: pip install sentinel-research[search]."""
    grad_clip: float = Field(default=1.0, ge=0)
    """Gradients of a larger norm are scaled down to it; 0 never does."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps of linear warm-up before the cosine; 5 percent of the steps by default."""
    d_model: int = Field(default=256, gt=0, multiple_of=2)
    """Width of the transformer that gives the common size, and with --match none of every model."""
    n_layers: int = Field(default=8, gt=0)
    """Layers of every model."""
    match: Literal["parameters", "flops", "none"] = "parameters"
    """What is equal: parameters outside embeddings, training FLOPs per token, or nothing but
    d_model."""
    seed: int | None = None
    """Initialisation and data order; 42 by default."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Several of them, for standard deviations and intervals."""
    multi_dataset: bool = False
    """Train on every one of --datasets, a model for each and each seed."""
    datasets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Datasets of --multi_dataset; wikitext-2, wikitext-103 and ptb by default."""
    downstream: bool = False
    """Then fine-tune every trained model on --tasks, and write OUTPUT_DIR/MODEL_downstream.json."""
    tasks: tuple[Task, ...] | None = Field(default=None, min_length=1)
    """Tasks of --downstream; glue and squad by default."""
    downstream_epochs: int = Field(default=3, gt=0)
    """Passes over the training documents of each task."""
    downstream_documents: int | None = Field(default=None, gt=1)
    """At most so many training documents of each task, spread evenly over its split."""
    downstream_lr: tuple[float, ...] = Field(default=(1e-3,), min_length=1)
    """Peak learning rate of the fine-tuning; of several the best by the loss on held-out training
    documents."""
    downstream_seq_len: int = Field(default=256, gt=1)
    """Tokens of a prompt with its answer."""
    tokenizer: str = "bytes"
    """One token per byte of UTF-8, or folder or hub id of another tokenizer."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    output_dir: Path = Path("benchmark_results")
    """Folder of the JSON files and report.html; the runs with their records and reports are in
    runs/ in it."""
    no_checkpoint: bool = False
    """Delete every trained model once it was measured."""
    data: Path | None = None
    """Mirror folder laid out as hub repositories; else SENTINEL_DATA, else the hub."""
    validation_blocks: int | None = Field(default=None, gt=0)
    """Sequences of the validation split that the loss after each epoch is measured on; all by
    default."""
    limit: int | None = Field(default=None, gt=0)
    """Only the first documents of validation and test split, for a quick look."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.multi_dataset and self.dataset is not None:
            raise ValueError("`multi_dataset` trains on `datasets`: leave `dataset` out")
        if self.datasets is not None and not self.multi_dataset:
            raise ValueError("`datasets` goes with `multi_dataset`; one alone is `dataset`")
        if self.tasks is not None and not self.downstream:
            raise ValueError("`tasks` goes with `downstream`")
        if self.downstream and self.multi_dataset:
            raise ValueError(
                "`downstream` fine-tunes the models of one dataset: leave `multi_dataset` out"
            )
        if self.tune is not None and "lr" in self.model_fields_set:
            raise ValueError("`tune` searches the learning rate: leave `lr` out")
        if self.seed is not None and self.seeds is not None:
            raise ValueError("give one of `seed` and `seeds`")
        for name in ("datasets", "seeds", "lr", "tasks", "downstream_lr"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` names a value twice: {', '.join(map(str, values))}")
        for name in ("lr", "downstream_lr"):
            rates = getattr(self, name)
            if any(rate <= 0 for rate in rates):
                raise ValueError(f"`{name}` must be above 0, got {', '.join(map(str, rates))}")
        return self

    @property
    def task_names(self) -> tuple[Task, ...]:
        """The tasks of the fine-tuning."""
        return self.tasks or DEFAULT_TASKS

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The datasets in their order, also where there is one."""
        if self.multi_dataset:
            return self.datasets or DEFAULT_DATASETS
        return (self.dataset or DEFAULT_DATASET,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds in their order, also where there is one."""
        return self.seeds or (DEFAULT_SEED if self.seed is None else self.seed,)
