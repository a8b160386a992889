"""The speed of writing: what is timed, and in which order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sentinel_research.data.byte_level import NUM_BYTES
from sentinel_research.evaluation import generation_speed
from sentinel_research.evaluation.generation_speed import measure_speed, write_in_turns
from sentinel_research.models.tiny import tiny_model
from sentinel_research.specs import GenerationSpec


def _spec(**changes: Any) -> GenerationSpec:
    given = {"corpus": "synthetic", "num_prompts": 5, "prompt_tokens": 8, "max_new_tokens": 12}
    return GenerationSpec(**{**given, **changes})


PROMPT = np.random.default_rng(0).integers(0, NUM_BYTES, 8)


class _FakeClock:
    """Time that passes only when a model reads."""

    def __init__(self, model: Any, prefill: float, step: float) -> None:
        self.now = 0.0
        self._seconds = {True: prefill, False: step}
        model.register_forward_pre_hook(self._read, with_kwargs=True)

    def _read(self, _module: Any, args: Any, kwargs: Any) -> None:
        self.now += self._seconds[kwargs["input_ids"].shape[1] > 1]

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 2 * self.now


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], Any]:
    def time(prefill: float, step: float) -> Any:
        model = tiny_model("gpt2")
        monkeypatch.setattr(generation_speed, "time", _FakeClock(model, prefill, step))
        return measure_speed(model, PROMPT, _spec(num_timings=3))

    return time


def test_latency_is_the_prompts_and_speed_that_of_the_tokens_after_it(timed: Any) -> None:
    for prefill, step in ((7.0, 0.5), (70.0, 0.5), (7.0, 0.25)):
        found = timed(prefill, step)
        assert found.first_token_seconds == (prefill, prefill, prefill, 2 * prefill)
        assert found.decode_seconds_per_token == (step, step, step, 2 * step)
        assert found.decode_tokens_per_second == 1 / step
    assert (found.prompt_length, found.num_decoded, found.num_timings) == (8, 11, 3)
    assert (found.num_threads, found.dtype, found.device) == (1, "float32", "cpu")


def test_medians_and_quartiles_are_of_the_repeats_without_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, spec = tiny_model("gpt2"), _spec(num_timings=5, max_new_tokens=2)
    clock = _FakeClock(model, 0, 0)
    # seconds of the prefill: the first repeat is the one that warms up
    prefills = iter([0, 4, 1, 3, 2, 5])

    def read(_module: Any, args: Any, kwargs: Any) -> None:
        clock.now += next(prefills) if kwargs["input_ids"].shape[1] > 1 else 1

    model.register_forward_pre_hook(read, with_kwargs=True)
    monkeypatch.setattr(generation_speed, "time", clock)
    found = measure_speed(model, PROMPT, spec)
    assert found.first_token_seconds == (3, 2, 4, 6)


def test_models_take_turns_and_another_one_begins_in_every_round() -> None:
    models, order = {name: tiny_model("gpt2") for name in ("a", "b", "c")}, []

    def noted(name: str) -> Callable[..., None]:
        def note(_module: Any, args: Any, kwargs: Any) -> None:
            if kwargs["input_ids"].shape[1] > 1:
                order.append(name)

        return note

    for name, model in models.items():
        model.register_forward_pre_hook(noted(name), with_kwargs=True)
    times = write_in_turns(models, PROMPT, _spec(num_timings=3, max_new_tokens=2))
    # the first round warms up
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(own) for name, own in times.items()} == {"a": 3, "b": 3, "c": 3}
