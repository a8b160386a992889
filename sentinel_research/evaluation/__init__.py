"""Measuring a model with lm-eval: the adapter behind `--model sentinel` and the evaluate stage."""

from typing import Any

__all__ = ["evaluate", "evaluate_lm", "find_tasks", "read_samples"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sentinel_research.evaluation import harness

    return getattr(harness, name)
