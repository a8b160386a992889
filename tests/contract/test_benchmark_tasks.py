"""GLUE, SuperGLUE, SQuAD and MMLU through lm-eval: scores, averages, examples, damaged data."""

import json
import math
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from sentinel_research.data import benchmarks as loader
from sentinel_research.data import mmlu
from sentinel_research.data.provenance import provenance_of
from sentinel_research.data.task_documents import load_tasks, text_of, training_documents
from sentinel_research.data.tasks import find_tasks, task_folder
from sentinel_research.errors import UsageError
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.contract.conftest import NUM_ROWS, squad


def _model(max_length: int = 256) -> HFLM:
    model = tiny_model("gpt2", n_positions=max_length).eval()
    return HFLM(model, tokenizer=byte_tokenizer(), batch_size=16, logits_cache=False)


def _evaluate(name: str, **options: Any) -> dict[str, Any]:
    results = lm_eval.simple_evaluate(
        model=_model(), tasks=[name], task_manager=find_tasks([name]), **options
    )
    assert results is not None
    return results


def test_glue_average_is_the_mean_of_nine_scores_with_mnlis_parts_as_one(
    benchmarks: Path,
) -> None:
    results = _evaluate("sentinel_glue")["results"]
    scores = {name: of["score,none"] for name, of in results.items() if name != "sentinel_glue"}
    assert len(scores) == 9
    total = results["sentinel_glue"]
    assert total["score,none"] == pytest.approx(np.mean(list(scores.values())))
    errors = [results[name]["score_stderr,none"] for name in scores]
    assert total["score_stderr,none"] == pytest.approx(math.hypot(*errors) / 9)
    both = results["sentinel_mnli_both"]
    parts = (both["acc_matched,none"] + both["acc_mismatched,none"]) / 2
    assert both["score,none"] == pytest.approx(parts)
    mrpc = results["sentinel_mrpc"]
    assert mrpc["score,none"] == pytest.approx((mrpc["acc,none"] + mrpc["f1,none"]) / 2)
    stsb = results["sentinel_stsb"]
    assert stsb["score,none"] == pytest.approx((stsb["pearson,none"] + stsb["spearman,none"]) / 2)
    assert results["sentinel_cola"]["score,none"] == results["sentinel_cola"]["mcc,none"]


def test_superglue_average_is_the_mean_of_eight_scores(benchmarks: Path) -> None:
    results = _evaluate("sentinel_superglue")["results"]
    scores = [of["score,none"] for name, of in results.items() if name != "sentinel_superglue"]
    assert len(scores) == 8
    assert results["sentinel_superglue"]["score,none"] == pytest.approx(np.mean(scores))
    assert results["sentinel_superglue"]["score_stderr,none"] > 0
    for name, first, second in (
        ("multirc", "f1a", "em"),
        ("record", "f1", "em"),
        ("cb", "acc", "f1"),
    ):
        of = results[f"sentinel_{name}"]
        assert of["score,none"] == pytest.approx((of[f"{first},none"] + of[f"{second},none"]) / 2)


@pytest.mark.parametrize("name", ["sentinel_squad", "sentinel_squad_v2"])
def test_squad_figures_come_with_standard_errors(name: str, benchmarks: Path) -> None:
    results = _evaluate(name, gen_kwargs={"max_gen_toks": 4})
    figures = results["results"][name]
    declared = [entry["metric"] for entry in results["configs"][name]["metric_list"]]
    assert {f"{metric},none" for metric in declared} <= set(figures)
    assert all(0 <= figures[f"{metric},none"] <= 100 for metric in declared if "std" not in metric)
    whole = "exact_match" if name == "sentinel_squad" else "exact"
    assert isinstance(figures[f"{whole}_stderr,none"], float)


