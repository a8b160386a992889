"""The house of DESIGN: a module imports only from its own floor or lower ones."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sentinel_research"
FLOORS = {
    "cell_record": 0,
    "distributed": 0,
    "environment": 0,
    "errors": 0,
    "files": 0,
    "machine": 0,
    "memory": 0,
    "paired": 0,
    "process": 0,
    "redact": 0,
    "progress": 0,
    "recipe": 0,
    "record": 0,
    "registry": 0,
    "specs": 0,
    "statistics": 0,
    "structure": 0,
    "timing": 0,
    "visible": 0,
    "store": 1,
    "data": 1,
    "metrics": 1,
    "ops": 1,
    "models": 2,
    "quantisation": 2,
    "pruning": 3,
    "training": 3,
    "evaluation": 3,
    "baselines": 4,
    "cost": 4,
    "reporting": 4,
    "claims": 5,
    "pipeline": 5,
    "bench": 5,
    "explorer": 5,
    "profiling": 5,
    "cli": 6,
    "dry_run": 5,
    "cells": 4,
    "budgets": 4,
    "cell_plan": 4,
    "compare_agency": 5,
    "comparison": 4,
    "downstream": 4,
    "preparation": 4,
    "pruner": 4,
    "recoverer": 4,
    "recoveries": 4,
    "inputs": 4,
    "judgement": 4,
    "studies": 4,
    "tracking": 4,
    "trained": 4,
    "lm_eval_plugin": 0,
    "downstream_command": 5,
    "finetune": 5,
    "testing": 5,
    "mamba_vs_bk": 5,
    "sweep": 5,
}
HEAVY = {"torch", "transformers", "datasets", "lm_eval", "matplotlib", "scipy", "pandas"}


def _modules() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or "__" not in path.name
    ]


def _floor_of(dotted: str) -> int:
    return FLOORS[dotted.split(".")[1]]


def _imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_from_its_own_floor_or_lower(path: Path) -> None:
    own = FLOORS[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]
    ours = [
        name
        for name in _imports(ast.parse(path.read_text()))
        if name.startswith("sentinel_research.")
    ]
    higher = [name for name in ours if _floor_of(name) > own]
    assert not higher, f"floor {own} reaches up to {higher}"


@pytest.mark.parametrize("name", sorted(name for name, floor in FLOORS.items() if floor == 0))
def test_ground_floor_module_has_no_heavy_import_at_its_top(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    source = path if path.exists() else PACKAGE / name / "__init__.py"
    top = [
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    heavy = {
        name.split(".")[0] for node in top for name in _imports(ast.Module([node], []))
    } & HEAVY
    # the registry class itself is lm-eval's, and torch-free
    assert heavy <= ({"lm_eval"} if name == "registry" else set())
