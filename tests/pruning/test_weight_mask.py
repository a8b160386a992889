"""Masks of single weights as data: what is stored, and what is refused."""

import base64

import numpy as np
import pytest
from pydantic import ValidationError

from sentinel_research.pruning.weight_mask import WeightMask

KEEP = np.array([[True, False, True], [True, True, False]])


def test_mask_is_one_bit_a_weight_row_after_row() -> None:
    mask = WeightMask.of(KEEP)
    assert mask.shape == (2, 3)
    assert mask.num_zero == 2
    # 101110, padded to a byte with zeros
    assert base64.b64decode(mask.bits) == bytes([0b10111000])


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 63, 64])
def test_mask_of_any_width_comes_back(columns: int) -> None:
    keep = np.random.default_rng(columns).random((3, columns)) < 0.5
    assert np.array_equal(WeightMask.of(keep).keep(), keep)
    assert len(base64.b64decode(WeightMask.of(keep).bits)) == -(-3 * columns // 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_zero": 3}, "mask says 3 zeros, and holds 2"),
        ({"shape": (3, 3)}, r"mask of shape \[3, 3\] cannot be read: 1 bytes for 9 weights"),
        ({"shape": (-2, -3)}, "cannot be read"),
        ({"bits": "not base64!"}, "cannot be read"),
        ({"bits": f"{WeightMask.of(KEEP).bits}!"}, "cannot be read"),
        ({"bits": ""}, "0 bytes for 6 weights"),
        ({"num_zero": -1}, "greater than or equal to 0"),
        ({"kept": 4}, "Extra inputs"),
    ],
    ids=["count", "shape", "negative", "letters", "more_letters", "empty", "negative_count", "key"],
)
def test_mask_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WeightMask.model_validate({**WeightMask.of(KEEP).model_dump(), **change})


def test_summary_is_short_and_tells_masks_apart() -> None:
    one, other = WeightMask.of(KEEP).summary(), WeightMask.of(~KEEP).summary()
    assert one.keys() == {"shape", "num_zero", "sha256"}
    assert len(one["sha256"]) == 16
    assert one["sha256"] != other["sha256"]
