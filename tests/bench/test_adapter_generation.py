"""The workload of generation: both adapters write the same, and rows stop at different steps."""

from lm_eval.models.huggingface import HFLM

from sentinel_research.bench.adapter_generation import (
    END_OF_LINE_EVERY,
    generation_model,
    generation_options,
    generation_requests,
    wordy_tokenizer,
)
from sentinel_research.evaluation.adapter import SentinelLM


def test_both_adapters_write_the_same_texts_of_several_lengths() -> None:
    model, options = generation_model("tiny", "cpu"), generation_options("tiny")
    stock = HFLM(model, **options).generate_until(generation_requests("tiny"), disable_tqdm=True)
    found = SentinelLM(model, quiet=True, **options).generate_until(generation_requests("tiny"))
    assert found == stock
    assert len({len(text.split()) for text in found}) > 1


def test_one_token_in_twenty_ends_a_line() -> None:
    tokenizer = wordy_tokenizer(1000)
    assert len(tokenizer) == 1000
    texts = tokenizer.batch_decode([[token] for token in range(300, 1000)])
    assert sum("\n" in text for text in texts) == 700 // END_OF_LINE_EVERY
    assert len(set(texts)) == 700
