"""A mask that changes: what it holds, what comes back, and what AdamW remembers of it."""

import pytest
import torch
from transformers import PreTrainedModel

from sentinel_research.models.layout import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import PruningPlan, make_plan, mask
from sentinel_research.pruning.calibrate import forward, sequence_nll
from sentinel_research.pruning.gates import gate_units
from sentinel_research.recoveries.live_mask import LiveMask
from sentinel_research.recoveries.mask_changes import changes, overlap
from sentinel_research.recoveries.mask_choices import exchange, gate_gradients
from sentinel_research.recoveries.masks import Moment
from sentinel_research.recoveries.unit_factors import held
from sentinel_research.specs import CalibrationSpec, PruneSpec
from sentinel_research.training import UpdateScaling
from tests.recoveries.conftest import blocks_of, calibration


def _without(model: PreTrainedModel, layer: int, heads: set[int]) -> PruningPlan:
    structure = structure_of(model.config)
    kept = [set(parts.heads) for parts in structure.layers]
    kept[layer] -= heads
    return make_plan(structure, kept)


def _logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(20).reshape(2, 10)).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kinds", [("head",), ("kv_group", "neuron"), ("layer",)], ids="-".join)
def test_live_mask_masks_and_holds_what_a_mask_does(family: str, kinds: tuple[str, ...]) -> None:
    model = tiny_model(family, seed=3)
    dense, structure = _logits(model), structure_of(model.config)
    layers = [parts.heads for parts in structure.layers]
    plans = {
        ("head",): make_plan(structure, [layers[0][:1], *layers[1:]]),
        ("kv_group", "neuron"): make_plan(
            structure,
            [layers[0][structure.group_size :], *layers[1:]],
            neurons=[parts.neurons[2:] for parts in structure.layers],
        ),
        ("layer",): make_plan(structure, without={"attention": [1], "ffn": [1]}),
    }
    live, plan = LiveMask(model, kinds), plans[kinds]
    live.put(plan)
    assert torch.equal(_logits(model), _logits(mask(tiny_model(family, seed=3), plan)))
    expected = held(model, plan)
    assert expected.keys() <= live.factors.keys()
    for name, factor in live.factors.items():
        one = torch.ones(())
        assert torch.equal(factor, expected.get(name, one).expand_as(factor)), name
    with live.lifted():
        assert torch.equal(_logits(model), dense)
    assert not torch.equal(_logits(model), dense)
    live.put(make_plan(structure))
    assert torch.equal(_logits(model), dense)
    assert all(bool((factor == 1).all()) for factor in live.factors.values())


def _step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, row: int) -> None:
    ids = torch.from_numpy(blocks_of(12, 4))[row : row + 3]
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


def test_masked_head_keeps_every_bit_and_comes_back_without_momentum() -> None:
    """One optimiser over three masks: open, closed, open again."""
    model = tiny_model("gpt2", seed=3)
    live = LiveMask(model, ("head",))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    scaling = UpdateScaling(model, {}, (live.factors,))
    scaling.attach(optimizer)
    parameter = model.get_parameter("transformer.h.1.attn.c_proj.weight")
    width = model.config.n_embd // model.config.n_head
    mine, others = slice(2 * width, 3 * width), slice(0, 2 * width)
    opened, closed = make_plan(structure_of(model.config)), _without(model, 1, {2})
    with scaling.frozen():
        _step(model, optimizer, 0)
        live.put(closed, optimizer)
        before = parameter.detach().clone()
        for row in (1, 2, 3):
            _step(model, optimizer, row)
        assert torch.equal(parameter[mine], before[mine])
        assert not torch.equal(parameter[others], before[others])
        moments = optimizer.state[parameter]
        assert bool(moments["exp_avg"][mine].any())
        live.put(opened, optimizer)
        assert torch.equal(parameter[mine], before[mine])
        assert not moments["exp_avg"][mine].any()
        assert bool(moments["exp_avg"][others].all())
        moved = torch.cat([moments["exp_avg_sq"][others], moments["exp_avg_sq"][3 * width :]])
        # float32's rounding of a mean, of numbers far below any absolute tolerance
        expected = moved.mean().expand(width, model.config.n_embd)
        torch.testing.assert_close(moments["exp_avg_sq"][mine], expected, rtol=1e-5, atol=0)
        _step(model, optimizer, 4)
        assert not torch.equal(parameter[mine], before[mine])


