"""What the numbers were measured on."""

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from sentinel_research.environment import environment
from sentinel_research.record import now
from sentinel_research.timing import Row

if TYPE_CHECKING:
    import torch


class Conditions(Row):
    """Under which a section was measured."""

    measured_at: str
    """UTC, ISO 8601."""
    seconds: float = Field(ge=0)
    """Duration of the section."""
    device: str
    """Processor model or CUDA device."""
    num_threads: int = Field(gt=0)
    """Threads that torch computes with."""
    num_processors: int | None
    """Processors of the machine."""
    load_average: float | None
    """Of the minute before, processes; null where the system keeps none."""
    dtype: str
    """Type of the weights."""
    commit: str | None
    """Git commit of the package; null without a checkout."""
    has_changes: bool | None
    """True if the checkout differed from the commit."""
    packages: dict[str, str]
    """Versions, torch and transformers among them."""
    platform: str
    """Operating system."""


def device_name(device: str) -> str:
    """Model of the processor, or of the CUDA device."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def wait_for(device: str) -> None:
    """Return once the device has finished what it was asked for."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class Watch:
    """Notes the conditions at the start of a section."""

    def __init__(self, device: str, dtype: "torch.dtype") -> None:
        self._device, self._dtype = device, dtype
        self._at, self._start = now(), time.perf_counter()
        self._load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None

    def conditions(self) -> Conditions:
        """The conditions, with the time that has passed."""
        import torch

        found = environment(self._device)
        return Conditions(
            measured_at=self._at,
            seconds=round(time.perf_counter() - self._start, 1),
            device=device_name(self._device),
            num_threads=torch.get_num_threads(),
            num_processors=found["cpu_count"],
            load_average=self._load,
            dtype=str(self._dtype).removeprefix("torch."),
            commit=found["git"]["commit"],
            has_changes=found["git"]["dirty"],
            packages=found["packages"],
            platform=found["platform"],
        )
