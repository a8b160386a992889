"""The adapter beside lm-eval's own `hf`: the same weights, requests and process.

The floor is what no way of scoring can do without: every distinct beginning read once, the output
head on the rows that are scored, at the rate of a plain matrix product that is timed beside.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from sentinel_research.bench.adapter_generation import (
    generation_model,
    generation_options,
    generation_requests,
)
from sentinel_research.bench.adapter_workloads import WORKLOADS, Workload
from sentinel_research.bench.models import SCALES, describe
from sentinel_research.bench.schema import AdapterMemory, AdapterSection, AdapterWorkload
from sentinel_research.bench.schema_base import Size
from sentinel_research.errors import SentinelError
from sentinel_research.evaluation.adapter import SentinelLM
from sentinel_research.evaluation.scores.prefixes import Continuation, new_tokens
from sentinel_research.machine import Watch, wait_for
from sentinel_research.memory import PeakMemory
from sentinel_research.models.layout import structure_of
from sentinel_research.record import Check
from sentinel_research.timing import Action, Comparison, compare, measure

STOCK = "lm-eval's hf"
GENERATION = "16m/generation"
GENERATION_BOUND = 1.0
MIN_FRACTION = 0.6
"""Of the floor, at 124 M parameters and four choices behind each question."""
MAX_MEMORY = 1.2
"""Times the peak of stock, of the whole process."""
_MATRIX = 1024
_PRODUCTS = 8


def bench_adapter(size: Size, device: str, num_pairs: int) -> AdapterSection:
    """Time every workload in turns, and those of the largest model once in fresh processes."""
    # lm-eval says for each adapter that its model was loaded before
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    watch = Watch(device, torch.float32)
    comparisons: list[Comparison] = []
    workloads: list[AdapterWorkload] = []
    for workload in WORKLOADS[size]:
        comparison, facts = _measured(workload, device, num_pairs)
        comparisons.append(comparison)
        workloads.append(facts)
    comparisons.append(_generation(size, device, num_pairs))
    has_meaning = SCALES[size].has_meaning
    # each takes two new processes
    heaviest = WORKLOADS[size][-1].width if has_meaning else WORKLOADS[size][0].name
    memory = tuple(
        _memory(one, size, device) for one in WORKLOADS[size] if one.name.startswith(heaviest)
    )
    return AdapterSection(
        conditions=watch.conditions(),
        model=workloads[-1].model,
        comparisons=tuple(comparisons),
        checks=tuple(checks(comparisons, workloads, memory)) if has_meaning else (),
        workloads=tuple(workloads),
        memory=memory,
    )


def adapters(
    model: PreTrainedModel, options: dict[str, Any]
) -> dict[str, Callable[[list[Instance]], list[Any]]]:
    """Both, by name, as what answers requests of one kind."""

    def answering(adapter: HFLM) -> Callable[[list[Instance]], list[Any]]:
        def answer(requests: list[Instance]) -> list[Any]:
            kind = getattr(adapter, requests[0].request_type)
            return list(kind(requests, disable_tqdm=True))

        return answer

    return {"ours": answering(SentinelLM(model, quiet=True, **options)),
            "stock": answering(HFLM(model, **options))}  # fmt: skip


def _measured(
    workload: Workload, device: str, num_pairs: int
) -> tuple[Comparison, AdapterWorkload]:
    model, requests = workload.model(device), workload.requests()
    both = adapters(model, workload.options())
    found: dict[str, list[Any]] = {}

    def answer(name: str, _: object) -> None:
        found[name] = both[name](requests)

    matrix = torch.randn(_MATRIX, _MATRIX, device=device)
    actions = {name: Action(partial(answer, name)) for name in both}
    actions["product"] = Action(lambda _: [matrix @ matrix for _ in range(_PRODUCTS)])
    samples = measure(actions, num_pairs, partial(wait_for, device))
    measured = (workload.kind, samples["ours"])
    comparison = compare(workload.name, measured, (STOCK, samples["stock"]))
    rates = sorted(2 * _PRODUCTS * _MATRIX**3 / one.cpu_seconds for one in samples["product"])
    times = sorted(one.cpu_seconds for one in samples["ours"])
    read, scored, flops = floor_of(workload, model)
    middle = num_pairs // 2
    return comparison, AdapterWorkload(
        name=workload.name,
        model=describe(model),
        num_requests=len(requests),
        num_tokens_read=read,
        num_rows_scored=scored,
        floor_flops=flops,
        flops_per_second=rates[middle],
        fraction=flops / rates[middle] / times[middle],
        largest_difference=max(
            abs(_value(one) - _value(other))
            for one, other in zip(found["ours"], found["stock"], strict=True)
        ),
        allowed_difference=1e-4 + 2**-24 * max(abs(_value(one)) for one in found["stock"]),
        same_greedy=[_flag(one) for one in found["ours"]] == [_flag(one) for one in found["stock"]],
    )


def floor_of(workload: Workload, model: PreTrainedModel) -> tuple[int, int, float]:
    """The fewest tokens to read, rows to score, and the operations of both."""
    lm = SentinelLM(model, quiet=True, **workload.options())
    asked: set[Continuation] = set()

    def note(requests: Any, **_: Any) -> list[tuple[float, bool]]:
        asked.update(lm._cut(context, target) for _, context, target in requests)
        return [(0.0, False)] * len(requests)

    lm._loglikelihood_tokens = note  # type: ignore[assignment, method-assign]
    requests = workload.requests()
    getattr(lm, requests[0].request_type)(requests, disable_tqdm=True)
    distinct = sorted(asked)
    read = sum(new_tokens(distinct))
    rows = {
        one.read[: len(one.read) - place] for one in distinct for place in range(len(one.target))
    }
    longest = max(len(one.read) for one in distinct)
    # causal attention reads half of what is before a token on average
    body = structure_of(model.config).flops_per_token(longest // 2)
    head = 2 * model.config.hidden_size * model.config.vocab_size
    return read, len(rows), float(read * body + len(rows) * head)


def _generation(size: Size, device: str, num_pairs: int) -> Comparison:
    """Texts; both write the same."""
    requests = generation_requests(size)
    both = adapters(generation_model(size, device), generation_options(size))
    actions = {name: Action(partial(lambda answer, _: answer(requests), both[name]))
               for name in both}  # fmt: skip
    samples = measure(actions, num_pairs, partial(wait_for, device))
    name = GENERATION if SCALES[size].has_meaning else "tiny/generation"
    measured = ("short answers of several lengths", samples["ours"])
    return compare(name, measured, (STOCK, samples["stock"]))


def _memory(workload: Workload, size: Size, device: str) -> AdapterMemory:
    """The largest memory of a fresh process for each adapter."""
    peaks = {}
    for who in ("ours", "stock"):
        words = [sys.executable, "-m", __name__, workload.name, who, size, device]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise SentinelError(
                f"the process that measures memory ended with {done.returncode}",
                done.stderr.strip()[-2000:],
            )
        peaks[who] = json.loads(done.stdout.splitlines()[-1])
    return AdapterMemory(name=workload.name, ours_bytes=peaks["ours"], stock_bytes=peaks["stock"])


def checks(
    comparisons: list[Comparison],
    workloads: list[AdapterWorkload],
    memory: tuple[AdapterMemory, ...],
) -> list[Check]:
    """What has to hold: speed, equal results, the share of the floor, and memory."""
    bounds = {one.name: one.bound for one in WORKLOADS["124m"]} | {GENERATION: GENERATION_BOUND}
    found = []
    for one in comparisons:
        bound, cpu = bounds[one.name], one.cpu
        detail = f"{1 / cpu.median:.2f} [{1 / cpu.high:.2f}, {1 / cpu.low:.2f}]"
        name = f"{one.name}: at least {bound:g} times as fast as {STOCK}, in processor time"
        found.append(Check(name=name, passed=1 / cpu.median >= (bound or 0), detail=detail))
    for facts in workloads:
        allowed = facts.allowed_difference
        name = f"{facts.name}: log-likelihoods within {allowed:.1e}, equal greedy flags"
        passed = facts.largest_difference <= allowed and facts.same_greedy
        detail = f"largest difference {facts.largest_difference:.1e}"
        found.append(Check(name=name, passed=passed, detail=detail))
        if facts.name == "124m/choices":
            name = f"{facts.name}: at least {MIN_FRACTION:g} of the floor's speed"
            detail = f"{facts.fraction:.2f}"
            found.append(Check(name=name, passed=facts.fraction >= MIN_FRACTION, detail=detail))
    for row in memory:
        ratio = row.ours_bytes / row.stock_bytes
        name = f"{row.name}: peak memory at most {MAX_MEMORY:g} times that of {STOCK}"
        found.append(Check(name=name, passed=ratio <= MAX_MEMORY, detail=f"{ratio:.2f}"))
    return found


def _value(answer: Any) -> float:
    return float(answer[0] if isinstance(answer, tuple) else answer)


def _flag(answer: Any) -> bool | None:
    return bool(answer[1]) if isinstance(answer, tuple) else None


def _main(name: str, who: str, size: Size, device: str) -> None:
    (workload,) = (one for one in WORKLOADS[size] if one.name == name)
    answer = adapters(workload.model(device), workload.options())[who]
    requests = workload.requests()
    with PeakMemory(device) as memory:
        answer(requests)
    if memory.peak_bytes is None:
        raise SystemExit(memory.absent)
    sys.stdout.write(f"\n{json.dumps(memory.peak_bytes)}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
