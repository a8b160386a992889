"""Documents of a task that are trained on: tokens, and which of them choose a model."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from sentinel_research.data.answers import Encoder, encode_documents, hold_out
from sentinel_research.data.byte_level import byte_tokenizer
from sentinel_research.data.task_documents import training_documents
from sentinel_research.errors import DataError


def _documents(count: int) -> list[dict[str, Any]]:
    return [{"idx": index, "text": f"document {index}"} for index in range(count)]


def test_answer_is_the_target_and_padding_is_none(small_tasks: object) -> None:
    task, documents = training_documents("choice")
    found = encode_documents(task, documents, Encoder(byte_tokenizer()), 100, "max_length")
    for row, document in enumerate(documents):
        answer = byte_tokenizer().decode(found.ids[row][found.is_target[row]].tolist())
        assert answer == f" {document['answer']}"
        num_text = int(found.is_text[row].sum())
        assert bool(found.is_text[row, :num_text].all())
        assert bool(found.is_target[row, :num_text][-1])


def test_answer_that_does_not_fit_names_the_setting(small_tasks: object) -> None:
    task, documents = training_documents("choice")
    with pytest.raises(DataError, match="do not fit") as caught:
        encode_documents(task, documents, Encoder(byte_tokenizer()), 3, "max_length")
    assert "Set `max_length` to" in caught.value.hint


def test_long_prompt_loses_its_beginning_and_no_token_of_the_answer(small_tasks: object) -> None:
    task, documents = training_documents("choice")
    encoder = Encoder(byte_tokenizer())
    whole = encode_documents(task, [documents[0]], encoder, 100, "max_length")
    short = encode_documents(task, [documents[0]], encoder, 20, "max_length")
    assert torch.equal(short.ids[0], whole.ids[0][whole.is_text[0]][-20:])
    assert int(short.is_target.sum()) == int(whole.is_target.sum())


def test_held_out_documents_are_a_share_that_order_and_row_numbers_do_not_change() -> None:
    documents = _documents(40)
    train, held = hold_out(documents, 0.1)
    assert sorted(train + held) == list(range(40))
    assert len(held) == 4
    turned = [{**one, "idx": 0} for one in reversed(documents)]
    assert {turned[i]["text"] for i in hold_out(turned, 0.1)[1]} == {
        documents[i]["text"] for i in held
    }


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_equal_documents_are_never_on_both_sides(share: float) -> None:
    documents = [*_documents(10), *_documents(10)]
    train, held = hold_out(documents, share)
    assert {documents[i]["text"] for i in train}.isdisjoint(documents[i]["text"] for i in held)
    assert all(one < other for one, other in pairwise(held))


def test_one_document_is_held_out_of_few_and_equal_ones_cannot_be_divided() -> None:
    assert len(hold_out(_documents(2), 0.01)[1]) == 1
    with pytest.raises(DataError, match="all alike"):
        hold_out([{"text": "a"}] * 3, 0.5)
