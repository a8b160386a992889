"""What the laws share: tiny models of every family and variant, plans of every kind, and inputs."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings, strategies
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.layout import projection_paths
from sentinel_research.models.tiny import FAMILIES, NUM_BYTES, tiny_model
from sentinel_research.pruning import PruningPlan, make_plan
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.structure import LayerParts, Structure

# relative to the largest logit: removal sums fewer terms than the mask, in another order, and
# float32 has seven digits
TOLERANCE = 1e-5
SCOPES = strategies.sampled_from(["local", "global"])
FRACTIONS = strategies.integers(0, 100).map(lambda percent: percent / 100)

_GROUPED: list[dict[str, Any]] = [
    {},
    {"num_attention_heads": 4, "num_key_value_heads": 1},
    {"num_attention_heads": 10, "num_key_value_heads": 2, "hidden_size": 40, "head_dim": 4,
     "tie_word_embeddings": True},
    {"num_attention_heads": 5, "num_key_value_heads": 5, "hidden_size": 30, "head_dim": 6},
]  # fmt: skip
# every branch that a configuration can take through attention, feed-forward block or norms
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "gpt2": [
        {},
        {"n_head": 3, "n_embd": 21, "n_inner": None, "tie_word_embeddings": False},
        {"n_head": 1, "n_embd": 7, "n_layer": 1},
        {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    ],
    "opt": [
        {},
        {"do_layer_norm_before": False},
        {"enable_bias": False, "tie_word_embeddings": False},
        {"layer_norm_elementwise_affine": False, "num_attention_heads": 3, "hidden_size": 21},
        {"do_layer_norm_before": False, "enable_bias": False, "word_embed_proj_dim": 30},
    ],
    "bloom": [
        {},
        {"apply_residual_connection_post_layernorm": True},
        {"n_head": 4, "hidden_size": 24, "tie_word_embeddings": False},
        {"n_head": 7, "hidden_size": 21, "n_layer": 2},
    ],
    "gpt_neox": [
        {},
        {"use_parallel_residual": False},
        {"attention_bias": False, "tie_word_embeddings": True},
        {"rotary_pct": 1.0, "num_attention_heads": 3, "hidden_size": 24, "num_hidden_layers": 2},
    ],
    "llama": [
        *_GROUPED,
        {"attention_bias": True, "mlp_bias": True},
        {"attention_bias": True, "num_attention_heads": 6, "num_key_value_heads": 2,
         "hidden_size": 36},
        {"mlp_bias": True, "num_hidden_layers": 1},
    ],
    "mistral": [*_GROUPED, {"sliding_window": None}],
    "qwen2": [*_GROUPED, {"use_sliding_window": False}],
}  # fmt: skip
ATTENTIONS = {family: ("eager",) if family == "bloom" else ("sdpa", "eager") for family in FAMILIES}

every_family = pytest.mark.parametrize("family", FAMILIES)


def share(of: float) -> Any:
    """Settings of a law whose examples are slow: fewer of them, in every profile."""
    return settings(max_examples=max(2, round(settings().max_examples * of)))


class Case(NamedTuple):
    """A model with a plan for it and an input."""

    model: PreTrainedModel
    plan: PruningPlan
    inputs: dict[str, Tensor]


@functools.cache
def model_of(family: str, variant: int = 0, attention: str = "auto") -> PreTrainedModel:
    """A shared model, which no test may change."""
    return tiny_model(family, attn_implementation=attention, **VARIANTS[family][variant])


@strategies.composite
def models(draw: strategies.DrawFn, family: str) -> PreTrainedModel:
    """Any variant of a family, under any attention implementation that it has."""
    variant = draw(strategies.integers(0, len(VARIANTS[family]) - 1))
    return model_of(family, variant, draw(strategies.sampled_from(ATTENTIONS[family])))


@strategies.composite
def subsets(draw: strategies.DrawFn, units: Sequence[int]) -> list[int]:
    """All, any, one or none of the units; all of them is the simplest."""
    kind = draw(strategies.sampled_from(["all", "some", "some", "one", "none"]))
    if kind == "all" or not units:
        return list(units)
    if kind == "some":
        gone = draw(strategies.integers(0, 2 ** len(units) - 1))
        return [unit for local, unit in enumerate(units) if not gone >> local & 1]
    return [draw(strategies.sampled_from(list(units)))] if kind == "one" else []


def plan_of(structure: Structure, layers: Sequence[LayerParts], **origin: Any) -> PruningPlan:
    """The plan that keeps these parts."""
    return make_plan(
        structure,
        [layer.heads for layer in layers],
        neurons=[layer.neurons for layer in layers],
        without={
            "attention": [i for i, layer in enumerate(layers) if not layer.has_attention],
            "ffn": [i for i, layer in enumerate(layers) if not layer.has_ffn],
        },
        **origin,
    )


@strategies.composite
def plans(
    draw: strategies.DrawFn,
    structure: Structure,
    *,
    first: str = "any",
    blocks: bool = True,
    whole_groups: bool = False,
) -> PruningPlan:
    """Heads, neurons and whole blocks go, together; at least one head or neuron stays.

    Args:
        structure: Of the model.
        first: `no heads` or `no block` empties the attention of layer 0 in that way.
        blocks: False keeps every block that is there.
        whole_groups: True lets the query heads of a KV group go only together.
    """
    layers = []
    for index, old in enumerate(structure.layers):
        if whole_groups:
            groups = set(draw(subsets(structure.kv_heads(index))))
            heads = [head for head in old.heads if head // structure.group_size in groups]
        else:
            heads = draw(subsets(old.heads))
        has_attention = old.has_attention and not (blocks and draw(strategies.integers(0, 5)) == 5)
        has_ffn = old.has_ffn and not (blocks and draw(strategies.integers(0, 5)) == 5)
        if index == 0 and first != "any":
            heads, has_attention = [], old.has_attention and first != "no block"
        neurons = draw(subsets(old.neurons))
        layers.append(
            LayerParts(
                heads=heads if has_attention else (),
                neurons=neurons if has_ffn else (),
                has_attention=has_attention,
                has_ffn=has_ffn,
            )
        )
    if not any(layer.heads or layer.neurons for layer in layers):
        spare = max(i for i, old in enumerate(structure.layers) if old.heads or old.neurons)
        old = structure.layers[spare]
        part = {"neurons": old.neurons[:1]} if old.neurons else {"heads": old.heads[:1]}
        block = {"has_ffn": True} if old.neurons else {"has_attention": True}
        layers[spare] = layers[spare].model_copy(update={**part, **block})
    return plan_of(structure, layers)


@strategies.composite
def weight_masks(draw: strategies.DrawFn, model: PreTrainedModel) -> dict[str, WeightMask]:
    """Single weights of one projection that go."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    paths = [p for i in range(structure.num_layers) for p in projection_paths(row, structure, i)]
    name = f"{draw(strategies.sampled_from(paths))}.weight"
    generator = np.random.default_rng(draw(strategies.integers(0, 99)))
    return {name: WeightMask.of(generator.random(model.get_parameter(name).shape) < 0.5)}


