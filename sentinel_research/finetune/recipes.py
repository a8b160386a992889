"""From a request to a recipe: fine-tuning prunes, trains and measures as recipes do."""

import re
from pathlib import Path
from typing import Any

from sentinel_research import registry
from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.finetune.request import DEFAULT_EPOCHS, FinetuneRequest
from sentinel_research.recipe import parse
from sentinel_research.specs import ModelSpec, Recipe, TrainSpec

STRATEGIES = {
    "entropy": "entropy_low",
    "magnitude": "magnitude_l2",
    "gradient": "gate_gradient",
}
"""The published names of strategies; scorers go by their own names too."""

_CALIBRATION_SEQUENCES = 64
_LARGEST_BATCH = 64
# tokens scored at once: logits of more would not fit beside the model on a small machine
_TOKENS_SCORED_AT_ONCE = 32_768
_MASKS_PER_TRAINING = 10
_PROMPT_BYTES = 24
_NEW_TOKENS = 40


def check_request(request: FinetuneRequest) -> None:
    """Refuse what can be refused without reading text: names, model folders, compilers.

    Args:
        request: Any.

    Raises:
        UsageError: for an unknown strategy or dataset, recoveries that cannot be combined, or
            `--optimization_level 3` without a compiler.
        CheckpointError: if there is no such model.
    """
    from sentinel_research.data.published import corpus_named
    from sentinel_research.models.checkpoint import check_checkpoint
    from sentinel_research.recoveries.methods import check_methods
    from sentinel_research.training import check_compiler

    scorers = [scorer_of(name) for name in request.pruning_strategies]
    for name, scorer in zip(request.pruning_strategies, scorers, strict=True):
        if scorers.count(scorer) > 1:
            raise UsageError(
                f"--pruning_strategies names the scorer {scorer} twice, once as {name}",
                "name it once",
            )
    corpus_named(request.train_dataset)
    corpus_named(request.measured_dataset)
    check_methods(request.methods, "the flags of the fine-tuning")
    if request.optimization_level == 3:
        check_compiler(request.device)
    check_checkpoint(request.model_name)


def scorer_of(strategy: str) -> str:
    """The scorer behind a strategy's name.

    Raises:
        UsageError: for a name that is not known, or a scorer of something else than heads.
    """
    from sentinel_research.cell_plan import can_score

    scorer = STRATEGIES.get(strategy, strategy)
    usable = [name for name in registry.names("scorers") if can_score(name, ["head"])]
    if scorer not in usable:
        known = did_you_mean(strategy, {*STRATEGIES, *usable})
        raise UsageError(f"unknown pruning strategy '{strategy}' (or one not for heads)", known)
    return scorer


def finetune_recipe(request: FinetuneRequest) -> Recipe:
    """What a fine-tuning does.

    Args:
        request: Checked.

    Returns:
        A recipe that prunes by every strategy at every level, recovers over the seeds, and measures
        before and after.

    Raises:
        UsageError: for flags that do not fit together or to the text.
        DataError: if the text cannot be had, or does not fill a batch; an epoch is counted in it.
        CheckpointError: if there is no tokenizer.
    """
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.data.published import corpus_named

    if request.data is not None:
        use_mirror(request.data)
    corpus = corpus_named(request.train_dataset)
    per_epoch = _steps_per_epoch(request, corpus)
    num_steps = request.learning_steps or (request.epochs or DEFAULT_EPOCHS) * per_epoch
    name = re.sub(r"[^a-z0-9_-]+", "-", Path(request.model_name).name.lower()).strip("-_")
    levels = ", ".join(f"{level:g}" for level in request.levels)
    content: dict[str, Any] = {
        "name": f"finetune-{name or 'model'}",
        "description": f"Prunes {levels} of the heads of {name}, and trains "
        f"{' and '.join(request.methods)} for {num_steps:,} steps of {request.batch_size} x "
        f"{request.max_length} tokens of {corpus}, {per_epoch:,} a pass.",
        "data": None if request.data is None else str(request.data),
        "model": {
            "pretrained": request.model_name,
            "tokenizer": request.tokenizer,
            "device": request.device,
        },
        "prune": _pruning(request, corpus, per_epoch * request.batch_size),
        "recover": {
            "methods": _methods(request, num_steps),
            "train": _training(request, corpus, num_steps, per_epoch),
            "seeds": list(request.all_seeds),
            "save_models": request.save_checkpoints,
            "layout": "dense" if request.optimization_level == 1 else "pruned",
        },
        "evaluate": _evaluation(request),
    }
    return parse(Recipe, content, "finetune")


