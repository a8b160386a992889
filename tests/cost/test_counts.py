"""Parameters, bytes and operations are those that a pencil finds."""

import pytest
from transformers import PreTrainedModel

from sentinel_research.cost.counts import Work, multiplied_bytes, parameters_of, storage_of, work_of
from sentinel_research.models.layout import structure_of
from sentinel_research.models.tiny import VOCAB_SIZE, tiny_model
from sentinel_research.pruning import make_plan, remove
from sentinel_research.quantisation import store_small
from sentinel_research.specs import CostSpec
from tests.cost.conftest import NEW, PROMPT

# float32
WORD = 4
LAYERS = 3


def _num_in_buffers(model: PreTrainedModel) -> int:
    return sum(one.numel() for one in model.buffers())


# tables of tokens and positions and the head; a head that is not tied counts beside the table
@pytest.mark.parametrize(
    ("family", "embedding"),
    [
        ("gpt2", VOCAB_SIZE * 30 + 64 * 30),
        # positions have two rows more; tokens are 23 wide, and projected
        ("opt", VOCAB_SIZE * 23 + 66 * 30),
        ("bloom", VOCAB_SIZE * 30),
        ("gpt_neox", 2 * VOCAB_SIZE * 40),
        ("llama", 2 * VOCAB_SIZE * 40),
        ("mamba", VOCAB_SIZE * 21),
        ("sentinel", VOCAB_SIZE * 24),
    ],
)
def test_embedding_parameters_are_tables_and_head(family: str, embedding: int) -> None:
    model = tiny_model(family)
    found = parameters_of(model)
    assert found.embedding == embedding
    assert found.total == sum(one.numel() for one in model.parameters())
    assert found.non_embedding == found.total - embedding


# per layer: keys and values of 5 heads of 6 (8 wide in gpt_neox), of 4 KV heads of 6
@pytest.mark.parametrize(
    ("family", "width"),
    [("gpt2", 30), ("opt", 30), ("bloom", 30), ("gpt_neox", 40), ("llama", 24)],
)
def test_keys_and_values_grow_with_every_token(family: str, width: int, short: CostSpec) -> None:
    model = tiny_model(family)
    found = storage_of(model, short)
    assert found.cache_bytes_per_token == LAYERS * 2 * width * WORD
    assert found.cache_bytes == PROMPT * found.cache_bytes_per_token
    assert found.cache_bytes_fixed == 0
    # rotary frequencies are buffers
    assert found.weights_bytes == (model.num_parameters() + _num_in_buffers(model)) * WORD


def test_state_of_mamba_does_not_grow(short: CostSpec) -> None:
    found = storage_of(tiny_model("mamba"), short)
    # per layer 42 channels: a convolution over 4 tokens and 5 states
    assert found.cache_bytes == found.cache_bytes_fixed == LAYERS * 42 * (4 + 5) * WORD
    assert found.cache_bytes_per_token == 0


def test_resolvent_keeps_a_state_and_its_attention_layer_keys_and_values(
    short: CostSpec,
) -> None:
    model = tiny_model("sentinel")
    found = storage_of(model, short)
    # one layer of attention, 24 wide
    assert found.cache_bytes_per_token == 2 * 24 * WORD
    # two layers of 19 channels: x and g as planes, and the inputs of a convolution
    states = 2 * 19 * (4 + model.config.resolvent_conv_kernel) * WORD
    assert found.cache_bytes_fixed == states


def test_half_precision_halves_every_byte(short: CostSpec) -> None:
    model = tiny_model("gpt2")
    whole, half = storage_of(model, short), storage_of(model.bfloat16(), short)
    assert half.weights_bytes * 2 == whole.weights_bytes
    assert half.cache_bytes_per_token * 2 == whole.cache_bytes_per_token


def _attention(width: int, kv_width: int, hidden: int, past: int) -> int:
    """Of one token that sees `past` others, itself included; a multiply-add counts two."""
    projections = 2 * hidden * (2 * width + 2 * kv_width)
    return projections + 4 * width * past


# widths of all heads, of all KV heads, hidden size, neurons, projections into neurons
_SHAPES = {
    "gpt2": (30, 30, 30, 37, 1),
    "opt": (30, 30, 30, 37, 1),
    "bloom": (30, 30, 30, 120, 1),
    "gpt_neox": (40, 40, 40, 37, 1),
    "llama": (48, 24, 40, 37, 2),
}


def _head(family: str) -> int:
    # OPT's embedding is 23 wide: into and out of it is a product too
    return 2 * 23 * VOCAB_SIZE + 2 * 30 * 23 if family == "opt" else 2 * _SHAPES[family][2] * (
        VOCAB_SIZE
    )  # fmt: skip


