"""The shipped laws: our adapter obeys all, and each is broken by an adapter with its fault."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.models.tiny import tiny_model
from sentinel_research.testing import adapter_laws as laws

LAWS = {name: law for name, law in vars(laws).items() if name.startswith("test_")}


def ours(model: Any, **options: Any) -> SentinelLM:
    return SentinelLM(model, quiet=True, **options)


def stock(model: Any, **options: Any) -> HFLM:
    return HFLM(model, **options)


def _judge(law: Callable[..., None], make: Callable[..., Any], **more: Any) -> None:
    law(make_adapter=make, judged_model=tiny_model("gpt2"), **more)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("log_likelihoods_are_those_of_the_plain_model", {}),
        ("batches_change_no_score", {"batch_size": 8}),
        ("padding_changes_no_score", {}),
        ("tokens_that_come_later_change_no_score", {}),
        ("continuation_that_begins_another_is_scored_at_its_own_place", {}),
        ("whole_texts_are_scored_in_windows_made_by_hand", {"text": laws.TEXT}),
        ("written_text_is_the_one_that_the_prompt_gets_alone", {}),
    ],
)
def test_our_adapter_obeys(name: str, more: dict[str, Any]) -> None:
    _judge(LAWS[f"test_{name}"], ours, **more)


def test_our_adapter_keeps_answers_by_model_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _judge(laws.test_kept_answers_are_those_of_the_same_model, ours, tmp_path=tmp_path)
    _judge(laws.test_nothing_is_fetched, ours, monkeypatch=monkeypatch)


def test_stock_gives_one_model_the_answers_of_another(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        _judge(laws.test_kept_answers_are_those_of_the_same_model, stock, tmp_path=tmp_path)


def test_stock_scores_a_continuation_that_begins_another_at_the_wrong_place() -> None:
    with pytest.raises(AssertionError):
        _judge(laws.test_continuation_that_begins_another_is_scored_at_its_own_place, stock)


class _Leaking(HFLM):
    """Knows what comes next."""

    def _model_call(self, inps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps)
        ahead = torch.nn.functional.one_hot(inps.roll(-1, 1), logits.shape[-1])
        return logits + ahead * inps.roll(-2, 1)[..., None] / 100


class _Padded(HFLM):
    """Lets the length of a batch change its scores."""

    def _model_call(self, inps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps)
        return logits * (1 + inps.shape[1] / 100)


class _Crowded(HFLM):
    """Lets the size of a batch change its scores."""

    def _model_call(self, inps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps)
        return logits * (1 + inps.shape[0] / 100)


class _Strided(HFLM):
    """Counts the first token of a text twice."""

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        found = super().loglikelihood_rolling(requests, disable_tqdm)
        return [value * 1.01 for value in found]


class _Talkative(HFLM):
    """Writes one token more than was asked for."""

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        return [text + "!" for text in super().generate_until(requests, disable_tqdm)]


class _Calling(HFLM):
    """Reports home."""

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        with socket.socket() as home:
            home.connect(("127.0.0.1", 9))
        return super().loglikelihood(requests, disable_tqdm)


@pytest.mark.parametrize(
    ("name", "faulty", "more"),
    [
        ("log_likelihoods_are_those_of_the_plain_model", _Padded, {}),
        ("batches_change_no_score", _Crowded, {"batch_size": 3}),
        ("padding_changes_no_score", _Padded, {}),
        ("tokens_that_come_later_change_no_score", _Leaking, {}),
        ("whole_texts_are_scored_in_windows_made_by_hand", _Strided, {"text": laws.TEXT}),
        ("written_text_is_the_one_that_the_prompt_gets_alone", _Talkative, {}),
    ],
)
def test_law_is_broken_by(name: str, faulty: Any, more: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        _judge(
            LAWS[f"test_{name}"], lambda model, **o: faulty(model, logits_cache=False, **o), **more
        )


def test_law_of_connections_is_broken_by_an_adapter_that_opens_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AssertionError, match="opened a connection"):
        _judge(laws.test_nothing_is_fetched, _Calling, monkeypatch=monkeypatch)


def test_adapter_that_keeps_no_answers_is_passed_over(tmp_path: Path) -> None:
    class Refusing(HFLM):
        def set_cache_hook(self, cache_hook: Any) -> None:
            if cache_hook.dbdict is not None:
                raise ValueError("nothing is kept here")
            super().set_cache_hook(cache_hook)

    with pytest.raises(pytest.skip.Exception, match="nothing is kept here"):
        _judge(laws.test_kept_answers_are_those_of_the_same_model, Refusing, tmp_path=tmp_path)


def _pytest(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs"]
    return subprocess.run(
        [*program, *words], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )


# three interpreters load the libraries
@pytest.mark.slow
def test_command_judges_an_adapter_by_its_name_also_in_two_processes() -> None:
    law = "sentinel_research.testing.adapter_laws::test_two_processes_give_the_scores_of_one"
    name = "sentinel_research.evaluation.adapter:SentinelLM"
    done = _pytest(law, "--adapter", name)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_command_without_an_adapter_says_how_to_name_one() -> None:
    done = _pytest("sentinel_research.testing.adapter_laws::test_nothing_is_fetched")
    assert done.returncode == 1
    assert "there is no adapter to judge: name a function by --adapter" in done.stdout
