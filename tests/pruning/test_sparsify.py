"""Single weights through the stage: which matrices, which weights, and what the report says."""

import pytest
import torch
from torch import Tensor

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models import structure_of
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.pruning import make_plan, plan_units, prune, remove
from sentinel_research.pruning.sparsify import keep_mask
from sentinel_research.pruning.surgery import probe_inputs
from sentinel_research.specs import PruneSpec

every_family = pytest.mark.parametrize("family", FAMILIES)
# projections of every family, written down a second time
PROJECTIONS = {
    "gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    "opt": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
            "fc1", "fc2"],
    "bloom": ["self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h",
              "mlp.dense_4h_to_h"],
    "gpt_neox": ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h",
                 "mlp.dense_4h_to_h"],
    **{
        family: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
        for family in ("llama", "mistral", "qwen2")
    },
}  # fmt: skip


def _spec(fraction: float = 0.5, **more: object) -> PruneSpec:
    return PruneSpec(
        **{"scorer": "magnitude_l1", "granularity": "weight", "fraction": fraction, **more}
    )


@every_family
def test_every_projection_of_every_layer_and_nothing_else_gets_zeros(family: str) -> None:
    model = tiny_model(family)
    pruned, _ = prune(model, _spec())
    changed = {
        name
        for name, value in pruned.state_dict().items()
        if not torch.equal(value, model.state_dict()[name])
    }
    layers = {"gpt2": "transformer.h", "bloom": "transformer.h", "opt": "model.decoder.layers",
              "gpt_neox": "gpt_neox.layers"}  # fmt: skip
    prefix = layers.get(family, "model.layers")
    assert changed == {
        f"{prefix}.{layer}.{name}.weight" for layer in range(3) for name in PROJECTIONS[family]
    }


@every_family
def test_smallest_weights_of_an_output_row_go(family: str) -> None:
    model = tiny_model(family)
    pruned, _ = prune(model, _spec(0.3))
    for name, before in model.named_parameters():
        after = pruned.get_parameter(name)
        if torch.equal(before, after):
            continue
        # Conv1D stores [inputs, outputs]
        rows, left = (t.detach().T if family == "gpt2" else t.detach() for t in (before, after))
        for row, kept in zip(rows, left, strict=True):
            count = len(row) * 3 // 10
            assert int((kept == 0).sum()) == count
            assert float(row[kept == 0].abs().max()) <= float(kept[kept != 0].abs().min())
            assert torch.equal(kept[kept != 0], row[kept != 0])


@pytest.mark.parametrize("form", ["mask", "remove"])
@every_family
def test_report_counts_zeros_and_parameters_that_are_left(family: str, form: str) -> None:
    model = tiny_model(family)
    pruned, report = prune(model, _spec(form=form))
    assert report.num_removed.keys() == {"weight"}
    assert report.num_parameters_after == report.num_parameters_before
    zeros = report.num_removed["weight"]
    assert report.num_nonzero_parameters_after == report.num_parameters_after - zeros
    assert sum(int((p == 0).sum()) for p in pruned.parameters()) == zeros
    assert report.budget_requested is report.budget_achieved is None
    assert report.flops_per_token_after == report.flops_per_token_before
    assert report.removed == {}


def test_both_forms_hold_the_same_weights() -> None:
    model = tiny_model("llama")
    masked, removed = (prune(model, _spec(form=form))[0] for form in ("mask", "remove"))
    inputs = probe_inputs(model)
    assert torch.equal(masked(**inputs).logits, removed(**inputs).logits)
    # zeros need no hook, so this mask survives a further pruning
    heads = make_plan(structure_of(model.config), [[0, 1]] * 3)
    assert structure_of(remove(masked, heads).config) == heads.after


def test_pruned_model_is_sparsified_in_its_own_matrices() -> None:
    model = tiny_model("bloom")
    small = remove(model, make_plan(structure_of(model.config), [[0, 3], [], [1]]))
    plan = plan_units(small, _spec()).plan
    shapes = {
        name.removeprefix("transformer.h."): mask.shape for name, mask in plan.weights.items()
    }
    assert shapes["0.self_attention.query_key_value.weight"] == (36, 30)
    assert shapes["2.self_attention.dense.weight"] == (30, 6)
    assert not any(name.startswith("1.self_attention") for name in shapes)


def test_no_share_and_all_of_it() -> None:
    model = tiny_model("gpt2")
    pruned, report = prune(model, _spec(0.0))
    assert report.num_removed == {}
    assert torch.equal(pruned(**probe_inputs(model)).logits, model(**probe_inputs(model)).logits)
    pruned, _ = prune(model, _spec(1.0))
    assert not pruned.transformer.h[0].attn.c_attn.weight.any()


def test_two_of_four_goes_with_half_or_nothing() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0, 1.0]])
    half = keep_mask(scores, _spec(granularity="2:4"))
    assert half.tolist() == [[True, False, False, True, False, False, True, True]]
    assert bool(keep_mask(scores, _spec(0.0, granularity="2:4")).all())


def test_width_that_does_not_divide_by_four_is_refused() -> None:
    with pytest.raises(UsageError, match="4"):
        prune(tiny_model("gpt2"), _spec(granularity="2:4"))


@pytest.mark.parametrize("granularity", ["weight", "2:4"])
def test_solver_changes_the_weights_that_stay(granularity: str) -> None:
    model = tiny_model("llama", intermediate_size=36)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids: Tensor = torch.randint(256, (8, 16), generator=torch.Generator().manual_seed(0))
    spec = _spec(scorer="sparsegpt", granularity=granularity)
    pruned, report = prune(model, spec, calibration=CalibrationSet.of(ids))
    weight = pruned.get_parameter("model.layers.1.mlp.up_proj.weight").detach()
    kept = weight != 0
    assert int((~kept).sum()) == weight.numel() // 2
    old = before["model.layers.1.mlp.up_proj.weight"]
    assert not torch.allclose(weight[kept], old[kept])
    assert report.plan.scorer == "sparsegpt"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
