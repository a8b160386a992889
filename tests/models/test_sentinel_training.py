"""Training `sentinel` models: the loss, precisions, checkpointing, and no leak of what follows."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentinel_research.models.sentinel import SentinelForCausalLM
from tests.models.sentinel import EVERY, logits_of, random_tokens, sentinel_config, sentinel_model


@EVERY
def test_gradient_checkpointing_changes_no_gradient(mixers: Any) -> None:
    model, tokens = sentinel_model(mixers), random_tokens()
    gradients = []
    for checkpointing in (False, True):
        one = copy.deepcopy(model).train()
        if checkpointing:
            one.activation_checkpointing_enable()
        one(tokens, labels=tokens).loss.backward()
        gradients.append([parameter.grad for parameter in one.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain is not None
        assert plain.abs().max() > 0
        assert torch.equal(plain, checkpointed)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_float32(mixers: Any, dtype: torch.dtype) -> None:
    model = sentinel_model(mixers)
    expected = logits_of(model, random_tokens())
    found = logits_of(copy.deepcopy(model).to(dtype), random_tokens())
    assert found.dtype == dtype
    # eight bits of mantissa, parameters of the recursion too, through three blocks
    assert (found.float() - expected).norm() < 0.1 * expected.norm()


@EVERY
def test_autocast_trains_in_bfloat16(mixers: Any) -> None:
    model, tokens = sentinel_model(mixers).train(), random_tokens()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(tokens, labels=tokens).loss
    loss.backward()
    expected = sentinel_model(mixers)(tokens, labels=tokens).loss
    assert abs(loss.item() - expected.item()) < 0.02 * expected.item()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


@EVERY
def test_loss_is_the_mean_over_scored_tokens(mixers: Any) -> None:
    model, tokens = sentinel_model(mixers), random_tokens()
    labels = tokens.clone()
    labels[0, 5:9] = -100
    log_probs = logits_of(model, tokens)[:, :-1].log_softmax(-1)
    targets = labels[:, 1:]
    kept = targets != -100
    picked = log_probs.gather(2, targets.clamp(min=0)[..., None])[..., 0][kept]
    with torch.no_grad():
        loss = model(tokens, labels=labels).loss
    torch.testing.assert_close(loss, -picked.mean())


def _held_out_loss(model: nn.Module, num_steps: int) -> tuple[float, float]:
    """Train on uniform tokens; mean held-out loss in nats and its standard error."""
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> Tensor:
        return torch.randint(16, (size, 32), generator=generator)

    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(num_steps):
        tokens = batch(16)
        model.train()(tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    tokens = batch(256)
    log_probs = logits_of(model.eval(), tokens)[:, :-1].log_softmax(-1)
    losses = -log_probs.gather(2, tokens[:, 1:, None]).flatten()
    return losses.mean().item(), losses.std().item() / math.sqrt(len(losses))


@pytest.mark.parametrize("mixers", ["agency", "resolvent"])
def test_training_on_uniform_tokens_does_not_beat_their_entropy(mixers: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentinelForCausalLM(sentinel_config(mixers, vocab_size=16, num_hidden_layers=2))
    loss, error = _held_out_loss(model, 150)
    assert loss > math.log(16) - 4 * error


def test_training_on_uniform_tokens_finds_a_leak() -> None:
    """The check above fails for a model that sees what follows."""
    config = sentinel_config(vocab_size=16, num_hidden_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentinelForCausalLM(config)
    for layer in model.model.layers:
        layer.mixer.is_bidirectional = True
        # its features of the position itself, shifted: the next token shows
        layer.mixer.register_forward_hook(lambda _, __, output: output.roll(-1, 1))
    loss, error = _held_out_loss(model, 150)
    assert loss < math.log(16) - 4 * error
