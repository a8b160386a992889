"""What scores may not depend on, and where they must lie: laws over texts, weights and seeds."""

import functools

import torch
from hypothesis import given, strategies
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import ScoringInputs
from sentinel_research.pruning.calibrate import Totals, collect
from sentinel_research.pruning.sparsify import keep_mask
from sentinel_research.registry import get, names
from sentinel_research.specs import PruneSpec
from tests.property.conftest import every_family, share
from tests.pruning.subjects import CALIBRATION, subject_of


@functools.cache
def _sequence(family: str, seed: int, length: int, targets: int) -> Totals:
    """Statistics of one sequence alone, without padding."""
    ids, is_target = _drawn(seed, length, targets)
    text = CalibrationSet(ids[None], torch.ones(1, length, dtype=torch.bool), is_target[None])
    return collect(subject_of(f"{family}-ragged").model, text, _NEEDS).total()


_NEEDS = (
    ("gate_gradient", "head"),
    ("channel_moments", "neuron"),
    ("attention_entropy", "head"),
    ("similarity", "layer"),
    ("head_gram", "head"),
)


def _drawn(seed: int, length: int, targets: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(256, (length,), generator=torch.Generator().manual_seed(seed))
    chosen = [position for position in range(1, length) if targets >> position & 1]
    is_target = torch.zeros(length, dtype=torch.bool)
    # a sequence has at least one target
    is_target[chosen or [1]] = True
    return ids, is_target


texts = strategies.lists(
    strategies.tuples(
        strategies.integers(0, 20), strategies.integers(2, 9), strategies.integers(0, 1023)
    ),
    min_size=1,
    max_size=7,
)


@every_family
@share(0.5)
@given(
    rows=texts,
    batch_size=strategies.integers(1, 7),
    padding=strategies.integers(0, 4),
    filler=strategies.integers(0, 258),
)
def test_statistics_of_a_text_are_sums_over_its_sequences_read_alone(
    family: str,
    rows: list[tuple[int, int, int]],
    batch_size: int,
    padding: int,
    filler: int,
) -> None:
    """Batch size, order, padding, its length and its token say nothing."""
    length = max(row[1] for row in rows) + padding
    ids = torch.full((len(rows), length), filler)
    is_text, is_target = torch.zeros(2, len(rows), length, dtype=torch.bool)
    for place, (seed, own, targets) in enumerate(rows):
        ids[place, :own], is_target[place, :own] = _drawn(seed, own, targets)
        is_text[place, :own] = True
    text = CalibrationSet(ids, is_text, is_target)
    model = subject_of(f"{family}-ragged").model
    found = collect(model, text, _NEEDS, batch_size=batch_size).total()
    alone = [_sequence(family, *row) for row in rows]
    assert found.num_sequences == len(rows)
    assert found.num_tokens == sum(one.num_tokens for one in alone)
    for need in _NEEDS:
        expected = [
            torch.stack(parts).sum(dim=0)
            for parts in zip(*[one.sums[need] for one in alone], strict=True)
        ]
        for layer, wanted in zip(found.sums[need], expected, strict=True):
            if wanted.numel():
                # kernels differ between batches with a padding mask and without
                bound = 1e-4 * float(wanted.abs().max()) + 1e-6
                assert float((layer - wanted).abs().max()) <= bound, need


HEAD_SCORERS = [
    name
    for name in names("scorers")
    if "head" in get("scorers", name).units and name not in ("random", "leave_one_out")
]
BOUNDS = {"entropy_low": (0, 1), "entropy_high": (0, 1), "redundancy": (0, 1)}
NOT_NEGATIVE = (
    "magnitude_l1", "magnitude_l2", "gate_gradient", "taylor", "fisher", "activation_norm",
    "wanda", "flap",
)  # fmt: skip


@every_family
@share(0.3)
@given(seed=strategies.integers(0, 99))
def test_scores_stay_inside_their_bounds_for_any_weights(family: str, seed: int) -> None:
    model = tiny_model(family, seed=seed)
    needs = {(need, "head") for name in HEAD_SCORERS for need in get("scorers", name).needs}
    needs.discard(("input_norms", "head"))
    inputs = ScoringInputs(model=model, totals=collect(model, CALIBRATION, needs).total())
    for name in HEAD_SCORERS:
        values = torch.cat(get("scorers", name)(inputs))
        # logarithms and cosines in float32
        low, high = BOUNDS.get(name, (0 if name in NOT_NEGATIVE else -1e9, 1e9))
        assert float(values.min()) >= low - 1e-6, name
        assert float(values.max()) <= high + 1e-6, name


@given(
    family=strategies.sampled_from(FAMILIES),
    exponents=strategies.lists(strategies.integers(-8, 8), min_size=3, max_size=3),
    granularity=strategies.sampled_from(["weight", "2:4"]),
)
def test_wanda_with_inputs_of_one_norm_keeps_what_magnitude_keeps_in_every_row(
    family: str, exponents: list[int], granularity: str
) -> None:
    """Whatever the norm is in each layer; powers of two, so that no product is rounded."""
    sizes = {"hidden_size": 40} if granularity == "2:4" and family == "bloom" else {}
    model = tiny_model(family, **sizes)
    magnitudes = ScoringInputs(model=model, kind="weight")
    widths = [magnitudes.weight(path).shape[1] for path in magnitudes.projections]
    per_layer = len(widths) // 3
    norms = [
        torch.full((sum(widths[i * per_layer : (i + 1) * per_layer]),), 4.0**exponent).double()
        for i, exponent in enumerate(exponents)
    ]
    totals = Totals(1, 9, {("input_norms", "weight"): norms})
    wanda = get("scorers", "wanda")(ScoringInputs(model=model, kind="weight", totals=totals))
    spec = PruneSpec(scorer="wanda", fraction=0.5, granularity=granularity)
    for found, size in zip(wanda, get("scorers", "magnitude_l1")(magnitudes), strict=True):
        if granularity == "weight" or found.shape[1] % 4 == 0:
            assert torch.equal(keep_mask(found, spec), keep_mask(size, spec))


@given(
    seed=strategies.integers(0, 2**31),
    kind=strategies.sampled_from(["head", "neuron", "attention", "ffn", "layer"]),
)
def test_random_says_the_same_of_any_model_with_as_many_units(seed: int, kind: str) -> None:
    first, second = (
        get("scorers", "random")(
            ScoringInputs(model=subject_of(f"{family}-dense").model, kind=kind, seed=seed)
        )
        for family in ("gpt2", "opt")
    )
    assert all(map(torch.equal, first, second))
