"""Time of every module, by torch's profiler with a label around each call."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import PreTrainedModel

from sentinel_research.cost.schema import ModuleCost

_LABEL = "module:"
_WHOLE = "(model)"


def module_costs(
    model: PreTrainedModel,
    phase: Literal["prefill", "decode"],
    run: Callable[[], object],
    num_passes: int = 3,
) -> tuple[ModuleCost, ...]:
    """Profile some passes.

    Args:
        model: What runs.
        phase: What `run` does, for the result.
        run: One pass through the model.
        num_passes: How many to average over, after one that warms up.

    Returns:
        A row for each place, the longest first. Labels take time themselves, most of it that of
        small modules: shares are for finding what is large.
    """
    on_cuda = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with _labelled(model):
        run()
        with profile(activities=activities) as profiler:
            for _ in range(num_passes):
                run()
    inclusive: dict[str, float] = {}
    calls: dict[str, int] = {}
    for event in profiler.key_averages():
        if event.key.startswith(_LABEL):
            path = event.key.removeprefix(_LABEL)
            microseconds = event.device_time_total if on_cuda else event.cpu_time_total
            # a label is an event of the device too, with the same name
            inclusive[path] = max(inclusive.get(path, 0.0), microseconds / 1e6 / num_passes)
            calls[path] = max(calls.get(path, 0), event.count // num_passes)
    return _rows(model, phase, inclusive, calls)


@contextmanager
def _labelled(model: nn.Module) -> Iterator[None]:
    """A label around every call of every module inside the block."""
    handles = []
    for path, module in model.named_modules():
        label = _Label(_LABEL + (path or _WHOLE))
        handles.append(module.register_forward_pre_hook(label.begin))
        handles.append(module.register_forward_hook(label.end, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Label:
    """Begins and ends a label; calls of one module may lie inside each other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open: list[Any] = []

    def begin(self, *_: object) -> None:
        self._open.append(record_function(self._name))
        self._open[-1].__enter__()

    def end(self, *_: object) -> None:
        self._open.pop().__exit__(None, None, None)


def _rows(
    model: nn.Module,
    phase: Literal["prefill", "decode"],
    inclusive: dict[str, float],
    calls: dict[str, int],
) -> tuple[ModuleCost, ...]:
    own = dict(inclusive)
    for path, inside in inclusive.items():
        if path != _WHOLE:
            own[_caller(path, inclusive)] -= inside
    modules = dict(model.named_modules())
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for path, value in own.items():
        module = model if path == _WHOLE else modules[path]
        place = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path), type(module).__name__
        seconds[place] += value
        counts[place] += calls[path]
    whole = inclusive[_WHOLE]
    rows = [
        ModuleCost(
            phase=phase,
            path=path,
            kind=kind,
            num_calls=counts[path, kind],
            own_seconds=max(0.0, value),
            share=max(0.0, value) / whole,
        )
        for (path, kind), value in seconds.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.own_seconds))


def _caller(path: str, called: dict[str, float]) -> str:
    """The nearest module around this one that was called itself; lists never are."""
    around = path.rpartition(".")[0]
    while around and around not in called:
        around = around.rpartition(".")[0]
    return around or _WHOLE