def test_unanswerable_in_place_of_an_answer_is_none() -> None:
    from sentinel_research.evaluation.benchmark_results import squad_v2_items

    answerable, unanswerable = squad(has_unanswerable=True)[1], squad(has_unanswerable=True)[0]
    silent = squad_v2_items(unanswerable, [" Unanswerable.", (-0.5, False)])
    assert silent["NoAns_exact"].value == silent["exact"].value == 1.0
    assert silent["best_f1"].no_answer_probability == pytest.approx(math.exp(-0.5))
    assert "HasAns_exact" not in silent
    assert squad_v2_items(answerable, ["unanswerable", (-0.5, False)])["HasAns_f1"].value == 0.0
    assert squad_v2_items(answerable, [" 1 ", (-0.5, False)])["HasAns_exact"].value == 1.0


def test_similarity_is_the_mean_of_the_choices_by_probability() -> None:
    from sentinel_research.evaluation.benchmark_results import similarity_items

    half = math.log(0.5)
    answers = [(-1e9, False)] * 2 + [(half - 700, False), (half - 700, False)] + [(-1e9, False)] * 2
    item = similarity_items({"label": 4.2}, answers)["pearson"]
    assert item.given == pytest.approx(2.5)
    assert item.right == 4.2


def test_multirc_counts_yes_to_a_right_answer_as_a_hit() -> None:
    from sentinel_research.evaluation.benchmark_results import multirc_items

    doc = {"idx": {"paragraph": 3, "question": 7, "answer": 9}, "label": 1}
    yes = multirc_items(doc, [(-1.0, False), (-2.0, False)])
    assert yes["acc"] == 1.0
    assert yes["em"] == (3, 7, True, True)
    assert multirc_items({**doc, "label": 0}, [(-1.0, False), (-2.0, False)])["acc"] == 0.0


def test_standard_error_of_a_benchmark_metric_takes_the_place_of_lm_evals(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_options: object) -> float:
        raise AssertionError("lm-eval's bootstrap was started")

    monkeypatch.setattr("lm_eval.api.metrics.bootstrap_stderr", never)
    for name in ("sentinel_cola", "sentinel_mrpc", "sentinel_cb"):
        figures = _evaluate(name, bootstrap_iters=100_000)["results"][name]
        stderr = figures["mcc_stderr,none" if name == "sentinel_cola" else "f1_stderr,none"]
        assert stderr == "N/A" or stderr >= 0


def test_mmlu_is_weighted_by_size_and_has_its_four_groups() -> None:
    manager = find_tasks(["sentinel_mmlu"])
    assert manager.task_index["sentinel_mmlu"].cfg["task"] == [
        f"sentinel_mmlu_{group}" for group in mmlu.SUBJECTS
    ]
    for group, subjects in mmlu.SUBJECTS.items():
        entry = manager.task_index[f"sentinel_mmlu_{group}"]
        assert entry.cfg["aggregate_metric_list"] == [{"metric": "acc", "weight_by_size": True}]
        tagged = manager.task_index[f"sentinel_mmlu_{group}_subjects"].tags
        assert tagged == {f"sentinel_mmlu_{subject}" for subject in subjects}


def test_mmlu_files_are_those_of_the_table() -> None:
    found = {
        path.name: path.read_text()
        for path in (task_folder() / "mmlu").glob("*.yaml")
        if path.read_text().startswith("# written by")
    }
    # python -m sentinel_research.data.mmlu writes them
    assert found == mmlu.task_files()
    assert len(found) == 57


def test_mmlu_subject_runs_with_five_examples(benchmarks: Path) -> None:
    name = f"sentinel_mmlu_{next(iter(mmlu.SUBJECTS['stem']))}"
    results = _evaluate(name, num_fewshot=5, limit=2)
    assert results["n-shot"][name] == 5
    (sample, _) = results["samples"][name]
    assert sample["arguments"][0][0].count("Answer:") == 6


