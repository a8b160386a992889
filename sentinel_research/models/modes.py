"""Temporary states of a model, restored on exit whatever happens inside."""

import contextlib
import itertools
from collections.abc import Iterator

import torch
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
def without_autocast(model: PreTrainedModel) -> Iterator[None]:
    """The model's own forward pass in a block, where Accelerate has put autocast around it."""
    around = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if around is not None:
            model.__dict__["forward"] = around


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


@contextlib.contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Half-precision weights and buffers as float32 inside the block; no bit changes for good.

    The originals stay in memory beside their float32 copies.
    """
    halves = [
        tensor
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.dtype in (torch.float16, torch.bfloat16)
    ]
    originals = [tensor.data for tensor in halves]
    try:
        for tensor in halves:
            tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, original in zip(halves, originals, strict=True):
            tensor.data = original
