"""The command's help, which names every published flag and loads nothing heavy."""

import subprocess
import sys

PUBLISHED = [
    "model_name",
    "pruning_level",
    "dataset",
    "batch_size",
    "epochs",
    "learning_rate",
    "optimization_level",
    "per_head_lr",
    "active_heads_only",
    "adaptive_masking",
    "visualize",
    "output_dir",
    "pruning_strategies",
    "pruning_levels",
    "learning_steps",
    "early_stop_patience",
    "eval_interval",
    "use_adaptive_lr",
    "eval_dataset",
    "use_real_data",
    "eval_samples",
    "max_length",
    "save_checkpoints",
    "verbose",
]


def test_help_names_every_published_flag_and_loads_no_torch() -> None:
    code = """
import sys
from sentinel_research.cli import main
main(["finetune", "--help"])
heavy = {"torch", "transformers", "datasets", "lm_eval", "matplotlib", "scipy"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert [name for name in PUBLISHED if not any(f"--{name} " in line for line in text)] == []
