"""How fast a combination can be, from its structure alone: nothing is built.

Operations and bytes are those that were counted on the dense model, less what goes; that is exact,
since both are sums over units. What fewer bits buy does not follow from counts, so it is a factor
that was measured.
"""

from typing import NamedTuple

from transformers import PreTrainedModel

from sentinel_research.cost.counts import Work, work_of
from sentinel_research.cost.phases import PhaseName
from sentinel_research.cost.predict import predicted_seconds
from sentinel_research.cost.schema import Rates
from sentinel_research.models.layout import structure_of
from sentinel_research.specs import CostSpec
from sentinel_research.structure import Structure


class Predictor(NamedTuple):
    """Predicts of one dense model, see the module."""

    structure: Structure
    dense: dict[PhaseName, Work]
    rates: Rates
    spec: CostSpec
    element_bytes: int
    """Of one weight and of one key."""

    def work(self, left: Structure) -> dict[PhaseName, Work]:
        """Operations and bytes of what is left."""
        read, new = self.spec.prompt_tokens, self.spec.new_tokens
        gone = self.structure.num_parameters() - left.num_parameters()
        freed = self.element_bytes * gone
        cache = self._cache_bytes(self.structure) - self._cache_bytes(left)
        prefill = self.dense["prefill"]
        prefill = Work(
            prefill.flops - round(read * self._saved(left, read)),
            prefill.weights_bytes - freed,
            prefill.cache_bytes - read * cache,
        )
        steps = range(read + 1, read + new + 1)
        decode = self.dense["decode"]
        decode = Work(
            decode.flops - round(sum(self._saved(left, length) for length in steps)),
            decode.weights_bytes - new * freed,
            decode.cache_bytes - sum(steps) * cache,
        )
        return {"prefill": prefill, "first_token": prefill, "decode": decode}

    def speed_up(self, left: Structure) -> dict[PhaseName, float]:
        """Times as fast as the dense model, by phase, of one sequence."""
        return {
            phase: predicted_seconds(self.dense[phase], self.rates)
            / predicted_seconds(work, self.rates)
            for phase, work in self.work(left).items()
        }

    def _saved(self, left: Structure, length: int) -> float:
        return self.structure.flops_per_token(length) - left.flops_per_token(length)

    def _cache_bytes(self, structure: Structure) -> int:
        """Keys and values of one token."""
        heads = structure.num_units("kv_group")
        # a layer without any keeps a number of each, to know how many tokens there were
        width = sum(count * structure.head_dim or 1 for count in heads)
        return 2 * width * self.element_bytes


def predictor(model: PreTrainedModel, spec: CostSpec, rates: Rates) -> Predictor:
    """Count the dense model's work once."""
    element_bytes = next(model.parameters()).element_size()
    structure = structure_of(model.config)
    return Predictor(structure, work_of(model, spec), rates, spec, element_bytes)
