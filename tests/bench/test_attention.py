"""What `sentinel bench attention` compares, at a size whose times mean nothing."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.bench.agency import gated, hidden_states, one_layer
from sentinel_research.bench.attention import (
    LENGTHS,
    TOLERANCE,
    check_same,
    difference,
    ways,
)
from sentinel_research.bench.head_loop import HeadLoop
from sentinel_research.bench.models import half_of_the_heads
from sentinel_research.bench.schema import AttentionSection, SpeedFile
from sentinel_research.bench.show import lines_of
from sentinel_research.cli import main
from sentinel_research.models.agency import Lock, gated_layers
from sentinel_research.models.tiny import tiny_model
from sentinel_research.pruning.surgery import remove

# one worker measures the section once
pytestmark = pytest.mark.xdist_group("bench-attention")

ALTERNATIVES = {
    "over_sdpa": "the same attention on SDPA without gates",
    "over_loop": "the same attention as a loop over its heads",
}


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> AttentionSection:
    path = tmp_path_factory.mktemp("speed") / "here.json"
    words = ["bench", "attention", "--size", "tiny", "--pairs", "2", "--output", str(path)]
    assert main(words) == 0
    found = SpeedFile.model_validate_json(path.read_text()).attention
    assert found is not None
    return found


def test_ours_is_compared_with_sdpa_and_the_loop_at_every_length(section: AttentionSection) -> None:
    assert {one.name: one.alternative for one in section.comparisons} == {
        f"T{length}/{heads}/{name}": words
        for length in LENGTHS["tiny"]
        for heads in ("all_heads", "half_removed")
        for name, words in ALTERNATIVES.items()
    }
    assert section.lengths == LENGTHS["tiny"]
    assert section.model.num_layers == 1
    assert section.checks == ()


def test_lengths_have_equal_rounds_and_comparisons_of_one_share_their_times(
    section: AttentionSection,
) -> None:
    assert {one.num_pairs for one in section.comparisons} == {2}
    for length in section.lengths:
        for heads in ("all_heads", "half_removed"):
            ours = {
                tuple(measured for measured, _ in one.wall_seconds)
                for one in section.comparisons
                if one.name.startswith(f"T{length}/{heads}/")
            }
            assert len(ours) == 1
    others = [tuple(other for _, other in one.wall_seconds) for one in section.comparisons]
    assert len(set(others)) == len(others), "every alternative has times of its own"


def test_attention_is_shown_as_speed_ups(section: AttentionSection, tmp_path: Path) -> None:
    first = lines_of(section)[0]
    assert first.startswith("T8/all_heads/over_sdpa: ")
    assert "as fast as the same attention on SDPA without gates" in first


def test_measured_lengths_begin_at_32() -> None:
    assert LENGTHS["124m"] == (32, 64, 128, 256, 512)


@pytest.mark.parametrize("prunes", [False, True], ids=["all heads", "half removed"])
def test_loop_over_heads_returns_what_gated_attention_does(prunes: bool) -> None:
    # unlike those of the bench, its biases are not zero
    plain = tiny_model("gpt2")
    model: PreTrainedModel = gated(plain, "static/trained")
    gated_layers(model, model.config)[0].gate.set_lock(1, Lock.WITHDRAWN)
    if prunes:
        model = remove(model, half_of_the_heads(plain))
    for place in gated_layers(model, model.config):
        for length in (1, 7, 63):
            hidden = hidden_states(model, length)
            loop = HeadLoop(place.attention, place.gate, 63)
            # float32 sums of 30 products in another order
            assert torch.allclose(loop(hidden), place.attention(hidden)[0], atol=1e-5, rtol=0)


def test_gates_are_not_at_rest_in_what_is_measured() -> None:
    blocks = ways(one_layer("tiny", "cpu"), 8)
    assert list(blocks) == [
        f"{heads}/{way}" for heads in ("all_heads", "half_removed")
        for way in ("ours", "sdpa", "loop")
    ]  # fmt: skip
    hidden = hidden_states(one_layer("tiny", "cpu"), 8)
    for heads in ("all_heads", "half_removed"):
        ours, plain = (blocks[f"{heads}/{way}"](hidden)[0] for way in ("ours", "sdpa"))
        assert not torch.allclose(ours, plain)
        assert difference(blocks, heads, hidden) < TOLERANCE


def test_alternatives_have_the_weights_of_what_they_are_compared_with() -> None:
    blocks = ways(one_layer("tiny", "cpu"), 8)
    counts = {
        name: sum(p.numel() for key, p in block.named_parameters() if "head_gate" not in key)
        for name, block in blocks.items()
    }
    for heads, width in (("all_heads", 32), ("half_removed", 16)):
        # E=32: four projections, and the biases of three
        expected = 4 * 32 * width + 3 * width
        assert counts[f"{heads}/ours"] == counts[f"{heads}/sdpa"] == expected + 32
        # the loop has the output's bias once a head, of 8 channels
        assert counts[f"{heads}/loop"] == expected + 32 * width // 8


def test_loop_that_computes_something_else_fails_the_check() -> None:
    blocks = ways(one_layer("tiny", "cpu"), 8)
    loop = blocks["half_removed/loop"]
    loop.get_buffer("gates")[0] += 0.5
    found = difference(blocks, "half_removed", hidden_states(one_layer("tiny", "cpu"), 8))
    assert not check_same(found).passed
    assert check_same(TOLERANCE).passed
