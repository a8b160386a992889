"""The documents that models are fine-tuned on: chosen and divided once, the same for every model.

Training documents that are evaluated too, as CoLA has some, are left out. Which documents are used,
and which of them are held out, depends on the documents alone: on no seed and on no model.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from sentinel_research.data.answers import Encoder, encode_documents, hold_out
from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.provenance import hash_texts
from sentinel_research.data.task_documents import (
    fingerprints,
    right_choice,
    text_of,
    training_provenance,
    training_split,
)
from sentinel_research.data.training_set import IGNORED, hash_blocks
from sentinel_research.downstream.plan import Unit
from sentinel_research.errors import DataError
from sentinel_research.specs import DownstreamSpec, EvalSpec


class TaskDocuments(NamedTuple):
    """What one task gives to a unit."""

    task: Any
    """The lm-eval task."""
    train: list[Any]
    """Documents to train on."""
    held_out: list[Any]
    """Documents that choose weights and learning rate."""
    majority: int | None
    """The right choice of most of them; None for a task without a list of choices."""
    report: dict[str, Any]
    """For the record."""


class AnswerSet(NamedTuple):
    """A unit's documents as one tokenizer gives them; rows are padded on the right."""

    blocks: Int64[np.ndarray, "num_sequences length"]
    labels: Int64[np.ndarray, "num_sequences length"]
    validation: Int64[np.ndarray, "num_held_out length"]
    validation_labels: Int64[np.ndarray, "num_held_out length"]
    report: dict[str, Any]
    """For the record."""


def learnable(task: Any) -> Sequence[Any]:
    """The training documents of a task.

    Raises:
        UsageError: for a task without a training split.
        DataError: if there are fewer than two, or they cannot be had.
    """
    found = training_split(task, "to learn from", "leave this one out of `evaluate.tasks`")
    if len(found) < 2:
        raise DataError(
            f"the training split of '{task.config.task}' has {len(found)} documents",
            "Two are needed, one of them held out: leave the task out of `evaluate.tasks`.",
        )
    return found


def choose_documents(unit: Unit, spec: DownstreamSpec) -> tuple[TaskDocuments, ...]:
    """The documents of every task of a unit.

    Args:
        unit: Its tasks.
        spec: How many, and the share that is held out.

    Raises:
        UsageError, DataError: see `learnable`; also where all documents are evaluated too, or are
            all alike, or they do not fill a batch.
    """
    found = tuple(_chosen(task, spec) for task in unit.tasks.values())
    number = sum(len(one.train) for one in found)
    if number < spec.train.batch_size:
        raise DataError(
            f"'{unit.name}' has {number} documents to train on, fewer than one batch of "
            f"{spec.train.batch_size}",
            "Take smaller batches (`downstream.train.batch_size`), or leave the task out of "
            "`evaluate.tasks`.",
        )
    return found


def answer_set(chosen: Sequence[TaskDocuments], tokenizer: Any, evaluate: EvalSpec) -> AnswerSet:
    """A unit's documents as tokens.

    Args:
        chosen: Of every task of the unit.
        tokenizer: A model's.
        evaluate: Gives the length, BOS and the token before a text's first.

    Raises:
        UsageError: for a tokenizer that starts no text.
        DataError: for an answer that does not fit.
    """
    assert evaluate.max_length is not None  # the recipe was validated
    encoder = Encoder(tokenizer, evaluate.add_bos_token, evaluate.prefix_token_id)
    parts: dict[str, list[CalibrationSet]] = {"train": [], "held_out": []}
    for one in chosen:
        for part, found in parts.items():
            documents = getattr(one, part)
            length = evaluate.max_length
            found.append(
                encode_documents(one.task, documents, encoder, length, "evaluate.max_length")
            )
    longest = max(one.ids.shape[1] for found in parts.values() for one in found)
    blocks, labels = _joined(parts["train"], longest)
    # the last rows may not fill a batch, and are never used: they should not be those of one task
    order = np.random.default_rng(0).permutation(len(blocks))
    blocks, labels = blocks[order], labels[order]
    validation, validation_labels = _joined(parts["held_out"], longest)
    report = {
        "num_sequences": len(blocks),
        "num_held_out": len(validation),
        "sequence_length": longest,
        "documents_sha256": hash_texts(one.report["documents_sha256"] for one in chosen),
        "blocks_sha256": hash_blocks(blocks),
    }
    return AnswerSet(blocks, labels, validation, validation_labels, report)


def _chosen(task: Any, spec: DownstreamSpec) -> TaskDocuments:
    documents = learnable(task)
    number = min(spec.num_documents or len(documents), len(documents))
    places = np.arange(number) * len(documents) // number
    taken = [documents[int(place)] for place in places]
    evaluated = frozenset[str]().union(*(fingerprints(task, one) for one in task.eval_docs))
    fresh = [one for one in taken if evaluated.isdisjoint(fingerprints(task, one))]
    if len(fresh) < 2:
        raise DataError(
            f"{len(taken) - len(fresh)} of the {len(taken)} training documents of "
            f"'{task.config.task}' are evaluated too",
            "Nothing would be learnt that is not asked: leave the task out of `evaluate.tasks`.",
        )
    train, held = hold_out(fresh, spec.held_out)
    majority, share = _majority(task, fresh)
    texts = [text_of(task, fresh[index]) for index in (*train, *held)]
    return TaskDocuments(
        task=task,
        train=[fresh[index] for index in train],
        held_out=[fresh[index] for index in held],
        majority=majority,
        report={
            **training_provenance(task),
            "num_train": len(train),
            "num_held_out": len(held),
            "num_evaluated_too": len(taken) - len(fresh),
            "majority_choice": majority,
            "majority_share": share,
            "documents_sha256": hash_texts(part for one in texts for part in one[:2]),
        },
    )


def _majority(task: Any, documents: Sequence[Any]) -> tuple[int | None, float | None]:
    """The most frequent right choice, the first of equals, and its share."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None, None
    counts = Counter(right_choice(task, document) for document in documents)
    choice = min(counts, key=lambda one: (-counts[one], one))
    return choice, counts[choice] / len(documents)


def _joined(
    parts: Sequence[CalibrationSet], length: int
) -> tuple[Int64[np.ndarray, "rows length"], Int64[np.ndarray, "rows length"]]:
    """Token ids and labels of several sets, all padded to one length."""
    ids, labels = [], []
    for part in parts:
        width = ((0, 0), (0, length - part.ids.shape[1]))
        own = part.ids.numpy()
        ids.append(np.pad(own, width))
        wanted = np.where(part.is_target.numpy(), own, IGNORED)
        labels.append(np.pad(wanted, width, constant_values=IGNORED))
    return np.concatenate(ids), np.concatenate(labels)
