"""The adapter's scores are those of lm-eval's own `hf`, whatever is asked in whatever batches."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from transformers import AutoModelForCausalLM, FalconMambaConfig, Mamba2Config, MambaConfig

from sentinel_research.evaluation.caches import goes_on
from sentinel_research.evaluation.scores import prefixes
from sentinel_research.evaluation.scores.prefixes import Node, reading_trees
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import FAMILIES, RECURRENT, tiny_model
from sentinel_research.pruning import prune
from sentinel_research.specs import AgencySpec, PruneSpec
from tests.contract.scores import LENGTH, Pairs, adapters, asked, few_shot, scores

# float32 sums over a vocabulary in another order, for up to two dozen tokens of about 6 nats
TOLERANCE = 1e-4

TOKENS = strategies.integers(0, 5)
PAIRS = strategies.lists(
    strategies.tuples(
        strategies.lists(TOKENS, min_size=1, max_size=30),
        strategies.lists(TOKENS, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=9,
)


def _assert_same(model: Any, pairs: Pairs, batch_size: int, max_length: int = LENGTH) -> None:
    stock, ours = (scores(one, pairs) for one in adapters(model, batch_size, max_length))
    assert [value for value, _ in ours] == pytest.approx([v for v, _ in stock], abs=TOLERANCE)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in stock]


MIX: Pairs = [
    ([1, 2, 3], [4]),
    ([1, 2, 3], [5]),
    ([1, 2, 3], [4, 4]),
    ([1, 2, 3, 4], [4]),
    ([1, 2, 3], [4]),
    ([7] * 40, [1, 2]),
    ([9], [8, 7, 6, 5]),
]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_scores_are_those_of_stock_on_every_family(family: str, batch_size: int) -> None:
    _assert_same(tiny_model(family), MIX, batch_size)


@pytest.mark.parametrize("side", ["left", "right"])
def test_side_that_a_tokenizer_pads_on_changes_no_score(side: str) -> None:
    model = tiny_model("gpt2")
    expected = scores(adapters(model, 1)[1], MIX)
    _, ours = adapters(model, 3)
    ours.tokenizer.padding_side = side
    assert [value for value, _ in scores(ours, MIX)] == pytest.approx(
        [value for value, _ in expected], abs=TOLERANCE
    )


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_shared_beginnings_change_no_score_on_any_family(
    family: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefixes, "MIN_SAVED", 1)
    pairs = few_shot()
    deepest = max(_height(root) for root in reading_trees(asked(pairs), shares=True))
    assert deepest == 3
    _assert_same(tiny_model(family), pairs, batch_size, 40)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "mistral", "sentinel"])
def test_longest_answers_behind_the_shortest_questions_are_scored_right(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first in a batch is then not the one that most comes before."""
    monkeypatch.setattr(prefixes, "MIN_SAVED", 1)
    pairs = [
        ([one] * length, [2, choice] * (12 - length))
        for one, length in ((1, 5), (3, 11), (4, 8))
        for choice in (5, 6)
    ]
    _assert_same(tiny_model(family), pairs, 8, 40)


