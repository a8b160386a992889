"""Trials that a test made, and a comparison that is searched in seconds."""

from typing import Any

from sentinel_research.comparison.search import STOPPED
from sentinel_research.recipe import load_recipe
from sentinel_research.record import Arm, CellRecord
from sentinel_research.specs import Recipe

CONFIG = "{n_embd: 16, n_layer: 1, n_head: 2, n_positions: 128}"
TINY = [
    f"compare.architectures={{gpt2: {{architecture: gpt2, config: {CONFIG}}}}}",
    "compare.match=null",
    "compare.learning_rates=[]",
    "compare.ngrams=[]",
    "train.num_steps=6",
    "train.batch_size=4",
    "train.validate_every=2",
    "train.validation_blocks=4",
    "evaluate.limit=2",
    "tune.trials=5",
    # the upper end diverges
    "tune.space={learning_rate: [0.001, 1000, log], weight_decay: [0, 0.1, linear]}",
]


def tiny_recipe(*overrides: str) -> Recipe:
    return load_recipe("architectures-demo", [*TINY, *overrides]).recipe


def trial(
    number: int, losses: list[float], settings: dict[str, float] | None = None, **train: Any
) -> CellRecord:
    """A trial that validated at every second step."""
    validation = [{"step": 2 * at + 2, "loss": loss} for at, loss in enumerate(losses)]
    report = {
        "validation": validation,
        "validation_loss": min(losses, default=None),
        "num_steps": 2 * len(losses),
        "num_tokens": 200 * len(losses),
        "seconds": 1.0,
        **train,
    }
    return CellRecord(
        id=f"gpt2-seed0-trial{number}",
        status="failed" if "diverged" in train else "done",
        prune_spec=None,
        train=report,
        arm=Arm(
            name="gpt2",
            seed=0,
            learning_rate=None,
            is_tuning=True,
            trial=number,
            settings=settings or {"learning_rate": 10.0 ** -(2 + number % 3)},
        ),
    )


def stopped(number: int, losses: list[float]) -> CellRecord:
    return trial(number, losses, **{STOPPED: 2 * len(losses)})
