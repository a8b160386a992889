"""Run sections, and join each to the file as soon as it is measured."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from sentinel_research.bench.adapter import bench_adapter
from sentinel_research.bench.agency import bench_agency
from sentinel_research.bench.attention import bench_attention
from sentinel_research.bench.calibration import bench_calibration
from sentinel_research.bench.cost import bench_cost
from sentinel_research.bench.files import read_file, write_file
from sentinel_research.bench.forward import bench_forward
from sentinel_research.bench.levels import bench_levels
from sentinel_research.bench.mamba import bench_mamba
from sentinel_research.bench.models import SCALES, gpt2
from sentinel_research.bench.peers import bench_peers
from sentinel_research.bench.precision import bench_precision
from sentinel_research.bench.pruning import bench_pruning
from sentinel_research.bench.resolvent import bench_resolvent
from sentinel_research.bench.runs import bench_runs
from sentinel_research.bench.schema import SECTIONS, SectionName, SpeedFile
from sentinel_research.bench.schema_base import Section, Size
from sentinel_research.bench.sweep import bench_sweep
from sentinel_research.errors import UsageError
from sentinel_research.machine import device_name

_RUN: dict[SectionName, Callable[[Size, str, int], Section]] = {
    "calibration": bench_calibration,
    "pruning": bench_pruning,
    "forward": bench_forward,
    "peers": bench_peers,
    "mamba": bench_mamba,
    "resolvent": bench_resolvent,
    "agency": bench_agency,
    "adapter": bench_adapter,
    "attention": bench_attention,
    "levels": bench_levels,
    "cost": bench_cost,
    "precision": bench_precision,
    "runs": bench_runs,
    "sweep": bench_sweep,
}


def silently(_name: SectionName, _section: Section | None) -> None:
    """Tell nobody."""


def bench(
    sections: Sequence[SectionName],
    *,
    size: Size = "124m",
    device: str = "cpu",
    num_pairs: int | None = None,
    output: Path | None = None,
    told: Callable[[SectionName, Section | None], object] = silently,
) -> SpeedFile:
    """Measure sections.

    Args:
        sections: Which, in any order.
        size: Of the models.
        device: `cpu`, `cuda` or `cuda:N`.
        num_pairs: Rounds of every comparison; the size's own by default.
        output: File that each section joins when it is done; its other sections stay.
        told: Called with a section's name when it begins, and again with the section when it ends.

    Returns:
        The file's content, or the sections measured now if there is no file.

    Raises:
        UsageError: for an absent device, an unsuitable file, a package that is not installed, or
            fewer than two pairs.
    """
    if num_pairs is not None and num_pairs < 2:
        raise UsageError(f"{num_pairs} pairs have no interval", "Take at least --pairs 2.")
    if "peers" in sections and importlib.util.find_spec("torch_pruning") is None:
        raise UsageError(
            "the peer that is measured, torch-pruning, is not installed",
            "pip install sentinel-research[peers]",
        )
    # an absent device is refused before anything is measured
    gpt2("tiny", device)
    content = SpeedFile(device=device_name(device), size=size)
    if output is not None:
        content = read_file(output, content)
    for name in (one for one in SECTIONS if one in sections):
        told(name, None)
        section = _RUN[name](size, device, num_pairs or SCALES[size].num_pairs)
        content = content.model_copy(update={name: section})
        if output is not None:
            write_file(output, content)
        told(name, section)
    return content
