"""Make architectures comparable: solve width or depth for equal parameters or equal training FLOPs.

The coarse knob is the width (`hidden_size`, in steps that keep the number of heads, and heads of an
even size) or the depth (`num_hidden_layers`). The family's other knob, the width of its
feed-forward block or else the size of its state, takes up what is left. Both counts are affine in
the second knob, so two measurements give its value, and a third one of the result verifies it:
parameters on a model without memory (torch's meta device), operations by torch's counter.

A parameter is an embedding if it belongs to a table of tokens or positions, or to the output head.
Everything else counts, also gates, extra paths and the layers of a frozen baseline.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sentinel_research.errors import UsageError
from sentinel_research.models.agency import add_agency, spec_of
from sentinel_research.models.architectures import build
from sentinel_research.models.flops import training_flops
from sentinel_research.specs import ArchitectureSpec, MatchSpec

# what widens a block without changing its heads, the first that a family has
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "n_inner")
_STATE = "state_size"
_GPT2_RATIO = 4
_LARGEST = 1 << 20


class Matched(NamedTuple):
    """An architecture of the size that was asked for."""

    config: dict[str, Any]
    """Keyword arguments of its configuration."""
    num_parameters: int
    """All of them; tied ones count once."""
    num_non_embedding: int
    """Without tables of tokens and positions and the output head."""
    num_frozen: int
    """Of `num_non_embedding` those that are not trained, which are a frozen baseline's."""
    flops_per_token: float
    """Of training, forward and backward, at `sequence_length`."""
    sequence_length: int
    """Tokens of the sequence that was counted."""
    deviation: float
    """Of what was matched from its target, as a share of the target; 0 without a target."""
    agency: dict[str, Any] | None
    """The `AgencySpec` of what was built; null without gates and extra paths."""


def num_non_embedding(model: PreTrainedModel) -> int:
    """Parameters that are neither a table of tokens or positions nor the output head."""
    return sum(one.numel() for one in _blocks(model))


def _blocks(model: PreTrainedModel) -> list[nn.Parameter]:
    """The parameters outside embeddings."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = model.get_output_embeddings()
    apart = {id(one) for module in tables for one in module.parameters()}
    apart |= {id(one) for one in head.parameters()} if head is not None else set()
    return [one for one in model.parameters() if id(one) not in apart]


def match(
    spec: ArchitectureSpec,
    tokenizer: PreTrainedTokenizerBase,
    wanted: MatchSpec | None,
    sequence_length: int,
    baseline: PreTrainedModel | None = None,
) -> Matched:
    """Solve an architecture for a size, and measure the result.

    Args:
        spec: The architecture; its configuration gives the heads and, where the width is solved
            for, the proportions.
        tokenizer: Gives the vocabulary.
        wanted: What to reach; None measures the configuration as it is.
        sequence_length: Tokens of a training sequence, for the operations.
        baseline: A model of the size of the one that runs frozen beside, where agency names one.

    Raises:
        UsageError: if the configuration does not work, or no value comes near enough, with those
            that come nearest.
    """
    name, config = spec.architecture, dict(spec.config)
    if wanted is not None:
        config = _Solver(spec, tokenizer, wanted, sequence_length, baseline).solve()
    model = _built(spec, config, tokenizer, baseline)
    flops = training_flops(model, sequence_length)
    agency = spec_of(model.config)
    count = num_non_embedding(model)
    reached = count if wanted is None or wanted.what == "parameters" else flops.per_token
    matched = Matched(
        config=config,
        num_parameters=model.num_parameters(),
        num_non_embedding=count,
        num_frozen=sum(one.numel() for one in _blocks(model) if not one.requires_grad),
        flops_per_token=flops.per_token,
        sequence_length=sequence_length,
        deviation=0.0 if wanted is None else reached / wanted.target - 1,
        agency=None if agency is None else agency.model_dump(mode="json"),
    )
    if wanted is not None and abs(matched.deviation) > wanted.tolerance:
        raise UsageError(
            f"'{name}' was solved for {wanted.in_words()}, and the built model has {reached:,.0f}",
            "the configuration counts something else than it builds; match by the other measure",
        )
    return matched


def _built(
    spec: ArchitectureSpec,
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    baseline: PreTrainedModel | None,
) -> PreTrainedModel:
    """The whole model in some configuration, with its agency."""
    model = build(spec.architecture, config, tokenizer, seed=0)
    return model if spec.agency is None else add_agency(model, spec.agency, baseline=baseline)


class _Candidate(NamedTuple):
    """A configuration with what it measures."""

    config: dict[str, Any]
    reached: float
    stretch: float
    """How far the second knob is from the configuration's proportions, as a share."""


