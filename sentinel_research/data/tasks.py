"""lm-eval's tasks by name, and the project's own: where their YAML files are, what they are."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sentinel_research.errors import DataError, UsageError, did_you_mean

PERPLEXITY = "perplexity/_perplexity.yaml.inc"
"""Below `task_folder()`, what all perplexity tasks include."""

_PACKAGE = Path(__file__).resolve().parent.parent
_GENERATED: dict[str, str] = {}
_INCLUDED: list[str] = []

_NO_RECORD = "imports a module that transformers 5 no longer has"
_REPLACED = {
    "record": ("sentinel_record", _NO_RECORD),
    "super-glue-lm-eval-v1": ("sentinel_superglue", f"contains record, which {_NO_RECORD}"),
    "squadv2": ("sentinel_squad_v2", "fetches the script of its metrics once all is computed"),
}
_WORKING_PILE = "pile_10k"


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


def generated_tasks() -> dict[str, str]:
    """Tasks that have no file, as YAML by name; whoever changes them changes what is found."""
    return _GENERATED


def include_tasks(folders: Sequence[Path]) -> None:
    """Have `find_tasks` look into folders of task files, beside the project's own, from now on.

    Args:
        folders: In place of those that were named before.

    Raises:
        UsageError: if one of them is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(
                f"there is no folder of tasks '{folder}'",
                "`evaluate.include_path` names folders with lm-eval task files (.yaml).",
            )
    _INCLUDED[:] = [str(folder.resolve()) for folder in folders]


def list_tasks() -> list[tuple[str, str]]:
    """Name and one-line description of each of the project's tasks and groups, by name.

    Raises:
        DataError: if a task file is not valid YAML, or has no name or description.
    """
    return sorted(_described(path) for path in task_folder().rglob("*.yaml"))


def find_tasks(names: Sequence[str]) -> Any:
    """A TaskManager that knows `names`; lm-eval's own tasks are indexed only if one is asked for.

    Args:
        names: Task, group or tag names.

    Returns:
        An `lm_eval.tasks.TaskManager`.

    Raises:
        UsageError: for a name that neither the project nor lm-eval knows, or whose task in lm-eval
            is broken.
    """
    for name in names:
        _check_works(name)
    folders = (str(task_folder()), *_INCLUDED, *_written(tuple(_GENERATED.items())))
    manager = _task_manager(folders, include_defaults=False)
    if all(name in manager.task_index for name in names):
        return manager
    manager = _task_manager(folders, include_defaults=True)
    for name in names:
        if name not in manager.task_index:
            near = did_you_mean(name, manager.task_index).split(" Known:")[0]
            question = f"{near} " if near.startswith("Did") else ""
            raise UsageError(
                f"unknown task '{name}'",
                f"{question}The project's own tasks: sentinel ls tasks. "
                "lm-eval's: lm_eval ls tasks",
            )
    return manager


def _check_works(name: str) -> None:
    """Refuse a task of lm-eval 0.4.13 that fails on the libraries this project needs."""
    if name.startswith("pile_") and name != _WORKING_PILE:
        own, fault = "sentinel_pile", "reads a dataset by a script, which datasets no longer runs"
    elif name in _REPLACED:
        own, fault = _REPLACED[name]
    else:
        return
    raise UsageError(f"lm-eval's task '{name}' {fault}", f"Name {own} in its place.")


@lru_cache(maxsize=8)
def _task_manager(folders: tuple[str, ...], *, include_defaults: bool) -> Any:
    """Made once per process. With lm-eval's own tasks only `load` and `task_index` know them."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=list(folders), include_defaults=False)
    if include_defaults:
        from sentinel_research.data.task_index import default_index

        # lm-eval's rule: of two with one name the included one counts
        index = manager.task_index
        for name, entry in default_index().items():
            index.setdefault(name, entry)
    return manager


@lru_cache(maxsize=8)
def _written(tasks: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """A folder with these tasks as files, which lm-eval wants; gone when the process ends."""
    if not tasks:
        return ()
    folder = Path(tempfile.mkdtemp(prefix="tasks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in tasks:
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8")
    return (str(folder),)


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
