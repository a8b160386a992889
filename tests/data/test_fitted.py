"""Plain lm-eval refuses to evaluate documents that the pruning was calibrated on."""

from pathlib import Path

import lm_eval
import pytest
from lm_eval.api.instance import Instance

from sentinel_research.data.corpora import load_corpus
from sentinel_research.data.tasks import find_tasks
from sentinel_research.errors import DataError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.models import save
from sentinel_research.models.tiny import byte_tokenizer, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> str:
    save(tiny_model("gpt2"), byte_tokenizer(), tmp_path / "model")
    return str(tmp_path / "model")


def _calibrated(folder: str, **calibration: object) -> SentinelLM:
    options = {"prune": "gate_gradient", "prune_fraction": 0.5, "calibration_sequences": 3}
    return SentinelLM(folder, device="cpu", quiet=True, **options, **calibration)


def _evaluate(model: SentinelLM, task: str) -> dict[str, object]:
    found = lm_eval.simple_evaluate(
        model, tasks=[task], task_manager=find_tasks([task]), bootstrap_iters=0
    )
    return found["results"][task]


@pytest.mark.parametrize("task", ["choice", "generate", "whole", "last_word"])
def test_task_with_a_calibrated_document_is_refused(
    folder: str, small_tasks: Path, task: str
) -> None:
    # its training documents are the test documents of all four
    model = _calibrated(folder, calibration_task="choice_leaky", calibration_length=60)
    with pytest.raises(DataError, match=rf"'{task}' evaluates a document .* calibrated") as caught:
        _evaluate(model, task)
    assert "calibration_seed" in caught.value.hint


@pytest.mark.parametrize("task", ["choice", "whole", "last_word"])
def test_task_with_other_documents_is_evaluated(folder: str, small_tasks: Path, task: str) -> None:
    model = _calibrated(folder, calibration_task="choice", calibration_length=60)
    assert _evaluate(model, task)


@pytest.mark.parametrize("split", ["train", "test"])
def test_text_of_the_calibration_corpus_is_refused(folder: str, split: str) -> None:
    model = _calibrated(folder, calibration="synthetic", calibration_length=9)
    text = load_corpus("synthetic", split)["text"][5]
    request = Instance("loglikelihood_rolling", {"text": text}, (text,), 0, ("mine", 0, 1))
    if split == "train":
        with pytest.raises(DataError, match="'mine' evaluates a document"):
            model.loglikelihood_rolling([request], disable_tqdm=True)
    else:
        assert model.loglikelihood_rolling([request], disable_tqdm=True)
