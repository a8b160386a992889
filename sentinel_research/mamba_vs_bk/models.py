"""The compared models as architectures of this package, all from one width and one depth."""

from collections.abc import Callable
from typing import Any

from sentinel_research.mamba_vs_bk.request import BenchmarkRequest, ModelChoice
from sentinel_research.specs import ArchitectureSpec, MatchSpec

_CHOICES: dict[str, tuple[str, ...]] = {
    "both": ("mamba", "bk"),
    "all": ("mamba", "bk", "mamba2", "transformer", "agency"),
}
# the usual width of a head, where the width has room for several
_HEAD = 32
_GATED_RATIO = 2.75
_MAMBA2_HEADS = (64, 32, 16, 8, 4)
_MAMBA2_FEWEST_HEADS = 4


def chosen(model: ModelChoice) -> tuple[str, ...]:
    """The models that a choice names.

    Example:
        >>> chosen("both"), chosen("bk")
        (('mamba', 'bk'), ('bk',))
    """
    return _CHOICES.get(model, (model,))


def architectures(request: BenchmarkRequest) -> dict[str, ArchitectureSpec]:
    """Every chosen model before sizes are matched.

    Args:
        request: Gives the choice, the width and the depth.
    """
    width, depth = request.d_model, request.n_layers
    return {name: _MODELS[name](width, depth) for name in chosen(request.model)}


def size_to_match(request: BenchmarkRequest, vocab_size: int) -> MatchSpec | None:
    """The size of the transformer of the request's width and depth, whichever models are chosen.

    Args:
        request: Also says what is to be equal.
        vocab_size: Tokens.

    Returns:
        What all models are solved for; None for `match none`.
    """
    from sentinel_research.models.sentinel import SentinelConfig

    if request.match == "none":
        return None
    reference: dict[str, Any] = dict(_transformer(request.d_model, request.n_layers).config)
    config = SentinelConfig(**reference, vocab_size=vocab_size)
    if request.match == "parameters":
        return MatchSpec(what="parameters", target=config.num_params("non_embedding"))
    # the two gradients of a product cost as much as the product each
    flops = 3 * config.num_flops(request.seq_len) // request.seq_len
    return MatchSpec(what="flops", target=flops)


def _transformer(width: int, depth: int) -> ArchitectureSpec:
    heads = max(n for n in range(1, max(1, width // _HEAD) + 1) if width % (2 * n) == 0)
    return ArchitectureSpec(
        architecture="sentinel",
        config={"mixers": "attention", "num_attention_heads": heads, **_block(width, depth)},
    )


def _agency(width: int, depth: int) -> ArchitectureSpec:
    """The transformer with a gate per head and token, and states that the default policy moves."""
    plain = _transformer(width, depth)
    agency = {"gate": "input", "policy": {}}
    return plain.model_copy(
        update={"config": {**plain.config, "mixers": "agency", "agency": agency}}
    )


def _bk(width: int, depth: int) -> ArchitectureSpec:
    # without attention the number of heads means nothing, and one leaves every width possible
    return ArchitectureSpec(
        architecture="sentinel",
        config={"mixers": "resolvent", "num_attention_heads": 1, **_block(width, depth)},
    )


def _block(width: int, depth: int) -> dict[str, int]:
    neurons = round(_GATED_RATIO * width)
    return {"hidden_size": width, "num_hidden_layers": depth, "intermediate_size": neurons}


def _mamba(width: int, depth: int) -> ArchitectureSpec:
    return ArchitectureSpec(
        architecture="mamba", config={"hidden_size": width, "num_hidden_layers": depth}
    )


def _mamba2(width: int, depth: int) -> ArchitectureSpec:
    # the family's defaults are for a width of 4096 and do not tie embeddings, which the others do
    inner = 2 * width
    fits = (n for n in _MAMBA2_HEADS if inner % n == 0 and inner // n >= _MAMBA2_FEWEST_HEADS)
    head = next(fits, 2)
    return ArchitectureSpec(
        architecture="mamba2",
        config={
            "hidden_size": width,
            "num_hidden_layers": depth,
            "head_dim": head,
            "num_heads": inner // head,
            "state_size": 64,
            "n_groups": 1,
            "chunk_size": 64,
            "tie_word_embeddings": True,
        },
    )


_MODELS: dict[str, Callable[[int, int], ArchitectureSpec]] = {
    "mamba": _mamba,
    "bk": _bk,
    "mamba2": _mamba2,
    "transformer": _transformer,
    "agency": _agency,
}
