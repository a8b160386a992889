"""Compiled training computes what training computes."""

from pathlib import Path

import numpy as np
import pytest

from sentinel_research.models.tiny import tiny_model
from sentinel_research.specs import TrainSpec
from sentinel_research.training import train


# a compiler at work takes a minute
@pytest.mark.slow
# torch.compile uses parts of torch that torch deprecates, and looks at gradients of what its graph
# hands over, which has none
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_training_has_the_losses_of_plain_training(tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 200, size=(8, 12))
    losses = []
    for compiled in (False, True):
        still = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
        model = tiny_model("gpt2", n_layer=1, n_head=2, n_embd=8, n_inner=8, **still)
        spec = TrainSpec(
            corpus="synthetic", num_steps=3, batch_size=4, sequence_length=12, compile=compiled
        )
        _, report = train(model, spec, blocks, tmp_path / str(compiled))
        losses.append([entry["loss"] for entry in report["losses"]])
    # float32 sums in another order
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
