"""Mamba behind our scan is transformers' Mamba, and both Mambas obey the laws of a causal model."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, MambaConfig, MambaForCausalLM, PreTrainedModel
from transformers.models.mamba.modeling_mamba import MambaMixer

from sentinel_research.errors import UsageError
from sentinel_research.models import (
    build,
    load_stored,
    save,
    use_library,
    use_scan,
)
from sentinel_research.models.mamba import ScanMixer
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.specs import ModelSpec

every_mamba = pytest.mark.parametrize("family", ["mamba", "mamba2"])
LENGTH = 41


def _ids(batch: int = 2, length: int = LENGTH, seed: int = 0) -> Tensor:
    return torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(seed))


def _pair(**config: object) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Our model, and a copy with transformers' own mixers."""
    ours = tiny_model("mamba", **config)
    theirs = copy.deepcopy(ours)
    use_library(theirs)
    return ours, theirs


def _classes(model: PreTrainedModel) -> set[type]:
    return {type(module) for module in model.modules() if isinstance(module, MambaMixer)}


def _padding(side: str) -> Tensor:
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, slice(0, 7) if side == "left" else slice(-7, None)] = 0
    return mask


@torch.no_grad()
def _in_parts(model: PreTrainedModel, ids: Tensor, cuts: list[int]) -> Tensor:
    """Logits of a text that is given part by part, with the cache in between."""
    cache, logits = None, []
    for start, stop in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        found = model(ids[:, start:stop], cache_params=cache, use_cache=True)
        cache = found.cache_params
        logits.append(found.logits)
    return torch.cat(logits, 1)


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_logits_and_gradients_equal_transformers(side: str) -> None:
    ours, theirs = _pair()
    mask = None if side == "none" else _padding(side)
    found, expected = (
        model(_ids(), attention_mask=mask, labels=_ids(), use_cache=False)
        for model in (ours, theirs)
    )
    # the bound of the project; rounding is about 1e-6
    scale = expected.logits.abs().max()
    assert (found.logits - expected.logits).abs().max() <= 1e-5 * scale
    found.loss.backward()
    expected.loss.backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (one.grad - other.grad).abs().max() <= 1e-5 * other.grad.abs().max(), name


