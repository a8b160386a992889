"""A fingerprint changes with everything that changes an answer, and with nothing else."""

import copy
import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models import fingerprint as fingerprints
from sentinel_research.models import load_stored, save
from sentinel_research.models.agency import add_agency
from sentinel_research.models.fingerprint import model_fingerprint, tokenizer_fingerprint
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.pruning import mask, prune
from sentinel_research.quantisation import quantise_in_place
from sentinel_research.specs import AgencySpec, ModelSpec, PruneSpec, QuantiseSpec

FAMILIES = ("gpt2", "llama", "mamba", "sentinel")


def _weight(model: PreTrainedModel) -> None:
    weight = next(iter(model.parameters()))
    with torch.no_grad():
        # the least change that a float can have
        weight.view(-1)[3] = torch.nextafter(weight.view(-1)[3], torch.tensor(9.0))


def _buffer(model: PreTrainedModel) -> None:
    model.register_buffer("extra", torch.ones(1), persistent=False)


def _tensor(model: PreTrainedModel) -> None:
    model.get_input_embeddings().extra = torch.ones(1)


def _config(model: PreTrainedModel) -> None:
    model.config.layer_norm_epsilon = 0.5


def _eager(model: PreTrainedModel) -> None:
    model.set_attn_implementation("eager")


def _generation(model: PreTrainedModel) -> None:
    model.generation_config.repetition_penalty = 1.5


def _untied(model: PreTrainedModel) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() * 2)


CHANGES: dict[str, Callable[[PreTrainedModel], Any]] = {
    "one-bit-of-a-weight": _weight,
    "buffer-that-is-not-stored": _buffer,
    "tensor-that-is-neither": _tensor,
    "configuration": _config,
    "attention-implementation": _eager,
    "generation": _generation,
    "head-not-tied": _untied,
    "type": lambda model: nn.Module.to(model, torch.bfloat16),
    "mode": lambda model: model.train(),
    "quantised": lambda model: quantise_in_place(model, QuantiseSpec(bits=4)),
    "hook": lambda model: model.register_forward_pre_hook(lambda *_: None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_of_the_model_changes_it(change: Callable[[PreTrainedModel], Any]) -> None:
    model = tiny_model("gpt2").eval()
    before = model_fingerprint(model)
    change(model)
    assert model_fingerprint(model) != before


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_that_of_a_copy_and_of_what_was_stored(family: str, tmp_path: Path) -> None:
    model = tiny_model(family).eval()
    expected = model_fingerprint(model)
    assert model_fingerprint(copy.deepcopy(model)) == expected
    stored = []
    for name in ("one", "other"):
        save(model, byte_tokenizer(), tmp_path / name)
        stored.append(load_stored(ModelSpec(pretrained=str(tmp_path / name))))
    assert len({model_fingerprint(one.model) for one in stored}) == 1
    assert len({tokenizer_fingerprint(one.tokenizer) for one in stored}) == 1


def test_pruned_and_masked_models_differ_by_their_units() -> None:
    model = tiny_model("llama").eval()
    found = {model_fingerprint(model)}
    for seed in (0, 1):
        pruned, report = prune(model, PruneSpec(scorer="random", fraction=0.4, seed=seed))
        found.add(model_fingerprint(pruned))
        masked = mask(copy.deepcopy(model), report.plan)
        found.add(model_fingerprint(masked))
        assert model_fingerprint(copy.deepcopy(masked)) in found
    assert len(found) == 5


def test_gates_and_their_states_change_it() -> None:
    gated = add_agency(tiny_model("gpt2").eval(), AgencySpec(gate="static"))
    found = [model_fingerprint(gated)]
    gate = next(m for m in gated.modules() if type(m).__name__ == "HeadGate")
    gate.offset.data[0] = 0.5
    found.append(model_fingerprint(gated))
    gate.multiplier[0] = 0.25
    found.append(model_fingerprint(gated))
    assert len(set(found)) == 3


class _Held:
    """A hook that holds whatever it is given."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.ones(2)),
        ([1, {"a": 2.0}], [1, {"a": 2.5}]),
        (_Held("x"), _Held("y")),
        (nn.Linear(1, 1), nn.Linear(1, 2)),
    ],
    ids=["tensor", "nested", "object", "module"],
)
def test_what_a_hook_holds_changes_it(one: Any, other: Any) -> None:
    def of(held: Any) -> str:
        model = tiny_model("gpt2")
        model.lm_head.register_forward_pre_hook(_Held(held))
        return model_fingerprint(model)

    assert of(one) == of(one)
    assert of(one) != of(other)


def test_hooks_that_hold_each_other_are_read_once() -> None:
    model = tiny_model("gpt2")
    first, second = _Held(None), _Held(None)
    first.held, second.held = second, first
    model.lm_head.register_forward_pre_hook(first)
    assert model_fingerprint(model) == model_fingerprint(copy.deepcopy(model))


def _replaced(model: PreTrainedModel) -> None:
    model.lm_head.forward = model.lm_head.forward


def _foreign(model: PreTrainedModel) -> None:
    model.lm_head.register_forward_pre_hook(_Held(threading.Lock()))


def _elsewhere(model: PreTrainedModel) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.to("meta"))


def _without_file(model: PreTrainedModel) -> None:
    made = type("Made", (nn.Identity,), {"__module__": "nowhere"})
    model.add_module("made", made())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_replaced, "forward pass of lm_head was replaced"),
        (_foreign, "lock"),
        (_elsewhere, "meta"),
        (_without_file, "has no file"),
    ],
    ids=["forward", "state", "weights", "code"],
)
def test_what_cannot_be_read_is_refused(change: Callable[[PreTrainedModel], Any], why: str) -> None:
    model = tiny_model("gpt2")
    change(model)
    with pytest.raises(UsageError, match=why):
        model_fingerprint(model)


def test_code_beside_a_foreign_class_changes_it(tmp_path: Path) -> None:
    file = tmp_path / "foreign.py"
    found = []
    for text in ("1", "2"):
        (tmp_path / "beside.py").write_text(f"SCALE = {text}\n")
        file.write_text("from torch import nn\nclass Own(nn.Identity):\n    pass\n")
        spec = importlib.util.spec_from_file_location("foreign", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "foreign", module)
            spec.loader.exec_module(module)
            model = tiny_model("gpt2")
            model.add_module("own", module.Own())
            found.append(model_fingerprint(model))
    assert found[0] != found[1]


def test_release_of_a_library_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    before = model_fingerprint(model)
    monkeypatch.setattr(fingerprints, "versions", lambda: {"torch": "0"})
    assert model_fingerprint(model) != before


def test_kernel_behind_a_class_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("mamba2")
    before = model_fingerprint(model)
    monkeypatch.setattr(fingerprints, "kernels_of", lambda _: {"selective_scan": "other"})
    assert model_fingerprint(model) != before


def test_parts_of_a_wrapped_tensor_are_read() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    def of(second: float) -> str:
        model = tiny_model("gpt2")
        size = model.lm_head.weight.shape
        parts = torch.zeros(size), torch.full(size, second)
        model.lm_head.weight = nn.Parameter(TwoTensor(*parts))
        return model_fingerprint(model)

    assert of(1.0) == of(1.0)
    assert of(1.0) != of(2.0)


def test_tokenizer_is_the_same_after_it_was_used_and_another_with_another_token() -> None:
    tokenizer = byte_tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "bcd"], padding="longest", truncation=True, max_length=2)
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.add_special_tokens({"bos_token": "a"})
    assert tokenizer_fingerprint(tokenizer) != before
