"""Trackers of experiments: those of accelerate, told of a run beside whoever reads its progress."""

from sentinel_research.tracking.names import check_trackers, known_trackers
from sentinel_research.tracking.tracked import Tracked, tracked

__all__ = ["Tracked", "check_trackers", "known_trackers", "tracked"]
