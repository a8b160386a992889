"""A pruning plan: which heads stay, and why. Pure data, no torch.

A plan can be printed, stored, compared and applied in two ways (`mask`, `remove`). Heads are named
by their original indices in the dense model, also when the plan prunes an already pruned model.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from sentinel_research.errors import UsageError
from sentinel_research.specs import Spec

if TYPE_CHECKING:
    from sentinel_research.models.heads import Heads

HeadsPerLayer = tuple[tuple[int, ...], ...]
_SHAPE = ("num_heads", "num_kv_heads", "head_dim", "hidden_size")


class PruningPlan(Spec):
    """The heads that stay in every layer, and where that choice came from."""

    format_version: Literal[1] = 1
    """Version of this format."""
    model_type: str
    """Model family, transformers' `model_type` of the dense model."""
    num_heads: int = Field(gt=0)
    """Query heads per layer of the dense model."""
    num_kv_heads: int = Field(gt=0)
    """Key/value heads per layer of the dense model."""
    head_dim: int = Field(gt=0)
    """Width of a head."""
    hidden_size: int = Field(gt=0)
    """Width of the residual stream."""
    parameters_per_head: int = Field(gt=0)
    """Parameters that go with one query head."""
    parameters_per_kv_head: int = Field(gt=0)
    """Parameters that go with one key/value head, once none of its query heads is left."""
    heads_before: HeadsPerLayer
    """Original indices of the heads of the model that the plan was made for, per layer."""
    kept_heads: HeadsPerLayer
    """Original indices of the heads that stay, per layer, ascending."""
    scorer: str = "manual"
    """Scorer that ranked the heads; `manual` if a person chose them."""
    seed: int | None = None
    """Seed of the scorer."""
    fraction: float | None = Field(default=None, ge=0, le=1)
    """Requested share of the units."""
    scope: Literal["local", "global"] | None = None
    """Whether the share was taken of every layer or of all units together."""
    granularity: Literal["head", "kv_group"] | None = None
    """What one unit was."""
    calibration: str | None = None
    """Fingerprint of the calibration request and its tokens; null for scorers without text."""
    scores: tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], ...] | None = None
    """Importance of every head of `heads_before`, higher is more important."""

    @model_validator(mode="before")
    @classmethod
    def _ascending(cls, data: Any) -> Any:
        # the order in which heads are listed carries no meaning
        if isinstance(data, dict) and "kept_heads" in data:
            data = {**data, "kept_heads": [sorted(heads) for heads in data["kept_heads"]]}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> "PruningPlan":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.num_heads} query heads do not divide into {self.num_kv_heads} KV groups"
            )
        if len(self.kept_heads) != len(self.heads_before):
            raise ValueError(
                f"plan names heads for {len(self.kept_heads)} layers, the model has "
                f"{len(self.heads_before)}"
            )
        for field in ("heads_before", "kept_heads"):
            for layer, heads in enumerate(getattr(self, field)):
                self._check_layer(field, layer, heads)
        for layer, (kept, before) in enumerate(
            zip(self.kept_heads, self.heads_before, strict=True)
        ):
            gone = sorted(set(kept) - set(before))
            if gone:
                raise ValueError(f"plan keeps {_labels(layer, gone)}, which the model did not have")
        if self.scores is not None:
            shape = [len(layer) for layer in self.scores]
            expected = [len(layer) for layer in self.heads_before]
            if shape != expected:
                raise ValueError(f"scores per layer {shape} do not match heads {expected}")
        return self

    def _check_layer(self, field: str, layer: int, heads: tuple[int, ...]) -> None:
        if len(set(heads)) != len(heads):
            raise ValueError(f"`{field}` names a head twice in layer {layer}: {list(heads)}")
        outside = [head for head in heads if not 0 <= head < self.num_heads]
        if outside:
            raise ValueError(
                f"`{field}` names head {outside[0]} in layer {layer}; heads are numbered "
                f"0 to {self.num_heads - 1}"
            )

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.kept_heads)

    @property
    def is_identity(self) -> bool:
        """True if every head stays."""
        return self.num_removed == 0

    @property
    def removed_heads(self) -> list[str]:
        """Labels `L3H7` of the heads that go."""
        return [
            label
            for layer, (kept, before) in enumerate(
                zip(self.kept_heads, self.heads_before, strict=True)
            )
            for label in _labels(layer, sorted(set(before) - set(kept)))
        ]

    @property
    def num_removed(self) -> int:
        """Query heads that go."""
        return sum(map(len, self.heads_before)) - sum(map(len, self.kept_heads))

    @property
    def num_kv_removed(self) -> int:
        """Key/value heads that go, because none of their query heads stays."""
        return self._num_groups(self.heads_before) - self._num_groups(self.kept_heads)

    @property
    def parameters_removed(self) -> int:
        """Parameters that `remove` takes out of the model that the plan was made for."""
        return (
            self.num_removed * self.parameters_per_head
            + self.num_kv_removed * self.parameters_per_kv_head
        )

    def _num_groups(self, heads_per_layer: HeadsPerLayer) -> int:
        group_size = self.num_heads // self.num_kv_heads
        return sum(len({head // group_size for head in heads}) for heads in heads_per_layer)

    def provenance(self) -> dict[str, Any]:
        """The plan without the kept heads, as JSON types, for a model's configuration."""
        return self.model_dump(mode="json", exclude={"kept_heads"})

    def check_fits(self, heads: "Heads") -> None:
        """Refuse a plan that was made for another model.

        Args:
            heads: Of the model that the plan is about to be applied to.

        Raises:
            UsageError: if family, shape or number of layers differ, or the plan keeps heads that
                are already gone.
        """
        hint = "A plan fits the model it was made for, and models of exactly the same shape."
        if heads.family != self.model_type:
            raise UsageError(
                f"plan for a {self.model_type} model does not fit a {heads.family} model", hint
            )
        if heads.num_layers != self.num_layers:
            raise UsageError(
                f"plan for {self.num_layers} layers does not fit a model with {heads.num_layers}",
                hint,
            )
        for field in _SHAPE:
            if getattr(heads, field) != getattr(self, field):
                raise UsageError(
                    f"plan for {field}={getattr(self, field)} does not fit a model with "
                    f"{field}={getattr(heads, field)}",
                    hint,
                )
        for layer, (kept, present) in enumerate(zip(self.kept_heads, heads.kept, strict=True)):
            gone = sorted(set(kept) - set(present))
            if gone:
                raise UsageError(
                    f"plan keeps {_labels(layer, gone)}, which this model no longer has",
                    "Pruning can only take heads away; start from the model before it.",
                )


def _labels(layer: int, heads: list[int]) -> list[str]:
    return [f"L{layer}H{head}" for head in heads]


def make_plan(heads: "Heads", kept: HeadsPerLayer | list[list[int]], **origin: Any) -> PruningPlan:
    """A plan for a model with these heads.

    Args:
        heads: What the model has now.
        kept: Original indices of the heads that stay, per layer.
        **origin: `scorer`, `seed`, `fraction`, `scope`, `granularity`, `calibration`, `scores`.

    Returns:
        The plan.

    Raises:
        UsageError: if a head is named twice, out of range or already gone, or the number of
            layers is wrong.

    Example:
        >>> from transformers import GPT2Config
        >>> from sentinel_research.models import heads_of
        >>> heads = heads_of(GPT2Config(n_layer=2, n_head=4, n_embd=8))
        >>> make_plan(heads, [[0, 1, 3], [0, 1, 2, 3]]).removed_heads
        ['L0H2']
    """
    return _validated(
        {
            "model_type": heads.family,
            **{field: getattr(heads, field) for field in _SHAPE},
            "parameters_per_head": heads.parameters_per_head,
            "parameters_per_kv_head": heads.parameters_per_kv_head,
            "heads_before": heads.kept,
            "kept_heads": kept,
            **origin,
        }
    )


def parse_plan(text: str) -> PruningPlan:
    """Read a plan from JSON.

    Args:
        text: What `plan.model_dump_json()` wrote.

    Raises:
        UsageError: if it is not JSON or not a valid plan.
    """
    try:
        return PruningPlan.model_validate_json(text)
    except ValidationError as error:
        raise _usage_error(error) from error


def _validated(data: dict[str, Any]) -> PruningPlan:
    try:
        return PruningPlan.model_validate(data)
    except ValidationError as error:
        raise _usage_error(error) from error


def _usage_error(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return UsageError(f"invalid pruning plan: {f'{where}: ' if where else ''}{message}")
