"""`sentinel lm-eval ...`: lm-eval's own command line, with our tasks and model included."""

import sys


def pass_through(arguments: list[str]) -> int:
    """Run `lm_eval` with `arguments`, adding `--include_path` unless one is given.

    Returns:
        lm-eval's exit code.
    """
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
