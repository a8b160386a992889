"""What every section of the file of `sentinel bench` is made of."""

from typing import Literal

from sentinel_research.machine import Conditions
from sentinel_research.record import Check
from sentinel_research.timing import Comparison, Row

Size = Literal["tiny", "124m"]
"""`124m`: the shape of GPT-2 small; `tiny`: a rehearsal."""


class BenchModel(Row):
    """The model that was measured; its weights are random, times do not depend on them."""

    family: str
    """transformers' `model_type`."""
    num_layers: int
    """Decoder layers."""
    num_heads: int | None
    """Query heads of a layer; null without attention, and so are the next."""
    num_kv_heads: int | None
    """Key/value heads of a layer."""
    hidden_size: int
    """Width of the residual stream."""
    num_parameters: int
    """Parameters, tied ones once."""
    attn_implementation: str | None
    """Attention kernel."""


class Section(Row):
    """What every section holds."""

    conditions: Conditions
    """Under which it was measured."""
    model: BenchModel
    """What was measured."""
    comparisons: tuple[Comparison, ...]
    """Paired times."""
    checks: tuple[Check, ...] = ()
    """What the times had to show; none at size `tiny`, whose times mean nothing."""
