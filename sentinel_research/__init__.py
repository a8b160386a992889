"""A test-driven research harness for pruned and alternative language models, built on lm-eval.

The public names are loaded on first use: importing this package costs well under a millisecond, as
it happens at every interpreter start (see `lm_eval_plugin`).
"""

__version__ = "0.1.0"

_PUBLIC = {
    "Recipe": "sentinel_research.specs",
    "RunRecord": "sentinel_research.record",
    "architecture": "sentinel_research.registry",
    "compare": "sentinel_research.judgement",
    "evaluate": "sentinel_research.evaluation",
    "load": "sentinel_research.pruning",
    "prune": "sentinel_research.pruning",
    "recover": "sentinel_research.recoveries",
    "recovery": "sentinel_research.registry",
    "report": "sentinel_research.reporting",
    "run": "sentinel_research.pipeline",
    "runs": "sentinel_research.store",
    "scorer": "sentinel_research.registry",
    "train": "sentinel_research.training",
}

__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
