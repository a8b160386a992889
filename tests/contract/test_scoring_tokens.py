"""Texts become the tokens that lm-eval makes of them, in one call of the tokenizer."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.models.tiny import byte_tokenizer, tiny_model

TEXTS = strategies.text("ab \n<|end>", max_size=6)
BOS = "<|endoftext|>"


def _tokenizer() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": BOS})
    special = [(BOS, tokenizer.bos_token_id)]
    before = TemplateProcessing(single=f"{BOS} $A", special_tokens=special)
    tokenizer.backend_tokenizer.post_processor = before
    return tokenizer


def _asked_of(adapter: Any, pairs: list[tuple[str, str]]) -> list[Any]:
    """The tokens that an adapter is about to score."""
    seen: list[Any] = []

    def note(requests: Any, **_: Any) -> list[tuple[float, bool]]:
        seen.extend((context, continuation) for _, context, continuation in requests)
        return [(0.0, False)] * len(requests)

    adapter._loglikelihood_tokens = note
    requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
    adapter.loglikelihood(requests, disable_tqdm=True)
    return seen


@given(
    pairs=strategies.lists(strategies.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=5),
    add_bos=strategies.sampled_from([None, True, False]),
)
@settings(deadline=None)
def test_tokens_are_those_of_stock(pairs: list[tuple[str, str]], add_bos: bool | None) -> None:
    pairs = [*pairs, (BOS + "a", "b"), ("a ", "b")]
    options = {"tokenizer": _tokenizer(), "add_bos_token": add_bos}
    stock, ours = (kind(tiny_model("gpt2"), **options) for kind in (HFLM, SentinelLM))
    assert _asked_of(ours, pairs) == _asked_of(stock, pairs)


def test_every_text_is_encoded_once_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = SentinelLM(tiny_model("gpt2"), tokenizer=_tokenizer(), quiet=True)
    calls: list[Any] = []
    plain = PreTrainedTokenizerBase.__call__

    def counted(self: Any, text: Any, *args: Any, **options: Any) -> Any:
        calls.append(text)
        return plain(self, text, *args, **options)

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", counted)
    monkeypatch.setattr(PreTrainedTokenizerBase, "encode", None)
    _asked_of(ours, [("ab", "c"), ("ab", "d"), ("ab ", "c")])
    (texts,) = calls
    assert sorted(texts) == ["ab", "ab c", "abc", "abd"]


def test_tokens_are_not_kept_for_the_next_requests() -> None:
    options = {"tokenizer": _tokenizer(), "add_bos_token": True}
    ours = SentinelLM(tiny_model("gpt2"), quiet=True, **options)
    before = _asked_of(ours, [("ab", "c")])
    ours.add_bos_token = False
    assert _asked_of(ours, [("ab", "c")]) != before