def test_options_of_the_configuration_are_honoured() -> None:
    ours, theirs = _pair(use_bias=True, use_conv_bias=False, hidden_act="gelu", conv_kernel=3)
    torch.testing.assert_close(ours(_ids()).logits, theirs(_ids()).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_as_close_to_float32_as_transformers(dtype: torch.dtype) -> None:
    ours, theirs = _pair()
    exact = theirs(_ids()).logits
    distances = [(model.to(dtype)(_ids()).logits - exact).norm().item() for model in (ours, theirs)]
    # weights are rounded alike, the scan is not: at most noise of the same size
    assert distances[0] <= 1.5 * distances[1]


def test_gradient_checkpointing_changes_no_gradient() -> None:
    plain = tiny_model("mamba").train()
    saving = copy.deepcopy(plain)
    saving.activation_checkpointing_enable()
    for model in (plain, saving):
        model(_ids(), labels=_ids()).loss.backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@every_mamba
@pytest.mark.parametrize("position", [0, 1, 23, LENGTH - 1])
def test_outputs_before_a_changed_token_are_bit_equal(family: str, position: int) -> None:
    model, ids = tiny_model(family), _ids()
    changed = ids.clone()
    changed[:, position] = (changed[:, position] + 1) % 256
    with torch.no_grad():
        one, other = model(ids).logits, model(changed).logits
    assert torch.equal(one[:, :position], other[:, :position])
    # what is carried forward reaches the next token at least
    assert (one != other)[:, position : position + 2].any(-1).all()


@every_mamba
def test_no_sequence_depends_on_the_others_of_its_batch(family: str) -> None:
    model, ids = tiny_model(family), _ids(3)
    changed = ids.clone()
    changed[1:] = _ids(2, seed=1)
    with torch.no_grad():
        assert torch.equal(model(ids).logits[0], model(changed).logits[0])


@every_mamba
@pytest.mark.parametrize(
    "cuts", [list(range(1, LENGTH)), [30, 31, 32], [1, 3, 25]], ids=["tokens", "prompt", "chunks"]
)
def test_decoding_with_a_cache_equals_the_full_pass(family: str, cuts: list[int]) -> None:
    model = tiny_model(family)
    with torch.no_grad():
        whole = model(_ids()).logits
    # other shapes, other orders of the same sums: 1e-6 of logits of about 7
    torch.testing.assert_close(_in_parts(model, _ids(), cuts), whole, rtol=1e-5, atol=2e-5)


def test_library_alone_forgets_its_state_between_chunks() -> None:
    _, theirs = _pair()
    with torch.no_grad():
        whole = theirs(_ids()).logits
    difference = (_in_parts(theirs, _ids(), [20]) - whole).abs().max()
    # if this fails, transformers has mended it: say so in `models.mamba`
    assert difference > 0.01


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generation_equals_transformers(options: dict[str, int]) -> None:
    ours, theirs = _pair()
    found, expected = (
        model.generate(
            _ids(), attention_mask=_padding("left"), max_new_tokens=9, do_sample=False, **options
        )
        for model in (ours, theirs)
    )
    assert torch.equal(found, expected)


def test_saved_checkpoint_is_a_stock_one(tmp_path: Path) -> None:
    ours = tiny_model("mamba")
    save(ours, byte_tokenizer(), tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.py"))
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(stock) is MambaForCausalLM
    assert _classes(stock) == {MambaMixer}
    torch.testing.assert_close(stock(_ids()).logits, ours(_ids()).logits, rtol=1e-5, atol=1e-5)


def test_every_way_to_a_model_gives_it_the_scan(tmp_path: Path) -> None:
    built = build("mamba", {"hidden_size": 12, "num_hidden_layers": 2}, byte_tokenizer(), seed=0)
    save(built, byte_tokenizer(), tmp_path / "model")
    loaded = load_stored(ModelSpec(pretrained=str(tmp_path / "model")))
    for model in (built, loaded.model, copy.deepcopy(loaded.model)):
        assert _classes(model) == {ScanMixer}
    assert loaded.report["kernels"] == {"selective_scan": "numba"}
    assert torch.equal(loaded.model(_ids()).logits, built.eval()(_ids()).logits)


def test_scan_can_be_taken_away_again_and_others_are_not_touched() -> None:
    model, other = _pair()[1], _pair()[1]
    assert use_scan(model) == 3
    assert (_classes(model), _classes(other)) == ({ScanMixer}, {MambaMixer})
    use_library(model)
    assert _classes(model) == {MambaMixer}
    assert torch.equal(model(_ids()).logits, other(_ids()).logits)
    assert use_scan(tiny_model("gpt2")) == 0


def _steps(mixer: MambaMixer) -> Tensor:
    """The step of every channel where the input says nothing."""
    return torch.nn.functional.softplus(mixer.dt_proj.bias.detach())


def _half_lives(mixer: MambaMixer) -> Tensor:
    """Tokens after which the slowest state of every channel has decayed to a half."""
    slowest = mixer.A_log.detach().exp().min(-1).values
    return math.log(2) / (_steps(mixer) * slowest)


def _has_reference_timescales(model: PreTrainedModel) -> bool:
    """Steps spread over 0.001 to 0.1 in logarithm, and so half-lives of 7 to 700 tokens."""
    mixers = [module for module in model.modules() if isinstance(module, MambaMixer)]
    steps = torch.cat([_steps(mixer) for mixer in mixers])
    median = torch.cat([_half_lives(mixer) for mixer in mixers]).median()
    # 512 draws: the median of log dt is sqrt(0.001 * 0.1) = 0.01 within 25 % in all but one of 1e5
    inside = bool((steps > 0.0009).all() and (steps < 0.11).all())
    return inside and steps.min() < 0.0012 and steps.max() > 0.08 and 50 < median < 92


def test_built_model_has_the_reference_distribution_of_timescales() -> None:
    config = {"hidden_size": 64, "num_hidden_layers": 4, "state_size": 4}
    model = build("mamba", config, byte_tokenizer(), seed=0)
    assert _has_reference_timescales(model)
    # the fault of a predecessor: a general initialisation that zeroes every bias
    for mixer in (module for module in model.modules() if isinstance(module, MambaMixer)):
        torch.nn.init.zeros_(mixer.dt_proj.bias)
    assert not _has_reference_timescales(model)
    assert _half_lives(model.backbone.layers[0].mixer).max() == pytest.approx(1.0)


def test_built_model_is_bit_equal_to_transformers_own_initialisation() -> None:
    tokenizer = byte_tokenizer()
    ours = build("mamba", {"hidden_size": 12, "num_hidden_layers": 2}, tokenizer, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = MambaForCausalLM(
            MambaConfig(hidden_size=12, num_hidden_layers=2, vocab_size=len(tokenizer))
        )
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other), name


@every_mamba
def test_heads_of_a_mamba_cannot_be_pruned(family: str) -> None:
    from sentinel_research.pruning import prune
    from sentinel_research.specs import PruneSpec

    with pytest.raises(UsageError, match=family):
        prune(tiny_model(family), PruneSpec(scorer="magnitude_l2", fraction=0.5))
