"""A finished run around cells that a test made."""

from collections.abc import Sequence
from typing import Any

from sentinel_research.record import CellRecord, RunRecord

TASK = "toy_task"


def toy_record(cells: Sequence[CellRecord], stages: dict[str, Any], **fields: Any) -> RunRecord:
    """A record of these cells.

    Args:
        cells: Of the run.
        stages: What its recipe asks for beside the measurement.
        **fields: Of the record, to replace; of `recipe` single keys.
    """
    recipe = {
        "name": "toy",
        "description": "A small run.",
        "model": {"pretrained": "org/model", "architecture": None},
        "evaluate": {"tasks": [TASK], "limit": None},
        **stages,
    }
    content: dict[str, Any] = {
        "name": "toy",
        "status": "done",
        "recipe": recipe | fields.pop("recipe", {}),
        "recipe_fingerprint": "0123456789abcdef",
        "synthetic_data": False,
        "started_at": "2025-01-01T00:00:00+00:00",
        "finished_at": "2025-01-01T00:01:00+00:00",
        "environment": {"device": "cpu", "packages": {"torch": "2.9"}},
        "cells": list(cells),
    }
    return RunRecord(**content | fields)
