"""Numbers that must not drift: kept values of a suite's models, and what differs from them."""

from sentinel_research.baselines.check import Finding, check
from sentinel_research.baselines.judge import accept_record, check_record, read_run
from sentinel_research.baselines.measured import baselines_of
from sentinel_research.baselines.schema import Baseline
from sentinel_research.baselines.store import DEFAULT_FOLDER, accept, read_baselines
from sentinel_research.baselines.suites import Suite, read_suite, suites

__all__ = [
    "DEFAULT_FOLDER",
    "Baseline",
    "Finding",
    "Suite",
    "accept",
    "accept_record",
    "baselines_of",
    "check",
    "check_record",
    "read_baselines",
    "read_run",
    "read_suite",
    "suites",
]
