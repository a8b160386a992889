"""What `cost` returns: strict JSON, every speed with the times behind it."""

from typing import Literal

from pydantic import Field

from sentinel_research.machine import Conditions
from sentinel_research.specs import CostSpec
from sentinel_research.timing import Comparison, Median, Row

Clock = Literal["wall", "cpu"]
"""`cpu` is the time on all processors, which other processes do not lengthen."""


class Parameters(Row):
    """Numbers of parameters, tied ones once."""

    total: int
    embedding: int
    """In tables of tokens and positions, and in the output head."""
    non_embedding: int


class Storage(Row):
    """Bytes that a model takes, without what a pass needs in between."""

    weights_bytes: int
    """Parameters and buffers as they are held, packed ones among them, tied ones once."""
    cache_tokens: int
    """Tokens of the one sequence that the cache was filled with."""
    cache_bytes: int
    """Keys, values and states behind them."""
    cache_bytes_per_token: int
    """What one more token adds; 0 for a state of fixed size, and beyond an attention window."""
    cache_bytes_fixed: int
    """What does not grow; negative where a window has dropped tokens."""


class Bound(Row):
    """How fast a phase can be beside the reference, by arithmetic alone."""

    flops_ratio: float = Field(gt=0)
    """Operations of the reference by those of the model."""
    bytes_ratio: float = Field(gt=0)
    """Bytes moved by the reference by those of the model."""
    speed_up: float = Field(gt=0)
    """The ratio of the times that either takes at the machine's rates, the longer of computing and
    of moving (a roofline)."""


class PhaseCost(Row):
    """One phase at one batch size."""

    phase: Literal["prefill", "first_token", "decode"]
    batch_size: int
    num_tokens: int
    """Read (of the first token: before it) or written each time, of all sequences."""
    flops: int
    """Operations each time, as torch counts them under eager attention."""
    bytes_moved: int
    """See `cost.counts`."""
    wall_seconds: Median
    """Of one time."""
    cpu_seconds: Median
    """The same on all processors."""
    tokens_per_second: Median
    """By wall time."""
    bound: Bound | None = None
    """Against the reference; null without one."""
    against: Comparison | None = None
    """The paired times of the model and the reference; null without one."""

    def speed_up(self, clock: Clock) -> Median | None:
        """How many times as fast as the reference; the inverse of the ratio of times."""
        if self.against is None:
            return None
        times = self.against.wall if clock == "wall" else self.against.cpu
        return Median(
            median=1 / times.median,
            low=1 / times.high,
            high=1 / times.low,
            coverage=times.coverage,
        )


class Fresh(Row):
    """What a new process measured that loads the model and writes one text."""

    kind: Literal["resident set", "cuda"]
    """What memory counts: the process, or what torch allocated on the GPU."""
    before_bytes: int
    """With interpreter and libraries, before the model is loaded."""
    peak_bytes: int
    """The largest use, from loading to the last token."""
    load_seconds: Median
    """From the call until every weight was read; the files are in the system's cache."""
    load_against: Comparison | None = None
    """Paired with loading the reference in that process; null without one."""


class ModuleCost(Row):
    """Where the time of a phase goes: modules of one place in every layer, added up."""

    phase: Literal["prefill", "decode"]
    path: str
    """Path in the model, layers as `*`."""
    kind: str
    """Class."""
    num_calls: int
    """In one pass."""
    own_seconds: float
    """Of one pass, without the modules inside."""
    share: float
    """Of the whole pass."""


class Rates(Row):
    """What the machine reached just then, median of some times."""

    flops_per_second: float
    """A product of square matrices."""
    bytes_per_second: float
    """A product of a matrix that no cache holds with a vector."""


class CostReport(Row):
    """What one model costs."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    name: str
    """Of the model, in the comparison."""
    against: str | None
    """Name of the reference, measured in turns with it; null without one."""
    spec: CostSpec
    """What was asked."""
    conditions: Conditions
    """Under which it was measured."""
    clock: Clock
    """By which it is judged: processor time on a CPU, wall time elsewhere."""
    kernels: dict[str, str]
    """What computed the mixing of tokens."""
    parameters: Parameters
    storage: Storage
    rates: Rates | None
    """Null without a reference."""
    phases: tuple[PhaseCost, ...]
    fresh: Fresh | None
    """Memory and loading in a new process; null if `fresh_absent` says why."""
    fresh_absent: str = ""
    modules: tuple[ModuleCost, ...]
    """By phase, the longest first; none if they were not asked for."""

    def phase(self, name: str, batch_size: int | None = None) -> PhaseCost:
        """One phase, at the first batch size unless another one is given."""
        size = batch_size or self.spec.batch_sizes[0]
        (found,) = (one for one in self.phases if (one.phase, one.batch_size) == (name, size))
        return found