def _pruning(request: FinetuneRequest, corpus: str, num_blocks: int) -> dict[str, Any]:
    scorers = [scorer_of(name) for name in request.pruning_strategies]
    reads_text = any(registry.get("scorers", scorer).calibrated for scorer in scorers)
    calibration = {
        "corpus": corpus,
        "num_sequences": min(_CALIBRATION_SEQUENCES, num_blocks),
        "sequence_length": request.max_length,
    }
    return {
        "scorers": scorers,
        "fractions": list(request.levels),
        # a random mask and the training after it are one repetition
        "seeds": list(request.all_seeds),
        "form": "mask" if request.optimization_level == 0 else "remove",
        "calibration": calibration if reads_text else None,
    }


def _methods(request: FinetuneRequest, num_steps: int) -> dict[str, dict[str, Any]]:
    """The recoveries with options that fit the length of this training."""
    every = {"every": max(1, num_steps // _MASKS_PER_TRAINING)}
    return {
        name: {**options, **(every if name == "adaptive_masking" else {})}
        for name, options in request.methods.items()
    }


def _training(
    request: FinetuneRequest, corpus: str, num_steps: int, per_epoch: int
) -> dict[str, Any]:
    return {
        "corpus": corpus,
        "num_steps": num_steps,
        "sequence_length": request.max_length,
        "batch_size": request.batch_size,
        "learning_rate": request.learning_rate,
        "compile": request.optimization_level == 3,
        "samples": _samples(request, corpus, num_steps, per_epoch) if request.verbose else None,
        **_validation(request, corpus, num_steps, per_epoch),
    }


def _samples(
    request: FinetuneRequest, corpus: str, num_steps: int, per_epoch: int
) -> dict[str, Any]:
    """The model goes on with the beginning of the corpus, which its tokenizer can surely read."""
    from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus

    # half of the window: a byte is a token at worst, and the separator is one more
    longest = request.max_length // 2
    text = next(text for text in load_corpus(corpus, FITTED_SPLIT)["text"] if text.strip())
    start = text.strip().encode()[: max(1, min(_PROMPT_BYTES, longest - 1))].decode(errors="ignore")
    return {
        "prompts": [start],
        "every": _interval(request, num_steps, per_epoch),
        "max_new_tokens": min(_NEW_TOKENS, longest),
    }


def _interval(request: FinetuneRequest, num_steps: int, per_epoch: int) -> int:
    """Steps between two looks at a training."""
    return request.eval_interval or min(num_steps, per_epoch)


def _validation(
    request: FinetuneRequest, corpus: str, num_steps: int, per_epoch: int
) -> dict[str, Any]:
    """When the loss is measured while training; never where a corpus has no text for it."""
    from sentinel_research.data.catalogue import known_corpora

    if "validation" not in known_corpora()[corpus].split_names():
        if request.eval_interval is not None or request.early_stop_patience is not None:
            raise UsageError(
                f"the corpus {corpus} has no validation split, which --eval_interval and "
                "--early_stop_patience need",
                "leave them out, or train on another --dataset",
            )
        return {}
    interval = _interval(request, num_steps, per_epoch)
    if request.early_stop_patience is not None and interval > num_steps:
        raise UsageError(
            f"--early_stop_patience {request.early_stop_patience} counts validations, and the "
            f"{num_steps:,} steps of the training have no room for one every {interval:,} steps",
            f"give --eval_interval {max(1, num_steps // 10)}, or train longer",
        )
    # a mask that changes belongs to the weights of the last step
    return {
        "validate_every": interval,
        "validation_blocks": request.eval_samples,
        "keep": "last" if request.adaptive_masking else "best",
        "patience": request.early_stop_patience,
    }


def _evaluation(request: FinetuneRequest) -> dict[str, Any]:
    from sentinel_research.data.published import corpus_named

    corpus = corpus_named(request.measured_dataset)
    return {
        "tasks": [f"sentinel_{corpus}"],
        "generation": request.generation(corpus),
        "limit": request.limit or request.eval_samples,
        "max_length": request.max_length,
        "prefix_token_id": request.prefix_token_id,
        "batch_size": max(1, min(_LARGEST_BATCH, _TOKENS_SCORED_AT_ONCE // request.max_length)),
    }


def _steps_per_epoch(request: FinetuneRequest, corpus: str) -> int:
    from sentinel_research.data.training_set import steps_per_pass
    from sentinel_research.models import load_tokenizer

    model = ModelSpec(pretrained=request.model_name, tokenizer=request.tokenizer)
    spec = TrainSpec(
        corpus=corpus,
        num_steps=1,
        sequence_length=request.max_length,
        batch_size=request.batch_size,
    )
    return steps_per_pass(spec, load_tokenizer(model))