@pytest.mark.parametrize("family", _SHAPES)
def test_operations_of_reading_a_prompt_are_those_of_the_formula(
    family: str, short: CostSpec
) -> None:
    width, kv_width, hidden, neurons, inputs = _SHAPES[family]
    token = _attention(width, kv_width, hidden, PROMPT) + 2 * hidden * neurons * (inputs + 1)
    # one row of logits, whatever the length; OPT projects every token into the hidden size
    entering = 2 * 23 * 30 * PROMPT + 2 * 30 * 23 * (PROMPT - 1) if family == "opt" else 0
    expected = LAYERS * PROMPT * token + _head(family) + entering
    assert work_of(tiny_model(family), short)["prefill"].flops == expected


@pytest.mark.parametrize("family", _SHAPES)
def test_operations_of_decoding_see_one_token_more_each_time(family: str, short: CostSpec) -> None:
    width, kv_width, hidden, neurons, inputs = _SHAPES[family]
    expected = 0
    for past in range(PROMPT + 1, PROMPT + NEW + 1):
        token = _attention(width, kv_width, hidden, past) + 2 * hidden * neurons * (inputs + 1)
        expected += LAYERS * token + _head(family) + (2 * 23 * 30 if family == "opt" else 0)
    assert work_of(tiny_model(family), short)["decode"].flops == expected


def test_selective_scan_counts_by_its_registered_formula(short: CostSpec) -> None:
    # per layer and token, 21 wide, 42 channels, 5 states, rank 3
    products = 2 * (21 * 84 + 42 * (3 + 2 * 5) + 3 * 42 + 42 * 21)
    convolution, scan = 2 * 4 * 42, 42 * (7 * 5 + 8)
    token, head = LAYERS * (products + convolution + scan), 2 * 21 * VOCAB_SIZE
    found = work_of(tiny_model("mamba"), short)
    assert found["prefill"].flops == PROMPT * token + head
    assert found["decode"].flops == NEW * (token + head)


def test_resolvent_counts_by_its_registered_formula(short: CostSpec) -> None:
    model = tiny_model("sentinel", mixers=["resolvent"], num_hidden_layers=1)
    # 24 wide, 19 channels, 37 neurons
    products = 2 * (24 * 4 * 19 + 2 * 19 * 24) + 2 * 24 * 37 * 3
    token = products + 2 * model.config.resolvent_conv_kernel * 19 + 20 * 19
    head = 2 * 24 * VOCAB_SIZE
    found = work_of(model, short)
    assert found["prefill"].flops == PROMPT * token + head
    assert found["decode"].flops == NEW * (token + head)


def test_decoding_moves_the_weights_that_it_multiplies_with_and_the_past(
    short: CostSpec,
) -> None:
    tied, untied = tiny_model("gpt2"), tiny_model("llama")
    # a tied table is the head; positions are looked up
    assert multiplied_bytes(tied) == (tied.num_parameters() - 64 * 30) * WORD
    assert multiplied_bytes(untied) == (untied.num_parameters() - VOCAB_SIZE * 40) * WORD
    grows = storage_of(tied, short).cache_bytes_per_token
    past = sum(range(PROMPT + 1, PROMPT + NEW + 1)) * grows
    assert work_of(tied, short)["decode"] == Work(
        work_of(tied, short)["decode"].flops, NEW * multiplied_bytes(tied), past
    )


def test_batch_multiplies_operations_and_cache_but_not_weights() -> None:
    assert Work(3, 100, 5).of_batch(4) == Work(12, 100, 20)
    assert Work(3, 100, 5).of_batch(4).bytes_moved == 120


def test_removed_heads_take_their_operations_with_them(short: CostSpec) -> None:
    model = tiny_model("gpt2")
    plan = make_plan(structure_of(model.config), [[0, 1]] * LAYERS)
    before, after = work_of(model, short), work_of(remove(model, plan), short)
    saved = LAYERS * PROMPT * 3 * (8 * 30 * 6 + 4 * 6 * PROMPT)
    assert before["prefill"].flops - after["prefill"].flops == saved
    assert after["decode"].cache_bytes * 5 == before["decode"].cache_bytes * 2


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_stored_weights_are_fewer_bytes_of_as_many_operations(bits: int, short: CostSpec) -> None:
    model, small = tiny_model("gpt2"), tiny_model("gpt2")
    store_small(small, bits)
    assert parameters_of(small) == parameters_of(model)
    assert work_of(small, short)["decode"].flops == work_of(model, short)["decode"].flops
    assert multiplied_bytes(small) < multiplied_bytes(model)
    # keys and values stay as they were
    before, after = storage_of(model, short), storage_of(small, short)
    assert after.cache_bytes == before.cache_bytes
    assert after.weights_bytes < before.weights_bytes
