"""The file that `sentinel bench` writes: one device, one size, one entry per section.

Strict JSON (no NaN, no infinity, no unknown key). Every ratio is `measured / alternative`: below 1
the measured one is faster. The times behind each ratio are kept, and a file in which the two do not
agree is refused.
"""

from typing import Literal, get_args

from pydantic import Field

from sentinel_research.bench.schema_base import BenchModel, Section, Size
from sentinel_research.bench.schema_cost import CostSection
from sentinel_research.timing import Row

SectionName = Literal[
    "calibration",
    "pruning",
    "forward",
    "peers",
    "mamba",
    "resolvent",
    "agency",
    "adapter",
    "attention",
    "levels",
    "cost",
    "precision",
    "runs",
    "sweep",
]
SECTIONS: tuple[SectionName, ...] = get_args(SectionName)


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


class Memory(Row):
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


class ForwardCost(Row):
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


class PeerResult(Row):
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


class PeerCase(Row):
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


class AttentionSection(Section):
    """Attention with static head gates beside plain SDPA and a loop over heads; one layer."""

    lengths: tuple[int, ...]
    """Tokens of a sequence; comparisons are named `T<length>/<heads>/over_<alternative>`. Those of
    one length share their rounds, so any two of its times can be divided round by round."""
    batch_size: int
    """Sequences of a pass."""
    largest_difference: float
    """Of an output of the loop from ours, by the largest output or 1, over lengths and heads."""


class LevelModel(Row):
    """One model of the section `levels`."""

    name: str
    """`SIZE/ARM/LEVEL`, as its comparisons but for the mode."""
    num_heads: int
    """Of a layer before removal."""
    num_heads_removed: int
    """Of every layer: the level's share of them, rounded down."""
    num_parameters: int
    """With everything that agency adds, frozen or not; tied ones once."""
    num_frozen_parameters: int
    """Those of the frozen model beside it."""


class LevelsSection(Section):
    """Whole models over pruning levels beside the plain dense one; `model` is the largest such.

    Comparisons are named `SIZE/MODE/ARM/LEVEL`, mode `prefill` or `decode`. Those of one size and
    mode share their rounds, so any two of its models can be divided round by round. `plain/0` is
    the alternative itself, timed twice.
    """

    levels: tuple[int, ...]
    """Percent of the heads of every layer that were asked to go."""
    prefill_length: int
    """Tokens of the prompt; its last logit alone is computed."""
    decode_steps: int
    """Single tokens decoded after it."""
    models: tuple[LevelModel, ...]
    """Each size's arms at every level."""


class PrecisionModel(Row):
    """One model of the section `precision`."""

    name: str
    """`MODEL/PRECISION`, as its comparisons but for the mode."""
    kernel: str
    """What computes its projections."""
    weight_bytes: int
    """Of all weights that it holds."""
    file_bytes: int
    """Of its safetensors."""
    loaded_bytes: int | None
    """How far the memory of a fresh process rose when it was loaded; null where none is kept."""
    peak_bytes: int | None
    """How far it rose at most, until a prompt was read and a token decoded."""


class PrecisionSection(Section):
    """Models in fewer bits beside float32; `model` is the random one.

    Comparisons are named `MODEL/MODE/PRECISION`, mode `prefill` or `decode`; those of one model and
    mode share their rounds.
    """

    prefill_length: int
    """Tokens of the prompt; its last logit alone is computed. A smaller window reads fewer."""
    decode_steps: int
    """Single tokens decoded after it."""
    models: tuple[PrecisionModel, ...]
    """Every model in every precision, float32 first."""
    not_measured: dict[str, str] = Field(default_factory=dict)
    """Model -> why it was not measured."""


class AdapterWorkload(Row):
    """Requests of one kind to one model, and the least that scoring them takes."""

    name: str
    """Of its comparison."""
    model: BenchModel
    """What was asked."""
    num_requests: int
    """Asked at once."""
    num_tokens_read: int
    """Of all distinct beginnings, each once."""
    num_rows_scored: int
    """Different rows of logits that are needed."""
    floor_flops: float
    """Operations for both."""
    flops_per_second: float
    """Of a plain product of square matrices in the same rounds, median, in processor time."""
    fraction: float
    """Time that the floor takes at that rate, by the median processor time of ours."""
    largest_difference: float
    """Of a log-likelihood from stock's, nats."""
    allowed_difference: float = 1e-4
    """1e-4 nats and half a float32 step of the largest log-likelihood: stock adds up in float32."""
    same_greedy: bool
    """Whether all greedy flags agree with stock's."""


class AdapterMemory(Row):
    """The largest memory of a fresh process, with interpreter, libraries and weights."""

    name: str
    """Workload."""
    ours_bytes: int
    """With our adapter."""
    stock_bytes: int
    """With lm-eval's `hf`."""


class AdapterSection(Section):
    """The adapter beside lm-eval's own `hf`; `model` is the last workload's."""

    workloads: tuple[AdapterWorkload, ...]
    """One for each comparison, but for that of generation."""
    memory: tuple[AdapterMemory, ...]
    """One for each workload."""


class RunsSection(Section):
    """A folder of runs by its index, beside reading every record; `model` is that of the record
    which all were made from."""

    num_records: int
    """Runs in the folder."""
    num_cells: int
    """Of all of them together."""
    num_measurements: int
    """Of all cells together."""
    record_bytes: int
    """Of all records together."""
    index_bytes: int
    """Of the index."""


class SweepCell(Row):
    """One cell's model, measured by lm-eval's own command."""

    cell: str
    """Its name in the sweep."""
    largest_difference: float
    """Of a log-likelihood from the sweep's, nats."""
    wall_seconds: float
    """Of the process, from its start to its end."""
    cpu_seconds: float
    """Of all its threads."""
    peak_bytes: int
    """Its largest resident set."""


class SweepSection(Section):
    """A sweep beside `lm_eval --model hf` once a cell; some cells are measured, and stand for all.

    A pair is a sweep, and one process times the number of cells."""

    num_cells: int
    """Of the sweep, the dense model too."""
    tasks: dict[str, int]
    """Questions of each task."""
    cells: tuple[SweepCell, ...]
    """Those that were measured alone, one a pair."""
    peak_bytes: int
    """Largest resident set of a sweep's process."""


class SpeedFile(Row):
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
    adapter: AdapterSection | None = None
    """Scoring and writing for lm-eval."""
    attention: AttentionSection | None = None
    """Ways to compute attention."""
    levels: LevelsSection | None = None
    """Whole models over pruning levels."""
    cost: CostSection | None = None
    """What pruning and fewer bits buy."""
    precision: PrecisionSection | None = None
    """Models in fewer bits."""
    runs: RunsSection | None = None
    """The list of a folder of runs."""
    sweep: SweepSection | None = None
    """Many cells in one process."""

    def section(self, name: SectionName) -> Section | None:
        """One section, null if it was not measured."""
        found: Section | None = getattr(self, name)
        return found
