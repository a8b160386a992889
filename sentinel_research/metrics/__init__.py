"""Metrics of classification, similarity and reading comprehension, with standard errors.

Each is written once, as a function of arrays; tasks name the functions, and `load_metric` wraps
them as modules of Hugging Face's `evaluate` that load without a network.

Example:
    >>> load_metric("f1").compute(predictions=[1, 1, 0], references=[1, 0, 0])
    {'f1': 0.6666666666666666}
"""

from typing import Any

__all__ = ["load_metric", "metric_names", "metric_path"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sentinel_research.metrics import loading

    return getattr(loading, name)
