"""`sentinel lm-eval ...`: lm-eval's own command line, with our tasks and model included."""

import sys

_WITH_TASKS = ("--tasks", "--config", "--help")
_PROMPTS = "--cache_requests"
_WITH_TASKS_SHORT = ("-t", "-C", "-h")


def pass_through(arguments: list[str]) -> int:
    """Run `lm_eval` with `arguments`, adding `--include_path` unless one is given.

    Returns:
        lm-eval's exit code.

    Raises:
        UsageError: if an evaluation names no task, or asks for `--cache_requests`.
    """
    from sentinel_research.errors import UsageError

    if _evaluates(arguments) and not _names_tasks(arguments):
        raise UsageError(
            "no task was given",
            "add --tasks NAME, for example --tasks sentinel_wikitext2. See: sentinel ls tasks",
        )
    if keeps_prompts(arguments):
        from sentinel_research.evaluation.request_cache import request_cache_error

        raise request_cache_error()
    import lm_eval.models  # noqa: F401 - the registry must be filled before we add to it
    from lm_eval.__main__ import cli_evaluate

    from sentinel_research.data.tasks import task_folder
    from sentinel_research.lm_eval_plugin import register

    # an installation without the .pth (a zipped or vendored copy) works too
    register()
    given = any(word.split("=")[0] == "--include_path" for word in arguments)
    evaluates = arguments[:1] != ["ls"] and arguments[:1] != ["validate"]
    if arguments and evaluates and not given:
        arguments = [*arguments, "--include_path", str(task_folder())]
    before = sys.argv
    sys.argv = ["lm_eval", *arguments]
    try:
        cli_evaluate()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return 0


def _evaluates(arguments: list[str]) -> bool:
    """Whether this is `run`, which lm-eval also takes flags alone for."""
    return bool(arguments) and (arguments[0] == "run" or arguments[0].startswith("-"))


def _names_tasks(arguments: list[str]) -> bool:
    """Whether tasks, a file that may name them, or help is asked for; lm-eval reads beginnings."""
    for word in arguments:
        name = word.split("=")[0]
        if len(name) > 2 and any(flag.startswith(name) for flag in _WITH_TASKS):
            return True
        if word[:2] in _WITH_TASKS_SHORT:
            return True
    return False


def keeps_prompts(arguments: list[str]) -> bool:
    """Whether prompts are to be kept, or kept ones used; lm-eval reads beginnings of flags."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name.startswith("--ca") and _PROMPTS.startswith(name):
            return (value or following) != "delete"
    return False
