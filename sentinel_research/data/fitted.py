"""The documents that something was fitted on, to find them again among those it is measured on."""

from collections.abc import Collection, Sequence
from typing import Any

from sentinel_research.data.corpora import FITTED_SPLIT, load_corpus
from sentinel_research.specs import CalibrationSpec


def corpus_fingerprints(corpus: str, split: str = FITTED_SPLIT) -> list[frozenset[str]]:
    """Of every document of a corpus' split, see `task_documents.fingerprints`.

    Args:
        corpus: A key of `CORPORA`.
        split: By default the one that can be fitted on.
    """
    from sentinel_research.data.task_documents import text_fingerprint

    documents = load_corpus(corpus, split)
    return [frozenset({text_fingerprint(text)}) for text in documents["text"][:]]


def calibration_fingerprints(draws: Sequence[CalibrationSpec]) -> Collection[frozenset[str]]:
    """Of every document that one of several draws of a calibration reads, or could have read.

    Args:
        draws: Of one corpus or task. A corpus counts whole, of a task only what was drawn.
    """
    from sentinel_research.data.calibration import drawn_documents
    from sentinel_research.data.task_documents import fingerprints

    if draws[0].corpus is not None:
        return corpus_fingerprints(draws[0].corpus)
    found = [drawn_documents(spec) for spec in draws]
    task = found[0].task
    return {fingerprints(task, document) for draw in found for document in draw.documents}


def request_fingerprints(request: Any) -> frozenset[str]:
    """Of the document that an lm-eval request (`Instance`) asks about."""
    from sentinel_research.data.task_documents import content_fingerprint, text_fingerprint

    texts = [part for part in request.args if isinstance(part, str)]
    return frozenset({text_fingerprint(*texts), content_fingerprint(request.doc)})
