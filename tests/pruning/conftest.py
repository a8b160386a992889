"""Statistics and scores of the subjects, and how equal they have to be."""

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.pruning import ScoringInputs
from sentinel_research.pruning.calibrate import Statistics, Totals, collect
from sentinel_research.registry import get
from tests.pruning.subjects import CALIBRATION, KINDS, subject_of

NEEDS = [
    *[("attention_entropy", kind) for kind in ("head", "kv_group")],
    *[("channel_moments", kind) for kind in ("head", "kv_group", "neuron")],
    *[("gate_gradient", kind) for kind in KINDS],
    *[("head_gram", kind) for kind in ("head", "kv_group")],
    ("input_norms", "weight"),
    *[("similarity", kind) for kind in ("attention", "ffn", "layer")],
    ("weight_gradients", "weight"),
]
"""Every statistic that one pass can gather."""
ABLATION = [("ablation", "head"), ("ablation", "kv_group"), ("ablation", "layer")]

every_form = pytest.mark.parametrize(
    "name", ["gpt2-dense", "opt-ragged", "bloom-gutted", "llama-ragged", "gpt_neox-ragged"]
)


@functools.cache
def statistics_of(name: str) -> Statistics:
    """All of them, in padded batches of two."""
    return collect(subject_of(name).model, CALIBRATION, NEEDS, batch_size=2)


def score(name: str, scorer: str, kind: str = "head", seed: int = 0) -> list[Tensor]:
    """A scorer's own answer, from the shared statistics."""
    inputs = ScoringInputs(
        model=subject_of(name).model, kind=kind, seed=seed, totals=statistics_of(name).total()
    )
    found: list[Tensor] = get("scorers", scorer)(inputs)
    return found


def assert_scores(found: list[Tensor], expected: list[Any], *, floor: float = 0.0) -> None:
    """Equal up to float32 passes of another batch shape and attention kernel.

    Rounding is relative to the largest score: units whose terms cancel keep that of the terms.

    Args:
        found: Per layer.
        expected: Per layer, tensors or lists of numbers.
        floor: Rounding of the terms themselves where every score is a small difference.
    """
    assert len(found) == len(expected)
    for layer, wanted in zip(found, expected, strict=True):
        right = torch.as_tensor(wanted, dtype=torch.float64)
        assert layer.dtype == torch.float64
        assert layer.shape == right.shape
        if right.numel():
            # measured: 1.5e-4 at worst, in gates of whole blocks, whose terms cancel most
            assert float((layer - right).abs().max()) <= 5e-4 * float(right.abs().max()) + floor


def measure(name: str, text: CalibrationSet, batch_size: int = 5) -> Totals:
    """Every statistic of some text."""
    needs = NEEDS + ABLATION
    return collect(subject_of(name).model, text, needs, batch_size=batch_size).total()


@functools.cache
def totals_of(name: str) -> Totals:
    """Everything about the text as it is, in one batch."""
    return measure(name, CALIBRATION)


def only(totals: Totals, *needs: tuple[str, str]) -> Totals:
    """Some of the statistics."""
    return dataclasses.replace(totals, sums={need: totals.sums[need] for need in needs})


def assert_totals(left: Totals, right: Totals, *, tolerance: float = 1e-4) -> None:
    """Equal up to float32 passes of another batch shape, relative to a statistic's largest sum."""
    assert (left.num_sequences, left.num_tokens) == (right.num_sequences, right.num_tokens)
    assert left.sums.keys() == right.sums.keys()
    for need, layers in left.sums.items():
        for a, b in zip(layers, right.sums[need], strict=True):
            assert a.shape == b.shape
            if a.numel():
                # losses of size 7 in float32 bound what an ablation can tell
                floor = 5e-6 if need[0] == "ablation" else 0.0
                bound = tolerance * float(b.abs().max()) + floor
                assert float((a - b).abs().max()) <= bound, need
