"""The import hook behind plain `lm_eval --model sentinel`."""

import importlib.metadata
import subprocess
import sys

import pytest
from lm_eval.api.registry import Registry

from sentinel_research import lm_eval_plugin


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_lm_eval_models_registers_sentinel_and_keeps_hf() -> None:
    code = """
import lm_eval.models
from lm_eval.api.registry import model_registry
print("sentinel" in model_registry, "hf" in model_registry)
"""
    assert _python(code) == "True True"


def test_hook_loads_neither_our_code_nor_torch_for_other_models() -> None:
    code = """
import sys, lm_eval.models
print(sorted(name for name in sys.modules if name.startswith("sentinel") or name == "torch"))
"""
    assert _python(code) == "['sentinel_research', 'sentinel_research.lm_eval_plugin']"


def test_interpreter_start_imports_no_module_of_ours() -> None:
    code = "import sys; print(sorted(name for name in sys.modules if 'sentinel' in name))"
    assert _python(code) == "[]"
    code = "import sys; print(any('SentinelHook' in repr(finder) for finder in sys.meta_path))"
    assert _python(code) == "True"


def test_interpreter_without_lm_eval_is_left_alone() -> None:
    code = """
import sys
sys.path = [entry for entry in sys.path if "site-packages" not in entry]
try:
    import lm_eval.models
except ModuleNotFoundError as error:
    print(error)
"""
    assert _python(code) == "No module named 'lm_eval'"


def test_hook_steps_aside_where_lm_eval_found_the_entry_point_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: Registry[object] = Registry("model")
    found.register("sentinel", target="theirs:Model")
    monkeypatch.setattr("lm_eval.api.registry.model_registry", found)
    lm_eval_plugin.register()
    assert found._objs["sentinel"] == "theirs:Model"


def test_discovery_by_lm_eval_after_the_hook_does_not_collide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry: Registry[object] = Registry("model")
    monkeypatch.setattr("lm_eval.api.registry.model_registry", registry)
    lm_eval_plugin.register()
    for entry in importlib.metadata.entry_points(group="lm_eval.models"):
        registry.register(entry.name, target=entry)
    assert list(registry) == ["sentinel"]
