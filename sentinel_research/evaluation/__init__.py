"""Measuring a model with lm-eval: the adapter behind `--model sentinel` and the evaluate stage."""

from typing import Any

_MODULES = {
    "evaluate": "harness",
    "evaluate_lm": "harness",
    "find_tasks": "harness",
    "read_samples": "samples",
}
__all__ = sorted(_MODULES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
