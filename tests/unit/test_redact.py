"""Secrets of the environment and of addresses do not get into a record; everything else does."""

import json
from pathlib import Path

import pytest

from sentinel_research.record import RunRecord
from sentinel_research.redact import redacted, redacted_json

KEY = 'a"secret\\of mine'


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("DB_PASSWORD", "12345678")
    monkeypatch.setenv("SHORT_TOKEN", "done")
    monkeypatch.setenv("A_NAME", "not-a-secret-at-all")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key {KEY}!", "key ***!"),
        ("mysql://me:word@host/db", "mysql://***@host/db"),
        ("https://token@host", "https://***@host"),
        ("hf_" + "a1B2" * 8, "***"),
        ("http://host/me@there", "http://host/me@there"),
        ("done, not-a-secret-at-all", "done, not-a-secret-at-all"),
    ],
    ids=["variable", "password", "user", "hub", "no user", "no secret"],
)
def test_secrets_become_three_stars(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_json_stays_json_with_its_keys_and_numbers() -> None:
    value = {"a": [KEY, 1.123456789, None], KEY: "ä"}
    clean = json.loads(redacted_json(json.dumps(value)))
    assert clean == {"a": ["***", 1.123456789, None], KEY: "ä"}
    untouched = '{"a":  1.12345679}'
    assert redacted_json(untouched) == untouched


def test_record_on_disk_has_no_secret(tmp_path: Path) -> None:
    recipe = {"name": "mine", "model": {"pretrained": "https://me:pw@hub/model", "note": KEY}}
    record = RunRecord(
        name="mine",
        recipe=recipe,
        recipe_fingerprint="0",
        synthetic_data=False,
        started_at="now",
        environment={},
    )
    record.write(tmp_path)
    found = RunRecord.read(tmp_path)
    assert found.recipe["model"] == {"pretrained": "https://***@hub/model", "note": "***"}
    assert found.model_copy(update={"recipe": recipe}) == record