class _Solver:
    """One search; see the module."""

    def __init__(
        self,
        spec: ArchitectureSpec,
        tokenizer: PreTrainedTokenizerBase,
        wanted: MatchSpec,
        sequence_length: int,
        baseline: PreTrainedModel | None,
    ) -> None:
        self._spec, self._name = spec, spec.architecture
        self._tokenizer, self._wanted = tokenizer, wanted
        self._sequence_length, self._baseline = sequence_length, baseline
        template = self._on_meta(spec.config)
        aliases = template.config.attribute_map
        self._given = {aliases.get(key, key): value for key, value in spec.config.items()}
        self._width = aliases.get("hidden_size", "hidden_size")
        self._depth = aliases.get("num_hidden_layers", "num_hidden_layers")
        self._template = template.config
        fields = set(type(template.config).__dataclass_fields__)
        found = [key for key in (*_FEED_FORWARD, _STATE) if key in fields]
        self._second = found[0] if found else None
        self._step = self._step_of_width() if wanted.vary == "width" else 1

    def solve(self) -> dict[str, Any]:
        """The configuration whose measure is within the tolerance.

        Raises:
            UsageError: if there is none.
        """
        around = [self._candidate(value, None) for value in self._bracket()]
        is_near = [one for one in around if self._is_near(one)]
        if self._second in (None, _STATE) and is_near:
            return min(is_near, key=self._distance).config
        tuned = [one for value in self._bracket() for one in self._tuned(value)]
        is_near = [one for one in tuned if self._is_near(one)]
        if not is_near:
            nearest = sorted([*around, *tuned], key=self._distance)[:2]
            raise UsageError(
                f"'{self._name}' cannot have {self._wanted.in_words()} within "
                f"{self._wanted.tolerance:.1%} by its {self._wanted.vary}; the nearest are "
                f"{' and '.join(self._in_words(one) for one in nearest)}",
                "take one of these as `match.target`, change `match.vary`, or change its heads",
            )
        return min(is_near, key=lambda one: one.stretch).config

    def _step_of_width(self) -> int:
        config = self._template
        if self._is_mamba2():
            # heads keep their size, and their number follows the width
            return max(1, config.head_dim // config.expand)
        heads = getattr(config, "num_attention_heads", None)
        has_own_size = self._given.get("head_dim") is not None
        # rotary positions need heads of an even size
        return 1 if heads is None or has_own_size else 2 * int(heads)

    def _is_mamba2(self) -> bool:
        fields = type(self._template).__dataclass_fields__
        return {"num_heads", "head_dim", "expand"} <= set(fields)

    def _second_at(self, value: int) -> int | None:
        """The second knob in the configuration's proportions, at a value of the first."""
        if self._second is None:
            return None
        if self._second == _STATE or self._wanted.vary == "depth":
            found = getattr(self._template, self._second)
            return int(found or _GPT2_RATIO * self._template.hidden_size)
        return max(1, round(self._ratio() * value * self._step))

    def _ratio(self) -> float:
        assert self._second is not None
        source = self._template
        if self._given.get(self._second) is None or self._width not in self._given:
            # one of the two is the family's default: so are the proportions
            source = self._on_meta({"num_hidden_layers": 1}).config
        second = getattr(source, self._second)
        return _GPT2_RATIO if second is None else second / source.hidden_size

    def _config(self, value: int, second: int | None) -> dict[str, Any]:
        config = dict(self._given)
        config[self._width if self._wanted.vary == "width" else self._depth] = value * self._step
        if self._second is not None and second is not None:
            config[self._second] = second
        if self._is_mamba2():
            width = config.get(self._width, self._template.hidden_size)
            config["num_heads"] = int(width * self._template.expand) // self._template.head_dim
        return config

    def _candidate(self, value: int, second: int | None) -> _Candidate:
        natural = self._second_at(value)
        chosen = natural if second is None else second
        config = self._config(value, chosen)
        stretch = abs(chosen / natural - 1) if natural and chosen else 0.0
        return _Candidate(config, self._measure(config), stretch)

    def _tuned(self, value: int) -> list[_Candidate]:
        """The candidate at one value whose second knob is solved for; none without a knob."""
        low = self._second_at(value)
        if low is None:
            return []
        one, two = self._candidate(value, low), self._candidate(value, low + 1)
        slope = two.reached - one.reached
        second = max(1, round(low + (self._wanted.target - one.reached) / slope))
        return [self._candidate(value, second)]

    def _bracket(self) -> list[int]:
        """Neighbouring multiples of the step below and above the target, in proportion."""

        def is_below(value: int) -> bool:
            return self._candidate(value, None).reached < self._wanted.target

        high = 1
        while is_below(high):
            high *= 2
            if high > _LARGEST:
                raise UsageError(
                    f"no {self._wanted.vary} of '{self._name}' reaches {self._wanted.in_words()}",
                    "lower `match.target`",
                )
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_below(middle) else (low, middle)
        return [value for value in (low, high) if value > 0]

    def _measure(self, config: dict[str, Any]) -> float:
        if self._wanted.what == "parameters":
            with torch.device("meta"):
                return num_non_embedding(self._whole(config))
        return training_flops(self._whole(config), self._sequence_length).per_token

    def _whole(self, config: dict[str, Any]) -> PreTrainedModel:
        return _built(self._spec, config, self._tokenizer, self._baseline)

    def _on_meta(self, config: dict[str, Any]) -> PreTrainedModel:
        """Without agency: what the knobs are read from."""
        with torch.device("meta"):
            return build(self._name, config, self._tokenizer, seed=0)

    def _distance(self, candidate: _Candidate) -> float:
        return abs(candidate.reached / self._wanted.target - 1)

    def _is_near(self, candidate: _Candidate) -> bool:
        return self._distance(candidate) <= self._wanted.tolerance

    def _in_words(self, candidate: _Candidate) -> str:
        keys = (self._width, self._depth, self._second)
        shown = [f"{key} {candidate.config[key]}" for key in keys if key in candidate.config]
        return f"{candidate.reached:,.0f} ({', '.join(shown)})"
