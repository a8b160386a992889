"""The `sentinel` command. Results go to stdout, everything for people's eyes to stderr.

Exit codes: 0 done, 1 a check or a run failed, 2 wrong usage, 130 interrupted by Ctrl-C, 141 nobody
reads the output any more (`| head`).
"""

import os
import sys
from collections.abc import Sequence

from sentinel_research import distributed
from sentinel_research.errors import SentinelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after `sentinel`; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # everything after `lm-eval` belongs to lm-eval
    own = words[: words.index("lm-eval")] if "lm-eval" in words else words
    debug = "--debug" in own
    if debug:
        words.remove("--debug")
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # what is left in the buffer would be tried again at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SentinelError as error:
        if debug:
            raise
        _tell(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        _tell("interrupted: the same command resumes")
        return 130
    except Exception as error:
        if debug:
            raise
        _tell(f"unexpected error: {type(error).__name__}: {error}\n  add --debug for the traceback")
        return 1


def _tell(message: str) -> None:
    """Say why the command ends: once, also where several processes end for one reason."""
    distributed.fail(lambda: print(message, file=sys.stderr, flush=True))


def _dispatch(words: list[str]) -> int:
    from cyclopts import CycloptsError
    from pydantic import ValidationError

    from sentinel_research.cli.app import app

    if words[:1] == ["lm-eval"]:
        from sentinel_research.cli.lm_eval import pass_through

        return pass_through(words[1:])
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        if isinstance(error.__cause__, ValidationError):
            from sentinel_research.recipe import usage_error
            from sentinel_research.specs import Spec

            # flags that are fields of a spec: its own words, as for a recipe
            raise usage_error(Spec, error.__cause__, words[0]) from error
        print(f"error: {error}\n  See: sentinel --help", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0
