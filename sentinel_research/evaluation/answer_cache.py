"""A model's answers in lm-eval's `--use_cache` file: one table a model, JSON in it.

lm-eval looks answers up by the request alone, in one table for all models, and unpickles what it
finds. Its hook hands the model the very dictionary that it looks them up in. Here that dictionary
is turned to a table which is named by the fingerprint of the model and of everything around it that
changes an answer; what other models left in the file stays in tables of their own, and tables of
pickles are neither read nor written.

The task is not part of the key, as a request holds all that a model is given of it: the prompt with
its examples, the continuation, or the generation's settings. A task that asks the same makes other
metrics of the same answers, and those are computed anew. Sampled generations, where a request does
not determine its answer, are never kept: lm-eval leaves them out.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM, CachingLM, hash_args
from lm_eval.models.huggingface import HFLM
from sqlitedict import SqliteDict

from sentinel_research import distributed
from sentinel_research.errors import DataError, UsageError
from sentinel_research.evaluation.perplexity import RollingLogLikelihood
from sentinel_research.evaluation.scores.long_answers import Request, Score
from sentinel_research.evaluation.scores.prefixes import Continuation
from sentinel_research.models.fingerprint import model_fingerprint, tokenizer_fingerprint

_WINDOW = "sentinel_window"
_SQLITE = b"SQLite format 3\0"
_TABLE = "sentinel_{}"
# of HFLM, beside model and tokenizer
_SETTINGS = (
    "backend",
    "max_length",
    "max_gen_toks",
    "custom_prefix_token_id",
    "add_bos_token",
    "truncation",
    "mixed_precision_dtype",
    "softmax_dtype",
    "think_end_token",
)


def answers_fingerprint(lm: HFLM, refusals: Any) -> str:
    """What changes an answer of a model, in 32 hex digits; batch sizes and folders do not.

    Args:
        lm: With its model and tokenizer.
        refusals: What it answers at all, of values that JSON knows: who refuses a text is not to be
            given the answer of one that took it.

    Raises:
        UsageError: for a model that cannot be read whole, see `models.fingerprint`.
    """
    parts = [
        model_fingerprint(lm.model),
        tokenizer_fingerprint(lm.tokenizer),
        {name: str(getattr(lm, name)) for name in _SETTINGS},
        refusals,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def open_table(answers: SqliteDict, fingerprint: str) -> None:
    """Turn lm-eval's dictionary of answers to one model's table, in place.

    Args:
        answers: As lm-eval opened it.
        fingerprint: Of all that changes an answer.
    """
    answers.encode, answers.decode = to_json, from_json
    answers.tablename = _TABLE.format(fingerprint)
    answers.conn.execute(
        f'CREATE TABLE IF NOT EXISTS "{answers.tablename}" (key TEXT PRIMARY KEY, value BLOB)'
    )
    answers.conn.commit()


@contextlib.contextmanager
def answering(lm: LM, path: Path | None) -> Iterator[Any]:
    """The model as lm-eval evaluates it: with its kept answers, if there is a file for them.

    Args:
        lm: It turns the file to its own table.
        path: As for `--use_cache`; the file of the first process is `PATH_rank0.db`.

    Raises:
        UsageError: for a file of another kind.
    """
    if path is None:
        yield lm
        return
    file = path.with_name(f"{path.name}_rank{distributed.process_index()}.db")
    # sqlite creates empty files
    if file.is_file() and file.stat().st_size and not _is_sqlite(file):
        raise UsageError(
            f"{file} is no SQLite file, and holds no answers",
            "name another one with --use_cache (`evaluate.cache` in a recipe)",
        )
    kept = CachingLM(lm, str(file))
    try:
        yield kept
    finally:
        kept.dbdict.close()


class KeptScores:
    """What is kept of continuations while they are scored, so that an interruption loses little.

    A text and its continuation are kept where lm-eval looks for them. Windows of longer texts, of
    which lm-eval knows nothing until the last one is scored, are kept by their tokens.

    Args:
        answers: The model's table; None keeps nothing.
        requests: What is asked.
        asked: The continuation of each request.
    """

    def __init__(
        self,
        answers: SqliteDict | None,
        requests: Sequence[Request],
        asked: Sequence[Continuation],
    ) -> None:
        self._answers = answers
        self._texts: dict[Continuation, list[str]] = {}
        self._windows: dict[Continuation, str] = {}
        if answers is None:
            return
        for (texts, _, _), one in zip(requests, asked, strict=True):
            if texts is None:
                self._windows[one] = hash_args(_WINDOW, one)
            else:
                self._texts.setdefault(one, []).append(hash_args("loglikelihood", texts))

    def known(self) -> dict[Continuation, Score]:
        """Windows that were scored before; of texts lm-eval asks only for those that were not."""
        if self._answers is None:
            return {}
        return {
            one: self._answers[key] for one, key in self._windows.items() if key in self._answers
        }

    def keep(self, done: Mapping[Continuation, Score]) -> None:
        """Write scores to the file."""
        if self._answers is None:
            return
        for one, score in done.items():
            self._answers.update(dict.fromkeys(self._texts.get(one, ()), score))
            if one in self._windows:
                self._answers[self._windows[one]] = score


def to_json(answer: Any) -> str:
    """A log-likelihood with its flag, one with its windows, or a text, as JSON.

    Numbers keep every bit, NaN and infinities too.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(answer, RollingLogLikelihood):
        parts = [answer.window_log_likelihoods, answer.window_num_tokens]
        return json.dumps({"windows": parts})
    if isinstance(answer, str):
        return json.dumps({"text": answer})
    value, is_greedy = answer
    return json.dumps({"score": [float(value), bool(is_greedy)]})


def from_json(stored: Any) -> Any:
    """What `to_json` was given.

    Raises:
        DataError: if something else was stored.

    Example:
        >>> from_json(to_json((-1.5, True)))
        (-1.5, True)
    """
    try:
        ((kind, content),) = json.loads(stored).items()
        if kind == "windows":
            return RollingLogLikelihood(*content)
        if kind == "text":
            return str(content)
        if kind == "score":
            value, is_greedy = content
            return float(value), bool(is_greedy)
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(stored) from error
    raise _damaged(stored)


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(_SQLITE)) == _SQLITE


def _damaged(stored: Any) -> DataError:
    return DataError(
        f"the file of kept answers holds what is no answer: {str(stored)[:100]!r}",
        "delete the file that --use_cache names (PATH_rank0.db), or name another one",
    )
