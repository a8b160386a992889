"""Documents, tasks and lengths that a benchmark cannot take: refused, replaced, cut or split."""

import logging
from pathlib import Path
from typing import Any

import lm_eval
import pytest

from sentinel_research.data.task_documents import load_tasks
from sentinel_research.data.tasks import find_tasks
from sentinel_research.errors import DataError, UsageError
from sentinel_research.models.tiny import byte_tokenizer, tiny_model
from tests.contract.conftest import classified
from tests.mirrors import use, write_repository


def _damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    write_repository(tmp_path / "hub", "nyu-mll/glue", {"sst2": {"validation": rows}})
    use(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence": " "}, "an empty 'sentence'"),
        ({"sentence": None}, "an empty 'sentence'"),
        ({"label": -1}, "the label -1, which is none of its 2 choices"),
        ({"label": 2}, "the label 2, which is none of its 2 choices"),
    ],
    ids=["blank", "missing", "hidden label", "unknown label"],
)
def test_document_that_cannot_be_scored_is_refused_before_anything_is_computed(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = classified("sentence")
    rows[3] |= change
    _damaged(tmp_path, monkeypatch, rows)
    with pytest.raises(DataError, match=message) as caught:
        load_tasks(["sentinel_sst2"])["sentinel_sst2"].build_all_requests()
    assert "sentinel_sst2" in caught.value.message
    assert "nyu-mll/glue" in caught.value.hint


def test_empty_choice_is_refused(benchmarks: Path) -> None:
    task = load_tasks(["sentinel_copa"])["sentinel_copa"]
    doc = {**task.eval_docs[0], "choice2": " "}
    task.set_config("doc_to_choice", ["one", " "])
    with pytest.raises(DataError, match=r"an empty choice \(number 1\)"):
        task.construct_requests({**doc, "choice2": "text"}, "")


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"cola": {"validation": classified("sentence")}}, "config 'sst2' is missing.*cola"),
        ({"sst2": {"train": classified("sentence")}}, "split 'validation'.*missing.*train"),
    ],
    ids=["config", "split"],
)
def test_missing_part_names_what_the_mirror_has(
    configs: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(tmp_path / "hub", "nyu-mll/glue", configs)
    use(tmp_path, monkeypatch)
    with pytest.raises(DataError, match=message):
        load_tasks(["sentinel_sst2"])


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("record", "sentinel_record"),
        ("squadv2", "sentinel_squad_v2"),
        ("super-glue-lm-eval-v1", "sentinel_superglue"),
        ("pile_arxiv", "sentinel_pile"),
    ],
)
def test_broken_task_of_lm_eval_gets_ours_named(name: str, replacement: str) -> None:
    with pytest.raises(UsageError, match=f"Name {replacement} in its place") as caught:
        find_tasks([name])
    assert f"lm-eval's task '{name}'" in caught.value.message


def test_prompts_longer_than_the_model_are_counted_once(
    benchmarks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentinel_research.evaluation.adapter import SentinelLM

    model = SentinelLM(tiny_model("gpt2", n_positions=64).eval(), tokenizer=byte_tokenizer())
    for name in ("sentinel_rte", "sentinel_squad"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            lm_eval.simple_evaluate(
                model=model, tasks=[name], task_manager=find_tasks([name]), limit=3
            )
        said = [record.getMessage() for record in caplog.records]
        (message,) = [one for one in said if "longer than" in one]
        # lm-eval would say it of every prompt
        assert not [one for one in said if "runcat" in one]
        asked, room = (6, 64) if name == "sentinel_rte" else (3, 32)
        assert message.startswith(f"{asked} of {asked} requests are longer than the {room} tokens")


def _small(max_length: int = 64) -> Any:
    from sentinel_research.evaluation.adapter import SentinelLM

    model = tiny_model("gpt2", n_positions=max_length).double().eval()
    return SentinelLM(model, tokenizer=byte_tokenizer(), batch_size=3)


def _asked(answer: str) -> Any:
    from lm_eval.api.instance import Instance

    return Instance("loglikelihood", {}, ("Question", answer), 0)


def test_answer_without_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="the answer '' has no token"):
        _small().loglikelihood([_asked("")])


def test_answer_longer_than_the_model_is_scored_in_pieces(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    model = _small()
    answers = [" short", " " + "a longer answer " * 10, " other"]
    with caplog.at_level(logging.WARNING, logger="sentinel_research"):
        found = model.loglikelihood([_asked(answer) for answer in answers])
    assert "1 of 3 answers are longer than the 64 tokens" in caplog.text
    tokens = model.tok_encode("Question" + answers[1])
    start = len(model.tok_encode("Question"))
    expected = 0.0
    for piece in range(start, len(tokens), 32):
        end = min(piece + 32, len(tokens))
        window = torch.tensor([tokens[max(0, end - 65) : end]])
        with torch.no_grad():
            log_probs = model.model(window[:, :-1]).logits[0].log_softmax(-1)
        scored = log_probs.gather(1, window[0, 1:, None])[-(end - piece) :]
        expected += float(scored.sum())
    # float64 throughout; sums in another order
    assert found[1][0] == pytest.approx(expected, rel=1e-9)
    alone = [model.loglikelihood([_asked(answer)])[0] for answer in answers]
    assert [value for value, _ in found] == pytest.approx([v for v, _ in alone], rel=1e-9)


def test_model_without_an_end_token_generates_answers(benchmarks: Path) -> None:
    from sentinel_research.evaluation.adapter import SentinelLM

    tokenizer = byte_tokenizer()
    model = tiny_model("gpt2", n_positions=64).eval()
    adapter = SentinelLM(model, tokenizer=tokenizer, batch_size=4, prefix_token_id=0)
    tokenizer.eos_token = None
    assert adapter.eot_token_id is None
    results = lm_eval.simple_evaluate(
        model=adapter,
        tasks=["sentinel_squad"],
        task_manager=find_tasks(["sentinel_squad"]),
        limit=2,
    )
    assert results is not None
    assert [len(row["resps"]) for row in results["samples"]["sentinel_squad"]] == [1, 1]
