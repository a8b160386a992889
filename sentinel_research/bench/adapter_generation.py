"""What continuous batches and lm-eval's own loop are timed on: short answers of many lengths.

Weights are random, but large enough for texts that do not repeat themselves. One token in twenty
ends a line, and a line ends an answer, so that rows stop at different steps, as answers do.
"""

from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from sentinel_research.bench.models import built
from sentinel_research.bench.schema_base import Size

BATCH_SIZE = 16
END_OF_LINE_EVERY = 20
MAX_TOKENS: dict[Size, int] = {"tiny": 8, "124m": 64}
"""Of an answer."""
_NUM_PROMPTS: dict[Size, int] = {"tiny": 6, "124m": 64}
_CONFIGS: dict[Size, dict[str, Any]] = {
    "tiny": {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 700},
    # 16 million parameters
    "124m": {"n_layer": 4, "n_head": 4, "n_embd": 256, "vocab_size": 50257},
}
_END = "<eos>"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def generation_model(size: Size, device: str) -> PreTrainedModel:
    """A random GPT-2 whose texts wander.

    Raises:
        UsageError: if there is no such device.
    """
    # at GPT-2's own 0.02 the likeliest token is mostly the last one again
    config = GPT2Config(**_CONFIGS[size], initializer_range=0.5, bos_token_id=0, eos_token_id=0)
    return built(GPT2LMHeadModel, config, device)


def generation_requests(size: Size) -> list[Instance]:
    """Prompts of 20 to 200 tokens, the same every time."""
    rng = np.random.default_rng(0)
    options = {"until": ["\n"], "max_gen_toks": MAX_TOKENS[size], "do_sample": False}
    prompts = [
        "".join(rng.choice(list(_LETTERS), int(rng.integers(20, 201))))
        for _ in range(_NUM_PROMPTS[size])
    ]
    return [
        Instance("generate_until", {}, (prompt, dict(options)), place)
        for place, prompt in enumerate(prompts)
    ]


def generation_options(size: Size) -> dict[str, Any]:
    """What both adapters are made with."""
    return {"tokenizer": wordy_tokenizer(_CONFIGS[size]["vocab_size"]), "batch_size": BATCH_SIZE}


def wordy_tokenizer(num_tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer that reads letters and can write as many words, some with the end of a line.

    Args:
        num_tokens: Size of the vocabulary, with an end token and 256 bytes.
    """
    vocabulary = {_END: 0}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    while len(vocabulary) < num_tokens:
        number = len(vocabulary)
        # the byte-level names of a space and of the end of a line
        end = "\u010a" if number % END_OF_LINE_EVERY == 0 else ""
        vocabulary[f"\u0120{_word(number)}{end}"] = number
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, eos_token=_END
    )


def _word(number: int) -> str:
    """A number in letters."""
    letters = ""
    while number:
        number, digit = divmod(number, len(_LETTERS))
        letters += _LETTERS[digit]
    return letters
