"""Parts of the package of which mutants are made, and the tests that must notice them.

A part more is a line more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Area(NamedTuple):
    """A part of the package."""

    name: str
    files: tuple[str, ...]
    """Patterns of paths inside the package."""
    tests: tuple[str, ...]
    """Patterns of files below `tests`; of their tests only those run that run a changed line."""

    def paths(self, package: Path) -> Iterator[Path]:
        """Its files."""
        for pattern in self.files:
            yield from sorted(package.glob(pattern))

    def test_paths(self, root: Path) -> list[str]:
        """Its tests, by their paths below the folder of the project."""
        return [
            str(path.relative_to(root))
            for pattern in self.tests
            for path in sorted(root.glob(f"tests/{pattern}.py"))
        ]


AREAS = (
    Area(
        "statistics",
        ("statistics.py", "paired.py"),
        (
            "unit/test_statistics",
            "property/test_ratio_laws",
            "reporting/test_against_random",
            "reporting/test_stability",
            "reporting/test_recovery",
        ),
    ),
    Area(
        "plans",
        (
            *("pruning/algebra.py", "pruning/plan*.py", "pruning/report.py", "pruning/select.py"),
            *("pruning/units.py", "pruning/weight_mask.py", "pruning/withdrawn.py"),
        ),
        (
            *("pruning/test_algebra", "pruning/test_plan", "pruning/test_prune"),
            *("pruning/test_quantised", "pruning/test_select", "pruning/test_units"),
            *("pruning/test_surgery", "pruning/test_weight_mask", "pruning/test_withdrawn"),
            *("property/test_algebra_laws", "property/test_plan_laws"),
            *("property/test_selection_laws", "unit/test_pruner"),
        ),
    ),
    Area(
        "forms",
        (
            *("pruning/apply.py", "pruning/baking.py", "pruning/compensate.py"),
            *("pruning/expanding.py", "pruning/gates.py", "pruning/layout_check.py"),
            *("pruning/loading.py", "pruning/quantised.py", "pruning/spars*.py"),
            "pruning/surgery.py",
        ),
        (
            *("pruning/test_bake", "pruning/test_compensate", "pruning/test_expand"),
            *("pruning/test_gates", "pruning/test_layout_check", "pruning/test_prune"),
            *("pruning/test_quantised", "pruning/test_score_errors", "pruning/test_spars*"),
            *("pruning/test_surgery", "pruning/test_withdrawn", "cli/test_precision"),
            "models/test_placement",
            *("property/test_decoding_laws", "property/test_form_laws"),
            *("property/test_permutation_laws", "property/test_saving_laws"),
            *("property/test_sparsity_laws", "property/test_training_laws"),
        ),
    ),
    Area(
        "criteria",
        ("pruning/calibrate.py", "pruning/scor*.py", "pruning/meters/*.py", "pruning/scorers/*.py"),
        (
            *("pruning/test_calibrate*", "pruning/test_score*"),
            *("property/test_calibration_laws", "property/test_scorer_laws"),
        ),
    ),
    Area(
        "scoring",
        ("evaluation/scores/*.py", "evaluation/scoring_lm.py"),
        (
            *("contract/test_scoring*", "contract/test_adapter", "contract/test_answer_cache"),
            *("contract/test_benchmark_refusals", "distributed/test_evaluation"),
        ),
    ),
    Area(
        "agency",
        ("models/agency/*.py",),
        (
            *("models/test_agency_*", "models/test_matching", "models/test_sentinel"),
            *("training/test_agency", "pruning/test_withdrawn", "recoveries/test_gates"),
        ),
    ),
    Area("comparison", ("judgement/*.py",), ("judgement/test_*",)),
    Area("baselines", ("baselines/*.py",), ("baselines/test_*",)),
    Area(
        "ops",
        # but for files of nothing but compiled loops
        (
            *("ops/buffers.py", "ops/short_convolution.py", "ops/threads.py"),
            *(f"ops/resolvent/{name}.py" for name in ("__init__", "chunked", "naive", "o*")),
            *(f"ops/selective_scan/{name}.py" for name in ("__init__", "naive", "quantities")),
            "ops/selective_scan/numba_scan.py",
        ),
        ("ops/test_*", "models/test_mamba"),
    ),
)
