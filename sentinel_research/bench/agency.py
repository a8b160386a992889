"""What head gates cost beside the attention that they gate.

The alternative is the same attention block with the same weights, without a gate: projections, SDPA
and all. One layer of the model, forward, without gradients.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from sentinel_research.bench.models import SCALES, built, describe
from sentinel_research.bench.schema import AgencySection
from sentinel_research.bench.schema_base import Size
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models.agency import add_agency, gated_layers
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.record import Check
from sentinel_research.specs import AgencySpec
from sentinel_research.timing import Action, Comparison, compare, measure

BOUND = 1.05
_CHECKED = "static"
_WORDS = {
    "static/at_rest": "static gates of exactly 1",
    "static/trained": "static gates",
    "input/trained": "gates that are a function of the layer's input",
    "hard_concrete/trained": "hard concrete gates in evaluation",
}


def one_layer(size: Size, device: str) -> PreTrainedModel:
    """A random GPT-2 of one layer without gates."""
    return built(GPT2LMHeadModel, GPT2Config(**{**SCALES[size].gpt2, "n_layer": 1}), device)


def attention_of(model: PreTrainedModel) -> nn.Module:
    """The attention block of the first layer."""
    return anatomy_of(model.config).attentions(model)[0]


def gated(model: PreTrainedModel, variant: str) -> PreTrainedModel:
    """A copy of the model with gates, at rest or as after training.

    Args:
        model: Without gates.
        variant: `MODE/at_rest` or `MODE/trained`.
    """
    mode, _, condition = variant.rpartition("/")
    found = add_agency(model, AgencySpec.model_validate({"gate": mode}))
    if condition == "trained":
        generator = torch.Generator().manual_seed(0)
        for place in gated_layers(found, found.config):
            for parameter in place.gate.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data.copy_(0.1 * noise)
    return found


def hidden_states(model: PreTrainedModel, length: int) -> Float[Tensor, "1 length hidden"]:
    """Random input of an attention block, the same every time."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn((1, length, model.config.hidden_size), generator=generator)
    return hidden.to(device=model.device, dtype=model.dtype)


def attend(attention: nn.Module, hidden: Tensor) -> Action:
    """Run an attention block."""

    @torch.no_grad()
    def run(_: object) -> object:
        return attention(hidden)

    return Action(run)


def bench_agency(size: Size, device: str, num_pairs: int) -> AgencySection:
    """Time attention with gates of every mode beside attention without, at several lengths."""
    scale = SCALES[size]
    plain = one_layer(size, device)
    watch = Watch(device, plain.dtype)
    models = {variant: gated(plain, variant) for variant in _WORDS}
    comparisons: list[Comparison] = []
    for length in scale.attention_lengths:
        hidden = hidden_states(plain, length)
        samples = measure(
            {
                name: attend(attention_of(model), hidden)
                for name, model in {"plain": plain, **models}.items()
            },
            num_pairs,
            partial(wait_for, device),
        )
        comparisons += [
            compare(
                f"T{length}/{variant}",
                (words, samples[variant]),
                ("the attention block without gates", samples["plain"]),
            )
            for variant, words in _WORDS.items()
        ]
    on_cpu = torch.device(device).type == "cpu"
    checks = [check_overhead(c, on_cpu=on_cpu) for c in comparisons if f"/{_CHECKED}/" in c.name]
    return AgencySection(
        conditions=watch.conditions(),
        model=describe(plain),
        comparisons=tuple(comparisons),
        checks=tuple(checks) if scale.has_meaning else (),
        lengths=scale.attention_lengths,
        batch_size=1,
    )


def check_overhead(found: Comparison, *, on_cpu: bool) -> Check:
    """Gates cost at most 5 percent of the attention block.

    Args:
        found: One comparison.
        on_cpu: True judges processor time, which other processes do not lengthen; False wall time.
    """
    wall, cpu = found.wall, found.cpu
    return Check(
        name=f"{found.name} costs at most {BOUND} of attention without gates",
        passed=(cpu if on_cpu else wall).median <= BOUND,
        detail=f"{wall.median:.3f} [{wall.low:.3f}, {wall.high:.3f}], "
        f"processor time {cpu.median:.3f} [{cpu.low:.3f}, {cpu.high:.3f}]",
    )
