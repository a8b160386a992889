"""Training on some positions only: labels in place of the blocks' own tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sentinel_research.training import train
from tests.training.conftest import LENGTH, blocks_of, make_model, make_spec, same, weights

IGNORED = -100


def _labels(blocks: np.ndarray, counts: list[int]) -> np.ndarray:
    """The last `counts[i]` tokens of row i are trained on."""
    places = np.arange(LENGTH) >= LENGTH - np.resize(counts, len(blocks))[:, None]
    return np.where(places, blocks, IGNORED)


def _loss(blocks: np.ndarray, labels: np.ndarray) -> float:
    """Nats per labelled token of an untrained model."""
    with torch.no_grad():
        logits = make_model().eval()(input_ids=torch.from_numpy(blocks)).logits[:, :-1]
    wanted = torch.from_numpy(labels)[:, 1:]
    return float(F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED))


def test_loss_is_of_labelled_tokens_only(tmp_path: Path) -> None:
    blocks = blocks_of(4)
    labels = _labels(blocks, [1, 3, 5, 7])
    _, report = train(make_model(), make_spec(num_steps=1), blocks, tmp_path, labels=labels)
    # float32's rounding of a sum of 16 terms
    assert report["losses"][0]["loss"] == pytest.approx(_loss(blocks, labels), rel=1e-5)


def test_validation_weighs_every_labelled_token_alike(tmp_path: Path) -> None:
    """Batches of four: one has four labels, the other forty."""
    blocks, validation = blocks_of(4), blocks_of(8, seed=1)
    labels = _labels(validation, [1, 1, 1, 1, 10, 10, 10, 10])
    spec = make_spec(num_steps=1, learning_rate=1e-12, validate_every=1)
    _, report = train(
        make_model(),
        spec,
        blocks,
        tmp_path,
        validation=validation,
        labels=_labels(blocks, [4]),
        validation_labels=labels,
    )
    assert report["validation_loss"] == pytest.approx(_loss(validation, labels), rel=1e-5)


def test_what_stands_behind_the_last_label_changes_nothing(tmp_path: Path) -> None:
    blocks = blocks_of(8)
    labels = np.where(np.arange(LENGTH) < 9, blocks, IGNORED)
    other = np.where(np.arange(LENGTH) < 9, blocks, 7)
    one, _ = train(make_model(), make_spec(), blocks, tmp_path / "one", labels=labels)
    two, _ = train(make_model(), make_spec(), other, tmp_path / "two", labels=labels)
    assert same(weights(one), weights(two))


def test_batch_ends_with_its_last_label(tmp_path: Path) -> None:
    blocks = blocks_of(8)
    places = np.arange(LENGTH)
    labels = np.where((places == 3) | (places == 5), blocks, IGNORED)
    model, seen = make_model(), set[tuple[int, ...]]()
    model.register_forward_pre_hook(
        lambda _, __, given: seen.add(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    _, report = train(
        model,
        make_spec(num_steps=2, validate_every=1),
        blocks,
        tmp_path,
        validation=blocks,
        labels=labels,
        validation_labels=labels,
    )
    # operations are counted on one whole sequence
    assert seen == {(4, 6), (1, LENGTH)}
    assert "flops_per_step" not in report
    assert report["num_tokens"] == 2 * 4 * 2
