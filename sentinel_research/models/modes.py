"""Temporary states of a model, restored on exit whatever happens inside."""

import contextlib
from collections.abc import Iterator

from transformers import PreTrainedModel


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off inside the block; every module's own training flag comes back afterwards."""
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


@contextlib.contextmanager
def frozen(model: PreTrainedModel) -> Iterator[None]:
    """No parameter takes part in gradients inside the block."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Plain matrix products, not a fused kernel: probabilities are visible, FLOPs countable."""
    name = model.config._attn_implementation
    # families without a choice are eager already
    switches = not name.endswith("eager")
    if switches:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if switches:
            model.set_attn_implementation(name)
