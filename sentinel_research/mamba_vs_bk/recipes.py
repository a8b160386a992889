"""From a request to one recipe per dataset: the benchmark trains and measures as recipes do."""

from typing import Any

from sentinel_research.errors import UsageError
from sentinel_research.mamba_vs_bk.models import architectures, size_to_match
from sentinel_research.mamba_vs_bk.request import BenchmarkRequest
from sentinel_research.recipe import parse
from sentinel_research.specs import ModelSpec, Recipe, TrainSpec

_PRECISION = {32: "fp32", 16: "bf16"}
_MIN_LEARNING_RATE_FRACTION = 0.1
_WARMUP_FRACTION = 0.05
_LARGEST_BATCH = 64
# tokens scored at once: logits of more would not fit beside the model on a small machine
_TOKENS_SCORED_AT_ONCE = 32_768


def check_request(request: BenchmarkRequest) -> None:
    """Refuse what is not there yet, and datasets that are not known.

    Args:
        request: Any.

    Raises:
        UsageError: with what works today.
    """
    if request.bits not in _PRECISION:
        raise UsageError(
            f"--bits {request.bits}: quantised runs are not in this version yet",
            "--bits 32 trains and measures in float32, --bits 16 in bfloat16 autocast",
        )
    corpora = [corpus_of(name) for name in request.dataset_names]
    for name, corpus in zip(request.dataset_names, corpora, strict=True):
        if corpora.count(corpus) > 1:
            raise UsageError(
                f"--datasets names the corpus {corpus} twice, once as {name}", "name it once"
            )


def corpus_of(dataset: str) -> str:
    """The corpus behind a dataset's name.

    Raises:
        UsageError: for a name that is not known, or a corpus that is not split in three.
    """
    from sentinel_research.data.published import corpus_named

    return corpus_named(dataset, needs_validation=True)


def dataset_recipe(request: BenchmarkRequest, dataset: str) -> Recipe:
    """What the benchmark does on one dataset.

    Args:
        request: Checked.
        dataset: One of its datasets.

    Returns:
        A recipe that compares the chosen models, of equal size, over the seeds.

    Raises:
        UsageError: for flags that do not fit together, or a tokenizer that is not there.
        DataError: if the dataset cannot be had; an epoch is counted in its blocks.
    """
    from sentinel_research.data.mirror import use_mirror

    if request.data is not None:
        use_mirror(request.data)
    corpus = corpus_of(dataset)
    num_steps, per_epoch, vocab_size = _steps(request, corpus)
    match = size_to_match(request, vocab_size)
    content: dict[str, Any] = {
        "name": f"{request.model}-{dataset}",
        "description": f"The benchmark of {request.model} on {dataset}: {num_steps:,} steps of "
        f"{request.batch_size} x {request.seq_len} tokens, {per_epoch:,} an epoch.",
        "data": None if request.data is None else str(request.data),
        "model": {"tokenizer": request.tokenizer, "device": request.device},
        "train": {
            **_training(request),
            "corpus": corpus,
            "num_steps": num_steps,
            "warmup_fraction": _warmup_fraction(request, num_steps),
            "validate_every": min(num_steps, per_epoch),
        },
        "compare": {
            "architectures": {
                name: spec.model_dump() for name, spec in architectures(request).items()
            },
            "seeds": list(request.all_seeds),
            "learning_rates": list(request.lr) if len(request.lr) > 1 else [],
            "match": None if match is None else match.model_dump(),
            # what is fine-tuned goes when that is done
            "save_models": request.downstream or not request.no_checkpoint,
        },
        "evaluate": _evaluation(request, corpus),
        "tune": None if request.tune is None else {"trials": request.tune},
    }
    return parse(Recipe, content, "mamba-vs-bk")


def _training(request: BenchmarkRequest) -> dict[str, Any]:
    """What does not depend on the dataset."""
    return {
        "sequence_length": request.seq_len,
        "batch_size": request.batch_size,
        "learning_rate": request.lr[0],
        "min_learning_rate_fraction": _MIN_LEARNING_RATE_FRACTION,
        "weight_decay": request.weight_decay,
        "max_grad_norm": request.grad_clip,
        "precision": _PRECISION[request.bits],
        "validation_blocks": request.validation_blocks,
        "keep": "best",
    }


def _evaluation(request: BenchmarkRequest, corpus: str) -> dict[str, Any]:
    return {
        "tasks": [f"sentinel_{corpus}_validation", f"sentinel_{corpus}"],
        "limit": request.limit,
        "max_length": request.seq_len,
        "batch_size": max(1, min(_LARGEST_BATCH, _TOKENS_SCORED_AT_ONCE // request.seq_len)),
    }


def _steps(request: BenchmarkRequest, corpus: str) -> tuple[int, int, int]:
    """Steps of the training, those of one epoch, and tokens of the vocabulary."""
    from sentinel_research.data.training_set import steps_per_pass
    from sentinel_research.models import load_tokenizer

    tokenizer = load_tokenizer(ModelSpec(tokenizer=request.tokenizer))
    spec = TrainSpec(
        corpus=corpus,
        num_steps=1,
        sequence_length=request.seq_len,
        batch_size=request.batch_size,
    )
    per_epoch = steps_per_pass(spec, tokenizer)
    asked = request.epochs * per_epoch
    num_steps = asked if request.num_steps is None else min(asked, request.num_steps)
    return num_steps, per_epoch, len(tokenizer)


def _warmup_fraction(request: BenchmarkRequest, num_steps: int) -> float:
    if request.warmup_steps is None:
        return _WARMUP_FRACTION
    if request.warmup_steps > num_steps:
        raise UsageError(
            f"--warmup_steps {request.warmup_steps:,} is more than the {num_steps:,} steps of the "
            "training",
            "give fewer, or leave it out for 5 percent of the steps",
        )
    return request.warmup_steps / num_steps
