"""Log-likelihoods and texts the slow and certain way: one sequence at a time, nothing shared."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def log_likelihood(
    model: PreTrainedModel, context: Sequence[int], target: Sequence[int]
) -> tuple[float, bool]:
    """Of tokens behind others, in nats, and whether each is the likeliest."""
    ids = torch.tensor([[*context, *target]], device=model.device)
    with torch.no_grad():
        logits = model(ids[:, :-1], use_cache=False).logits[0, -len(target) :].double()
    log_probs = logits.log_softmax(-1)
    wanted = ids[0, -len(target) :]
    value = log_probs.gather(-1, wanted[:, None]).sum()
    return float(value), bool((logits.argmax(-1) == wanted).all())


def rolling(model: PreTrainedModel, tokens: Sequence[int], prefix: int, max_length: int) -> float:
    """Of a whole text, in windows that predict `max_length` tokens behind one; the last predicts
    what is left behind as many as the model has room for."""
    total = 0.0
    for start in range(0, len(tokens), max_length):
        target = tokens[start : start + max_length]
        context = tokens[:start][-(max_length + 1 - len(target)) :] if start else [prefix]
        total += log_likelihood(model, context, target)[0]
    return total


def greedy(model: PreTrainedModel, prompt: Sequence[int], num_tokens: int) -> list[int]:
    """The likeliest tokens behind a prompt."""
    ids = list(prompt)
    for _ in range(num_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids], device=model.device), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]
