"""What compiled training needs beside torch."""

import importlib.util
import os
import shutil
import sys

from sentinel_research.errors import UsageError


def check_compiler(device: str) -> None:
    """Refuse compiled training where nothing compiles: it would fail at the first step.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: without a C++ compiler for a CPU, or without Triton for a GPU.
    """
    without = "train without `train.compile`; in `sentinel finetune` that is --optimization_level 2"
    if device.startswith("cuda"):
        if importlib.util.find_spec("triton") is None:
            raise UsageError("compiled training on a GPU needs Triton, which is missing", without)
        return
    # inductor's own rule
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"compiled training needs a C++ compiler, and there is no {compiler}",
            f"install one, or name it in the variable CXX; or {without}",
        )
