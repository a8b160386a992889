"""Texts that are written while training: fixed, stored by step, and without effect on training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentinel_research.data.byte_level import byte_tokenizer
from sentinel_research.errors import UsageError
from sentinel_research.specs import SampleSpec
from sentinel_research.training import train
from sentinel_research.training.samples import continuation
from sentinel_research.training.watch import Watch
from tests.training.conftest import DROPOUT, make_model, make_spec, same, weights

SAMPLES: dict[str, Any] = {"prompts": ["ab", ""], "every": 4, "max_new_tokens": 5}


def _steps(report: dict[str, Any]) -> list[int]:
    return [one["step"] for one in report["samples"]]


def test_samples_are_stored_before_training_at_every_interval_and_at_the_end(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    spec = make_spec(samples=SAMPLES)
    _, report = train(make_model(), spec, blocks, tmp_path, tokenizer=byte_tokenizer())
    assert _steps(report) == [0, 0, 4, 4, 8, 8, 10, 10]
    assert [one["prompt"] for one in report["samples"]] == ["ab", ""] * 4
    assert spec.samples is not None
    # bytes that are no text can be decoded to fewer characters, never to more
    assert all(isinstance(one["text"], str) for one in report["samples"])
    first = train(make_model(), spec, blocks, tmp_path / "again", tokenizer=byte_tokenizer())[1]
    assert report["samples"] == first["samples"]
    assert report["samples"][0]["text"] != report["samples"][-2]["text"]


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}], ids=["fp32", "bf16"])
def test_training_with_samples_has_the_bits_of_training_without(
    changes: dict[str, Any], blocks: np.ndarray, tmp_path: Path
) -> None:
    plain, expected = train(make_model(**DROPOUT), make_spec(**changes), blocks, tmp_path / "a")
    spec = make_spec(samples={**SAMPLES, "every": 1}, **changes)
    sampled, report = train(
        make_model(**DROPOUT), spec, blocks, tmp_path / "b", tokenizer=byte_tokenizer()
    )
    assert same(weights(plain), weights(sampled))
    assert report["losses"] == expected["losses"]
    assert expected["samples"] == []


def test_resumed_training_repeats_no_sample_and_loses_none(
    blocks: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, given = make_spec(samples={**SAMPLES, "every": 2}), {"tokenizer": byte_tokenizer()}
    _, whole = train(make_model(), spec, blocks, tmp_path / "whole", **given)
    original = Watch.on_step_end

    def fails(self: Watch, args: Any, state: Any, control: Any, **about: Any) -> None:
        original(self, args, state, control, **about)
        if state.global_step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_step_end", fails)
        with pytest.raises(KeyboardInterrupt):
            train(make_model(), spec, blocks, tmp_path / "cut", **given)
    _, resumed = train(make_model(seed=5), spec, blocks, tmp_path / "cut", **given)
    assert resumed["resumed"]
    assert resumed["samples"] == whole["samples"]
    assert _steps(whole) == [step for step in (0, 2, 4, 6, 8, 10) for _ in range(2)]


def test_last_sample_is_of_the_weights_that_training_ends_with(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    # bytes that training never shows: the less of them is expected, the worse
    validation = 230 + blocks[:4] % 16
    spec = make_spec(
        validate_every=1, keep="best", learning_rate=0.05, samples={**SAMPLES, "every": 50}
    )
    _, report = train(
        make_model(), spec, blocks, tmp_path, validation=validation, tokenizer=byte_tokenizer()
    )
    assert _steps(report) == [0, 0, report["kept_step"], report["kept_step"]]
    assert report["kept_step"] < 10


def test_temperature_zero_takes_the_likeliest_token_and_top_k_leaves_out_the_others() -> None:
    model = make_model().eval()
    prompt = torch.tensor([7, 8, 9])
    with torch.no_grad():
        logits = model(input_ids=prompt[None]).logits[0, -1]
    greedy = SampleSpec(prompts=("x",), every=1, max_new_tokens=1, temperature=0)
    assert int(continuation(model, prompt, greedy, 0)) == int(logits.argmax())
    few = greedy.model_copy(update={"temperature": 100.0, "top_k": 3})
    drawn = {int(continuation(model, prompt, few, seed)) for seed in range(30)}
    assert drawn == set(logits.topk(3).indices.tolist())


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({**SAMPLES, "prompts": ["a" * 40]}, "has 41 tokens.*the model's context of 16"),
        ({**SAMPLES, "max_new_tokens": 16}, "more than the model's context of 16"),
    ],
    ids=["prompt", "continuation"],
)
def test_samples_longer_than_the_context_are_refused_before_training(
    samples: dict[str, Any], message: str, blocks: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(
            make_model(), make_spec(samples=samples), blocks, tmp_path, tokenizer=byte_tokenizer()
        )
    assert not list(tmp_path.iterdir())


def test_samples_without_a_tokenizer_are_refused(blocks: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tokenizer was given"):
        train(make_model(), make_spec(samples=SAMPLES), blocks, tmp_path)
