"""Processes that start in no time: each is forked from one that has loaded the libraries.

A new interpreter takes six seconds of processor time for torch, transformers and lm-eval, and
lm-eval eight more to read its 14,000 task files. One process does both once here, and every command
is a fork of it, with its own folder, variables, arguments, output and end. Nothing of this project
is loaded before the fork. What a fresh interpreter loads is for tests that start one.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

_LIBRARIES = (
    *("accelerate", "datasets", "hypothesis", "lm_eval.__main__", "lm_eval.evaluator"),
    *("lm_eval.models.huggingface", "matplotlib.figure", "numba", "scipy.stats", "torch"),
    *("transformers.trainer", "transformers.models.gpt2.modeling_gpt2"),
)


class Processes:
    """Starts commands, one after the other, as forks of a process that has the libraries loaded."""

    def __init__(self) -> None:
        words = [sys.executable, __file__]
        self._server = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, words: Sequence[str], folder: Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a console script, or `python -c CODE`, to its end.

        Args:
            words: The command line.
            folder: Where it runs.
            **environment: Variables beside those of this process.

        Returns:
            Exit code (negative: the signal that ended it), stdout and stderr.
        """
        (done,) = self._run(words, folder, [environment])
        return done

    def run_together(
        self, words: Sequence[str], folder: Path, num_processes: int = 2
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run a command in several processes that find each other as torchrun's do.

        Where one of them fails, the others are ended, as a launcher ends them.
        """
        from torch.distributed import TCPStore

        # the launcher's own, which every process of it may outlive
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {
            "LOCAL_WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_RESTART_COUNT": "0",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(num_processes),
        }
        ranks = [{"LOCAL_RANK": str(one), "RANK": str(one)} for one in range(num_processes)]
        return self._run(words, folder, [{**shared, **rank} for rank in ranks])

    def _run(
        self, words: Sequence[str], folder: Path, environments: Sequence[dict[str, str]]
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run a command once in each environment, all at the same time."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as scratch:
            outputs = [Path(scratch, str(index)) for index in range(len(environments))]
            jobs = [
                {
                    "words": list(words),
                    "folder": str(folder),
                    "environment": {**os.environ, **environment},
                    "output": str(output),
                }
                for environment, output in zip(environments, outputs, strict=True)
            ]
            for output in outputs:
                output.mkdir()
            print(json.dumps(jobs), file=self._server.stdin, flush=True)
            answer = self._server.stdout.readline()
            assert answer, "the process that starts others is gone"
            return [
                subprocess.CompletedProcess(
                    words, code, *((output / name).read_text() for name in ("stdout", "stderr"))
                )
                for code, output in zip(json.loads(answer), outputs, strict=True)
            ]

    def close(self) -> None:
        """Let the process that starts others end."""
        self._server.communicate()


def _become(job: dict[str, Any]) -> NoReturn:
    """Be the process of a job from here to its end."""
    gc.enable()
    try:
        _take_over(job)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # without taking the libraries apart object by object, which takes three seconds
    os._exit(code)


def _take_over(job: dict[str, Any]) -> None:
    """Do what the job says, in its folder, with its variables, arguments and output."""
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(os.path.join(job["output"], name), os.O_WRONLY | os.O_CREAT)  # noqa: PTH118
        os.dup2(file, descriptor)
    program, *arguments = job["words"]
    if program == "python":
        _, code, *arguments = arguments
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return
    (command,) = entry_points(group="console_scripts", name=program)
    sys.argv = [program, *arguments]
    sys.exit(command.load()())


def _codes(jobs: list[dict[str, Any]]) -> list[int]:
    """Fork a process for every job; their exit codes, once the last of them has ended."""
    children = []
    for job in jobs:
        child = os.fork()
        if child == 0:
            _become(job)
        children.append(child)
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        ended, status = os.wait()
        codes[ended] = os.waitstatus_to_exitcode(status)
        if codes[ended]:
            for child in set(children) - set(codes):
                os.kill(child, signal.SIGTERM)
    return [codes[child] for child in children]


def _load() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
    from lm_eval.tasks import TaskManager, _index

    # the files of lm-eval are the same for every command
    _index.load_yaml = functools.cache(_index.load_yaml)
    TaskManager()


def _serve() -> None:
    """Read a line of jobs at a time from stdin, and answer with their exit codes."""
    # what a library prints while it is loaded is no answer
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # as for an installed command, not the folder of this file
    del sys.path[0]
    gc.disable()
    _load()
    # what is loaded is never garbage, and stays in the memory that all processes share
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_codes(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
