"""The byte-level tokenizer: any text, no training, and losses that are nats per byte."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BYTES = "bytes"
"""What a recipe calls this tokenizer."""
NUM_BYTES = 256
_SPECIAL = ("<bos>", "<eos>", "<pad>")
VOCAB_SIZE = NUM_BYTES + len(_SPECIAL)


def byte_tokenizer() -> "PreTrainedTokenizerFast":
    """A tokenizer with one token per byte of UTF-8, plus `<bos>`, `<eos>` and `<pad>`.

    `decode(encode(text))` is `text` for every string, and no token is added by itself.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    for special in _SPECIAL:
        vocabulary[special] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        **dict(zip(("bos_token", "eos_token", "pad_token"), _SPECIAL, strict=True)),
    )
