"""Whole models over pruning levels, with and without what agency adds, beside the plain dense one.

From every model the same heads go. Extra paths are at rest: their weights are zeros, which takes as
long to multiply as any others. The frozen model is as large as the dense one, and is not pruned.

Models of one size share the memory of what they have in common: none finds more of it in a cache
than another, for between two runs of one model pass more weights than caches hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from sentinel_research.bench.forward import CONTROL, check_control
from sentinel_research.bench.models import SCALES, Scale, describe, gpt2_of, share_of_the_heads
from sentinel_research.bench.schema import LevelModel, LevelsSection
from sentinel_research.bench.schema_base import Size
from sentinel_research.cost.phases import decode, prefill
from sentinel_research.machine import Watch, wait_for
from sentinel_research.models.agency import add_agency
from sentinel_research.models.agency.classes import BASELINE
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.gates import mask
from sentinel_research.pruning.surgery import remove
from sentinel_research.record import Check
from sentinel_research.specs import AgencySpec
from sentinel_research.timing import Action, Comparison, Sample, compare, measure

LEVELS = (0, 30, 50, 70)
MASKED_LEVEL = 50
PLAIN = "plain"
ARMS: dict[str, AgencySpec | None] = {
    PLAIN: None,
    "agency": AgencySpec(gate="input"),
    "agency_skips": AgencySpec(gate="input", skips=True),
    "agency_baseline": AgencySpec(gate="input", baseline="dense copy"),
    "agency_all": AgencySpec(gate="input", skips=True, baseline="dense copy"),
}
ALTERNATIVE = "the plain dense model"
_DENSE, _TWICE, _MASKED = "dense", f"{PLAIN}/0", f"{PLAIN}/{MASKED_LEVEL}_{CONTROL}"
_NAMES = {"gpt2": "GPT-2"}
_WIDTHS: dict[Size, tuple[str, ...]] = {"tiny": ("tiny",), "124m": ("16m", "124m")}


class Variant(NamedTuple):
    """A model that is timed."""

    model: PreTrainedModel
    """In evaluation mode."""
    words: str
    """What it is."""
    num_heads_removed: int
    """Of every layer."""


def num_rounds(width: str, num_pairs: int) -> int:
    """Those of the largest model, or nearly twice as many: a smaller one takes far less time."""
    return 2 * num_pairs - 1 if width == "16m" else num_pairs


def variants(
    dense: PreTrainedModel, frozen: PreTrainedModel, levels: Sequence[int] = LEVELS
) -> dict[str, Variant]:
    """Every arm at every level, by `ARM/LEVEL`, and the masked control.

    Args:
        dense: Without agency; itself the first variant.
        frozen: The model that is mixed in.
        levels: Percent of the heads of every layer that go; that of the control is among them.
    """
    found: dict[str, Variant] = {}
    plans = {level: share_of_the_heads(dense, level / 100) for level in levels if level}
    for arm, spec in ARMS.items():
        whole = dense
        if spec is not None:
            whole = add_agency(dense, spec, baseline=frozen if spec.baseline else None)
            share_memory(whole, dense, frozen)
        name = _NAMES.get(dense.config.model_type, dense.config.model_type)
        words = name if spec is None else f"{name} with {spec.in_words()}"
        found[f"{arm}/0"] = Variant(whole, words, 0)
        for level, plan in plans.items():
            pruned = remove(whole, plan)
            share_memory(pruned, dense, frozen)
            found[f"{arm}/{level}"] = _pruned(pruned, dense, f"{words}, {{}} removed")
    masked = mask(dense, plans[MASKED_LEVEL])
    share_memory(masked, dense, frozen)
    gone = found[f"{PLAIN}/{MASKED_LEVEL}"].num_heads_removed
    name = _NAMES.get(dense.config.model_type, dense.config.model_type)
    words = f"{name}, {_share(dense, gone)} masked: a control, nothing is saved"
    return {**found, _MASKED: Variant(masked, words, 0)}


def _pruned(model: PreTrainedModel, dense: PreTrainedModel, words: str) -> Variant:
    left = len(structure_of(model.config).layers[0].heads)
    gone = len(structure_of(dense.config).layers[0].heads) - left
    return Variant(model, words.format(_share(dense, gone)), gone)


def _share(dense: PreTrainedModel, num_removed: int) -> str:
    num_heads = len(structure_of(dense.config).layers[0].heads)
    return f"{num_removed} of the {num_heads} heads of every layer ({num_removed / num_heads:.0%})"


def share_memory(model: PreTrainedModel, dense: nn.Module, frozen: PreTrainedModel) -> None:
    """Let parameters that are bit by bit those of the two others be theirs, in place."""
    theirs = dict(dense.named_parameters())
    for name, parameter in frozen.base_model.named_parameters():
        theirs[f"{BASELINE}.decoder.{name}"] = parameter
    for name, parameter in model.named_parameters():
        other = theirs.get(name)
        if other is not None and torch.equal(other, parameter):
            parameter.data = other.data


def bench_levels(size: Size, device: str, num_pairs: int) -> LevelsSection:
    """Time all models of a size in turns, reading a prompt and decoding after it."""
    scale = SCALES[size]
    watch = Watch(device, torch.float32)
    comparisons: list[Comparison] = []
    models: list[LevelModel] = []
    for width in _WIDTHS[size]:
        dense = gpt2_of(width, device)
        described = describe(dense)
        found = variants(dense, gpt2_of(width, device))
        rounds = num_rounds(width, num_pairs)
        for mode, actions in _actions(dense, found, scale):
            samples = measure(actions, rounds, partial(wait_for, device))
            comparisons += _comparisons(f"{width}/{mode}", found, samples)
        models += [_facts(f"{width}/{name}", one, dense) for name, one in found.items()
                   if name != _MASKED]  # fmt: skip
        # the next size needs the memory
        del found, actions
    return LevelsSection(
        conditions=watch.conditions(),
        model=described,
        comparisons=tuple(comparisons),
        checks=checks(comparisons, on_cpu=torch.device(device).type == "cpu")
        if scale.has_meaning
        else (),
        levels=LEVELS,
        prefill_length=scale.prefill_length,
        decode_steps=scale.decode_steps,
        models=tuple(models),
    )


def _actions(
    dense: PreTrainedModel, found: Mapping[str, Variant], scale: Scale
) -> Iterator[tuple[str, dict[str, Action]]]:
    """What is timed in each mode, in the order of a round."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, scale.prefill_length)
    ids = torch.randint(dense.config.vocab_size, shape, generator=generator).to(dense.device)
    # the model that is timed twice never follows itself
    names = [name for name in found if name != _TWICE]
    order = [*names[: len(names) // 2], _TWICE, *names[len(names) // 2 :]]
    models = {_DENSE: dense, **{name: found[name].model for name in order}}
    yield "prefill", {name: prefill(ids, model, 1) for name, model in models.items()}
    yield "decode", {name: decode(ids, model, scale.decode_steps) for name, model in models.items()}


def _comparisons(
    prefix: str, found: Mapping[str, Variant], samples: Mapping[str, list[Sample]]
) -> list[Comparison]:
    return [
        compare(
            f"{prefix}/{name}",
            (one.words, samples[name]),
            (ALTERNATIVE, samples[_DENSE]),
        )
        for name, one in found.items()
    ]


def _facts(name: str, one: Variant, dense: PreTrainedModel) -> LevelModel:
    parameters = list(one.model.parameters())
    return LevelModel(
        name=name,
        num_heads=dense.config.num_attention_heads,
        num_heads_removed=one.num_heads_removed,
        num_parameters=sum(p.numel() for p in parameters),
        num_frozen_parameters=sum(p.numel() for p in parameters if not p.requires_grad),
    )


def checks(comparisons: list[Comparison], *, on_cpu: bool) -> tuple[Check, ...]:
    """The controls: what computes as much as the dense model takes as long."""
    found = [
        check_twice(one, on_cpu=on_cpu)
        for one in comparisons
        if one.name.endswith(f"/{_TWICE}")
    ]  # fmt: skip
    return (*found, *(check_control(one) for one in comparisons if one.name.endswith(_MASKED)))


def check_twice(found: Comparison, *, on_cpu: bool) -> Check:
    """The dense model takes as long as itself.

    Args:
        found: Its two times of every round.
        on_cpu: True judges processor time, which other processes do not lengthen; False wall time.
    """
    ratio = found.cpu if on_cpu else found.wall
    return Check(
        name=f"{found.name}, the dense model timed twice, has an interval with 1 in it",
        passed=ratio.low <= 1 <= ratio.high,
        detail=f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
    )
