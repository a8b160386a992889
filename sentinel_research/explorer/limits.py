"""Whether a model is small enough to be explored here, before anything of it is loaded."""

import os
from pathlib import Path

import torch

from sentinel_research.errors import UsageError

# the whole model, the one without the chosen units, and what is in between while it is made
_COPIES = 3
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: str) -> int | None:
    """Memory that can still be taken on a device; None where the system does not say."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    found = [one for one in (_of_machine(), _of_group()) if one is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    if not _MEMINFO.exists():
        names = ("SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
        known = os.sysconf_names if hasattr(os, "sysconf_names") else {}
        return os.sysconf(names[0]) * os.sysconf(names[1]) if {*names} <= {*known} else None
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_group() -> int | None:
    """What the process's group may still take, where it has a limit (containers)."""
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not (limit.exists() and used.exists()):
        return None
    text = limit.read_text(encoding="ascii").strip()
    return None if text == "max" else int(text) - int(used.read_text(encoding="ascii"))


def check_memory(name: str, weight_bytes: int, free: int | None) -> None:
    """Refuse a model that does not fit several times.

    Args:
        name: Of the model.
        weight_bytes: Of its files.
        free: From `free_bytes`; None is not checked.

    Raises:
        UsageError: with what can be done instead.
    """
    needed = _COPIES * weight_bytes
    if free is not None and needed > free:
        raise UsageError(
            f"exploring {name} takes about {_gigabytes(needed)} ({_COPIES} times its weights), and "
            f"{_gigabytes(free)} are free",
            "A recipe prunes it in the same ways without a page, one model at a time: sentinel run "
            "criteria-stories260k --set model.pretrained=MODEL --dry-run shows how. Or explore a "
            "smaller model of the family, and transfer what you find (`prune.transfer_from`).",
        )


def check_time(seconds: float, num_units: int, num_sequences: int, patience: float) -> None:
    """Refuse to leave one unit out after the other for longer than somebody waits.

    Args:
        seconds: Of one pass, forward and back.
        num_units: Heads and blocks that are still to be left out.
        num_sequences: That a pass reads.
        patience: Minutes.

    Raises:
        UsageError: with what can be done instead.
    """
    minutes = seconds * num_units / 60
    if minutes > patience:
        fitting = int(num_sequences * patience / minutes)
        less = f"read less text: --sequences {fitting}; " if fitting else ""
        raise UsageError(
            f"leaving out {num_units:,} heads and blocks one by one takes about {minutes:.0f} "
            f"minutes here, and --patience is {patience:g}",
            f"Wait for it: --patience {max(1, round(1.5 * minutes))}; {less}or estimate all of "
            "them from one pass: --estimates gradients",
        )


def _gigabytes(num: int) -> str:
    return f"{num / 1e9:,.1f} GB"
