"""The project's own lm-eval tasks: where their YAML files are, and what they are."""

from pathlib import Path
from typing import Any

import yaml

from sentinel_research.errors import DataError

_PACKAGE = Path(__file__).resolve().parent.parent


class _Loader(yaml.SafeLoader):
    """YAML as lm-eval's tasks use it; the functions they name are not imported."""


def _function_name(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


_Loader.add_constructor("!function", _function_name)


def task_folder() -> Path:
    """The folder to give to lm-eval's `--include_path`.

    Returns:
        `tasks/` of a checkout, or the copy of it that an installed package brings.

    Raises:
        DataError: if there is neither.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "tasks").is_dir():
        return checkout / "tasks"
    installed = _PACKAGE / "_tasks"
    if not installed.is_dir():
        raise DataError(
            f"the task files are missing: {installed}", "Install sentinel-research again."
        )
    return installed


def list_tasks() -> list[tuple[str, str]]:
    """Name and one-line description of each of the project's tasks and groups, by name.

    Raises:
        DataError: if a task file is not valid YAML, or has no name or description.
    """
    return sorted(_described(path) for path in task_folder().rglob("*.yaml"))


def _described(path: Path) -> tuple[str, str]:
    try:
        config: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        name = config.get("task") if "group" not in config else config["group"]
        description = config["metadata"]["description"]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a task file with `task` and `metadata.description`: {error}",
            "Correct the file; lm_eval validate --tasks NAME checks it further.",
        ) from error
    return str(name), str(description)
