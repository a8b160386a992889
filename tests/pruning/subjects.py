"""Tiny models of every family, dense and pruned, and slow views of them.

Nothing here asks the package where a part of a model lies: module names and layouts are written
down a second time, activations come from plain hooks, one unpadded sequence at a time, and
gradients from an ordinary backward pass. What the package measures in padded batches has to agree.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import make_plan, remove

KINDS = ("head", "kv_group", "neuron", "attention", "ffn", "layer")


class Names(NamedTuple):
    """Module names of one family, inside its decoder layers unless said otherwise."""

    layers: str
    """Path of the decoder layers in the model."""
    attention_inputs: tuple[str, ...]
    attention: str
    """The output projection of attention."""
    ffn_inputs: tuple[str, ...]
    ffn: str
    """The output projection of the feed-forward block."""
    ffn_norm: str


_LLAMA = Names(
    "model.layers",
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.o_proj",
    ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down_proj",
    "post_attention_layernorm",
)
NAMES = {
    "gpt2": Names(
        "transformer.h", ("attn.c_attn",), "attn.c_proj", ("mlp.c_fc",), "mlp.c_proj", "ln_2"
    ),
    "opt": Names(
        "model.decoder.layers",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.out_proj",
        ("fc1",),
        "fc2",
        "final_layer_norm",
    ),
    "bloom": Names(
        "transformer.h",
        ("self_attention.query_key_value",),
        "self_attention.dense",
        ("mlp.dense_h_to_4h",),
        "mlp.dense_4h_to_h",
        "post_attention_layernorm",
    ),
    "gpt_neox": Names(
        "gpt_neox.layers",
        ("attention.query_key_value",),
        "attention.dense",
        ("mlp.dense_h_to_4h",),
        "mlp.dense_4h_to_h",
        "post_attention_layernorm",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}
# branches that a configuration can take; BLOOM's neurons are 4 * hidden size
OPTIONS: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 15},
    "llama_biased": {"attention_bias": True, "mlp_bias": True},
    "gpt_neox_sequential": {"use_parallel_residual": False, "attention_bias": False},
    "opt_unbiased": {"enable_bias": False},
}
# per layer: heads of 5, heads of 8 in 4 groups, every how many-th neuron (0: none); None: no block
_FORMS: dict[str, list[tuple[Any, Any, int | None]]] = {
    "ragged": [([0, 2, 4], [0, 1, 2, 7], 5), ([], [], 9), ([1, 3], [3, 4, 5], 1)],
    "gutted": [(None, None, 8), ([3], [6], 0), ([0, 4], [1, 2, 3], None)],
}
SUBJECTS = [
    *[f"{family}-{form}" for family in FAMILIES for form in ("dense", "ragged", "gutted")],
    *[f"{variant}-ragged" for variant in OPTIONS if variant not in FAMILIES],
]
every_subject = pytest.mark.parametrize("name", SUBJECTS)


@dataclass(frozen=True)
class Subject:
    """A model with what the test knows about it."""

    model: PreTrainedModel
    family: str
    head_dim: int
    group_size: int
    heads: list[list[int]]
    """Original indices per layer."""
    neurons: list[list[int]]
    has_attention: list[bool]
    has_ffn: list[bool]

    def layer(self, index: int) -> nn.Module:
        """A decoder layer."""
        return self.model.get_submodule(f"{NAMES[self.family].layers}.{index}")

    def output(self, index: int, block: str) -> nn.Module:
        """The output projection of the `attention` or `ffn` block."""
        return self.layer(index).get_submodule(getattr(NAMES[self.family], block))

    def inputs(self, index: int, block: str) -> list[nn.Module]:
        """The input projections of a block."""
        names = getattr(NAMES[self.family], f"{block}_inputs")
        return [self.layer(index).get_submodule(name) for name in names]

    def projections(self) -> list[nn.Module]:
        """All that are left: of every layer attention's inputs and output, then the neurons'."""
        found = []
        for index in range(3):
            for block, units in (("attention", self.heads), ("ffn", self.neurons)):
                if units[index]:
                    found += [*self.inputs(index, block), self.output(index, block)]
        return found

    def matrix(self, module: nn.Module) -> Tensor:
        """A weight in float64 with outputs along the rows; GPT-2 stores the transpose."""
        stored = module.weight.detach().double()
        return stored.T if self.family == "gpt2" else stored

    def columns(self, kind: str, local: int) -> slice:
        """The inputs of the output projection that belong to a head or neuron."""
        width = self.head_dim if kind == "head" else 1
        return slice(local * width, (local + 1) * width)

    def groups(self, layer: int) -> list[list[int]]:
        """For every KV group that is left the local indices of its heads."""
        found: dict[int, list[int]] = {}
        for local, head in enumerate(self.heads[layer]):
            found.setdefault(head // self.group_size, []).append(local)
        return [found[group] for group in sorted(found)]

    def counts(self, kind: str) -> list[int]:
        """Units of a kind per layer."""
        if kind == "kv_group":
            return [len(self.groups(layer)) for layer in range(3)]
        if kind in ("head", "neuron"):
            return [len(units) for units in (self.heads if kind == "head" else self.neurons)]
        either = [a or f for a, f in zip(self.has_attention, self.has_ffn, strict=True)]
        present = {"attention": self.has_attention, "ffn": self.has_ffn, "layer": either}
        return [int(there) for there in present[kind]]


def fresh(name: str, **options: Any) -> Subject:
    """A subject of its own, which the test may change; options of its configuration."""
    variant, form = name.split("-")
    family = next(f for f in sorted(FAMILIES, key=len, reverse=True) if variant.startswith(f))
    model = tiny_model(family, **{**OPTIONS.get(variant, {}), **options})
    config = model.config
    num_heads = config.num_attention_heads
    group_size = num_heads // getattr(config, "num_key_value_heads", num_heads)
    width = NAMES[family].layers + ".0." + NAMES[family].ffn_inputs[0]
    num_neurons = max(model.get_submodule(width).weight.shape) if family == "bloom" else 37
    heads = [list(range(num_heads)) for _ in range(3)]
    neurons = [list(range(num_neurons)) for _ in range(3)]
    has_attention, has_ffn = [True] * 3, [True] * 3
    if form != "dense":
        kept = [parts[group_size > 1] for parts in _FORMS[form]]
        steps = [parts[2] for parts in _FORMS[form]]
        heads = [layer or [] for layer in kept]
        neurons = [list(range(0, num_neurons, step)) if step else [] for step in steps]
        has_attention = [layer is not None for layer in kept]
        has_ffn = [step is not None for step in steps]
        gone = {
            "attention": [i for i in range(3) if not has_attention[i]],
            "ffn": [i for i in range(3) if not has_ffn[i]],
        }
        plan = make_plan(structure_of(config), heads, neurons=neurons, without=gone)
        model = remove(model, plan)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    return Subject(model, family, head_dim, group_size, heads, neurons, has_attention, has_ffn)


@functools.cache
def subject_of(name: str) -> Subject:
    """A shared subject, which no test may change."""
    return fresh(name)


def calibration_set() -> CalibrationSet:
    """Five padded sequences of different lengths, in which only some tokens are targets."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(256, (5, 9), generator=generator)
    lengths = torch.tensor([9, 7, 9, 4, 2])
    is_text = torch.arange(9) < lengths[:, None]
    is_target = is_text & (torch.rand(5, 9, generator=generator) < 0.6)
    is_target[:, 0], is_target[:, 1] = False, True
    return CalibrationSet(ids, is_text, is_target)


