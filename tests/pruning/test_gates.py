"""Gates and masks: where they act, how they come off, and what is refused."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import anatomy_of, structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import bake, gate_units, make_plan, mask, remove
from sentinel_research.pruning.gates import plan_gates, scale_units
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.pruning.weight_mask import WeightMask

KINDS = ["head", "neuron", "attention", "ffn"]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param)


def _ones(model: PreTrainedModel, kind: str, *rows: int) -> list[Tensor]:
    return [torch.ones(*rows, count) for count in structure_of(model.config).num_units(kind)]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_gates_of_one_change_no_bit_and_come_off(model: PreTrainedModel, kind: str) -> None:
    inputs = probe_inputs(model)
    dense = model(**inputs).logits
    with gate_units(model, {kind: _ones(model, kind)}):
        assert torch.equal(model(**inputs).logits, dense)
    with gate_units(model, {kind: [torch.zeros_like(gate) for gate in _ones(model, kind)]}):
        assert not torch.allclose(model(**inputs).logits, dense)
    assert torch.equal(model(**inputs).logits, dense)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_gate_of_a_sequence_acts_on_that_sequence_alone(model: PreTrainedModel, kind: str) -> None:
    inputs = probe_inputs(model)
    dense = model(**inputs).logits
    gates = _ones(model, kind, 2)
    # one OPT neuron could be off anyway
    gates[1][1, : 1 + len(gates[1][1]) // 2] = 0.0
    with gate_units(model, {kind: gates}):
        gated = model(**inputs).logits
    assert torch.equal(gated[0], dense[0])
    assert not torch.allclose(gated[1], dense[1])


@torch.no_grad()
def test_gate_scales_the_share_of_its_unit_in_the_block(model: PreTrainedModel) -> None:
    """The output of a block is the sum of its units and its bias, so halves add up."""
    row, structure = anatomy_of(model.config), structure_of(model.config)
    inputs = probe_inputs(model)
    for kind, block, width in (("head", "attention", structure.head_dim), ("neuron", "ffn", 1)):
        output = row.outputs(model, block)[0]
        seen: list[Tensor] = []
        hook = output.register_forward_hook(
            lambda module, args, out, seen=seen: seen.append(args[0])
        )
        model(**inputs)
        units = seen[0].unflatten(-1, (-1, width))
        gates = _ones(model, kind)
        gates[0][:] = torch.linspace(0, 1, len(gates[0]))
        with gate_units(model, {kind: gates}):
            model(**inputs)
        hook.remove()
        expected = (units * gates[0][:, None]).flatten(-2)
        assert torch.allclose(seen[1], expected, atol=0, rtol=1e-6)


@torch.no_grad()
def test_gate_of_a_block_scales_its_bias_too() -> None:
    model = tiny_model("gpt2")
    output = anatomy_of(model.config).outputs(model, "attention")[2]
    gates = _ones(model, "attention")
    gates[2][:] = 0.25
    hidden = torch.randn(1, 3, 30, generator=torch.Generator().manual_seed(0))
    plain = output(hidden)
    with gate_units(model, {"attention": gates}):
        gated = output(hidden)
    # a power of two changes no digit
    assert torch.equal(gated, 0.25 * plain)


def test_gradient_of_a_gate_is_the_directional_derivative(model: PreTrainedModel) -> None:
    model.double()
    inputs = probe_inputs(model)
    gates = [gate.double().requires_grad_() for gate in _ones(model, "head")]

    def loss() -> Tensor:
        with gate_units(model, {"head": gates}):
            return model(**inputs).logits[:, -1].square().mean()

    gradient = torch.autograd.grad(loss(), gates)[1][0]
    step = 1e-2
    with torch.no_grad():
        gates[1][0] += step
        above = loss()
        gates[1][0] -= 2 * step
        below = loss()
    # a central difference errs by the step squared, and norms round to float32: 1e-7 / step
    assert float(gradient) == pytest.approx(float((above - below) / (2 * step)), rel=1e-2, abs=1e-3)


def test_gates_come_off_after_an_error(model: PreTrainedModel) -> None:
    with (
        # OPT hands over sequences and positions as one axis
        pytest.raises(ValueError, match=r"gates for 3 sequences, but the batch has (2|14)"),
        gate_units(model, {"head": _ones(model, "head", 3)}),
    ):
        model(**probe_inputs(model))
    model(**probe_inputs(model))


@pytest.mark.parametrize("kind", ["head", "neuron", "ffn"])
def test_gates_of_the_wrong_shape_are_refused(kind: str) -> None:
    model = tiny_model("gpt2")
    count = structure_of(model.config).num_units(kind)[0]
    for shape in ((count - 1,), (2, count + 1), (1, 2, count)):
        with pytest.raises(ValueError, match=rf"{kind} gates of layer 0 have shape"):
            gate_units(model, {kind: [torch.ones(shape)] * 3})
    with pytest.raises(ValueError, match=f"2 {kind} gates for 3 layers"):
        gate_units(model, {kind: [torch.ones(count)] * 2})


def test_runs_of_channels_are_scaled_by_their_unit() -> None:
    hidden = torch.arange(12.0).reshape(2, 1, 6)
    gate = torch.tensor([2.0, 0.0, 1.0])
    assert scale_units(hidden, gate, 2).tolist() == [
        [[0, 2, 0, 0, 4, 5]],
        [[12, 14, 0, 0, 10, 11]],
    ]
    rows = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]])
    expected = [[[0, 1, 2, 3, 4, 5]], [[0, 0, 0, 0, 20, 22]]]
    assert scale_units(hidden, rows, 2).tolist() == expected
    # OPT flattens sequences and positions into one axis
    assert scale_units(hidden[:, 0], rows, 2).tolist() == [row[0] for row in expected]


def test_gates_of_a_plan_name_only_kinds_that_lose_units() -> None:
    model = tiny_model("gpt2")
    structure = structure_of(model.config)
    assert plan_gates(structure, make_plan(structure)) == {}
    plan = make_plan(structure, [[0, 2], [], range(5)], without={"ffn": [1]})
    gates = plan_gates(structure, plan)
    assert gates.keys() == {"head", "neuron", "ffn"}
    assert [gate.tolist() for gate in gates["head"]] == [[1, 0, 1, 0, 0], [0] * 5, [1] * 5]
    assert [gate.tolist() for gate in gates["ffn"]] == [[1], [0], [1]]
    assert [int(gate.sum()) for gate in gates["neuron"]] == [37, 0, 37]


def test_masked_copy_of_a_copy_stays_masked(model: PreTrainedModel) -> None:
    plan = make_plan(structure_of(model.config), [[0], [1], [2]], without={"ffn": [0]})
    masked, inputs = mask(model, plan), probe_inputs(model)
    assert torch.equal(copy.deepcopy(masked)(**inputs).logits, masked(**inputs).logits)


def test_pruned_model_can_be_masked_further(model: PreTrainedModel) -> None:
    structure = structure_of(model.config)
    once = remove(model, make_plan(structure, [[0, 1, 2], [1], [2, 3]], neurons=[[1, 2], [], [3]]))
    plan = make_plan(structure_of(once.config), [[1], [], [2, 3]], neurons=[[2], [], [3]])
    inputs = probe_inputs(model)
    direct = mask(model, make_plan(structure, [[1], [], [2, 3]], neurons=[[2], [], [3]]))
    found, expected = mask(once, plan)(**inputs).logits, direct(**inputs).logits
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-5)


def test_masked_model_is_neither_removed_nor_baked_nor_saved_further(
    model: PreTrainedModel,
) -> None:
    plan = make_plan(structure_of(model.config), [[0], [1], [2]])
    # a mask of blocks sits in another hook
    blocks = make_plan(structure_of(model.config), without={"ffn": [0]})
    for form in (remove, bake):
        for masked in (mask(model, plan), mask(model, blocks)):
            with pytest.raises(UsageError, match=r"masked model cannot be (pruned|baked)"):
                form(masked, plan)


def test_masked_model_refuses_to_save_itself_without_its_mask(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    plan = make_plan(structure_of(model.config), [[0], [1], [2]])
    for masked in (mask(model, plan), copy.deepcopy(mask(model, plan))):
        with pytest.raises(UsageError, match="its mask lives in hooks"):
            masked.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    # what has no mask is saved
    mask(model, make_plan(structure_of(model.config))).save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_quantised_model_is_not_masked(model: PreTrainedModel) -> None:
    plan = make_plan(structure_of(model.config), [[0], [1], [2]])
    model.config.quantization_config = {"quant_method": "any"}
    with pytest.raises(UsageError, match="weights are quantised"):
        mask(model, plan)


@pytest.mark.parametrize("form", [remove, mask, bake])
def test_mask_of_single_weights_must_name_a_parameter_and_have_its_shape(form: Any) -> None:
    model = tiny_model("gpt2")
    structure, name = structure_of(model.config), "transformer.h.0.attn.c_attn.weight"
    before = copy.deepcopy(model.state_dict())
    for where, shape, message in (
        ("nope.weight", (30, 90), "names weights of 'nope.weight', which this model does not have"),
        # torch would zero 2,700 weights with these 90
        (name, (1, 90), r"shape \[1, 90\] for '.*', whose shape is \[30, 90\]"),
        (name, (90, 30), r"shape \[90, 30\]"),
        ("transformer.h.0.attn.c_attn.bias", (1, 90), r"whose shape is \[90\]"),
    ):
        masks = {"transformer.h.1.mlp.c_fc.weight": _zeros(30, 37), where: _zeros(*shape)}
        with pytest.raises(UsageError, match=message):
            form(model, make_plan(structure, weights=masks))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    pruned = form(model, make_plan(structure, weights={name: _zeros(30, 90)}))
    assert int(pruned.get_parameter(name).count_nonzero()) == 0


def _zeros(*shape: int) -> WeightMask:
    return WeightMask.of(np.zeros(shape, dtype=bool))
