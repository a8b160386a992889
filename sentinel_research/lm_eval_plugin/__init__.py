"""Makes plain `lm_eval --model sentinel` work on lm-eval releases that scan no entry points.

lm-eval 0.4.13 resolves `--model` against its own table before any user code runs. This package
declares the `lm_eval.models` entry point that upstream's merged plugin mechanism reads
(EleutherAI/lm-evaluation-harness pull requests 4013 and 4014) and backports that mechanism: a
`.pth` file beside the package puts a finder in front of the import system at every interpreter
start. It is one line that imports nothing; only when `lm_eval.models` is looked for does it call
`spec_of` below, which has our entry point registered right after that module was executed: the
same object that upstream would register. Where lm-eval did so itself, nothing is left to do.
"""

import importlib.util
from importlib.machinery import ModuleSpec
from types import ModuleType

MODEL_NAME = "sentinel"
_searching = False


def register() -> None:
    """Register `sentinel` with lm-eval, unless lm-eval found the entry point itself."""
    from importlib.metadata import entry_points

    from lm_eval.api.registry import model_registry

    if MODEL_NAME in model_registry:
        return
    # an equal EntryPoint registered twice is accepted, so the order of discovery does not matter
    (entry,) = entry_points(group="lm_eval.models", name=MODEL_NAME)
    model_registry.register(MODEL_NAME, target=entry)


def spec_of(name: str) -> ModuleSpec | None:
    """The import system's own spec of `lm_eval.models`, with `register` after its execution.

    Args:
        name: Dotted name of the module that is being looked for.

    Returns:
        None during our own search, or if there is no such module.
    """
    global _searching  # noqa: PLW0603 - the search below comes back through the same finder
    if _searching:
        return None
    _searching = True
    try:
        spec = importlib.util.find_spec(name)
    finally:
        _searching = False
    if spec is None or spec.loader is None:
        return spec
    execute = spec.loader.exec_module

    def execute_and_register(module: ModuleType) -> None:
        execute(module)
        register()

    spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
    return spec
