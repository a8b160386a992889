"""Projections that are held in few bits: what they compute, their size, what they refuse."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import held_bytes, num_parameters, save, use_scan
from sentinel_research.models.agency import add_agency
from sentinel_research.models.fingerprint import model_fingerprint
from sentinel_research.models.stored_linear import StoredLinear, stored_projections
from sentinel_research.models.tiny import FAMILIES, byte_tokenizer, tiny_model
from sentinel_research.ops.low_bits import rounded_rows
from sentinel_research.pruning import prune
from sentinel_research.quantisation import quantise_in_place, quantised_names, store_small
from sentinel_research.specs import AgencySpec, ModelSpec, PruneSpec, StoreSpec

ALL = (*FAMILIES, "mamba", "mamba2", "sentinel")
# few rows go through the kernels, many through torch
SHAPES = {"few_rows": (1, 5), "many_rows": (2, 12)}
WAYS = {
    "int8": StoreSpec(bits=8, activations="float"),
    "int4": StoreSpec(bits=4),
    "float16": StoreSpec(bits=16),
    "int8_both": StoreSpec(bits=8, activations="int8"),
}
# float32 sums in another order, through three layers of logits of about 10
TOLERANCE = {"rtol": 1e-4, "atol": 2e-4}


@torch.no_grad()
def _logits(model: PreTrainedModel, shape: tuple[int, int] = (2, 12)) -> Tensor:
    ids = torch.arange(shape[0] * shape[1]).reshape(shape)
    return model(input_ids=ids).logits


def _model(family: str, seed: int = 1) -> PreTrainedModel:
    model = tiny_model(family, seed=seed).eval()
    use_scan(model)
    return model


def _twin(model: PreTrainedModel, spec: StoreSpec) -> PreTrainedModel:
    """The same weights rounded, in float32 and plain modules."""
    twin = copy.deepcopy(model)
    if spec.grid is not None:
        quantise_in_place(twin, spec.grid)
    else:
        for name in quantised_names(twin):
            parameter = twin.get_parameter(name)
            parameter.data = parameter.data.half().float()
    return twin


@contextmanager
def _as_packed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stored modules keep plain tensors, and compute the same without FBGEMM."""
    with monkeypatch.context() as patch:
        patch.setattr(StoredLinear, "pack", lambda self: None)
        yield


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("way", ["int8", "int4", "float16"])
@pytest.mark.parametrize("family", ALL)
def test_stored_model_computes_what_its_rounded_twin_does(
    family: str, way: str, shape: tuple[int, int]
) -> None:
    model = _model(family)
    plain, twin = _logits(model, shape), _twin(model, WAYS[way])
    store_small(model, WAYS[way])
    torch.testing.assert_close(_logits(model, shape), _logits(twin, shape), **TOLERANCE)
    assert not torch.equal(_logits(model, shape), plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_rounded_activations_are_those_of_a_twin_that_rounds_each_token(family: str) -> None:
    model = _model(family)
    twin = _twin(model, WAYS["int8_both"])

    def rounds(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = args[0]
        return (rounded_rows(x.reshape(-1, x.shape[-1])).view(x.shape),)

    for name in quantised_names(twin):
        twin.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(rounds)
    store_small(model, WAYS["int8_both"])
    found, expected = _logits(model), _logits(twin)
    # a value half-way between two numbers may round either way after other float errors
    assert ((found - expected).abs() > 1e-3).float().mean() < 0.2
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("way", WAYS)
def test_without_its_kernel_a_layer_computes_the_same(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = _model("gpt2")
    plain = copy.deepcopy(packed)
    store_small(packed, WAYS[way])
    with _as_packed(monkeypatch):
        store_small(plain, WAYS[way])
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    for name, module in stored_projections(packed).items():
        other = plain.get_submodule(name)
        rows = x[:, :30].repeat(1, 2)[:, : module.in_features]
        torch.testing.assert_close(module(rows), other(rows), **TOLERANCE)
        assert torch.equal(module.weight, other.weight)


def test_token_does_not_depend_on_the_texts_beside_it_or_the_tokens_after_it() -> None:
    model = _model("llama")
    store_small(model, WAYS["int8_both"])
    ids = torch.arange(12)[None]
    other = torch.tensor([[7, 200, 3, 91, 5, 60, 2, 250, 11, 9, 33, 1]])
    with torch.no_grad():
        alone = model(input_ids=ids).logits
        beside = model(input_ids=torch.cat([ids, other])).logits[:1]
        changed = model(input_ids=torch.cat([ids[:, :6], other[:, 6:]], dim=1)).logits
    torch.testing.assert_close(beside, alone, **TOLERANCE)
    assert torch.equal(changed[:, :6], alone[:, :6])


def test_row_that_is_not_finite_gives_nothing_finite() -> None:
    model = _model("gpt2")
    store_small(model, WAYS["int8_both"])
    layer = model.get_submodule("transformer.h.0.mlp.c_fc")
    x = torch.ones(3, 30)
    x[1, 4], x[2, 7] = float("nan"), float("inf")
    found = layer(x)
    assert torch.isfinite(found[0]).all()
    assert not torch.isfinite(found[1:]).any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["gpt2", "llama", "mamba", "sentinel"])
def test_saved_model_is_small_and_reads_back_bit_equal(
    family: str, way: str, tmp_path: Path
) -> None:
    model = _model(family)
    store_small(model, WAYS[way])
    folder = save(model, byte_tokenizer(), tmp_path / "stored")
    again: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    use_scan(again)
    assert torch.equal(_logits(again), _logits(model))
    assert num_parameters(again) == num_parameters(model)
    assert held_bytes(again) == held_bytes(model)
    with safe_open(folder / "model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys() if name.endswith(".stored")}  # noqa: SIM118
    bits = WAYS[way].bits
    assert kinds == {{4: torch.uint8, 8: torch.int8, 16: torch.float16}[bits]}


def test_stored_numbers_keep_their_types_whatever_type_is_asked_for(tmp_path: Path) -> None:
    model = _model("llama")
    store_small(model, 4)
    folder = save(model, byte_tokenizer(), tmp_path / "stored")
    again: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    nn.Module.to(again, dtype=torch.float16)
    own, found = stored_projections(model), stored_projections(again)
    for name, module in own.items():
        assert torch.equal(found[name].weight, module.weight)
        assert found[name].steps.dtype == torch.float32
    assert again.lm_head.weight.dtype == torch.float16


def test_held_bytes_are_those_of_all_tensors() -> None:
    model = _model("gpt2")
    weights = sum(model.get_parameter(name).numel() for name in quantised_names(model))
    outputs = sum(len(model.get_parameter(name).T) for name in quantised_names(model))
    rest = 4 * (model.num_parameters() - weights)
    assert held_bytes(model) == 4 * weights + rest
    report = store_small(copy.deepcopy(model), WAYS["int8"])
    assert report.weight_bytes == weights + 4 * outputs + rest
    assert report.weight_bytes_before == 4 * weights + rest
    # FBGEMM's own sums, zeros and steps of every output, and ours
    packed = store_small(copy.deepcopy(model), WAYS["int8_both"])
    assert packed.weight_bytes == weights + 5 * 4 * outputs + rest
    stored = copy.deepcopy(model)
    found = store_small(stored, 4)
    tensors = {id(t): t for t in (*stored.parameters(), *stored.buffers())}.values()
    assert found.weight_bytes == sum(t.numel() * t.element_size() for t in tensors)
    assert found.weight_bytes < report.weight_bytes


def test_nothing_but_projections_is_rounded() -> None:
    for family in ("gpt2", "mamba", "sentinel"):
        model = _model(family)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        projections = set(quantised_names(model))
        report = store_small(model, 4)
        after = model.state_dict()
        for name in before.keys() - projections:
            assert torch.equal(after[name], before[name])
        assert {"lm_head.weight"} & after.keys()
        assert not projections & after.keys()
        assert any("embed" in name or "wte" in name for name in report.left_out)
    assert any("A_log" in name for name in store_small(_model("mamba"), 8).left_out)


def test_keys_and_values_stay_in_float32() -> None:
    model = _model("llama")
    store_small(model, 8)
    with torch.no_grad():
        cache = model(input_ids=torch.arange(6)[None], use_cache=True).past_key_values
    assert {cache.layers[0].keys.dtype, cache.layers[0].values.dtype} == {torch.float32}


@pytest.mark.parametrize("form", ["mask", "remove"])
def test_pruned_model_is_stored_as_it_is(form: str) -> None:
    spec = PruneSpec(scorer="magnitude_l2", fraction=0.4, form=form)
    pruned = prune(_model("gpt2"), spec).model
    twin = prune(_model("gpt2"), spec).model
    store = WAYS["int8"]
    assert store.grid is not None
    quantise_in_place(twin, store.grid)
    store_small(pruned, store)
    torch.testing.assert_close(_logits(pruned), _logits(twin), **TOLERANCE)
    dense = _model("gpt2")
    store_small(dense, store)
    assert not torch.allclose(_logits(pruned), _logits(dense), atol=1e-2)


def test_gates_work_in_a_stored_model_and_in_its_folder(tmp_path: Path) -> None:
    model = add_agency(_model("gpt2"), AgencySpec(gate="input"))
    for name, parameter in model.named_parameters():
        if "gate" in name:
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    twin = _twin(model, WAYS["int8"])
    store_small(model, WAYS["int8"])
    torch.testing.assert_close(_logits(model), _logits(twin), **TOLERANCE)
    dense = _model("gpt2")
    store_small(dense, WAYS["int8"])
    assert not torch.allclose(_logits(model), _logits(dense), atol=1e-2)
    folder = save(model, byte_tokenizer(), tmp_path / "gated")
    again: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(_logits(again), _logits(model))


def test_stored_model_is_not_pruned_but_says_what_to_do() -> None:
    model = _model("gpt2")
    store_small(model, 8)
    with pytest.raises(UsageError, match="quantised") as refused:
        prune(model, PruneSpec(scorer="magnitude_l2", fraction=0.4))
    assert "Prune the model before" in str(refused.value.hint)


def test_stored_model_is_not_stored_again() -> None:
    model = _model("gpt2")
    store_small(model, 8)
    with pytest.raises(UsageError, match="stored quantised already"):
        store_small(model, 4)


def test_stored_model_has_no_gradients() -> None:
    model = _model("gpt2")
    store_small(model, 8)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    layer = model.get_submodule("transformer.h.0.mlp.c_fc")
    with pytest.raises(UsageError, match="no gradients"):
        layer(torch.ones(1, 30, requires_grad=True))


def test_weights_without_a_grid_are_refused_before_anything_changes() -> None:
    model = _model("gpt2")
    weight = model.get_parameter("transformer.h.2.mlp.c_proj.weight")
    weight.data[0, 0] = float("inf")
    with pytest.raises(UsageError, match="not finite"):
        store_small(model, 8)
    weight.data[0, 0] = 1e5
    with pytest.raises(UsageError, match="float16 ends at 65504"):
        store_small(model, 16)
    assert not stored_projections(model)
    store_small(model, 8)


def test_fingerprints_tell_precisions_and_weights_apart() -> None:
    found = {model_fingerprint(_model("gpt2"))}
    for way in WAYS.values():
        model = _model("gpt2")
        store_small(model, way)
        found.add(model_fingerprint(model))
    other = _model("gpt2")
    # one number of a matrix that is packed
    other.get_parameter("transformer.h.0.mlp.c_fc.weight").data[0, 0] *= 0.5
    store_small(other, WAYS["int8_both"])
    found.add(model_fingerprint(other))
    assert len(found) == 6


def test_bits_mean_bfloat16_where_the_device_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_research.quantisation.stored.computes_bfloat16", lambda _: True)
    model = _model("llama")
    plain = copy.deepcopy(model)
    report = store_small(model, 16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert report.weight_bytes < 0.52 * report.weight_bytes_before
    assert "bfloat16" in report.kernel
    for parameter in plain.parameters():
        parameter.data = parameter.data.bfloat16()
    assert torch.equal(_logits(model), _logits(plain))


def test_int8_products_that_the_device_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_research.quantisation.stored.has_int8_products", lambda: False)
    with pytest.raises(UsageError, match="no such products for cpu") as refused:
        store_small(_model("gpt2"), WAYS["int8_both"])
    assert "activations=float" in str(refused.value.hint)
    assert store_small(_model("gpt2"), 8).activations == "float"


def test_gpu_without_bfloat16_is_named_with_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentinel_research.models import precision

    monkeypatch.setattr(precision, "computes_bfloat16", lambda _: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(UsageError, match=r"cuda:0 \(Tesla T4, compute capability 7.5\)") as refused:
        precision.check_bfloat16(torch.device("cuda:0"), "bits=16")
    assert "dtype=float16" in str(refused.value.hint)
    precision.check_bfloat16(torch.device("cpu"), "bits=16")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_types_are_computed_right_on_a_processor(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(17, 63, generator=generator).to(dtype) for _ in range(2))
    expected = x.double() @ weight.double().T
    # the sums are in float32, and the result is rounded once
    error = torch.finfo(dtype).eps * expected.abs() + 1e-4
    assert ((x @ weight.T).double() - expected).abs().le(error).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bits": 8, "dtype": "float32"}, "both say how weights are held"),
        ({"bits": 8, "quantise": {"bits": 8}}, "leave one of them out"),
        ({"bits": 4, "activations": "int8"}, "goes with `bits: 8`"),
        ({"activations": "int8"}, "no projection is stored small"),
        ({"bits": 3}, "4, 8, 16 or 32"),
    ],
    ids=["dtype", "quantise", "int4 activations", "activations alone", "three bits"],
)
def test_precisions_that_do_not_go_together_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelSpec(pretrained="x", **fields)


def test_bits_of_a_model_that_is_trained_name_the_folder_to_measure() -> None:
    with pytest.raises(ValueError, match="sentinel evaluate FOLDER --bits 8"):
        ModelSpec(architecture="gpt2", bits=8)
