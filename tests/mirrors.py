"""Mirrors of a few rows in the layout of the hub."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from sentinel_research.data.mirror import VARIABLE

Rows = list[dict[str, Any]]


def write_repository(root: Path, repo_id: str, configs: dict[str, dict[str, Rows]]) -> None:
    """A repository of a mirror: rows by split by configuration."""
    listed = []
    for config, splits in configs.items():
        (root / repo_id / config).mkdir(parents=True)
        for split, rows in splits.items():
            place = root / repo_id / config / f"{split}.parquet"
            datasets.Dataset.from_list(rows).to_parquet(place)
        files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in splits]
        listed.append({"config_name": config, "data_files": files})
    card = json.dumps({"configs": listed})
    (root / repo_id / "README.md").write_text(f"---\n{card}\n---\n")


def use(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the mirror in a folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
    monkeypatch.setenv(VARIABLE, str(root / "hub"))
