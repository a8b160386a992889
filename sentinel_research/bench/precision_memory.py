"""How much memory a saved model takes in a fresh process, when it is loaded and when it runs."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, logging
from transformers.models.gpt2 import modeling_gpt2 as _gpt2  # noqa: F401

# so that models that are stored in few bits are known to transformers
import sentinel_research.models as _models  # noqa: F401
import sentinel_research.quantisation.stored as _stored  # noqa: F401
from sentinel_research.errors import SentinelError
from sentinel_research.memory import PeakMemory


class Held(NamedTuple):
    """What a fresh process said; None where the system keeps no peak."""

    file_bytes: int
    """Of the weight files."""
    loaded_bytes: int | None
    """How far memory had risen when the model was loaded."""
    peak_bytes: int | None
    """How far it rose at most until a prompt was read and a token decoded."""


def held_in_fresh_processes(folders: Sequence[Path], device: str, length: int) -> list[Held]:
    """Load a folder, read a prompt, decode a token: each in a process that did nothing before.

    One process imports the libraries, and forks for every folder before any of them has computed
    anything: what is measured is the model's, and not that of the imports.

    Args:
        folders: Saved models.
        device: Where they run.
        length: Tokens of the prompt, at most half of the model's window.

    Raises:
        SentinelError: if a process fails.
    """
    command = [sys.executable, "-m", __name__, device, str(length), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != len(folders):
        raise SentinelError(
            f"the process that measures memory ended with {done.returncode}",
            done.stderr.strip()[-2000:],
        )
    files = [sum(one.stat().st_size for one in each.glob("*.safetensors")) for each in folders]
    return [Held(size, *json.loads(line)) for size, line in zip(files, lines, strict=True)]


def _main(device: str, length: int, folders: Sequence[str]) -> int:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for folder in folders:
        child = os.fork()
        if child == 0:
            sys.stdout.write(json.dumps(_measured(folder, device, length)) + "\n")
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            return 1
    return 0


@torch.no_grad()
def _measured(folder: str, device: str, length: int) -> tuple[int | None, int | None]:
    with PeakMemory(device) as loading:
        model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
        nn.Module.to(model, device=device)
        gc.collect()
    with PeakMemory(device) as running:
        ids = torch.zeros(1, min(length, model.config.n_positions // 2), dtype=torch.long)
        ids = ids.to(device)
        past = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        model(ids[:, :1], past_key_values=past, use_cache=True)
    if loading.absent:
        return None, None
    before, loaded = loading.before_bytes or 0, running.before_bytes or 0
    return loaded - before, max(loading.peak_bytes or 0, running.peak_bytes or 0) - before


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
