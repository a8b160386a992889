"""A pruning plan: what stays of a model, and why. Pure data, no torch.

A plan can be printed, stored, compared, combined (`pruning.algebra`) and applied in three ways:
`mask`, `remove`, `bake`. Units are named by their original indices in the dense model, also when
the plan prunes an already pruned model. Single weights are named by their place in the matrices of
the model that the plan was made for.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sentinel_research.errors import UsageError
from sentinel_research.pruning.weight_mask import WeightMask
from sentinel_research.specs import QuantiseSpec, Spec
from sentinel_research.structure import UNIT_KINDS, LayerParts, Structure, label

Finite = Annotated[float, Field(allow_inf_nan=False)]
UnitScores = dict[str, tuple[tuple[Finite, ...], ...]]
_SHAPE = (
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "num_ffn_inputs",
    "norm_parameters",
    "attention_input_bias",
    "ffn_input_bias",
)
# a model gains them when removed units are compensated, and still fits
_OUTPUT_BIASES = ("attention_output_bias", "ffn_output_bias")


class PruningPlan(Spec):
    """The units that stay in every layer, and where that choice came from."""

    format_version: Literal[2] = 2
    """Version of this format."""
    before: Structure
    """The model that the plan was made for."""
    kept: tuple[LayerParts, ...]
    """What stays of every layer."""
    weights: dict[str, WeightMask] = Field(default_factory=dict)
    """Single weights that are set to zero, by parameter name of the model before."""
    scorer: str = "manual"
    """Scorer that ranked the units; `manual` if a person chose them."""
    seed: int | None = None
    """Seed of the scorer."""
    fraction: float | None = Field(default=None, ge=0, le=1)
    """Requested share of the budget."""
    budget: Literal["units", "parameters", "flops"] | None = None
    """What the fraction is a share of."""
    scope: Literal["local", "global"] | None = None
    """Whether the share was taken of every layer or of all units together."""
    granularity: tuple[str, ...] | None = None
    """What one unit was."""
    calibration: str | None = None
    """Fingerprint of the calibration request and its tokens; null for scorers without text."""
    scores: UnitScores | None = None
    """Per kind the importance of every unit of the model before, higher is more important."""
    score_errors: UnitScores | None = None
    """Standard errors of the scores over calibration sequences (delete-a-group jackknife)."""
    quantised_scores: QuantiseSpec | None = None
    """The grid of the weights that the scorer saw; null for the weights themselves."""

    @model_validator(mode="after")
    def _consistent(self) -> "PruningPlan":
        if len(self.kept) != self.before.num_layers:
            raise ValueError(
                f"plan names parts of {len(self.kept)} layers, the model has "
                f"{self.before.num_layers}"
            )
        # units out of range are reported before units that are merely gone
        after = Structure.model_validate(
            {**dict(self.before), "layers": [dict(layer) for layer in self.kept]}
        )
        lost = _extra(self.kept, self.before.layers)
        if lost:
            raise ValueError(f"plan keeps {lost}, which the model did not have")
        if not any(layer.heads or layer.neurons for layer in after.layers):
            raise ValueError("plan removes everything: no head and no neuron would be left")
        for name in ("scores", "score_errors"):
            for kind, values in (getattr(self, name) or {}).items():
                expected = self.before.num_units(kind)
                if tuple(map(len, values)) != expected:
                    raise ValueError(
                        f"{name} of kind {kind} per layer {[len(v) for v in values]} do not match "
                        f"{list(expected)}"
                    )
        return self

    @property
    def after(self) -> Structure:
        """What `remove` leaves."""
        return self.before.reduced_to(self.kept)

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.kept)

    @property
    def is_identity(self) -> bool:
        """True if everything stays."""
        return self.kept == self.before.layers and not self.weights

    @property
    def removed(self) -> dict[str, list[str]]:
        """Per kind the labels (`L3H7`, `L3N12`, `L3.ffn`) of the units that go, if there are any.

        Heads and neurons of a block that goes as a whole are not listed again.
        """
        found: dict[str, list[str]] = {}
        for kind in UNIT_KINDS:
            for index, (old, new) in enumerate(zip(self.before.layers, self.kept, strict=True)):
                block_gone = {"head": not new.has_attention, "neuron": not new.has_ffn}
                if not block_gone.get(kind):
                    gone = sorted(set(old.units(kind)) - set(new.units(kind)))
                    found.setdefault(kind, []).extend(label(index, kind, unit) for unit in gone)
        return {kind: labels for kind, labels in found.items() if labels}

    @property
    def num_removed(self) -> dict[str, int]:
        """Per kind how many units go, those of whole blocks included; also `kv_head`, `weight`.

        `weight` counts the masks' zeros in the model before, also where a removed unit takes them.
        """
        before, after = self.before, self.after
        counts: dict[str, int] = {
            kind: sum(before.num_units(kind)) - sum(after.num_units(kind)) for kind in UNIT_KINDS
        }
        groups = [
            sum(len(s.kv_heads(layer)) for layer in range(s.num_layers)) for s in (before, after)
        ]
        counts["kv_head"] = groups[0] - groups[1]
        counts["weight"] = sum(mask.num_zero for mask in self.weights.values())
        return {kind: count for kind, count in counts.items() if count}

    @property
    def parameters_removed(self) -> int:
        """Parameters that `remove` takes out of the model; weights set to zero are still there."""
        return self.before.num_parameters() - self.after.num_parameters()

    def flops_removed(self, sequence_length: int) -> float:
        """Forward operations per token that `remove` saves, see `Structure.flops_per_token`."""
        return self.before.flops_per_token(sequence_length) - self.after.flops_per_token(
            sequence_length
        )

    def provenance(self) -> dict[str, Any]:
        """Where the choice came from, as JSON types, for a model's configuration."""
        origin = self.model_dump(
            mode="json", exclude={"before", "kept", "weights", "scores", "score_errors"}
        )
        if self.quantised_scores is None:
            del origin["quantised_scores"]
        masks = {name: mask.summary() for name, mask in sorted(self.weights.items())}
        return {**origin, **({"weights": masks} if masks else {})}

    def check_fits(self, structure: Structure) -> None:
        """Refuse a plan that was made for another model.

        Args:
            structure: Of the model that the plan is about to be applied to.

        Raises:
            UsageError: if family, shape, biases or number of layers differ, or the plan keeps units
                that are already gone. Output biases may have been added since (compensation).
        """
        hint = "A plan fits the model it was made for, and models of exactly the same shape."
        if structure.family != self.before.family:
            raise UsageError(
                f"plan for a {self.before.family} model does not fit a {structure.family} model",
                hint,
            )
        if structure.num_layers != self.num_layers:
            raise UsageError(
                f"plan for {self.num_layers} layers does not fit a model with "
                f"{structure.num_layers}",
                hint,
            )
        for field in (*_SHAPE, *_OUTPUT_BIASES):
            mine, theirs = getattr(self.before, field), getattr(structure, field)
            if mine != theirs and not (field in _OUTPUT_BIASES and theirs):
                raise UsageError(
                    f"plan for {field}={mine} does not fit a model with {field}={theirs}", hint
                )
        if self.weights and structure.layers != self.before.layers:
            raise UsageError(
                "plan names single weights of a model with other heads or neurons",
                "Weights are numbered as in the model that the plan was made for.",
            )
        gone = _extra(self.kept, structure.layers)
        if gone:
            raise UsageError(
                f"plan keeps {gone}, which this model no longer has",
                "Pruning can only take parts away; start from the model before it.",
            )


def _extra(kept: Sequence[LayerParts], present: Sequence[LayerParts]) -> list[str]:
    """Labels of the first kept units that are not present."""
    for index, (new, old) in enumerate(zip(kept, present, strict=True)):
        for kind in UNIT_KINDS:
            gone = sorted(set(new.units(kind)) - set(old.units(kind)))
            if gone:
                return [label(index, kind, unit) for unit in gone]
    return []
