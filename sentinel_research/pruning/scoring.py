"""What scorers read: the model, which kind of unit is asked for, and the statistics they declared.

A scorer is a pure function `(ScoringInputs) -> one importance per unit and layer`, higher stays.
"""

from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.models.anatomy import anatomy_of
from sentinel_research.models.anatomy_schema import Anatomy
from sentinel_research.models.layout import projection_paths, structure_of
from sentinel_research.pruning.calibrate import Totals
from sentinel_research.structure import Structure

UnitTensors = list[Float64[Tensor, " units"]]
"""One importance per unit, layer by layer."""
WeightTensors = list[Float64[Tensor, "outputs inputs"]]
"""One importance per weight, projection by projection."""


@dataclass(frozen=True)
class ScoringInputs:
    """Everything a scorer may look at."""

    model: PreTrainedModel
    """The model, dense or already pruned."""
    kind: str = "head"
    """`head`, `kv_group`, `neuron`, `attention`, `ffn`, `layer` or `weight`."""
    seed: int = 0
    """For scorers that draw random numbers."""
    totals: Totals | None = None
    """Sums over the calibration sequences; None for scorers that declare no statistic."""

    @property
    def anatomy(self) -> Anatomy:
        """The family's row."""
        return anatomy_of(self.model.config)

    @property
    def structure(self) -> Structure:
        """What the model has."""
        return structure_of(self.model.config)

    @property
    def num_units(self) -> tuple[int, ...]:
        """Units of this kind per layer; scorers return one score for each."""
        return self.structure.num_units(self.kind)  # type: ignore[arg-type]

    @property
    def projections(self) -> list[str]:
        """Paths of all projections whose single weights can be scored, layer by layer."""
        row, structure = self.anatomy, self.structure
        return [
            path
            for layer in range(structure.num_layers)
            for path in projection_paths(row, structure, layer)
        ]

    def weight(self, path: str) -> Float[Tensor, "outputs inputs"]:
        """A projection's weight with outputs along the rows, whatever its class stores."""
        stored = self.model.get_submodule(path).get_parameter("weight").detach()
        return stored if self.anatomy.weight == "linear" else stored.T

    @property
    def required(self) -> Totals:
        """The calibration sums.

        Raises:
            UsageError: if there are none.
        """
        if self.totals is None:
            raise UsageError(
                "this scorer needs calibration text, and none was given",
                "Set `calibration` in the pruning spec (corpus, num_sequences, sequence_length).",
            )
        return self.totals