CALIBRATION = calibration_set()
NUM_TOKENS = int(CALIBRATION.is_text.sum())


def sequences(text: CalibrationSet = CALIBRATION) -> list[tuple[Tensor, Tensor]]:
    """Ids [1, length] and targets [length] of every sequence, without its padding."""
    rows = zip(text.ids, text.is_text, text.is_target, strict=True)
    return [(ids[text][None], target[text]) for ids, text, target in rows]


def nll(model: PreTrainedModel, ids: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the targets, one token at a time."""
    log_probabilities = model(ids, use_cache=False).logits[0].log_softmax(dim=-1)
    losses = [-log_probabilities[t - 1, ids[0, t]] for t in range(1, ids.shape[1]) if targets[t]]
    return torch.stack(losses).mean()


class Reading(NamedTuple):
    """What a module read and wrote at all text positions, sequence after sequence."""

    read: Tensor
    """[tokens, inputs], float64."""
    wrote: Tensor
    """[tokens, outputs], float64."""


@torch.no_grad()
def readings(
    model: PreTrainedModel, modules: list[nn.Module], text: CalibrationSet = CALIBRATION
) -> list[Reading]:
    """Inputs and outputs of modules while the model reads the calibration text."""
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in modules]

    def keep(place: int, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        read = args[0] if args else kwargs["hidden_states"]
        wrote = output[0] if isinstance(output, tuple) else output
        seen[place][0].append(read.flatten(0, -2).double())
        seen[place][1].append(wrote.flatten(0, -2).double())

    handles = [
        module.register_forward_hook(
            lambda _m, args, kwargs, output, place=place: keep(place, args, kwargs, output),
            with_kwargs=True,
        )
        for place, module in enumerate(modules)
    ]
    for ids, _ in sequences(text):
        model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return [Reading(torch.cat(read), torch.cat(wrote)) for read, wrote in seen]


@functools.cache
def gradients(name: str) -> list[dict[str, Tensor]]:
    """For every sequence the gradient of its loss in every parameter, float64."""
    model = subject_of(name).model
    found = []
    for ids, targets in sequences():
        model.zero_grad()
        nll(model, ids, targets).backward()
        found.append(
            {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}
        )
    model.zero_grad()
    return found
