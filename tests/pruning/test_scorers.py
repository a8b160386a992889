"""What holds for every scorer, and the one that reads nothing."""

import pytest
import torch
from torch import Tensor

from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import ScoringInputs, make_plan, plan_units, remove
from sentinel_research.registry import get, names
from sentinel_research.specs import PruneSpec
from tests.pruning.conftest import score
from tests.pruning.subjects import KINDS, fresh, subject_of

CASES = [
    (scorer, kind)
    for scorer in names("scorers")
    for kind in get("scorers", scorer).units
    # it solves, and leave_one_out is scored where its own statistic is measured
    if scorer not in ("sparsegpt", "leave_one_out")
]


@pytest.mark.parametrize(("scorer", "kind"), CASES)
@pytest.mark.parametrize("name", ["gpt2-gutted", "llama-ragged", "bloom-ragged"])
def test_scorer_answers_in_float64_for_every_unit_of_a_ragged_model(
    name: str, scorer: str, kind: str
) -> None:
    subject, found = subject_of(name), score(name, scorer, kind)
    assert {layer.dtype for layer in found} == {torch.float64}
    if kind == "weight":
        shapes = [list(subject.matrix(module).shape) for module in subject.projections()]
        assert [list(matrix.shape) for matrix in found] == shapes
    else:
        assert [len(layer) for layer in found] == subject.counts(kind)


@pytest.mark.parametrize(("scorer", "kind"), CASES)
def test_scores_differ_between_units(scorer: str, kind: str) -> None:
    """A scorer that says the same of every unit would pass for a tie break by index."""
    found = torch.cat([layer.flatten() for layer in score("llama-dense", scorer, kind)])
    num_distinct = len(found.unique())
    # two heads that are each other's most similar share their redundancy
    assert num_distinct >= (2 * len(found) // 5 if scorer == "redundancy" else len(found) * 0.9)


def _random(name: str, kind: str = "head", seed: int = 0) -> list[Tensor]:
    found: list[Tensor] = get("scorers", "random")(
        ScoringInputs(model=subject_of(name).model, kind=kind, seed=seed)
    )
    return found


@pytest.mark.parametrize("kind", [*KINDS, "weight"])
@pytest.mark.parametrize("family", FAMILIES)
def test_random_never_reads_the_weights(family: str, kind: str) -> None:
    subject = fresh(f"{family}-dense")
    with torch.no_grad():
        for parameter in subject.model.parameters():
            parameter.fill_(torch.nan)
    found = get("scorers", "random")(ScoringInputs(model=subject.model, kind=kind))
    assert all(map(torch.equal, found, _random(f"{family}-dense", kind)))


@pytest.mark.parametrize("kind", ["head", "neuron", "weight"])
def test_random_depends_on_the_seed_and_on_nothing_else(kind: str) -> None:
    first = torch.cat([layer.flatten() for layer in _random("gpt2-dense", kind, seed=1)])
    torch.rand(17)
    again = torch.cat([layer.flatten() for layer in _random("gpt2-dense", kind, seed=1)])
    other = torch.cat([layer.flatten() for layer in _random("gpt2-dense", kind, seed=2)])
    assert torch.equal(first, again)
    assert not bool((first == other).any())


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_random_draws_of_different_kinds_have_nothing_to_do_with_each_other(seed: int) -> None:
    kinds = [*KINDS, "weight"]
    draws = [torch.cat([m.flatten() for m in _random("llama-dense", k, seed)]) for k in kinds]
    assert len(torch.cat(draws).unique()) == sum(map(len, draws))
    many = draws[kinds.index("weight")][: len(draws[kinds.index("neuron")])]
    correlation = float(torch.corrcoef(torch.stack([draws[kinds.index("neuron")], many]))[0, 1])
    # 111 pairs: four standard errors
    assert abs(correlation) < 4 / len(many) ** 0.5


def test_random_blocks_are_not_random_layers() -> None:
    spec = PruneSpec(scorer="random", fraction=0.5, granularity=("attention", "ffn"))
    pairs = set()
    for seed in range(20):
        kept = plan_units(subject_of("gpt2-dense").model, spec.model_copy(update={"seed": seed}))
        pairs |= {(layer.has_attention, layer.has_ffn) for layer in kept.plan.kept}
    assert len(pairs) == 4


def test_random_heads_of_a_seed_are_those_of_earlier_releases() -> None:
    generator = torch.Generator().manual_seed(3)
    expected = [torch.rand(5, generator=generator, dtype=torch.float64) for _ in range(3)]
    assert all(map(torch.equal, _random("gpt2-dense", seed=3), expected))


def test_random_of_one_family_is_random_of_another_with_as_many_units() -> None:
    assert all(map(torch.equal, _random("gpt2-dense"), _random("opt-dense")))


def test_random_is_uniform_between_zero_and_one() -> None:
    values = torch.cat([m.flatten() for m in _random("llama-dense", "weight")]).sort().values
    assert float(values[0]) >= 0.0
    assert float(values[-1]) < 1.0
    # Kolmogorov-Smirnov: one in a thousand draws of this size exceeds 1.95 / sqrt(n)
    steps = torch.linspace(0, 1, len(values), dtype=torch.float64)
    assert float((values - steps).abs().max()) < 1.95 / len(values) ** 0.5


@pytest.mark.parametrize("scorer", ["magnitude_l1", "magnitude_l2"])
@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom", "gpt_neox", "llama", "qwen2"])
def test_magnitude_of_a_head_survives_the_removal_of_others(family: str, scorer: str) -> None:
    """Its rows move, its size does not; whole KV groups stay whole."""
    model = tiny_model(family)
    structure = structure_of(model.config)
    kept = [0, 3, 4] if structure.group_size == 1 else [0, 1, 6, 7]
    pruned = remove(model, make_plan(structure, [kept] * 3))
    before, after = (get("scorers", scorer)(ScoringInputs(model=m)) for m in (model, pruned))
    for dense, left in zip(before, after, strict=True):
        torch.testing.assert_close(left, dense[kept], rtol=1e-12, atol=0)
