"""The synthetic language: exact probabilities, exact entropy, and nothing that beats it."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.source import Sizes
from sentinel_research.data.synthetic import SPLIT_SIZES, SyntheticLanguage, word_tokenizer
from sentinel_research.errors import DataError, UsageError

TINY = Sizes(
    settings=2,
    names=2,
    values=2,
    facts=1,
    classes=1,
    adjectives=2,
    nouns=2,
    verbs=1,
    places=2,
    recall_fraction=0.4,
    noun_fraction=0.7,
)


def _possible_documents(document_length: int) -> list[str]:
    """All documents of positive probability: those whose every beginning is possible."""
    found = [""]
    for length in range(1, document_length + 1):
        language = SyntheticLanguage(document_length=length, sizes=TINY)
        texts = [f"{start} {word}".strip() for start in found for word in language.vocabulary]
        log_probs = language.log_probs(texts)
        found = [text for text, value in zip(texts, log_probs, strict=True) if value > -math.inf]
    return found


def test_probabilities_of_all_texts_of_a_length_sum_to_one() -> None:
    language = SyntheticLanguage(document_length=4, sizes=TINY)
    texts = [" ".join(words) for words in itertools.product(language.vocabulary, repeat=4)]
    assert np.exp(language.log_probs(texts)).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("document_length", [1, 2, 3, 7, 9])
def test_entropy_is_that_of_the_enumerated_distribution(document_length: int) -> None:
    language = SyntheticLanguage(document_length=document_length, sizes=TINY)
    log_probs = language.log_probs(_possible_documents(document_length))
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-12)
    enumerated = -(np.exp(log_probs) * log_probs).sum()
    assert language.entropy_per_word * document_length == pytest.approx(enumerated, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 7])
def test_sampled_documents_have_the_entropy_of_the_closed_form(seed: int) -> None:
    language = SyntheticLanguage(seed=seed)
    losses = -language.log_probs(language.sample(4000, seed=5))
    stderr = losses.std(ddof=1) / math.sqrt(len(losses))
    assert abs(losses.mean() / 127 - language.entropy_per_word) < 4 * stderr / 127


def test_documents_are_words_of_the_vocabulary_joined_by_single_spaces() -> None:
    language = SyntheticLanguage(document_length=63)
    for document in language.sample(7, seed=0):
        words = document.split(" ")
        assert len(words) == 63
        assert set(words) <= set(language.vocabulary)


def test_words_are_all_different_and_pronounceable() -> None:
    vocabulary = SyntheticLanguage().vocabulary
    assert len({word.lower() for word in vocabulary}) == len(vocabulary)
    assert all(set(word.lower()[1::2]) <= set("aeiou") for word in vocabulary)


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_documents() -> None:
    first, second = SyntheticLanguage(), SyntheticLanguage()
    assert first.sample(1030, seed=3) == second.sample(1030, seed=3)
    assert first.sample(5, seed=3) != first.sample(5, seed=4)
    assert SyntheticLanguage(seed=1).vocabulary != first.vocabulary


def test_drawn_documents_come_with_the_bits_of_their_log_probabilities() -> None:
    language = SyntheticLanguage()
    documents, log_probs = language.draw(1030, seed=3)
    assert documents == language.sample(1030, seed=3)
    assert np.array_equal(log_probs, language.log_probs(documents))


def test_texts_are_those_that_every_version_has_drawn() -> None:
    # a changed draw changes every baseline on this corpus: do so knowingly
    dataset = load_corpus("synthetic", "test")
    assert provenance_of(dataset).text_sha256.startswith("99704a68f2317aaa")


def test_splits_share_no_document_and_carry_exact_log_probabilities() -> None:
    splits = {name: load_corpus("synthetic", name) for name in SPLIT_SIZES}
    texts = [text for split in splits.values() for text in split["text"]]
    assert len(texts) == sum(SPLIT_SIZES.values())
    assert len(set(texts)) == len(texts)
    test, language = splits["test"], SyntheticLanguage()
    assert test["log_prob"][3] == language.log_prob(test["text"][3])
    assert test["entropy"][0] == pytest.approx(language.entropy_per_word * 127)
    assert provenance_of(test).source == "synthetic"


@pytest.mark.parametrize("order", [2, 3])
def test_no_n_gram_model_beats_the_source(order: int) -> None:
    language = SyntheticLanguage()
    ngrams: Counter[tuple[str, ...]] = Counter()
    contexts: Counter[tuple[str, ...]] = Counter()

    def windows(text: str) -> list[tuple[str, ...]]:
        words = ["<bos>"] * (order - 1) + text.split(" ")
        return [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]

    for text in language.sample(1000, seed=0):
        for window in windows(text):
            ngrams[window] += 1
            contexts[window[:-1]] += 1
    size = len(language.vocabulary)
    held_out = language.sample(200, seed=1)
    model = [
        sum(math.log((ngrams[w] + 1) / (contexts[w[:-1]] + size)) for w in windows(text))
        for text in held_out
    ]
    # recall and agreement over a distance are out of reach: far more than chance above the floor
    assert np.mean(language.log_probs(held_out) - model) / 127 > 0.2


def test_impossible_text_has_probability_zero() -> None:
    language = SyntheticLanguage(document_length=5, sizes=TINY)
    words = language.sample(1, seed=0)[0].split(" ")
    assert language.log_prob(" ".join(["nonsense", *words[1:]])) == -math.inf
    # the words of a document, but in another order
    assert language.log_prob(" ".join(reversed(words))) == -math.inf


def test_recalled_value_must_be_the_one_stated() -> None:
    language = SyntheticLanguage(document_length=5, sizes=TINY._replace(recall_fraction=1.0))
    setting, name, value, _, recalled = language.sample(1, seed=0)[0].split(" ")
    assert recalled == value
    others = [
        word
        for word in language.vocabulary
        if language.log_prob(" ".join([setting, name, word, name, word])) > -math.inf
    ]
    assert len(others) == 2
    wrong = next(word for word in others if word != value)
    assert language.log_prob(" ".join([setting, name, value, name, wrong])) == -math.inf


def test_every_name_is_followed_by_the_value_stated_for_it() -> None:
    for document in SyntheticLanguage().sample(50, seed=0):
        words = document.split(" ")
        stated = dict(zip(words[1:9:2], words[2:9:2], strict=True))
        assert len(stated) == 4
        recalled = [pair for pair in itertools.pairwise(words[9:]) if pair[0].istitle()]
        assert len(recalled) > 10
        assert all(stated[name] == value for name, value in recalled)


def test_places_of_different_settings_are_different_words() -> None:
    # a word before a name, and not after one, is a place
    places: dict[str, set[str]] = {}
    for document in SyntheticLanguage().sample(50, seed=0):
        words = document.split(" ")
        found = places.setdefault(words[0], set())
        for before, word, after in zip(words[8:], words[9:], words[10:], strict=False):
            if not before.istitle() and after.istitle():
                found.add(word)
    assert len(places) == 4
    for first, second in itertools.combinations(places.values(), 2):
        assert not first & second


def test_document_of_another_length_is_an_error() -> None:
    with pytest.raises(DataError, match="2 words"):
        SyntheticLanguage().log_prob("too short")


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(facts=9),
        Sizes(nouns=0),
        Sizes(recall_fraction=1.5),
        Sizes(noun_fraction=0.0),
        Sizes(names=4901),
    ],
    ids=["more facts than names", "no nouns", "fraction above 1", "no end", "too many words"],
)
def test_impossible_sizes_are_refused(sizes: Sizes) -> None:
    with pytest.raises(UsageError):
        SyntheticLanguage(sizes=sizes)


def test_word_tokenizer_gives_back_the_text_and_adds_nothing() -> None:
    language = SyntheticLanguage()
    tokenizer = word_tokenizer(language.vocabulary)
    text = language.sample(1, seed=0)[0]
    ids = tokenizer.encode(text)
    assert len(ids) == 127
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("nonsense") == [tokenizer.unk_token_id]
    assert len(tokenizer) == len(language.vocabulary) + 4


@pytest.mark.slow
def test_tiny_gpt2_learns_it_within_minutes_and_its_heads_matter() -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    language = SyntheticLanguage()
    tokenizer = word_tokenizer(language.vocabulary)

    def encoded(texts: list[str]) -> torch.Tensor:
        return torch.tensor(tokenizer([f"<bos> {text}" for text in texts])["input_ids"])

    train, test = encoded(language.sample(4096, seed=0)), language.sample(64, seed=2)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=128,
        n_embd=64,
        n_layer=3,
        n_head=4,
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        loss_type="ForCausalLM",
    )
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(250):
        optimizer.param_groups[0]["lr"] = 5e-3 * min((step + 1) / 20, 1 - step / 250)
        batch = train[torch.randint(len(train), (16,))]
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        optimizer.step()
    model.eval()

    @torch.no_grad()
    def excess() -> float:
        tokens = encoded(test)
        return float(model(tokens, labels=tokens).loss) + language.log_probs(test).mean() / 127

    learnt = excess()
    assert 0 < learnt < 0.1
    for block in model.transformer.h:
        weight = block.attn.c_proj.weight
        kept = weight.detach().clone()
        weight.data[:32] = 0
        assert excess() - learnt > 0.02
        weight.data.copy_(kept)