def test_training_split_is_not_read_without_examples_or_training(
    benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    load = loader._rows

    def spy(repository: str, subset: str, split: str, place: Path | None) -> Any:
        asked.append(split)
        return load(repository, subset, split, place)

    monkeypatch.setattr(loader, "_rows", spy)
    _evaluate("sentinel_sst2", limit=2)
    assert set(asked) == {"validation"}
    task, documents = training_documents("sentinel_sst2")
    assert len(documents) == NUM_ROWS
    assert asked[-1] == "train"
    assert text_of(task, documents[1]).target == " positive"


def test_examples_depend_on_the_document_and_the_seed_alone(benchmarks: Path) -> None:
    task = load_tasks(["sentinel_qnli"])["sentinel_qnli"]
    other = load_tasks(["sentinel_qnli"])["sentinel_qnli"]
    documents = list(task.eval_docs)
    in_order = [task.fewshot_context(doc, num_fewshot=3) for doc in documents]
    # a second process sees every other document, in another order
    backwards = [other.fewshot_context(doc, num_fewshot=3) for doc in documents[::-2]]
    assert backwards == in_order[::-2]
    assert len({context[:80] for context in in_order}) > 1
    other.set_fewshot_seed(7)
    assert [other.fewshot_context(doc, num_fewshot=3) for doc in documents] != in_order


@pytest.mark.parametrize("num_processes", [2, 3])
def test_prompts_are_the_same_whatever_the_number_of_processes(
    num_processes: int, benchmarks: Path
) -> None:
    """lm-eval gives every process its share of the documents of a task of its own."""

    def prompts(rank: int, world_size: int) -> dict[tuple[Any, int], Any]:
        task = load_tasks(["sentinel_wic"])["sentinel_wic"]
        task.set_config("num_fewshot", 3)
        task.build_all_requests(rank=rank, world_size=world_size)
        return {(one.doc_id, one.idx): one.args for one in task.instances}

    shares = [prompts(rank, num_processes) for rank in range(num_processes)]
    together = {key: value for share in shares for key, value in share.items()}
    assert sum(map(len, shares)) == len(together)
    assert together == prompts(0, 1)


def test_document_is_never_its_own_example(benchmarks: Path) -> None:
    # here the training split has the same rows
    task = load_tasks(["sentinel_sst2"])["sentinel_sst2"]
    for doc in task.eval_docs:
        shown = task.examples(doc, NUM_ROWS - 1)
        assert len(shown) == NUM_ROWS - 1
        assert doc not in shown
    with pytest.raises(UsageError, match=f"has only {NUM_ROWS - 1} examples"):
        task.examples(doc, NUM_ROWS)


def test_mnlis_splits_come_in_turn_with_their_provenance(benchmarks: Path) -> None:
    rows = loader.load_benchmark(
        "nyu-mll/glue", "mnli", {"both": ["validation_matched", "validation_mismatched"]}
    )["both"]
    assert len(rows) == NUM_ROWS + 9
    assert rows["source_split"][:3] == [
        *("validation_matched", "validation_mismatched", "validation_matched")
    ]
    assert rows["idx"][:4] == [0, 0, 1, 1]
    provenance = provenance_of(rows)
    assert provenance.split == "validation_matched+validation_mismatched"
    assert provenance.num_documents == len(rows)
    assert len(provenance.files) == 2


def test_correlation_of_equal_predictions_is_not_measured_with_its_reason(
    benchmarks: Path,
) -> None:
    from sentinel_research.evaluation import evaluate
    from sentinel_research.specs import EvalSpec

    model = tiny_model("gpt2", n_positions=256).eval()
    spec = EvalSpec(tasks=("sentinel_glue",), limit=1)
    report = evaluate(model, byte_tokenizer(), spec)
    measured = {f"{one.task}/{one.metric}" for one in report.measurements}
    assert "sentinel_stsb/pearson" not in measured
    assert "sentinel_glue/score" not in measured
    assert "sentinel_sst2/acc" in measured
    assert "all documents got the same prediction" in report.not_measured["sentinel_stsb/pearson"]
    assert "one of the group's tasks" in report.not_measured["sentinel_glue/score"]


def test_samples_of_every_task_are_strict_json(benchmarks: Path) -> None:
    results = _evaluate("sentinel_superglue", limit=2)
    for rows in results["samples"].values():
        json.dumps([{**row, "arguments": None} for row in rows], allow_nan=False)
