"""Calibration sets: the tokens of the evaluation, and only right answers as targets."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from sentinel_research.data.calibration import calibration_set, calibration_sets, drawn_documents
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.packing import sample_sequences
from sentinel_research.data.synthetic import SyntheticLanguage, word_tokenizer
from sentinel_research.data.task_documents import text_of
from sentinel_research.errors import DataError, UsageError
from sentinel_research.models.tiny import byte_tokenizer
from sentinel_research.specs import CalibrationSpec, Recipe

ANSWERS = {
    "choice": " {}",
    "choice_by_name": " {}",
    "choice_in_context": ", as all know",
    "generate": " {}",
    "generate_several": " {}",
    "last_word": " {}",
    "space_before": "  {}",
    "no_prompt": "{}",
}


def _spec(task: str, **changes: Any) -> CalibrationSpec:
    return CalibrationSpec(task=task, **{"num_sequences": 5, "sequence_length": 99, **changes})


def _bos_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return tokenizer


def _merging_tokenizer() -> PreTrainedTokenizerFast:
    """Merges a space with the letter after it, as subword tokenizers do, and with a colon before
    it, across the border of prompt and answer."""
    from tokenizers import Tokenizer, models

    merges = [(":", " "), (" ", "o"), (" ", "t")]
    symbols = [*map(chr, range(9, 127)), *map("".join, merges)]
    model = models.BPE({symbol: index for index, symbol in enumerate(symbols)}, merges)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="~")


TOKENIZERS = {"bytes": byte_tokenizer, "bos": _bos_tokenizer, "merging": _merging_tokenizer}


def _rows(found: CalibrationSet) -> list[tuple[list[int], list[int]]]:
    """Context and target of every row."""
    rows = []
    for ids, is_text, is_target in zip(found.ids, found.is_text, found.is_target, strict=True):
        assert not is_target[~is_text].any()
        rows.append((ids[is_text & ~is_target].tolist(), ids[is_target].tolist()))
    return rows


def _as_lm_eval(
    tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]], add_bos: bool | None = None
) -> list[tuple[list[int], list[int]]]:
    """lm-eval's own way to tokens, with everything behind it left out."""
    bos = tokenizer.bos_token_id
    lm = SimpleNamespace(
        tokenizer=tokenizer,
        add_bos_token=add_bos,
        backend="causal",
        prefix_token_id=tokenizer.eos_token_id if bos is None else bos,
        _loglikelihood_tokens=lambda requests, **_: [(c, t) for _, c, t in requests],
    )
    lm.tok_encode = partial(HFLM.tok_encode, lm)
    lm._encode_pair = partial(TemplateLM._encode_pair, lm)
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    return TemplateLM.loglikelihood(lm, requests, disable_tqdm=True)


@pytest.mark.parametrize("task", ANSWERS)
def test_targets_are_the_right_answers(task: str, small_tasks: object) -> None:
    tokenizer = byte_tokenizer()
    found = calibration_set(_spec(task), tokenizer)
    documents = drawn_documents(_spec(task)).documents
    for (context, target), document in zip(_rows(found), documents, strict=True):
        assert tokenizer.decode(target) == ANSWERS[task].format(document["answer"])
        if task != "no_prompt":
            assert document["question"] in tokenizer.decode(context)


def test_prompt_has_the_description_and_prefix_of_the_task(small_tasks: object) -> None:
    tokenizer = byte_tokenizer()
    (first, *_) = _rows(calibration_set(_spec("choice"), tokenizer))
    assert tokenizer.decode(first[0]).startswith("Numbers. What is")
    (first, *_) = _rows(calibration_set(_spec("generate_several"), tokenizer))
    assert tokenizer.decode(first[0]).endswith("Answer: It is")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("task", [*ANSWERS, "bos_in_target", "bos_in_prompt"])
def test_tokens_are_those_of_lm_eval(task: str, tokenizer: str, small_tasks: object) -> None:
    made = TOKENIZERS[tokenizer]()
    drawn = drawn_documents(_spec(task))
    texts = [text_of(drawn.task, document) for document in drawn.documents]
    expected = _as_lm_eval(made, [(text.context, text.target) for text in texts])
    assert _rows(calibration_set(_spec(task), made)) == expected


@pytest.mark.parametrize("add_bos_token", [True, False])
def test_bos_is_added_as_in_the_evaluation(add_bos_token: bool, small_tasks: object) -> None:
    tokenizer = _bos_tokenizer()
    found = _rows(calibration_set(_spec("choice"), tokenizer, add_bos_token=add_bos_token))
    drawn = drawn_documents(_spec("choice"))
    pairs = [text_of(drawn.task, document)[:2] for document in drawn.documents]
    assert found == _as_lm_eval(tokenizer, pairs, add_bos_token)
    assert all((context[0] == tokenizer.bos_token_id) == add_bos_token for context, _ in found)


@pytest.mark.parametrize("sequence_length", [7, 8, 20])
def test_long_prompts_lose_their_beginning_and_answers_nothing(
    sequence_length: int, small_tasks: object
) -> None:
    whole = _rows(calibration_set(_spec("choice"), byte_tokenizer()))
    cut = calibration_set(_spec("choice", sequence_length=sequence_length), byte_tokenizer())
    assert cut.ids.shape == (5, sequence_length)
    for (context, target), (long_context, long_target) in zip(_rows(cut), whole, strict=True):
        assert target == long_target
        assert context == long_context[-(sequence_length - len(target)) :]


