"""Run a command to its first forward pass: `python tests/startup.py lm_eval|sentinel WORD...`.

Prints the process time and the wall time since the interpreter started, in seconds, as JSON on the
last line of stdout. Nothing of the command runs after it.
"""

import importlib.util
import json
import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_MODELS = "transformers.modeling_utils"


class StopAtFirstPass:
    """A finder that watches the models of transformers, and imports nothing by itself."""

    @classmethod
    def find_spec(cls, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The usual spec of the module that has the base class, with its first call watched."""
        if name != _MODELS:
            return None
        sys.meta_path.remove(cls)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_watch(module: ModuleType) -> None:
            execute(module)
            module.PreTrainedModel.__call__ = _report

        spec.loader.exec_module = execute_and_watch  # type: ignore[method-assign]
        return spec


def _report(*_: Any, **__: Any) -> NoReturn:
    started = float(os.environ["STARTED_AT"])
    found = {"process_seconds": time.process_time(), "wall_seconds": time.time() - started}
    os.write(1, f"\n{json.dumps(found)}\n".encode())
    # no threads, no exit handlers: nothing else is to be timed
    os._exit(0)


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    # the folder of this file is not to be searched
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.meta_path.insert(0, StopAtFirstPass)
    sys.argv = [command, *words]
    if command == "lm_eval":
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    else:
        from sentinel_research.cli import main

        main()
    sys.exit("no forward pass was reached")
