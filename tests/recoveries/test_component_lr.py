"""Learning rates by component and layer: every parameter has one place, in every family."""

import json

import pytest
import torch

from sentinel_research.data.training_set import TrainingSet
from sentinel_research.errors import UsageError
from sentinel_research.models.agency import add_agency
from sentinel_research.models.tiny import FAMILIES, tiny_model
from sentinel_research.recoveries.components import Place, places
from sentinel_research.specs import AgencySpec
from tests.recoveries.conftest import Subject, recovered, spec_of, subject

# a held parameter is no part of the norm that gradients are clipped to
FIRST_STEP = {"num_steps": 1, "warmup_fraction": 0, "max_grad_norm": 0}
# parameters of one layer, and those outside of layers, by the family's own names
INSIDE = {
    "gpt2": {"attn.c_attn.bias": "attention", "attn.c_proj.weight": "attention",
             "mlp.c_fc.weight": "feed_forward", "mlp.c_proj.bias": "feed_forward",
             "ln_1.weight": "norms", "ln_2.bias": "norms"},
    "opt": {"self_attn.out_proj.bias": "attention", "fc1.weight": "feed_forward",
            "fc2.bias": "feed_forward", "self_attn_layer_norm.weight": "norms",
            "final_layer_norm.bias": "norms"},
    "bloom": {"self_attention.query_key_value.weight": "attention",
              "mlp.dense_4h_to_h.weight": "feed_forward", "input_layernorm.bias": "norms"},
    "gpt_neox": {"attention.dense.bias": "attention", "mlp.dense_h_to_4h.bias": "feed_forward",
                 "post_attention_layernorm.weight": "norms"},
    **{
        family: {"self_attn.k_proj.weight": "attention", "mlp.gate_proj.weight": "feed_forward",
                 "post_attention_layernorm.weight": "norms"}
        for family in ("llama", "mistral", "qwen2")
    },
}  # fmt: skip
_GROUPED = {"model.embed_tokens.weight": ("embeddings", -1), "model.norm.weight": ("norms", 2),
            "lm_head.weight": ("head", 2)}  # fmt: skip
OUTSIDE = {
    "gpt2": {"transformer.wte.weight": ("embeddings", -1),
             "transformer.wpe.weight": ("embeddings", -1),
             "transformer.ln_f.weight": ("norms", 2), "transformer.ln_f.bias": ("norms", 2)},
    "opt": {"model.decoder.embed_tokens.weight": ("embeddings", -1),
            "model.decoder.embed_positions.weight": ("embeddings", -1),
            "model.decoder.project_in.weight": ("embeddings", -1),
            "model.decoder.project_out.weight": ("head", 2),
            "model.decoder.final_layer_norm.weight": ("norms", 2),
            "model.decoder.final_layer_norm.bias": ("norms", 2)},
    "bloom": {"transformer.word_embeddings.weight": ("embeddings", -1),
              "transformer.word_embeddings_layernorm.weight": ("norms", -1),
              "transformer.word_embeddings_layernorm.bias": ("norms", -1),
              "transformer.ln_f.weight": ("norms", 2), "transformer.ln_f.bias": ("norms", 2)},
    "gpt_neox": {"gpt_neox.embed_in.weight": ("embeddings", -1), "lm_head.weight": ("head", 2),
                 "gpt_neox.final_layer_norm.weight": ("norms", 2),
                 "gpt_neox.final_layer_norm.bias": ("norms", 2)},
    **dict.fromkeys(("llama", "mistral", "qwen2"), _GROUPED),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_a_family_has_its_place(family: str) -> None:
    model = tiny_model(family)
    found = places(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    outside = {name: place for name, place in found.items() if ".1." not in name}
    for name, place in INSIDE[family].items():
        (path,) = [one for one in found if one.endswith(f".1.{name}")]
        assert found[path] == Place(place, 1)
    layers = ("h.", "layers.")
    outside = {
        name: tuple(place)
        for name, place in found.items()
        if not any(f"{one}{index}." in name for one in layers for index in range(3))
    }
    assert outside == OUTSIDE[family]


def test_gates_belong_to_attention_and_skips_to_nothing() -> None:
    model = add_agency(tiny_model("gpt2"), AgencySpec(gate="static", skips=True))
    found = places(model)
    gates = {place for name, place in found.items() if "head_gate" in name}
    assert gates == {Place("attention", layer) for layer in range(3)}
    assert {place.component for name, place in found.items() if name.startswith("agency_")} == {
        "other"
    }


def test_updates_are_scaled_by_component_and_layer(text: TrainingSet) -> None:
    one = subject("gpt_neox")
    options = {"embeddings": 0.0, "attention": 2.0, "head": 0.25, "layer_decay": 0.5}
    full = recovered(one, spec_of(**FIRST_STEP), text).model
    after = recovered(one, spec_of({"component_lr": options}, **FIRST_STEP), text).model
    wanted = {
        "gpt_neox.embed_in.weight": 0.0,
        "gpt_neox.layers.0.attention.dense.weight": 2 * 0.25,
        "gpt_neox.layers.1.mlp.dense_h_to_4h.weight": 0.5,
        "gpt_neox.layers.2.input_layernorm.weight": 1.0,
        "gpt_neox.final_layer_norm.bias": 1.0,
        "lm_head.weight": 0.25,
    }
    for name, factor in wanted.items():
        before = one.pruned.get_parameter(name)
        expected = factor * (full.get_parameter(name) - before)
        # the update is the difference of two float32 weights of about 1
        torch.testing.assert_close(
            after.get_parameter(name) - before, expected, rtol=1e-4, atol=3e-7
        )


def test_attention_is_three_times_as_fast_by_default(text: TrainingSet) -> None:
    report = recovered(subject(), spec_of({"component_lr": {}}, num_steps=1), text).report
    found = report["component_lr"]["components"]
    assert {name: one["factor"] for name, one in found.items()} == {
        "embeddings": 1, "attention": 3, "feed_forward": 1, "norms": 1, "head": 1, "other": 1
    }  # fmt: skip
    total = sum(one["num_parameters"] for one in found.values())
    assert total == report["phases"][0]["num_parameters"]
    json.dumps(report, allow_nan=False)


def test_tied_head_counts_once_with_the_embeddings(text: TrainingSet) -> None:
    spec = spec_of({"component_lr": {"embeddings": 0.0}}, num_steps=1)
    one = subject()
    found = recovered(one, spec, text)
    head = found.report["component_lr"]["components"]["head"]
    assert (head["is_tied"], head["num_parameters"]) == (True, 0)
    assert torch.equal(found.model.lm_head.weight, one.pruned.lm_head.weight)


def test_factor_that_a_tied_head_cannot_have_is_refused(text: TrainingSet) -> None:
    with pytest.raises(UsageError, match=r"`component_lr\.head` is 0\.5 and `embed") as caught:
        recovered(subject(), spec_of({"component_lr": {"head": 0.5}}), text)
    assert "leave `head` out" in caught.value.hint


def test_family_without_an_anatomy_is_refused(text: TrainingSet) -> None:
    model = tiny_model("mamba")
    one = Subject(model, model, subject().spec, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="model family 'mamba'"):
        recovered(one, spec_of({"component_lr": {}}), text)
