"""The machine and the software that a number came from."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = (
    "sentinel-research",
    "lm-eval",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "tokenizers",
    "numpy",
    "scipy",
)


def _git_state() -> dict[str, Any]:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "reason": "installed without its git checkout"}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError) as error:
        return {"commit": None, "dirty": None, "reason": f"git: {error}"}


def environment(device: str) -> dict[str, Any]:
    """Describe the machine and the software that a number came from.

    Args:
        device: The torch device of the run.
    """
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "device": device,
        "packages": versions,
        "git": _git_state(),
    }
    if device.startswith("cuda"):
        import torch

        # one that is not there is refused where the model is loaded
        if (torch.device(device).index or 0) < torch.cuda.device_count():
            found["device_name"] = torch.cuda.get_device_name(device)
    return found
