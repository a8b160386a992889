"""Prompts of many lengths with a tokenizer that people can read, and who continues them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.models.tiny import VOCAB_SIZE

LENGTH = 40
EOS = 257
# "cab" spans tokens or lies inside of one, "\n\n" mostly spans two
UNTIL = ["cab", "\n\n"]


@functools.cache
def legible() -> PreTrainedTokenizerFast:
    """Single characters, and words of `abc`, spaces and line ends, for all ids."""
    rng = np.random.default_rng(0)
    symbols = {chr(code): None for code in range(33, 127)}
    # the byte-level names of a space and of the end of a line
    symbols |= {"\u0120": None, "\u010a": None}
    while len(symbols) < VOCAB_SIZE - 1:
        if len(symbols) == EOS:
            symbols["<eos>"] = None
        symbols["".join(rng.choice(list("abc\u0120\u010a"), rng.integers(2, 5)))] = None
    symbols["<pad>"] = None
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    assert vocabulary["<eos>"] == EOS
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        eos_token="<eos>",
        pad_token="<pad>",
    )


def texts_asked(prompts: list[str], **options: Any) -> list[Instance]:
    return [
        Instance("generate_until", {}, (prompt, {"until": list(UNTIL), **options}), place)
        for place, prompt in enumerate(prompts)
    ]


def some_prompts() -> list[str]:
    """Of 1 to 60 tokens; those of more than 24 are cut where 16 are asked for."""
    rng = np.random.default_rng(1)
    lengths = (1, 2, 3, 30, 7, 9, 1, 60, 4, 24, 25)
    return ["".join(rng.choice(list("abc \nxyz?"), length)) for length in lengths]


def mixed() -> list[Instance]:
    """Two kinds of options in turns, and the first prompt again."""
    prompts = some_prompts()
    long, short = texts_asked(prompts, max_gen_toks=16), texts_asked(prompts, max_gen_toks=5)
    return [*[both[place % 2] for place, both in enumerate(zip(long, short, strict=True))], long[0]]


def stock(model: PreTrainedModel, requests: list[Instance], batch_size: int = 1) -> list[str]:
    options = {"batch_size": batch_size, "max_length": LENGTH}
    return HFLM(model, tokenizer=legible(), **options).generate_until(requests, disable_tqdm=True)


def adapter(model: PreTrainedModel, batch_size: int = 3, **options: Any) -> SentinelLM:
    options = {"max_length": LENGTH, **options}
    return SentinelLM(model, tokenizer=legible(), batch_size=batch_size, quiet=True, **options)


def passes_of(model: PreTrainedModel, write: Callable[[], object]) -> list[tuple[int, int]]:
    """Rows and tokens of every forward pass."""
    seen: list[tuple[int, int]] = []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        seen.append(tuple(ids.shape))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    write()
    handle.remove()
    return seen


def distinct_requests() -> list[Instance]:
    """Twice the prompts of more than a token, no two equal."""
    prompts = [prompt for prompt in some_prompts() if len(prompt) > 1]
    prompts += [prompt + "?!"[place % 2] for place, prompt in enumerate(prompts)]
    return texts_asked(prompts, max_gen_toks=16)
