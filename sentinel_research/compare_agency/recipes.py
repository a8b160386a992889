"""From a request to recipes: one trains a model, one measures a model at one temperature."""

from pathlib import Path
from typing import Any, Literal

from sentinel_research.compare_agency.request import AgencyComparisonRequest
from sentinel_research.errors import UsageError
from sentinel_research.finetune.recipes import scorer_of
from sentinel_research.memory import PeakMemory
from sentinel_research.recipe import parse
from sentinel_research.specs import Recipe

Kind = Literal["plain", "agency"]
KINDS: tuple[Kind, ...] = ("plain", "agency")
ARMS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "masked": ("plain", {"form": "mask"}),
    "removed": ("plain", {"form": "remove"}),
    "random": ("plain", {"form": "mask", "scorers": ["random"]}),
    "agency": ("agency", {"form": "withdraw"}),
}
"""By arm the model that it prunes, and how; a fifth is the dense model."""

_CALIBRATION_SEQUENCES = 32
_LONGEST_CALIBRATION = 128
_CONTEXT = 256
_LONGEST_UNLIMITED = 2048
_TINY = {
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": _CONTEXT,
    "activation_function": "gelu_pytorch_tanh",
    # with the usual 0.02 so narrow a model learns far more slowly
    "initializer_range": 0.04,
}


def check_request(request: AgencyComparisonRequest) -> None:
    """Refuse what can be refused without reading text.

    Args:
        request: Any.

    Raises:
        UsageError: for an unknown method or dataset, memory that cannot be measured, or texts
            longer than the model's context.
        CheckpointError: if there is no such model.
    """
    from sentinel_research.data.mirror import use_mirror
    from sentinel_research.data.published import corpus_named
    from sentinel_research.models.checkpoint import check_checkpoint

    if request.data is not None:
        use_mirror(request.data)
    scorer_of(request.pruning_method)
    corpus_named(request.corpus)
    absent = PeakMemory(request.device).absent
    if request.memory_logging and absent:
        raise UsageError(f"--memory_logging cannot be had here: {absent}", "leave it out")
    for name in (request.model_name, request.agency_model):
        if name is not None:
            check_checkpoint(name)
    longest, asked = _context(request), request.prompt_tokens + request.num_tokens + 1
    if asked > longest:
        raise UsageError(
            f"--prompt_tokens {request.prompt_tokens} and --num_tokens {request.num_tokens} behind "
            f"the token that begins a text are {asked} tokens, the model's context is {longest}",
            f"for example: --num_tokens {max(2, longest // 2)} --prompt_tokens "
            f"{max(1, longest - longest // 2 - 1)}",
        )


def training_recipe(request: AgencyComparisonRequest, kind: Kind, iteration: int) -> Recipe:
    """What trains the default model.

    Args:
        request: Without a model name.
        kind: Whether with agency.
        iteration: From 0; its seed is that many above the request's.
    """
    content: dict[str, Any] = {
        "name": f"compare-agency-train-{kind}-{iteration}",
        "description": f"Trains a small GPT-2 on {request.corpus} text"
        + (f" with {request.gate} gates and states by policy." if kind == "agency" else "."),
        "data": _data(request),
        "model": {
            "architecture": "gpt2",
            "config": _TINY,
            "device": request.device,
            "tokenizer": None if request.corpus == "synthetic" else "bytes",
            "agency": _agency(request) if kind == "agency" else None,
        },
        "train": {
            "corpus": _corpus(request),
            "num_steps": request.learning_steps,
            "sequence_length": 128,
            "batch_size": 16,
            "learning_rate": 0.005,
            "seed": request.seed + iteration,
        },
        "evaluate": {"tasks": []},
    }
    return parse(Recipe, content, "compare-agency")


def measuring_recipe(
    request: AgencyComparisonRequest,
    kind: Kind,
    iteration: int,
    temperature: float,
    trained: Path | None = None,
) -> Recipe:
    """What prunes a model in all of its arms, and measures perplexity and written text.

    Args:
        request: Checked.
        kind: Which model.
        iteration: From 0.
        temperature: Of the written text.
        trained: The checkpoint, where it was trained here.
    """
    scorer = scorer_of(request.pruning_method)
    seed = request.seed + iteration
    content: dict[str, Any] = {
        "name": f"compare-agency-{kind}-{iteration}",
        "description": f"The {kind} model of iteration {iteration}, its heads pruned by {scorer}, "
        f"writing at temperature {temperature:g}.",
        "data": _data(request),
        "model": _model(request, kind, trained),
        "prune": {
            "scorers": [scorer],
            "fractions": [0, *(level / 100 for level in request.levels)],
            "seeds": [seed],
            "calibration": {
                "corpus": _corpus(request),
                "num_sequences": _CALIBRATION_SEQUENCES,
                "sequence_length": min(_LONGEST_CALIBRATION, _context(request)),
                "seed": seed,
            },
            "variants": {name: how for name, (own, how) in ARMS.items() if own == kind},
        },
        "evaluate": {
            "tasks": [f"sentinel_{_corpus(request)}"],
            "limit": request.limit,
            "max_length": request.max_length,
            "prefix_token_id": request.prefix_token_id,
            "batch_size": request.batch_size,
            # the same model is asked for its perplexity at every temperature
            "cache": str(request.folder / "answers"),
            "generation": {
                "corpus": _corpus(request),
                "num_prompts": request.max_prompts,
                "prompt_tokens": request.prompt_tokens,
                "max_new_tokens": request.num_tokens,
                "temperature": temperature,
                "seed": seed,
                "num_timings": 0,
            },
        },
    }
    return parse(Recipe, content, "compare-agency")


def _model(request: AgencyComparisonRequest, kind: Kind, trained: Path | None) -> dict[str, Any]:
    stored = request.agency_model if kind == "agency" else None
    gets_gates = kind == "agency" and stored is None and trained is None
    return {
        "pretrained": str(trained or stored or request.model_name),
        "tokenizer": request.tokenizer,
        "device": request.device,
        "dtype": request.precision,
        "agency": _agency(request) if gets_gates else None,
    }


def _context(request: AgencyComparisonRequest) -> int:
    """The longest text that the model reads, in tokens."""
    if request.model_name is None:
        return _CONTEXT
    from transformers import AutoConfig

    from sentinel_research.models.anatomy import context_length
    from sentinel_research.models.checkpoint import find_folder

    config = AutoConfig.from_pretrained(find_folder(request.model_name))
    return context_length(config) or _LONGEST_UNLIMITED


def _agency(request: AgencyComparisonRequest) -> dict[str, Any]:
    return {"gate": request.gate, "policy": None if request.frozen_states else {}}


def _data(request: AgencyComparisonRequest) -> str | None:
    return None if request.data is None else str(request.data)


def _corpus(request: AgencyComparisonRequest) -> str:
    from sentinel_research.data.published import corpus_named

    return corpus_named(request.corpus)