@pytest.mark.parametrize(
    ("config_class", "sizes"),
    [
        (MambaConfig, {"num_hidden_layers": 2}),
        (FalconMambaConfig, {"num_hidden_layers": 2}),
        (
            Mamba2Config,
            {"num_hidden_layers": 2, "num_heads": 6, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
        ),
    ],
)
def test_library_model_that_forgets_behind_a_cache_is_scored_right(
    config_class: Any, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody hands it over who did not load it by this package."""
    monkeypatch.setattr(prefixes, "MIN_SAVED", 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = config_class(hidden_size=24, vocab_size=260, **sizes)
        model = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            # memories of more than a token
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    _assert_same(model, few_shot(), 3, 40)


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_every_family_of_this_package_reads_shared_beginnings_once(family: str) -> None:
    assert goes_on(tiny_model(family))
    _, ours = adapters(tiny_model(family), 1)
    assert ours.get_model_info()["sentinel_reads_shared_beginnings_once"]


def test_model_with_agency_reads_every_sequence_whole() -> None:
    model = add_agency(tiny_model("gpt2"), AgencySpec(gate="static"))
    assert not goes_on(model)
    _assert_same(model, MIX, 3)


def _height(node: Node) -> int:
    return 1 + max(map(_height, node.children), default=0)


def _paths(node: Node, before: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """What is read on every way through a tree."""
    own = before + node.tokens
    assert node.start == len(before)
    return [path for child in node.children for path in _paths(child, own)] or [own]


def _wanted(node: Node) -> list[tuple[int, int, int]]:
    """Owner, place in its sequence, and token of everything that is scored."""
    own = [(one.owner, node.start + one.position, one.token) for one in node.wanted]
    return own + [found for child in node.children for found in _wanted(child)]


@given(pairs=PAIRS, min_saved=strategies.integers(1, 8))
def test_trees_read_everything_that_is_asked_and_score_it_once(
    pairs: Pairs, min_saved: int
) -> None:
    wanted = asked(pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "MIN_SAVED", min_saved)
        roots = reading_trees(wanted, shares=True)
    read = [path for root in roots for path in _paths(root)]
    for one in wanted:
        assert [path for path in read if path[: len(one.read)] == one.read]
    expected = [
        (owner, len(one.read) - len(one.target) + place, token)
        for owner, one in enumerate(wanted)
        for place, token in enumerate(one.target)
    ]
    assert sorted(found for root in roots for found in _wanted(root)) == sorted(expected)


@given(pairs=PAIRS, batch_size=strategies.sampled_from([1, 3]))
@settings(deadline=None)
def test_scores_of_any_requests_with_shared_beginnings_are_those_of_stock(
    pairs: Pairs, batch_size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefixes, "MIN_SAVED", 1)
        _assert_same(tiny_model("gpt2", n_positions=LENGTH), pairs, batch_size)


@pytest.mark.parametrize("form", ["remove", "mask"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_pruned_models_are_those_of_stock(family: str, form: Any) -> None:
    spec = PruneSpec(
        scorer="random", fraction=0.4, granularity=("head", "neuron"), form=form, seed=3
    )
    _assert_same(prune(tiny_model(family), spec).model, MIX, 3)


@given(pairs=PAIRS, batch_size=strategies.sampled_from([1, 3, 8]))
@settings(deadline=None)
def test_scores_of_any_requests_are_those_of_stock(pairs: Pairs, batch_size: int) -> None:
    _assert_same(tiny_model("gpt2", n_positions=LENGTH), pairs, batch_size)


def test_greedy_continuation_is_found() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        best = int(model(torch.tensor([[1, 2, 3]])).logits[0, -1].argmax())
    _, ours = adapters(model, 2)
    found = scores(ours, [([1, 2, 3], [best]), ([1, 2, 3], [best + 1])])
    assert [greedy for _, greedy in found] == [True, False]


def test_head_multiplies_the_scored_rows_and_no_others() -> None:
    model, seen = tiny_model("gpt2"), list[int]()
    _, ours = adapters(model, 8)
    handle = model.lm_head.register_forward_hook(
        lambda _, __, logits: seen.append(logits.shape[0] * logits.shape[1])
    )
    scores(ours, [([1, 2, 3, 4, 5], [6]), ([1, 2, 3, 4, 5], [7]), ([9, 9, 9], [8, 8])])
    handle.remove()
    # both last tokens are predicted by one row
    assert seen == [3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_to_float32_as_stock(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 200, 12).tolist(), rng.integers(0, 200, 1 + one % 5).tolist())
        for one in range(200)
    ]
    exact = [value for value, _ in scores(adapters(tiny_model("llama"), 8)[0], pairs)]
    model = tiny_model("llama").to(dtype)
    distance = [
        np.mean([abs(value - right) for (value, _), right in zip(found, exact, strict=True)])
        for found in (scores(one, pairs) for one in adapters(model, 8))
    ]
    # the model's own rounding is in both; ours adds none behind its logits
    assert distance[1] <= 1.01 * distance[0]


def test_model_without_an_output_head_is_scored_too() -> None:
    model = tiny_model("gpt2")
    expected = scores(adapters(model, 3)[0], MIX)
    model.get_output_embeddings = lambda: None
    found = scores(adapters(model, 3)[1], MIX)
    assert [value for value, _ in found] == pytest.approx([v for v, _ in expected], abs=TOLERANCE)
