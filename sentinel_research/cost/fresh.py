"""Peak memory and loading, in a new process that has done nothing else.

The model is written to a temporary folder as it would be stored, and the new process loads it from
there, writes one text, and then loads it again and again in turns with the reference.
"""

import gc
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from sentinel_research.cost.phases import decode, prefill, random_prompt
from sentinel_research.cost.schema import Fresh
from sentinel_research.errors import SentinelError
from sentinel_research.memory import PeakMemory
from sentinel_research.models.hooks import refuse_hooks
from sentinel_research.models.load import load_weights
from sentinel_research.specs import CostSpec, ModelSpec
from sentinel_research.timing import Action, compare, measure, median_interval

_NUM_LOADS = 3


def store(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as it is stored, without a tokenizer.

    Raises:
        UsageError: for what cannot be stored, such as a masked model.
    """
    refuse_hooks(model, "saved")
    model.save_pretrained(folder)


def measure_fresh(
    folder: Path, reference: Path | None, spec: CostSpec, device: str, name: str, against: str
) -> Fresh:
    """Start the process and read what it says.

    Args:
        folder: Of the stored model.
        reference: Of the stored model that loading is compared with.
        spec: Lengths of the text.
        device: torch device.
        name: Of the model, in words.
        against: Of the reference, in words.

    Raises:
        SentinelError: if the process fails.
    """
    asked = {
        "folder": str(folder),
        "reference": None if reference is None else str(reference),
        "spec": spec.model_dump(mode="json"),
        "device": device,
        "num_threads": torch.get_num_threads(),
        "names": [name, against],
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(asked)], capture_output=True, text=True
    )
    if done.returncode:
        raise SentinelError(
            f"the process that measures memory ended with {done.returncode}",
            done.stderr.strip()[-2000:],
        )
    return Fresh.model_validate_json(done.stdout.splitlines()[-1])


def _load(folder: str, device: str) -> PreTrainedModel:
    """Load a model until every weight has been read: files are mapped, and read when used."""
    model = load_weights(Path(folder), ModelSpec(pretrained=folder, device=device))
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.count_nonzero()
    return model


def _read_from(folder: str, device: str, _prepared: object) -> PreTrainedModel:
    """`_load`, as an action."""
    return _load(folder, device)


def _measured(asked: dict[str, Any]) -> Fresh:
    spec, device, folder = CostSpec.model_validate(asked["spec"]), asked["device"], asked["folder"]
    torch.set_num_threads(asked["num_threads"])
    # the code that loading and running needs is loaded itself at first
    _write(_load(folder, device), spec)
    gc.collect()
    with PeakMemory(device) as memory:
        _write(_load(folder, device), spec)
    if memory.before_bytes is None or memory.peak_bytes is None:
        raise SystemExit(memory.absent)
    gc.collect()
    folders = {"model": folder}
    if asked["reference"] is not None:
        folders["reference"] = asked["reference"]
    samples = measure(
        {name: Action(partial(_read_from, at, device)) for name, at in folders.items()},
        _NUM_LOADS,
    )
    name, against = asked["names"]
    return Fresh(
        kind=memory.kind,
        before_bytes=memory.before_bytes,
        peak_bytes=memory.peak_bytes,
        load_seconds=median_interval([one.wall_seconds for one in samples["model"]]),
        load_against=None
        if asked["reference"] is None
        else compare("load", (name, samples["model"]), (against, samples["reference"])),
    )


def _write(model: PreTrainedModel, spec: CostSpec) -> None:
    """Read a prompt and decode, at the largest batch size."""
    ids = random_prompt(model, max(spec.batch_sizes), spec.prompt_tokens, spec.seed)
    prefill(ids, model, 1).run(None)
    action = decode(ids, model, spec.new_tokens)
    action.run(action.prepare())


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Where models are written to."""
    return tempfile.TemporaryDirectory(prefix="sentinel-cost-")


if __name__ == "__main__":
    sys.stdout.write(f"\n{_measured(json.loads(sys.argv[1])).model_dump_json()}\n")