@strategies.composite
def inputs_for(draw: strategies.DrawFn, *, padded: bool | None = None) -> dict[str, Tensor]:
    """Two sequences of odd and even lengths, padded on the left or not."""
    length = draw(strategies.sampled_from([8, 1, 2, 7, 13]))
    generator = torch.Generator().manual_seed(draw(strategies.integers(0, 99)))
    ids = torch.randint(NUM_BYTES, (2, length), generator=generator)
    inputs = {"input_ids": ids}
    if draw(strategies.booleans()) if padded is None else padded:
        inputs["attention_mask"] = torch.ones_like(ids)
        inputs["attention_mask"][1, : length // 2] = 0
    return inputs


@strategies.composite
def cases(draw: strategies.DrawFn, family: str, *, weights: bool = False, **options: Any) -> Case:
    """A model of a family with a plan (see `plans`) and an input.

    Args:
        family: One of `FAMILIES`.
        weights: True sets single weights to zero too, in some of the plans.
        **options: Of `plans`.
    """
    model = draw(models(family))
    plan = draw(plans(structure_of(model.config), **options))
    if weights and draw(strategies.booleans()):
        plan = plan.model_copy(update={"weights": draw(weight_masks(model))})
    return Case(model, plan, draw(inputs_for()))


@torch.no_grad()
def logits_of(model: PreTrainedModel, inputs: dict[str, Tensor], **more: Any) -> Tensor:
    """Logits at the positions that are not padding: what is computed there is never read."""
    logits: Tensor = model(**inputs, **more).logits
    if "attention_mask" in inputs:
        return logits[inputs["attention_mask"].bool()]
    return logits


def assert_close(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> None:
    """Equal up to a share of the largest value (at least 1)."""
    scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
    assert left.shape == right.shape
    if left.numel():
        assert float((left - right).abs().max()) <= tolerance * scale
