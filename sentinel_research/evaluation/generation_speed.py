"""How long a model takes to write: the first token, and all others, one text at a time.

The first token needs a pass over the whole prompt (prefill), every other one a pass over one token
with what the model keeps of the past (decoding): two numbers that say different things, and are
never averaged. Both are timed inside transformers' `generate` as a user calls it, when each token
is there.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from sentinel_research.evaluation.continuations import generate
from sentinel_research.specs import GenerationSpec


class Timing(NamedTuple):
    """What several repeats took."""

    median: float
    """Wall time per repeat in the middle of all."""
    lower_quartile: float
    upper_quartile: float
    cpu_median: float
    """The same of the time that all threads of this process were on a processor."""


class GenerationSpeed(NamedTuple):
    """Writing one text of a fixed length, likeliest token by likeliest token."""

    first_token_seconds: Timing
    """From the call to the first token: reading the prompt, and what `generate` prepares."""
    decode_seconds_per_token: Timing
    """From the first token to the last one, by token."""
    prompt_length: int
    """Tokens read for the first one."""
    num_decoded: int
    """Tokens after the first one."""
    num_timings: int
    num_threads: int
    dtype: str
    device: str

    @property
    def decode_tokens_per_second(self) -> float:
        """Tokens after the first one, per second of wall time."""
        return 1 / self.decode_seconds_per_token.median


def measure_speed(
    model: PreTrainedModel, prompt: Int64[np.ndarray, " prompt_length"], spec: GenerationSpec
) -> GenerationSpeed:
    """Time the continuation of one prompt several times, after one that warms up.

    Args:
        model: A causal LM that can `generate`, on its device.
        prompt: Token ids.
        spec: Length of the continuation, which no end token cuts short, and number of repeats.
    """
    (times,) = write_in_turns({"": model}, prompt, spec).values()
    num_decoded = spec.max_new_tokens - 1
    return GenerationSpeed(
        first_token_seconds=_timing([one.first_token for one in times]),
        decode_seconds_per_token=_timing([one.decoding for one in times], num_decoded),
        prompt_length=len(prompt),
        num_decoded=num_decoded,
        num_timings=spec.num_timings,
        num_threads=torch.get_num_threads(),
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
    )


class WritingTime(NamedTuple):
    """One continuation, in seconds of wall time and of processor time."""

    first_token: tuple[float, float]
    """From the call to the first token."""
    decoding: tuple[float, float]
    """From the first token to the last."""


def write_in_turns(
    models: Mapping[str, PreTrainedModel],
    prompt: Int64[np.ndarray, " prompt_length"],
    spec: GenerationSpec,
) -> dict[str, list[WritingTime]]:
    """Time the continuation of one prompt by several models, all in every round.

    In each round another model begins, so that a machine that slows down slows all of them.

    Args:
        models: Causal LMs that can `generate`, by name.
        prompt: Token ids.
        spec: Length of the continuation, and number of rounds after one that warms up.

    Returns:
        By name, one entry a round.
    """
    names = list(models)
    found: dict[str, list[WritingTime]] = {name: [] for name in names}
    for turn in range(-1, spec.num_timings):
        start = max(turn, 0) % len(names)
        for name in names[start:] + names[:start]:
            clock = _Clock()
            ids = torch.from_numpy(prompt[None]).to(models[name].device)
            generate(models[name], ids, spec.max_new_tokens, (), streamer=clock)
            if turn >= 0:
                found[name].append(
                    WritingTime(clock.between(0, 1), clock.between(1, spec.max_new_tokens))
                )
    return found


class _Clock(BaseStreamer):
    """Notes when each token is there; they come on the CPU, so the device has finished them."""

    def __init__(self) -> None:
        self._times = [(time.perf_counter(), time.process_time())]
        self._has_prompt = False

    def put(self, value: Tensor) -> None:  # noqa: ARG002
        """Called with the prompt, which is no event, and then with every token."""
        if self._has_prompt:
            self._times.append((time.perf_counter(), time.process_time()))
        self._has_prompt = True

    def end(self) -> None:
        """Called behind the last token."""

    def between(self, start: int, stop: int) -> tuple[float, float]:
        """Wall and CPU seconds from token `start` to token `stop`; 0 is the call."""
        (wall, cpu), (wall_end, cpu_end) = self._times[start], self._times[stop]
        return wall_end - wall, cpu_end - cpu


def _timing(seconds: Sequence[tuple[float, float]], number: int = 1) -> Timing:
    wall = [one / number for one, _ in seconds]
    lower, median, upper = statistics.quantiles(wall, n=4, method="inclusive")
    return Timing(median, lower, upper, statistics.median(cpu / number for _, cpu in seconds))
