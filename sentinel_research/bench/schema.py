"""The file that `sentinel bench` writes: one device, one size, one entry per section.

Strict JSON (no NaN, no infinity, no unknown key). Every ratio is `measured / alternative`: below 1
the measured one is faster. The times behind each ratio are kept, and a file in which the two do not
agree is refused.
"""

import math
import statistics
from typing import Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from sentinel_research.record import Check
from sentinel_research.specs import Spec

Size = Literal["tiny", "124m"]
SectionName = Literal["calibration", "pruning", "forward", "peers", "mamba", "resolvent", "agency"]
SECTIONS: tuple[SectionName, ...] = get_args(SectionName)


class _Row(Spec):
    model_config = ConfigDict(allow_inf_nan=False)


class Ratio(_Row):
    """Median of paired ratios and its interval."""

    median: float = Field(gt=0)
    """Of `measured / alternative` over the pairs."""
    low: float = Field(gt=0)
    """Lower end of the interval, one of the ratios."""
    high: float = Field(gt=0)
    """Upper end of the interval, one of the ratios."""
    coverage: float = Field(ge=0, lt=1)
    """Probability with which such intervals contain the median of independent ratios."""


class Comparison(_Row):
    """One thing and its alternative, timed in turns in one process."""

    name: str
    """Unique in its section."""
    measured: str
    """What was timed."""
    alternative: str
    """What it is compared with."""
    num_pairs: int = Field(ge=2)
    """Rounds in which both were timed."""
    wall_seconds: tuple[tuple[float, float], ...]
    """Per pair the time that passed, measured and alternative."""
    cpu_seconds: tuple[tuple[float, float], ...]
    """Per pair the time on all processors, measured and alternative."""
    wall: Ratio
    """Of the wall times."""
    cpu: Ratio
    """Of the processor times."""

    @model_validator(mode="after")
    def _follows_from_the_pairs(self) -> "Comparison":
        for clock in ("wall", "cpu"):
            pairs: tuple[tuple[float, float], ...] = getattr(self, f"{clock}_seconds")
            if len(pairs) != self.num_pairs:
                raise ValueError(f"{len(pairs)} {clock} times for {self.num_pairs} pairs")
            median = statistics.median(measured / other for measured, other in pairs)
            stated = getattr(self, clock).median
            if not math.isclose(median, stated, rel_tol=1e-9):
                raise ValueError(f"{clock} median {stated} is not that of the pairs, {median}")
        return self


class Conditions(_Row):
    """Under which a section was measured."""

    measured_at: str
    """UTC, ISO 8601."""
    seconds: float = Field(ge=0)
    """Duration of the section."""
    device: str
    """Processor model or CUDA device."""
    num_threads: int = Field(gt=0)
    """Threads that torch computes with."""
    num_processors: int | None
    """Processors of the machine."""
    load_average: float | None
    """Of the minute before, processes; null where the system keeps none."""
    dtype: str
    """Type of the weights."""
    commit: str | None
    """Git commit of the package; null without a checkout."""
    has_changes: bool | None
    """True if the checkout differed from the commit."""
    packages: dict[str, str]
    """Versions, torch and transformers among them."""
    platform: str
    """Operating system."""


class BenchModel(_Row):
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


class Section(_Row):
    """What every section holds."""

    conditions: Conditions
    """Under which it was measured."""
    model: BenchModel
    """What was measured."""
    comparisons: tuple[Comparison, ...]
    """Paired times."""
    checks: tuple[Check, ...] = ()
    """What the times had to show; none at size `tiny`, whose times mean nothing."""


class CalibrationSection(Section):
    """Statistics of all head scorers in one pass, beside a plain forward and backward pass."""

    statistics: tuple[str, ...]
    """What was collected, as `name/kind`."""
    num_sequences: int
    """Calibration sequences."""
    sequence_length: int
    """Tokens of a sequence."""
    batch_size: int
    """Sequences of a pass, of both."""


class Memory(_Row):
    """Memory of one step in a process of its own kind: resident set, or what CUDA allocated."""

    name: str
    """The step."""
    before_bytes: int
    """In use before the step, the model included."""
    peak_bytes: int
    """Largest use during the step."""
    rise_bytes: int
    """Peak less before."""


