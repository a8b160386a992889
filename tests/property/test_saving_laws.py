"""Laws of saving: what comes back from a folder is what went in, bit by bit."""

import copy
import tempfile
from pathlib import Path

import torch
from hypothesis import given, strategies
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, PreTrainedModel

from sentinel_research.models import save, structure_of
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.pruning import bake, baked_plan, load, mask, remove
from sentinel_research.specs import ModelSpec
from tests.property.conftest import cases, every_family, logits_of, share

# tensors that are read from a file keep its odd addresses, where torch multiplies by a single
# column in another order; a copy lies where a model's own weights do, and must agree in every bit
realigned = copy.deepcopy

TEXTS = ["a", "The quick brown fox.", "y" * 65, "abc " * 9]
PAIRS = [("ab", "cde"), ("abcd", " e"), ("Once upon", " a time"), ("x", "yy")]


@every_family
@share(0.6)
@given(data=strategies.data())
def test_saved_and_reloaded_model_is_bit_equal(family: str, data: strategies.DataObject) -> None:
    model, plan, inputs = data.draw(cases(family, weights=True))
    pruned = remove(model, plan)
    attention = model.config._attn_implementation
    with tempfile.TemporaryDirectory() as folder:
        pruned.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    assert type(loaded) is type(pruned)
    assert structure_of(loaded.config) == plan.after
    assert loaded.config.pruning == pruned.config.pruning == plan.provenance()
    stored, fresh = pruned.state_dict(), loaded.state_dict()
    assert stored.keys() == fresh.keys()
    assert all(torch.equal(stored[name], fresh[name]) for name in stored)
    assert torch.equal(logits_of(realigned(loaded), inputs), logits_of(pruned, inputs))


@every_family
@share(0.3)
@given(data=strategies.data())
def test_baked_model_is_a_stock_checkpoint_that_shrinks_to_the_removed_one(
    family: str, data: strategies.DataObject
) -> None:
    model, plan, inputs = data.draw(cases(family, blocks=False))
    baked, attention = bake(model, plan), model.config._attn_implementation
    with tempfile.TemporaryDirectory() as parent:
        folder = save(baked, byte_tokenizer(), Path(parent) / "baked")
        stock = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
        assert type(stock) is type(model)
        spec = ModelSpec(pretrained=str(folder), attn_implementation=attention)
        small = load(spec).model
        whole = load(spec.model_copy(update={"shrink_baked": False})).model
    assert type(whole) is type(model)
    for loaded in (stock, whole):
        assert torch.equal(logits_of(realigned(loaded), inputs), logits_of(baked, inputs))
    assert baked_plan(baked).kept == plan.kept
    assert structure_of(small.config) == plan.after
    assert torch.equal(logits_of(realigned(small), inputs), logits_of(remove(model, plan), inputs))


def _numbers(model: PreTrainedModel) -> list[float]:
    lm = HFLM(pretrained=model, tokenizer=byte_tokenizer(), batch_size=3, max_length=32)
    pairs = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(PAIRS)]
    texts = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(TEXTS)]
    return [value for value, _ in lm.loglikelihood(pairs, disable_tqdm=True)] + list(
        lm.loglikelihood_rolling(texts, disable_tqdm=True)
    )


@every_family
@share(0.2)
@given(data=strategies.data())
def test_lm_eval_sees_one_model_whatever_the_form(family: str, data: strategies.DataObject) -> None:
    model, plan, _ = data.draw(cases(family))
    pruned = remove(model, plan)
    with tempfile.TemporaryDirectory() as parent:
        folder = save(pruned, byte_tokenizer(), Path(parent) / "pruned")
        spec = ModelSpec(
            pretrained=str(folder), attn_implementation=model.config._attn_implementation
        )
        reloaded = _numbers(realigned(load(spec).model))
    removed = _numbers(pruned)
    assert reloaded == removed
    # log-likelihoods of up to 65 tokens: sums of float32 logits that differ in the last digits
    for form in (mask, bake):
        found = torch.tensor(_numbers(form(model, plan)))
        assert torch.allclose(found, torch.tensor(removed), rtol=1e-5, atol=1e-3)
