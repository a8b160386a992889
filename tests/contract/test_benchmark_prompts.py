"""Benchmark tasks ask what lm-eval's own do, byte for byte, on the real data."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.samplers import ContextSampler
from lm_eval.tasks import TaskManager
from lm_eval.tasks import __file__ as lm_eval_tasks

from sentinel_research.data.mirror import VARIABLE
from sentinel_research.data.mmlu import SUBJECTS
from sentinel_research.data.tasks import find_tasks

NUM_DOCUMENTS = 20
SUPER_GLUE = ["boolq", "cb", "copa", "sglue_rte", "wic", "wsc"]
QUICK = ("copa", "rte", "wic", "wsc")
"""Of small training splits: lm-eval reads the whole of each."""
GLUE = ["cola", "mnli", "mnli_mismatch", "mrpc", "qnli", "qqp", "rte", "sst2", "wnli"]


@pytest.fixture(scope="session")
def theirs(mirror: Path) -> TaskManager:
    """lm-eval's own files of these tasks: reading the other 14,000 takes ten seconds."""
    folder = Path(lm_eval_tasks).parent
    names = ["glue", "super_glue", "mmlu/default", "squadv2"]
    return TaskManager(include_path=[folder / name for name in names], include_defaults=False)


@pytest.fixture
def in_mirror(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's tasks find their data in the current directory, ours by the variable."""
    monkeypatch.chdir(mirror)
    monkeypatch.setenv(VARIABLE, str(mirror))


class _Shown(ContextSampler):
    """The examples that our task chose, for theirs."""

    def sample(self, n: int, **_ignored: Any) -> list[Any]:
        return list(self.df)[:n]


def _pair(theirs: TaskManager, name: str) -> tuple[Any, Any]:
    own = f"sentinel_{name}"
    return find_tasks([own]).load([own])["tasks"][own], theirs.load([name])["tasks"][name]


def _requests(task: Any, doc: dict[str, Any], num_fewshot: int) -> list[Any]:
    context = task.fewshot_context(doc, num_fewshot=num_fewshot)
    made = task.construct_requests(doc, context)
    return [(one.request_type, one.args) for one in (made if isinstance(made, list) else [made])]


def _documents(task: Any, number: int = NUM_DOCUMENTS) -> list[dict[str, Any]]:
    """Some from the whole of the split."""
    documents = task.eval_docs
    step = max(1, len(documents) // number)
    return [documents[index] for index in range(0, len(documents), step)]


@pytest.mark.parametrize("name", [*GLUE, *SUPER_GLUE, "multirc", "squadv2"])
@pytest.mark.long
def test_requests_without_examples_are_lm_evals(
    name: str, theirs: TaskManager, in_mirror: None
) -> None:
    if name == "squadv2":
        own = find_tasks(["sentinel_squad_v2"]).load(["sentinel_squad_v2"])
        ours, other = own["tasks"]["sentinel_squad_v2"], theirs.load([name])["tasks"][name]
    else:
        ours, other = _pair(theirs, name)
    assert len(ours.eval_docs) == len(other.eval_docs)
    for doc, same in zip(_documents(ours), _documents(other), strict=True):
        assert _requests(ours, doc, 0) == _requests(other, same, 0)


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in [*GLUE, *SUPER_GLUE]
    ],
)
def test_requests_with_examples_are_lm_evals_of_the_same_examples(
    name: str, theirs: TaskManager, in_mirror: None
) -> None:
    ours, other = _pair(theirs, name)
    for doc in _documents(ours, 5):
        other.sampler = _Shown(ours.examples(doc, 3))
        assert _requests(ours, doc, 3) == _requests(other, doc, 3)


@pytest.mark.parametrize("subject", ["anatomy", "high_school_us_history", "formal_logic"])
@pytest.mark.parametrize("num_fewshot", [0, 5])
@pytest.mark.long
def test_mmlu_requests_are_lm_evals_examples_included(
    subject: str, num_fewshot: int, theirs: TaskManager, in_mirror: None
) -> None:
    ours, other = _pair(theirs, f"mmlu_{subject}")
    for doc, same in zip(_documents(ours, 10), _documents(other, 10), strict=True):
        assert _requests(ours, doc, num_fewshot) == _requests(other, same, num_fewshot)


@pytest.mark.slow
@pytest.mark.parametrize("subject", [one for group in SUBJECTS.values() for one in group])
def test_requests_of_every_mmlu_subject_are_lm_evals(
    subject: str, theirs: TaskManager, in_mirror: None
) -> None:
    ours, other = _pair(theirs, f"mmlu_{subject}")
    for doc, same in zip(_documents(ours, 5), _documents(other, 5), strict=True):
        assert _requests(ours, doc, 5) == _requests(other, same, 5)


def test_multirc_examples_say_what_their_labels_say(in_mirror: None) -> None:
    # lm-eval 0.4.13 shows "yes" for label 0, a wrong answer
    task = find_tasks(["sentinel_multirc"]).load(["sentinel_multirc"])["tasks"]["sentinel_multirc"]
    seen = set()
    for doc in _documents(task, 30):
        choice = task.doc_to_choice(doc)[task.doc_to_target(doc)]
        assert choice.endswith("yes" if doc["label"] else "no")
        seen.add(doc["label"])
    assert seen == {0, 1}


def test_record_prompt_lists_the_summary_and_offers_each_entity_once(in_mirror: None) -> None:
    task = find_tasks(["sentinel_record"]).load(["sentinel_record"])["tasks"]["sentinel_record"]
    doc = task.eval_docs[0]
    (context, first), *others = [args for _, args in _requests(task, doc, 0)]
    lines = context.split("\n")
    assert lines[0] == doc["passage"].split("\n")[0]
    assert lines[1] == ""
    assert all(line.startswith("  - ") for line in lines[2:-1])
    assert lines[-1] == ""
    queries = [first, *(choice for _, choice in others)]
    entities = sorted(set(doc["entities"]))
    before, after = doc["query"].split("@placeholder")
    assert queries == [f"   - {before}{entity}{after}" for entity in entities]
    assert task.doc_to_target(doc) == f"  - {before}{min(doc['answers'])}{after}"


def test_squad_question_without_an_answer_shows_the_word_for_none(in_mirror: None) -> None:
    tasks = find_tasks(["sentinel_squad"]).load(["sentinel_squad", "sentinel_squad_v2"])["tasks"]
    doc = next(doc for doc in tasks["sentinel_squad_v2"].eval_docs if not doc["answers"]["text"])
    assert tasks["sentinel_squad_v2"].doc_to_target(doc) == "unanswerable"
    # the mirror's training rows have no titles
    example = tasks["sentinel_squad"].training_docs()[0]
    assert tasks["sentinel_squad"].doc_to_text(example).startswith("Background: ")
    doc = tasks["sentinel_squad"].eval_docs[0]
    assert tasks["sentinel_squad"].doc_to_text(doc).startswith("Title: Super_Bowl_50\n\nBackgr")
