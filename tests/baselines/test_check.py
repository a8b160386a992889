"""What differs from what is kept: each cause has its own words, and none is taken for another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentinel_research.baselines import accept_record, check_record, read_run
from sentinel_research.baselines.measured import baselines_of, beside_defaults
from sentinel_research.errors import BaselineError, UsageError
from sentinel_research.record import Arm, Check, EvaluationReport, RunRecord
from sentinel_research.specs import Spec
from tests.baselines.conftest import LOADED, PLAN, TASK, make_record

Change = Callable[[RunRecord], object]


def evaluation(record: RunRecord, cell: str = "dense") -> EvaluationReport:
    found = record.cell(cell).evaluation
    assert found is not None
    return found


def move(record: RunRecord, by: float, metric: str = "token_perplexity") -> None:
    evaluation(record).measurement(TASK, metric).value += by


def kinds(record: RunRecord, folder: Path) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in check_record(record, folder).findings]


@pytest.fixture
def kept(record: RunRecord, tmp_path: Path) -> Path:
    accept_record(record, tmp_path, "first")
    return tmp_path


def test_same_run_has_no_difference(record: RunRecord, kept: Path) -> None:
    judged = check_record(record, kept)
    assert judged.findings == []
    assert judged.num_metrics == 4


def test_metric_within_its_tolerance_has_not_moved(record: RunRecord, kept: Path) -> None:
    move(record, 10.0 * 0.9e-5)
    assert kinds(record, kept) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_metric_beyond_its_tolerance_moved_either_way(
    record: RunRecord, kept: Path, sign: int
) -> None:
    move(record, sign * 10.0 * 1.1e-5)
    (found,) = check_record(record, kept).findings
    assert found.kind == "the metric moved"
    assert found.where == f"small@dense {TASK}/token_perplexity"
    assert f"{10.0}, now {evaluation(record).measurement(TASK, 'token_perplexity').value}" in str(
        found
    )
    assert ("worse" if sign > 0 else "better") in found.detail


def _load(**changes: Any) -> Change:
    return lambda record: setattr(record, "load", {**LOADED, **changes})


def _settings(key: str, value: Any) -> Change:
    return lambda record: record.recipe["evaluate"].update({key: value})


def _hashes(name: str) -> Change:
    return lambda record: [
        setattr(evaluation(record, cell.id), name, {TASK: "other"}) for cell in record.cells
    ]


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        ("the model changed", _load(weights_sha256={"model.safetensors": "dd" * 32}), "weights"),
        ("the model changed", _load(tokenizer_sha256={}), "tokenizer"),
        ("the model changed", _load(config_sha256="dd" * 32), "configuration"),
        ("the model changed", _load(dtype="bfloat16"), "bfloat16"),
        ("the data changed", _hashes("document_hashes"), "20 documents d0, now 20"),
        ("the task changed", _hashes("prompt_hashes"), "of the same documents"),
        ("the task changed", _settings("limit", 30), "limit 20, now 30"),
        ("the task changed", _settings("seed", 5), "seed 1234, now 5"),
        (
            "the task changed",
            lambda r: [setattr(evaluation(r, c.id), "max_length", 64) for c in r.cells],
            "window 128, now 64",
        ),
        (
            "the task changed",
            lambda r: [evaluation(r, c.id).lm_eval.update({"n-shot": {TASK: 5}}) for c in r.cells],
            "num_fewshot 0, now 5",
        ),
        (
            "the device differs",
            lambda r: r.environment.update(device="cuda:0", device_name="H200"),
            "cuda H200",
        ),
    ],
    ids=[
        *("weights", "tokenizer", "configuration", "dtype", "documents", "prompts", "limit"),
        *("seed", "window", "few-shot", "device"),
    ],
)
def test_cause_is_named_and_no_metric_is_judged_behind_it(
    record: RunRecord, kept: Path, kind: str, change: Change, word: str
) -> None:
    change(record)
    for cell in record.cells:
        evaluation(record, cell.id).measurement(TASK, "token_perplexity").value = 99.0
    found = check_record(record, kept).findings
    assert {one.kind for one in found} == {kind}
    assert len(found) == 2
    assert all(word in one.detail for one in found)


def test_other_documents_are_not_taken_for_another_task(record: RunRecord, kept: Path) -> None:
    for name in ("document_hashes", "prompt_hashes"):
        _hashes(name)(record)
    assert {kind for kind, _ in kinds(record, kept)} == {"the data changed"}


@pytest.mark.parametrize("is_changed", [False, True])
def test_metric_of_a_group_is_judged_where_none_of_its_tasks_changed(
    tmp_path: Path, is_changed: bool
) -> None:
    record = make_record()
    group = evaluation(record).measurements[1].model_copy(update={"task": "all"})
    evaluation(record).measurements.append(group)
    accept_record(record, tmp_path, "first")
    group.value = 0.7
    if is_changed:
        evaluation(record).prompt_hashes = {TASK: "other"}
    expected = ["the task changed"] if is_changed else ["the metric moved"]
    assert [kind for kind, _ in kinds(record, tmp_path)] == expected


def test_other_limit_is_not_taken_for_other_data(record: RunRecord, kept: Path) -> None:
    for change in (_hashes("document_hashes"), _hashes("prompt_hashes"), _settings("limit", 9)):
        change(record)
    assert {kind for kind, _ in kinds(record, kept)} == {"the task changed"}


def test_other_kept_units_are_another_model(record: RunRecord, kept: Path) -> None:
    record.cell("magnitude_l2-0.5").prune = {"plan": {**PLAN, "kept": [{"heads": [0, 1]}]}}
    (found,) = check_record(record, kept).findings
    assert (found.kind, found.where) == ("the model changed", "small@magnitude_l2-0.5")
    assert found.detail.startswith("plan")


def test_scores_of_a_plan_do_not_make_another_model(record: RunRecord, kept: Path) -> None:
    record.cell("magnitude_l2-0.5").prune = {"plan": {**PLAN, "scores": {"head": [[0.1]]}}}
    assert kinds(record, kept) == []


def test_other_recovery_is_another_model(record: RunRecord, kept: Path) -> None:
    cell = record.cell("magnitude_l2-0.5")
    cell.prune_spec = {**(cell.prune_spec or {}), "compensate": "bias"}
    assert kinds(record, kept) == [("the model changed", "small@magnitude_l2-0.5")]


def test_identity_of_a_pruned_and_recovered_model_is_that_of_kept_files(record: RunRecord) -> None:
    """Another way to hash it would call every kept baseline that of another model."""
    cell = record.cell("magnitude_l2-0.5")
    train = {"corpus": "synthetic", "num_steps": 4, "sequence_length": 16}
    cell.recover_spec = {"methods": {"full": {}}, "train": train}
    cell.arm = Arm(name="mamba", seed=0, learning_rate=0.1, is_chosen=True)
    _, pruned = baselines_of(record)
    found = pruned.identity
    assert found.plan == "e233265d68a747493515da54e08941d689bfb59f16a43e3d1cc38354a4660d64"
    assert found.changes == "28c92fea9849cfffd3bc310f3b3d875a250178fb4493817d55658739dd927bbf"


def test_section_that_is_wrong_is_named(record: RunRecord) -> None:
    record.recipe["baseline"]["speed"] = 3
    with pytest.raises(UsageError, match="baseline: unknown key `speed`"):
        baselines_of(record)


def test_setting_at_its_default_is_the_same_as_none(record: RunRecord, kept: Path) -> None:
    cell = record.cell("magnitude_l2-0.5")
    cell.prune_spec = {**(cell.prune_spec or {}), "compensate": "none"}
    assert kinds(record, kept) == []


def test_key_that_a_later_version_adds_is_not_another_request() -> None:
    class Earlier(Spec):
        fraction: float

    class Later(Spec):
        fraction: float
        order: str = "usual"

    asked = {"fraction": 0.5}
    assert beside_defaults(Later, asked) == beside_defaults(Earlier, asked) == asked


def test_missing_metric_fails(record: RunRecord, kept: Path) -> None:
    evaluation(record).measurements.pop()
    assert kinds(record, kept) == [("missing", f"small@dense {TASK}/acc")]


def test_extra_metric_fails(kept: Path, record: RunRecord) -> None:
    one = evaluation(record).measurements[0].model_copy(update={"metric": "new"})
    evaluation(record).measurements.append(one)
    assert kinds(record, kept) == [("extra", f"small@dense {TASK}/new")]


def test_missing_and_extra_variant_fail(record: RunRecord, kept: Path) -> None:
    record.cells[1] = record.cells[1].model_copy(update={"id": "other"})
    assert [str(one) for one in check_record(record, kept).findings] == [
        "small@magnitude_l2-0.5: missing: it was not measured",
        "small@other: extra: there is no baseline of it",
    ]


def test_missing_and_extra_task_fail(record: RunRecord, kept: Path) -> None:
    own = evaluation(record)
    other = make_record()
    for name in ("task_hashes", "document_hashes", "prompt_hashes", "num_documents"):
        setattr(own, name, {"other": getattr(evaluation(other), name)[TASK]})
    own.measurements = []
    assert [str(one) for one in check_record(record, kept).findings] == [
        f"small@dense {TASK}: missing: it was not measured",
        "small@dense other: extra: no baseline was measured on it",
        f"small@dense {TASK}/token_perplexity: missing: 10.0 is kept, and now none",
        f"small@dense {TASK}/acc: missing: 0.5 is kept, and now none",
    ]


def test_other_version_of_the_task_is_another_task(record: RunRecord, kept: Path) -> None:
    evaluation(record).lm_eval["versions"] = {TASK: 2.0}
    (found,) = check_record(record, kept).findings
    assert (found.kind, found.detail) == ("the task changed", "version 1.0, now 2.0")


def test_arm_of_a_comparison_is_part_of_what_a_model_is(record: RunRecord, kept: Path) -> None:
    record.cells[0].arm = Arm(name="mamba", seed=0, learning_rate=0.1)
    assert kinds(record, kept) == [("the model changed", "small@dense")]
    accept_record(record, kept, "it is of a comparison now")
    # whether a rate was chosen changes no model
    record.cells[0].arm.is_chosen = True
    assert kinds(record, kept) == []


def test_package_that_came_or_went_is_said(record: RunRecord, kept: Path) -> None:
    record.environment["packages"] = {"scipy": "1.17"}
    move(record, 1.0)
    detail = check_record(record, kept).findings[0].detail
    assert "scipy absent, now 1.17; torch 2.13, now absent" in detail


def test_run_can_be_judged_as_another_model(record: RunRecord, tmp_path: Path) -> None:
    record.write(tmp_path)
    for path in (tmp_path, tmp_path / "record.json"):
        named = read_run(path, suite="s", model="m").recipe["baseline"]
        assert (named["suite"], named["model"]) == ("s", "m")
    own = read_run(tmp_path, model="m").recipe["baseline"]
    assert (own["suite"], own["model"]) == ("mine", "m")
    record.recipe["baseline"] = None
    record.write(tmp_path)
    assert read_run(tmp_path).recipe["baseline"] is None
    for half, lacking in (({"suite": "s"}, "--model"), ({"model": "m"}, "--suite")):
        with pytest.raises(UsageError, match=f"{lacking} is missing"):
            read_run(tmp_path, **half)


def test_versions_are_said_where_a_metric_moved_and_only_there(
    record: RunRecord, kept: Path
) -> None:
    record.environment["packages"]["torch"] = "2.14"
    assert kinds(record, kept) == []
    move(record, 1.0)
    assert "torch 2.13, now 2.14" in str(check_record(record, kept).findings[0])


def tolerant(**tolerances: dict[str, Any]) -> RunRecord:
    record = make_record()
    record.recipe["baseline"]["tolerances"] = tolerances
    return record


def test_exact_tolerance_passes_no_bit(tmp_path: Path) -> None:
    record = tolerant(token_perplexity={"kind": "exact"})
    accept_record(record, tmp_path, "first")
    assert kinds(record, tmp_path) == []
    move(record, 2e-15)
    assert [kind for kind, _ in kinds(record, tmp_path)] == ["the metric moved"]


@pytest.mark.parametrize(("by", "num"), [(2.32, 0), (2.34, 1)])
def test_statistical_tolerance_is_of_both_errors(tmp_path: Path, by: float, num: int) -> None:
    # 3.2905 is the two-sided normal quantile of 0.001, and both errors are 0.5: 2.327
    record = tolerant(token_perplexity={"kind": "statistical"})
    accept_record(record, tmp_path, "first")
    move(record, by)
    assert len(kinds(record, tmp_path)) == num


def test_tolerance_of_one_task_goes_before_that_of_its_metric(tmp_path: Path) -> None:
    record = tolerant(
        **{
            "token_perplexity": {"kind": "exact"},
            f"{TASK}/token_perplexity": {"kind": "relative", "fraction": 0.5},
        }
    )
    accept_record(record, tmp_path, "first")
    move(record, 4.0)
    assert kinds(record, tmp_path) == []


def test_metrics_on_a_gpu_are_judged_by_their_errors_by_default(tmp_path: Path) -> None:
    record = make_record(
        environment={"device": "cuda:0", "device_name": "H200", "packages": {"torch": "2.13"}}
    )
    accept_record(record, tmp_path, "first")
    move(record, 2.0)
    assert kinds(record, tmp_path) == []
    # without an error there is nothing to judge by but a share
    move(record, 0.01, "acc")
    assert [where for _, where in kinds(record, tmp_path)] == [f"small@dense {TASK}/acc"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: setattr(r, "status", "failed"), "is failed, not done"),
        (lambda r: r.checks.append(Check(name="leak", passed=False, detail="z")), "leak: z"),
        (lambda r: r.recipe.update(baseline=None), "names no baseline"),
        (lambda r: r.load.pop("config_sha256"), "before records kept what identifies"),
        (lambda r: evaluation(r).document_hashes.clear(), "before records kept hashes"),
        (
            lambda r: r.recipe["baseline"].update(tolerances={"bleu": {"kind": "exact"}}),
            "'bleu', which was not measured",
        ),
        (
            lambda r: r.recipe["baseline"].update(tolerances={"acc": {"kind": "statistical"}}),
            "has no standard error",
        ),
    ],
    ids=["failed", "check", "no section", "old model", "old hashes", "unknown", "no error"],
)
def test_run_that_cannot_be_judged_is_refused(
    record: RunRecord, tmp_path: Path, change: Change, message: str
) -> None:
    change(record)
    with pytest.raises(UsageError, match=message):
        check_record(record, tmp_path)


def test_model_of_which_nothing_is_kept_names_the_command(
    record: RunRecord, tmp_path: Path
) -> None:
    with pytest.raises(BaselineError, match="nothing is kept of mine/small") as caught:
        check_record(record, tmp_path)
    assert "sentinel baseline accept" in str(caught.value)


def test_trained_model_is_known_by_its_request_and_text(tmp_path: Path) -> None:
    train = {"corpus": "synthetic", "num_steps": 4, "sequence_length": 16}
    texts = [{"task": "training", "source": "made", "repo_id": None, "text_sha256": "ee" * 32}]

    def trained(steps: int, text: str) -> RunRecord:
        record = make_record(load={**LOADED, "weights_sha256": {"m": text}})
        record.recipe.update(model={"architecture": "gpt2"}, train={**train, "num_steps": steps})
        record.datasets = [{**texts[0], "text_sha256": text}]
        return record

    accept_record(trained(4, "ee"), tmp_path, "first")
    elsewhere = trained(4, "ee")
    elsewhere.recipe["model"]["device"] = "cuda:1"
    assert kinds(elsewhere, tmp_path) == []
    for other, word in ((trained(5, "ee"), "request"), (trained(4, "ff"), "training text")):
        found = check_record(other, tmp_path).findings
        assert {one.kind for one in found} == {"the model changed"}
        assert word in found[0].detail
