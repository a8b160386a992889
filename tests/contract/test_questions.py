"""What models share when they are asked the same changes none of their answers."""

from pathlib import Path
from typing import Any

import pytest

from sentinel_research.evaluation import evaluate, harness, read_samples
from sentinel_research.evaluation.questions import Encodings, Questions
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from sentinel_research.specs import EvalSpec

SPECS = {
    "texts": EvalSpec(tasks=["sentinel_synthetic"], limit=3, max_length=32, prefix_token_id=10),
}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the adapter turns into windows."""
    from sentinel_research.evaluation.adapter import SentinelLM

    real, found = SentinelLM._all_windows, []

    def counted(lm: Any, requests: Any) -> Any:
        found.append(len(requests))
        return real(lm, requests)

    monkeypatch.setattr(SentinelLM, "_all_windows", counted)
    return found


def _measured(
    model: Any, tokenizer: Any, spec: EvalSpec, folder: Path, questions: Questions | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    report = evaluate(model, tokenizer, spec, samples_folder=folder, questions=questions)
    numbers = report.model_dump(exclude={"seconds", "lm_eval"})
    return numbers, [row for name in report.samples.values() for row in read_samples(folder / name)]


def test_second_model_answers_as_if_nobody_had_been_asked_before(
    tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    real = harness._load_tasks
    monkeypatch.setattr(harness, "_load_tasks", lambda spec: loads.append(spec) or real(spec))
    tokenizer, questions = byte_tokenizer(), Questions()
    models = [tiny_model("gpt2", seed=1), tiny_model("gpt2", seed=2), tiny_model("llama")]
    spec = SPECS["texts"]
    shared = [
        _measured(model, tokenizer, spec, tmp_path / f"shared{place}", questions)
        for place, model in enumerate(models)
    ]
    assert (len(loads), encoded) == (1, [3])
    alone = [
        _measured(model, tokenizer, spec, tmp_path / f"alone{place}", None)
        for place, model in enumerate(models)
    ]
    assert shared == alone
    assert len({numbers["measurements"][0]["value"] for numbers, _ in shared}) == 3


def test_other_limit_or_window_is_asked_anew(tmp_path: Path, encoded: list[int]) -> None:
    tokenizer, questions, model = byte_tokenizer(), Questions(), tiny_model("gpt2")
    first = SPECS["texts"]
    others = [first.model_copy(update=one) for one in ({"limit": 2}, {"max_length": 16})]
    for place, spec in enumerate([first, *others]):
        shared = _measured(model, tokenizer, spec, tmp_path / f"s{place}", questions)
        assert shared == _measured(model, tokenizer, spec, tmp_path / f"a{place}", None)
    assert encoded == [3, 3, 2, 2, 3, 3]


def test_what_was_made_from_one_object_is_not_taken_for_another() -> None:
    encodings = Encodings()
    one, other = [1, 2], [1, 2]
    assert encodings.once("sum", one, lambda: 3) == 3
    assert encodings.once("sum", other, lambda: 4) == 4
    assert encodings.once("sum", one, lambda: 5) == 3
    assert encodings.once("product", one, lambda: 2) == 2
    assert encodings.equal("texts", ("a", "b")) is encodings.equal("texts", ("a", "b"))
    assert encodings.equal("texts", ("a",)) is not encodings.equal("texts", ("b",))