def test_single_weight_that_is_held_stays_zero_and_out_of_the_norm() -> None:
    """Unlike a masked head a zero weight has a gradient."""
    model = tiny_model("gpt2", seed=3)
    live = LiveMask(model, ("weight",))
    scaling = UpdateScaling(model, {}, (live.factors,))
    name = "transformer.h.0.mlp.c_fc.weight"
    live.factors[name][:, ::2] = 0
    ids = torch.from_numpy(blocks_of(3, 4))
    with scaling.frozen():
        model(input_ids=ids, labels=ids).loss.backward()
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert not gradient[:, ::2].any()
        assert bool(gradient[:, 1::2].all())
        # read again at the next step
        live.factors[name].fill_(1)
        model(input_ids=ids, labels=ids).loss.backward()
        assert bool(gradient.all())


def test_gradient_of_a_closed_gate_is_the_slope_of_the_loss_as_it_opens() -> None:
    model, text = tiny_model("gpt2", seed=3).double(), calibration()
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.2, granularity=("head", "neuron"),
                     scope="global", budget="parameters",
                     calibration=CalibrationSpec(corpus="synthetic", batch_size=4))  # fmt: skip
    plan = _without(model, 1, {0, 3})
    # six sequences in two passes
    found = gate_gradients(model, plan, spec, text)

    def loss(gate: float) -> float:
        gates = [torch.ones(len(parts.heads)).double() for parts in plan.before.layers]
        gates[1][0], gates[1][3] = gate, 0
        with gate_units(model, {"head": gates}), torch.no_grad():
            return float(sequence_nll(forward(model, text), text).mean())

    # a central difference in float64: an error of 1e-8 beside a slope of 1e-3 and more
    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
    assert found["head"][1][0] == pytest.approx(abs(slope), rel=1e-3)
    assert [len(layer) for layer in found["neuron"]] == [37, 37, 37]
    assert all(value > 0 for layers in found.values() for layer in layers for value in layer)


def test_useful_heads_grow_in_place_of_useless_ones() -> None:
    """The mask hides two heads, and two of the active ones give nothing."""
    model, text = tiny_model("gpt2", seed=3), calibration()
    width = model.config.n_embd // model.config.n_head
    for head in (2, 4):
        model.transformer.h[1].attn.c_proj.weight.data[head * width : (head + 1) * width] = 0
    spec = PruneSpec(scorer="gate_gradient", fraction=0.14, scope="global")
    live, before = LiveMask(model, ("head",)), _without(model, 1, {0, 3})
    live.put(before)
    moment = Moment(model, spec, text, live, before, step=0, scores=None)
    found = exchange(0.2, every=1, end=10)(moment).plan
    assert found.removed == {"head": ["L1H2", "L1H4"]}
    assert changes(before, found) == {
        "num_dropped": 2,
        "num_grown": 2,
        "dropped": ["L1H2", "L1H4"],
        "grown": ["L1H0", "L1H3"],
    }
    assert overlap(before, found) == 0
    assert overlap(found, found) == 1


def test_overlap_counts_what_both_take_of_what_either_takes() -> None:
    model = tiny_model("gpt2")
    one, other = _without(model, 0, {0, 1}), _without(model, 0, {1, 2, 3})
    assert overlap(one, other) == 1 / 4
    nothing = make_plan(structure_of(model.config))
    assert overlap(nothing, nothing) == 1
