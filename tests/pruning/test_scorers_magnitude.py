"""Magnitude against weights that are sliced by hand, for every family's layout."""

import math

import pytest
import torch
from torch import Tensor, nn

from tests.pruning.conftest import (
    assert_scores,
    score,
)
from tests.pruning.subjects import (
    Subject,
    every_subject,
    subject_of,
)

NORMS = {
    "magnitude_l1": lambda values: float(values.abs().sum()),
    "magnitude_l2": lambda values: math.sqrt(float(values.square().sum())),
}
every_norm = pytest.mark.parametrize("scorer", NORMS)


def _bias(module: nn.Module, index: object) -> list[Tensor]:
    return [] if module.bias is None else [module.bias[index]]


def _fused_head(subject: Subject, layer: int, local: int) -> list[Tensor]:
    """Query, key and value rows where one module holds all three."""
    (module,) = subject.inputs(layer, "attention")
    count, width = len(subject.heads[layer]), subject.head_dim
    if subject.family == "gpt2":
        # [hidden, (q k v) * head * width]
        weight = module.weight.reshape(-1, 3, count, width)[:, :, local]
        return [weight, module.bias.reshape(3, count, width)[:, local]]
    # [head * (q k v) * width, hidden]
    weight = module.weight.reshape(count, 3, width, -1)[local]
    return [weight] if module.bias is None else [weight, module.bias.reshape(count, -1)[local]]


def _separate_head(subject: Subject, layer: int, local: int) -> list[Tensor]:
    """Query rows of the head, key and value rows of its group among the groups that are left."""
    heads = subject.heads[layer]
    groups = sorted({head // subject.group_size for head in heads})
    group = groups.index(heads[local] // subject.group_size)
    parts = []
    for module, place in zip(
        subject.inputs(layer, "attention"), (local, group, group), strict=True
    ):
        rows = slice(place * subject.head_dim, (place + 1) * subject.head_dim)
        parts += [module.weight[rows], *_bias(module, rows)]
    return parts


def _head(subject: Subject, layer: int, local: int) -> list[Tensor]:
    fused = subject.family in ("gpt2", "bloom", "gpt_neox")
    parts = (_fused_head if fused else _separate_head)(subject, layer, local)
    output = subject.matrix(subject.output(layer, "attention"))
    return [*parts, output[:, subject.columns("head", local)]]


def _neuron(subject: Subject, layer: int, local: int) -> list[Tensor]:
    parts = []
    for module in subject.inputs(layer, "ffn"):
        parts += [subject.matrix(module)[local], *_bias(module, local)]
    return [*parts, subject.matrix(subject.output(layer, "ffn"))[:, local]]


def _block(subject: Subject, layer: int, block: str) -> list[Tensor]:
    """Every weight once; shared keys and values do not count twice, output biases not at all."""
    if not (subject.heads if block == "attention" else subject.neurons)[layer]:
        return []
    parts = [subject.output(layer, block).weight]
    for module in subject.inputs(layer, block):
        parts += [module.weight, *_bias(module, slice(None))]
    return parts


def _flat(parts: list[Tensor]) -> Tensor:
    empty = torch.zeros(0, dtype=torch.float64)
    return torch.cat([empty, *[part.detach().double().flatten() for part in parts]])


@every_norm
@pytest.mark.parametrize("kind", ["head", "neuron"])
@every_subject
def test_magnitude_is_the_norm_of_the_units_own_weights_and_biases(
    name: str, kind: str, scorer: str
) -> None:
    subject = subject_of(name)
    parts = _head if kind == "head" else _neuron
    expected = [
        [NORMS[scorer](_flat(parts(subject, layer, local))) for local in range(count)]
        for layer, count in enumerate(subject.counts(kind))
    ]
    assert_scores(score(name, scorer, kind), expected)


@every_norm
@pytest.mark.parametrize("kind", ["attention", "ffn", "layer"])
@every_subject
def test_magnitude_of_a_block_counts_every_weight_once(name: str, kind: str, scorer: str) -> None:
    subject = subject_of(name)
    blocks = ["attention", "ffn"] if kind == "layer" else [kind]
    expected = []
    for layer, count in enumerate(subject.counts(kind)):
        parts = [part for block in blocks for part in _block(subject, layer, block)]
        expected.append([NORMS[scorer](_flat(parts))] * count)
    assert_scores(score(name, scorer, kind), expected)


@every_norm
@every_subject
def test_magnitude_of_single_weights_is_their_size(name: str, scorer: str) -> None:
    subject = subject_of(name)
    expected = [subject.matrix(module).abs() for module in subject.projections()]
    assert_scores(score(name, scorer, "weight"), expected)


@pytest.mark.parametrize("name", ["gpt2-dense", "opt-dense", "bloom-dense", "gpt_neox-dense"])
def test_heads_without_shared_parts_add_up_to_their_block(name: str) -> None:
    heads, blocks = score(name, "magnitude_l1"), score(name, "magnitude_l1", "attention")
    assert_scores([layer.sum()[None] for layer in heads], blocks)


@pytest.mark.parametrize("name", ["llama-dense", "mistral-ragged", "qwen2-gutted"])
def test_heads_that_share_keys_and_values_count_them_each(name: str) -> None:
    heads, blocks = score(name, "magnitude_l1"), score(name, "magnitude_l1", "attention")
    group_size = subject_of(name).group_size
    for own, block, kept in zip(heads, blocks, subject_of(name).heads, strict=True):
        if len(kept) > len({head // group_size for head in kept}):
            assert float(own.sum()) > float(block) * 1.01
