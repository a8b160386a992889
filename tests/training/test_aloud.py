"""Texts that are read out while a model is trained: for people, without effect on anything."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentinel_research.data.byte_level import byte_tokenizer
from sentinel_research.models.agency.convert import add_agency
from sentinel_research.progress import Plain
from sentinel_research.specs import AgencySpec
from sentinel_research.training import train
from tests.training.conftest import DROPOUT, blocks_of, make_model, make_spec, same, weights


def _loud() -> tuple[Plain, io.StringIO]:
    stream = io.StringIO()
    return Plain(stream, verbose=True), stream


@pytest.mark.parametrize("agency", [None, {"gate": "hard_concrete"}], ids=["plain", "noisy gates"])
def test_training_that_is_listened_to_has_the_bits_of_one_that_is_not(
    agency: dict[str, Any] | None, tmp_path: Path
) -> None:
    def model() -> Any:
        made = make_model(**DROPOUT)
        return made if agency is None else add_agency(made, AgencySpec.model_validate(agency))

    given = {"tokenizer": byte_tokenizer()}
    torch.manual_seed(3)
    silent, expected = train(model(), make_spec(), blocks_of(21), tmp_path / "a", **given)
    state = torch.get_rng_state()
    plain, stream = _loud()
    torch.manual_seed(3)
    loud, report = train(
        model(), make_spec(), blocks_of(21), tmp_path / "b", progress=plain, **given
    )
    assert same(weights(silent), weights(loud))
    assert torch.equal(torch.get_rng_state(), state)
    assert report["losses"] == expected["losses"]
    assert report["samples"] == expected["samples"] == []
    assert stream.getvalue().count("\N{RIGHTWARDS ARROW}") == 5
    assert stream.getvalue().count("gradient_norm") == len(expected["losses"])


def test_nobody_who_did_not_ask_reads_texts(blocks: np.ndarray, tmp_path: Path) -> None:
    stream = io.StringIO()
    train(
        make_model(), make_spec(), blocks, tmp_path, progress=Plain(stream),
        tokenizer=byte_tokenizer(),
    )  # fmt: skip
    assert "\N{RIGHTWARDS ARROW}" not in stream.getvalue()


def test_control_characters_that_a_model_writes_are_escaped(tmp_path: Path) -> None:
    # the model learns to go on with escapes, as its text does
    (escape,) = byte_tokenizer()("\x1b", add_special_tokens=False)["input_ids"]
    blocks = np.full((8, 16), escape)
    plain, stream = _loud()
    spec = make_spec(learning_rate=0.1, num_steps=20)
    train(make_model(), spec, blocks, tmp_path, progress=plain, tokenizer=byte_tokenizer())
    assert r"\x1b\x1b\x1b" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_samples_of_the_recipe_are_read_out_as_they_are_kept(
    blocks: np.ndarray, tmp_path: Path
) -> None:
    plain, stream = _loud()
    spec = make_spec(samples={"prompts": ["ab"], "every": 4, "max_new_tokens": 5})
    _, report = train(
        make_model(), spec, blocks, tmp_path, progress=plain, tokenizer=byte_tokenizer()
    )
    read = [line for line in stream.getvalue().splitlines() if "\N{RIGHTWARDS ARROW}" in line]
    assert [line.split(":")[0].strip() for line in read] == [
        f"step {one['step']}" for one in report["samples"]
    ]