class PruningSection(Section):
    """Every step of a pruning, beside something plain of about its kind."""

    fraction: float
    """Share of the heads of every layer that was removed."""
    model_bytes: int
    """Parameters of the dense model, for comparison."""
    memory_kind: Literal["resident set", "cuda"]
    """What the memory numbers count."""
    memory: tuple[Memory, ...]
    """Steps, one after the other in a fresh process; empty if `memory_reason` says why."""
    memory_reason: str | None = None
    """Why there is no memory measurement."""


class ForwardCost(_Row):
    """How little a comparison of the forward section can come to."""

    comparison: str
    """Name of the comparison."""
    mac_ratio: float
    """Multiply-adds of the measured model by those of the dense one, in closed form."""
    mac_ratio_without_heads: float
    """The same with every head removed: no removal of heads gets below it by arithmetic alone."""


class ForwardSection(Section):
    """Prefill and decoding of models with heads removed and masked, beside the dense one."""

    fraction: float
    """Share of the heads of every layer that is gone."""
    prefill_length: int
    """Tokens of the prompt."""
    decode_steps: int
    """Single tokens decoded after it."""
    costs: tuple[ForwardCost, ...]
    """One for each comparison."""


class PeerResult(_Row):
    """What one package made of the request."""

    outcome: str
    """`done`; or what was raised, or `did not finish in N s`, and at which step."""
    num_parameters: int | None = None
    """Of the result; null if there is none."""
    difference_from_masked: float | None = None
    """Largest difference of a logit from the model with the same heads masked; null if unequal
    heads were removed or the result does not run."""
    reloads: str | None = None
    """`yes`, or why `AutoModelForCausalLM` does not read what was saved; null if not tried."""
    reloads_pickled: str | None = None
    """The same for the whole model pickled with `torch.save`; null if not tried."""


class PeerCase(_Row):
    """One request to both packages."""

    name: str
    """Unique."""
    request: str
    """What was asked for."""
    model: BenchModel
    """Of what model."""
    mask_effect: float
    """Largest difference of a logit between dense and masked model: the size of a wrong answer."""
    ours: PeerResult
    """This package."""
    theirs: PeerResult
    """The other one."""


class PeersSection(Section):
    """Torch-Pruning and this package at the same removal; `model` is the first case's."""

    peer: str
    """Package and version."""
    limit_seconds: float
    """Time after which a step was stopped."""
    cases: tuple[PeerCase, ...]
    """Requests; comparisons are named `CASE/prune` and `CASE/forward`."""


class MambaSection(Section):
    """Mamba behind this package's scan, beside transformers' other ways to run it on a CPU."""

    sequence_length: int
    """Tokens, one sequence."""
    kernels: dict[str, str]
    """What computed the scan, by who was timed."""
    not_measured: dict[str, str] = Field(default_factory=dict)
    """Comparison -> why it was not made."""


class ResolventSection(Section):
    """The causal resolvent over lengths; comparisons are named `PASS/LENGTH`."""

    kernel: str
    """Which implementation ran."""
    exponents: dict[str, float]
    """Pass -> power of the length that its time grows with."""


class AgencySection(Section):
    """Attention with head gates beside attention without, one layer; `model` has one."""

    lengths: tuple[int, ...]
    """Tokens of a sequence; comparisons are named `T<length>/<mode>/<condition>`."""
    batch_size: int
    """Sequences of a pass."""


class SpeedFile(_Row):
    """Everything measured on one device at one size."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    device: str
    """Processor model or CUDA device."""
    size: Size
    """`124m`: the shape of GPT-2 small; `tiny`: a rehearsal of the command."""
    calibration: CalibrationSection | None = None
    """Null if not measured yet; so are the others."""
    pruning: PruningSection | None = None
    """Steps of a pruning."""
    forward: ForwardSection | None = None
    """Forward passes."""
    peers: PeersSection | None = None
    """Another package."""
    mamba: MambaSection | None = None
    """The selective scan."""
    resolvent: ResolventSection | None = None
    """The causal resolvent."""
    agency: AgencySection | None = None
    """Head gates."""

    def section(self, name: SectionName) -> Section | None:
        """One section, null if it was not measured."""
        found: Section | None = getattr(self, name)
        return found