def test_answer_that_does_not_fit_is_refused_with_the_length_it_needs(small_tasks: object) -> None:
    with pytest.raises(DataError, match="6 tokens, which do not fit") as caught:
        calibration_set(_spec("choice", sequence_length=6, num_sequences=9), byte_tokenizer())
    assert "to 7 or more" in caught.value.hint


def test_padding_comes_last_and_never_counts(small_tasks: object) -> None:
    found = calibration_set(_spec("choice"), byte_tokenizer())
    lengths = found.is_text.sum(1)
    assert lengths.max() == found.ids.shape[1] > lengths.min()
    assert torch.equal(found.is_text, torch.arange(found.ids.shape[1]) < lengths[:, None])
    assert not found.is_target[:, 0].any()
    assert (found.ids[~found.is_text] < len(byte_tokenizer())).all()


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("sequence_length", [9, 99])
def test_text_that_is_scored_whole_is_the_first_window_of_lm_eval(
    tokenizer: str, sequence_length: int, small_tasks: object
) -> None:
    made, spec = TOKENIZERS[tokenizer](), _spec("whole", sequence_length=sequence_length)
    found = _rows(calibration_set(spec, made))
    prefix = made.eos_token_id if made.bos_token_id is None else made.bos_token_id
    for (context, target), document in zip(found, drawn_documents(spec).documents, strict=True):
        windows = get_rolling_token_windows(
            made.encode(document["question"]), prefix, sequence_length - 1, context_len=1
        )
        inputs, predicted = next(windows)
        assert (context, target) == (inputs[:1], predicted)


def test_documents_are_drawn_by_seed_and_without_replacement(small_tasks: object) -> None:
    def drawn(**changes: int) -> list[str]:
        spec = _spec("choice", **changes)
        return [document["answer"] for document in drawn_documents(spec).documents]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=1)
    assert drawn() == drawn(num_sequences=9)[:5]
    assert len(set(drawn(num_sequences=9))) == 9


def test_fewer_documents_than_asked_are_refused_with_both_numbers(small_tasks: object) -> None:
    with pytest.raises(DataError, match=r"has 9 training documents.* asks for 10") as caught:
        calibration_set(_spec("choice", num_sequences=10), byte_tokenizer())
    assert "at most 9" in caught.value.hint


@pytest.mark.parametrize("task", ["choice_hidden", "generate_nothing"])
def test_document_without_a_right_answer_is_refused(task: str, small_tasks: object) -> None:
    with pytest.raises(DataError, match=f"'{task}' has no right answer"):
        calibration_set(_spec(task), byte_tokenizer())


def test_tokenizer_without_a_start_token_needs_a_prefix(small_tasks: object) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(UsageError, match="neither a BOS nor an EOS") as caught:
        calibration_set(_spec("no_prompt"), tokenizer)
    assert "prefix_token_id" in caught.value.hint
    found = calibration_set(_spec("no_prompt"), tokenizer, prefix_token_id=7)
    assert found.ids[:, 0].tolist() == [7] * 5


def test_answer_that_the_tokenizer_drops_is_refused(small_tasks: object) -> None:
    from tokenizers import Tokenizer, models

    question = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"?": 0, "|": 1}, [])), eos_token="|"
    )
    with pytest.raises(DataError, match="target of the task 'choice' has no token: ' "):
        calibration_set(_spec("choice"), question)


def test_blank_prompt_needs_a_tokenizer_that_adds_a_token(small_tasks: object) -> None:
    with pytest.raises(DataError, match="prompt of the task 'blank_prompt' has no token"):
        calibration_set(_spec("blank_prompt"), byte_tokenizer())
    assert len(calibration_set(_spec("blank_prompt"), _bos_tokenizer())) == 5


def test_corpus_gives_full_sequences_in_which_all_but_the_first_token_count() -> None:
    language = SyntheticLanguage()
    tokenizer = word_tokenizer(language.vocabulary)
    spec = CalibrationSpec(corpus="synthetic", num_sequences=3, sequence_length=50, seed=4)
    found = calibration_set(spec, tokenizer)
    from sentinel_research.data.corpora import load_corpus

    texts = list(load_corpus("synthetic", "train")["text"])
    assert found.ids.tolist() == sample_sequences(texts, tokenizer, 3, 50, seed=4).tolist()
    assert found.is_text.all()
    assert found.is_target[:, 1:].all()
    assert not found.is_target[:, 0].any()


def test_recipe_has_one_set_for_every_calibration_seed() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "description": "d",
            "model": {"pretrained": "x"},
            "prune": {
                "scorers": ["entropy"],
                "fractions": [0.5],
                "calibration": {"corpus": "synthetic", "num_sequences": 2, "sequence_length": 9},
                "calibration_seeds": [3, 5],
            },
            "evaluate": {"tasks": ["t"]},
        }
    )
    tokenizer = word_tokenizer(SyntheticLanguage().vocabulary)
    found = calibration_sets(recipe, tokenizer)
    assert [spec.seed for spec in found] == [3, 5]
    first, second = found.values()
    assert not torch.equal(first.ids, second.ids)
