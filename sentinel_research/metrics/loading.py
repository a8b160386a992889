"""The metrics as modules of `evaluate`: the file of each below `modules/`, loaded by its path."""

from pathlib import Path
from typing import Any

from sentinel_research.errors import UsageError, did_you_mean

_MODULES = Path(__file__).parent / "modules"


def metric_names() -> list[str]:
    """The metrics that `load_metric` knows.

    Example:
        >>> "squad_v2" in metric_names()
        True
    """
    return sorted(path.stem for path in _MODULES.glob("*.py") if path.stem != "__init__")


def metric_path(name: str) -> Path:
    """The script of a metric, for `evaluate.load(str(metric_path(name)))`.

    Args:
        name: One of `metric_names()`.

    Raises:
        UsageError: for a name that is not known.
    """
    if name not in metric_names():
        raise UsageError(f"unknown metric '{name}'", did_you_mean(name, metric_names()))
    return _MODULES / f"{name}.py"


def load_metric(name: str) -> Any:
    """A metric as a module of `evaluate`, from the package: no network is asked.

    Args:
        name: One of `metric_names()`; arguments and keys of the result are those of the hub's
            module of the same name, where it has one.

    Returns:
        An `evaluate.EvaluationModule`; `compute(..., stderr=True)` adds `X_stderr` for each X.

    Raises:
        UsageError: for a name that is not known.

    Example:
        >>> load_metric("accuracy").compute(predictions=[0, 1], references=[0, 0])
        {'accuracy': 0.5}
    """
    import evaluate

    return evaluate.load(str(metric_path(name)), keep_in_memory=True)
