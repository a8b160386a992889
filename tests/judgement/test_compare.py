"""Verdicts on run folders: what is tested, what is refused, and what does not matter."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_research import compare
from sentinel_research.errors import UsageError
from sentinel_research.evaluation.benchmark_results import f1 as f1_of_items
from sentinel_research.evaluation.perplexity import bits_per_unit, weighted_perplexity
from sentinel_research.judgement import Evidence, Finding
from sentinel_research.metrics.answers import mean, percent
from sentinel_research.specs import JudgementSpec
from tests.judgement.folders import TASK, Metric, Task, accuracy, write_run

FEW = JudgementSpec(num_resamples=199)
Write = Callable[..., str]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Finding]:
    """Writes two runs, and gives the one finding about them."""

    def judged(
        first: dict[str, Task], second: dict[str, Task], spec: JudgementSpec = FEW, **of: Any
    ) -> Finding:
        names = [
            write_run(tmp_path / name, {"dense": tasks}, **of.get(name, {}))
            for name, tasks in (("a", first), ("b", second))
        ]
        (finding,) = compare(names, spec).findings
        return finding

    return judged


def _evidence(finding: Finding) -> Evidence:
    assert finding.evidence is not None, finding.reason
    return finding.evidence


def _texts(losses: Any, tokens: int = 50) -> dict[str, Task]:
    items = [[-float(loss) * tokens, tokens] for loss in losses]
    return {TASK: Task({"token_perplexity": Metric(weighted_perplexity, items, False)})}


def test_accuracy_by_hand(pair: Callable[..., Finding]) -> None:
    # 9 documents won, 1 lost, 30 the same
    found = pair(accuracy([0] * 9 + [1] * 31), accuracy([1] * 9 + [0] + [1] * 30))
    assert found.verdict == "better"
    evidence = _evidence(found)
    assert evidence.test == "exact McNemar"
    assert evidence.p_value == evidence.p_adjusted == pytest.approx(22 / 1024)
    assert evidence.difference == pytest.approx(8 / 40)
    assert (evidence.first_value, evidence.second_value) == pytest.approx((31 / 40, 39 / 40))
    assert (evidence.num_documents, evidence.num_units, evidence.unit) == (40, 40, "documents")
    assert evidence.low < 0.2 < evidence.high


def test_perplexity_is_of_the_whole_corpus_and_lower_is_better(
    pair: Callable[..., Finding],
) -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(2.0, 0.2, size=30)
    found = pair(_texts(losses), _texts(losses + rng.normal(0.1, 0.02, size=30)))
    assert found.verdict == "worse"
    evidence = _evidence(found)
    assert evidence.test == "permutation"
    assert evidence.first_value == pytest.approx(math.exp(losses.mean()))
    assert evidence.p_value == 2 / 200


@pytest.mark.parametrize(("num_texts", "num_windows"), [(3, 8), (1, 24)], ids=["three", "one"])
def test_few_texts_are_compared_by_blocks_of_windows(
    pair: Callable[..., Finding], num_texts: int, num_windows: int
) -> None:
    rng = np.random.default_rng(0)

    def task(shift: float) -> dict[str, Task]:
        windows = [
            (
                tuple(-20 * (2 + shift + 0.1 * rng.normal(size=num_windows))),
                (20,) * num_windows,
            )
            for _ in range(num_texts)
        ]
        items = [[sum(lengths), 20 * num_windows] for lengths, _ in windows]
        metric = Metric(weighted_perplexity, items, False)
        return {TASK: Task({"token_perplexity": metric}, windows=windows)}

    evidence = _evidence(pair(task(0.0), task(0.5)))
    assert (evidence.num_documents, evidence.num_units) == (num_texts, 24)
    assert evidence.unit == "blocks of windows"


def test_documents_that_share_a_text_are_one_unit(pair: Callable[..., Finding]) -> None:
    def task(values: Any) -> dict[str, Task]:
        items = [[float(value), f"text {place // 4}"] for place, value in enumerate(values)]
        return {TASK: Task({"exact_match": Metric(percent, items)})}

    rng = np.random.default_rng(0)
    found = pair(task(rng.integers(0, 2, size=60)), task(rng.integers(0, 2, size=60)))
    evidence = _evidence(found)
    assert (evidence.num_units, evidence.unit) == (15, "clusters of documents")
    # right and wrong, but not independent
    assert evidence.test == "permutation"


def test_metric_without_clusters_takes_those_of_its_task(pair: Callable[..., Finding]) -> None:
    def task(seed: int) -> dict[str, Task]:
        values = np.random.default_rng(seed).integers(0, 2, size=40).tolist()
        items = [[float(value), f"text {place // 2}"] for place, value in enumerate(values)]
        return {TASK: Task({"acc": Metric(None, values), "exact_match": Metric(percent, items)})}

    assert _evidence(pair(task(0), task(1))).unit == "clusters of documents"


def test_f1_is_the_metric_itself(pair: Callable[..., Finding]) -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, size=80)

    def task(share: float) -> dict[str, Task]:
        given = np.where(rng.uniform(size=80) < share, right, 1 - right)
        items = [list(item) for item in zip(right.tolist(), given.tolist(), strict=True)]
        return {TASK: Task({"f1": Metric(f1_of_items, items)})}

    found = pair(task(0.5), task(0.95))
    assert found.verdict == "better"
    assert _evidence(found).test == "permutation"


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_swapped_models_swap_sign_and_verdict(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.normal(2.0, 0.2, size=25)
    folder = tmp_path_factory.mktemp("swap")
    names = [
        write_run(folder / name, {"dense": _texts(values)})
        for name, values in (("a", losses), ("b", losses + rng.normal(0.02, 0.05, size=25)))
    ]
    (one,), (other,) = (compare(order, FEW).findings for order in (names, names[::-1]))
    opposite = {"better": "worse", "worse": "better"}
    assert other.verdict == opposite.get(one.verdict, one.verdict)
    first, second = _evidence(one), _evidence(other)
    assert (second.difference, second.low, second.high) == pytest.approx(
        (-first.difference, -first.high, -first.low)
    )
    assert (second.p_value, second.detectable) == pytest.approx((first.p_value, first.detectable))


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_order_of_documents_does_not_matter(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(2, 30))
    order = rng.permutation(30)
    found = []
    for places in (np.arange(30), order):
        folder = tmp_path_factory.mktemp("order")
        documents = [f"{place:04d}" for place in places]
        names = [
            write_run(
                folder / str(side),
                {"dense": accuracy(items[side][places].tolist(), documents=documents)},
            )
            for side in (0, 1)
        ]
        found.append(_evidence(compare(names, FEW).findings[0]).model_dump())
    assert found[1] == pytest.approx(found[0])


def test_one_seed_gives_equal_numbers_and_another_does_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [
        write_run(tmp_path / name, {"dense": accuracy(rng.normal(size=40).tolist())})
        for name in "ab"
    ]
    spec = JudgementSpec(num_resamples=199, seed=3)
    assert compare(names, spec) == compare(names, spec)
    other = compare(names, spec.model_copy(update={"seed": 4}))
    assert other.findings != compare(names, spec).findings


def test_every_task_draws_anew(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [
        write_run(
            tmp_path / name,
            {"dense": dict.fromkeys(("one", "two"), Task({"acc": Metric(None, items)}))},
        )
        for name, items in (("a", rng.normal(size=40).tolist()), ("b", [0.0] * 40))
    ]
    one, two = (_evidence(finding) for finding in compare(names, FEW).findings)
    assert one.difference == two.difference
    assert one.low != two.low


@pytest.mark.parametrize(
    ("second", "report", "refusal", "words"),
    [
        ({"num_fewshot": 5}, {}, "few-shot", "0 example(s) against 5 example(s)"),
        ({"prompt": "prompt "}, {}, "task", "task hash (documents, prompts or targets) differs"),
        ({}, {"max_length": 64}, "window", "128 tokens against 64 tokens"),
        ({}, {"samples": {}}, "no samples", "its record keeps no samples per document"),
        ({}, {"samples": {TASK: "gone.jsonl"}}, "no samples", "gone.jsonl is missing"),
    ],
    ids=["few-shot", "prompt", "window", "no-samples", "samples-missing"],
)
def test_differing_conditions_are_refused_with_both_values(
    pair: Callable[..., Finding],
    second: dict[str, Any],
    report: dict[str, Any],
    refusal: str,
    words: str,
) -> None:
    found = pair(accuracy([0, 1] * 20), accuracy([1, 1] * 20, **second), b=report)
    assert (found.verdict, found.refusal) == ("not comparable", refusal)
    assert words in found.reason
    assert found.evidence is None


def test_part_of_a_task_that_differs_is_named(pair: Callable[..., Finding]) -> None:
    kept = [
        {"document_hashes": {TASK: "same"}, "prompt_hashes": {TASK: name}} for name in ("a", "b")
    ]
    found = pair(
        accuracy([0, 1] * 20), accuracy([1, 1] * 20, prompt="prompt "), a=kept[0], b=kept[1]
    )
    assert "task hash (prompts or targets) differs" in found.reason


def test_all_differing_conditions_are_named_at_once(pair: Callable[..., Finding]) -> None:
    found = pair(accuracy([0, 1] * 20), accuracy([1] * 30, num_fewshot=2), b={"max_length": 64})
    assert found.refusal == "few-shot"
    assert "few-shot differs" in found.reason
    assert "limit differs: 40 documents (no limit) against 30 documents (no limit)" in found.reason
    assert "window differs" in found.reason
    # which follows from the other documents
    assert "task hash" not in found.reason


def test_limit_above_the_number_of_documents_is_no_difference(tmp_path: Path) -> None:
    names = [
        write_run(tmp_path / name, {"dense": accuracy([place % 2, 1] * 20)})
        for place, name in enumerate("ab")
    ]
    record = tmp_path / "b" / "record.json"
    content = json.loads(record.read_text())
    content["recipe"]["evaluate"]["limit"] = 1000
    record.write_text(json.dumps(content))
    assert compare(names, FEW).verdicts() == ["better"]


def test_metric_that_only_one_has_is_refused(pair: Callable[..., Finding]) -> None:
    found = pair(
        accuracy([0, 1] * 20),
        {"other_task": Task({"acc": Metric(None, [1] * 40)})},
        JudgementSpec(tasks=(TASK,)),
    )
    assert found.refusal == "one side"
    assert found.reason == "only the reference was measured by it"


def test_metric_that_was_not_defined_has_its_reason(pair: Callable[..., Finding]) -> None:
    f1 = Metric(f1_of_items, [[1, 0]] * 20)
    both = {TASK: Task({"f1": f1, "acc": Metric(None, [0, 1] * 10)})}
    found = pair(
        both,
        accuracy([0, 1] * 10),
        JudgementSpec(metrics=("f1",)),
        b={"not_measured": {f"{TASK}/f1": "it is not defined"}},
    )
    assert found.reason == "only the reference was measured by it; of the other, it is not defined"


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 document(s) have no spread"), (9, "9 documents: a spread of fewer than 10")],
)
def test_few_documents_are_refused(pair: Callable[..., Finding], count: int, words: str) -> None:
    found = pair(accuracy([0] * count), accuracy([1] * count))
    assert found.refusal == "too few"
    assert words in found.reason


def test_metric_of_other_documents_is_refused(pair: Callable[..., Finding]) -> None:
    found = pair(accuracy([None, 1, *[0] * 38]), accuracy([1, None, *[1] * 38]))
    assert found.refusal == "units"
    assert found.reason == "39 and 39 documents have the metric, 38 of them both"


def test_filters_of_one_metric_are_compared_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [
        write_run(
            tmp_path / name,
            {"dense": {TASK: Task({"acc": Metric(None, plain, filtered=[0.0, 1.0] * 20)})}},
        )
        for name, plain in (("a", [0.0] * 40), ("b", rng.integers(0, 2, size=40).tolist()))
    ]
    spec = FEW.model_copy(update={"metrics": ("acc",)})
    plain, strict = compare(names, spec).findings
    assert (plain.filter, plain.verdict) == ("none", "better")
    assert (strict.filter, strict.refusal) == ("strict", "identical")


def test_few_texts_without_windows_are_refused(pair: Callable[..., Finding]) -> None:
    found = pair(_texts(np.linspace(1, 2, 19)), _texts(np.linspace(1, 3, 19)))
    assert found.refusal == "too few"
    assert "20 are needed, or 10 windows" in found.reason


def test_identical_results_are_said_and_counted(pair: Callable[..., Finding]) -> None:
    found = pair(accuracy([0, 1] * 20), accuracy([0, 1] * 20))
    assert (found.verdict, found.refusal) == ("not comparable", "identical")
    assert "the same result on each of 40 documents" in found.reason


def test_metric_without_a_direction_is_refused(pair: Callable[..., Finding]) -> None:
    tasks = [{TASK: Task({"acc": Metric(None, [*items, 0] * 10, None)})} for items in ([0], [1])]
    assert pair(*tasks).refusal == "direction"


def test_unknown_function_is_refused(pair: Callable[..., Finding]) -> None:
    def geometric_mean(items: Any) -> float:
        return float(np.exp(np.mean(np.log(items))))

    tasks = [
        {TASK: Task({"speed": Metric(geometric_mean, [speed, 2.0] * 10)})} for speed in (1.0, 3.0)
    ]
    found = pair(*tasks)
    assert found.refusal == "aggregation"
    assert "geometric_mean" in found.reason


def test_metric_that_both_aggregate_in_their_own_way_is_refused(
    pair: Callable[..., Finding],
) -> None:
    items = [[float(place % 2), f"text {place}"] for place in range(40)]
    found = pair(*({TASK: Task({"acc": Metric(one, items)})} for one in (mean, percent)))
    assert found.refusal == "aggregation"
    assert found.reason == "acc is mean of one and percent of the other"


def test_texts_of_other_tokenizers_are_refused_per_token_only(tmp_path: Path) -> None:
    def task(loss: float, tokens: int) -> dict[str, Task]:
        rng = np.random.default_rng(tokens)
        totals = -50 * rng.normal(loss, 0.1, size=25)
        per_token = [[float(total), tokens] for total in totals]
        per_byte = [[float(total), 200] for total in totals]
        return {
            TASK: Task(
                {
                    "token_perplexity": Metric(weighted_perplexity, per_token, False),
                    "bits_per_byte": Metric(bits_per_unit, per_byte, False),
                }
            )
        }

    names = [
        write_run(tmp_path / "a", {"dense": task(2.0, 50)}),
        write_run(tmp_path / "b", {"dense": task(2.5, 60)}),
    ]
    spec = JudgementSpec(num_resamples=199, metrics=("token_perplexity", "bits_per_byte"))
    tokens, per_byte = compare(names, spec).findings
    assert tokens.refusal == "units"
    assert "1,250 units for the reference and 1,500 for the other" in tokens.reason
    assert per_byte.verdict == "worse"


def _change_row(path: Path, change: Callable[[list[Any]], Any]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.pop(), "its record says"),
        (lambda rows: rows.reverse(), "its record says"),
        (lambda rows: rows[0].update(acc=1.0), "the samples of the other give 0.525"),
        (lambda rows: rows[0].update(acc="right"), "is none of mean"),
        (lambda rows: rows[0].pop("doc_hash"), "cannot be read"),
    ],
    ids=["row-missing", "order", "value", "kind", "key"],
)
def test_damaged_samples_are_refused(
    tmp_path: Path, change: Callable[[list[Any]], Any], words: str
) -> None:
    names = [write_run(tmp_path / name, {"dense": accuracy([0, 1] * 20)}) for name in ("a", "b")]
    _change_row(tmp_path / "b" / "cells" / "dense" / f"samples_{TASK}.jsonl", change)
    (found,) = compare(names, FEW).findings
    assert found.refusal == "damaged samples"
    assert words in found.reason


def test_samples_that_are_no_json_are_refused(tmp_path: Path) -> None:
    names = [write_run(tmp_path / name, {"dense": accuracy([0, 1] * 20)}) for name in "ab"]
    path = tmp_path / "a" / "cells" / "dense" / f"samples_{TASK}.jsonl"
    path.write_text(path.read_text()[:-20])
    (found,) = compare(names, FEW).findings
    assert found.refusal == "damaged samples"
    assert "cannot be read (JSONDecodeError" in found.reason


def test_models_without_a_record_are_named(tmp_path: Path) -> None:
    name = write_run(tmp_path / "a", {"dense": accuracy([0, 1] * 20)})
    with pytest.raises(UsageError, match="cannot read"):
        compare([name, str(tmp_path / "nowhere")])
