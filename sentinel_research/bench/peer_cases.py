"""What both packages are asked to do, in forms as favourable to the other one as we know."""

from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedModel

from sentinel_research.bench.models import gpt2, llama
from sentinel_research.bench.schema_base import Size
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.planning import make_plan


@dataclass(frozen=True)
class Case:
    """One model and one removal."""

    name: str
    """Unique."""
    request: str
    """In words."""
    family: Literal["llama", "gpt2"] = "llama"
    """Of the model."""
    num_kv_heads: int = 12
    """Key/value heads of a LLaMA with 12 query heads."""
    is_uneven: bool = False
    """True if layers keep different numbers of heads."""
    by_ratio: float | None = None
    """Ratio of the width to give to the peer's own pruner, beside half of the heads; None names
    the heads to the peer's dependency graph."""
    has_cache: bool = False
    """True if the configuration stays as it was loaded; False traces without a KV cache."""
    as_linear: bool = False
    """True if the peer gets a GPT-2 whose Conv1D layers were rewritten as Linear."""

    def model(self, size: Size, device: str) -> PreTrainedModel:
        """The dense model."""
        built = gpt2(size, device) if self.family == "gpt2" else self._llama(size, device)
        built.config.use_cache = self.has_cache
        return built

    def _llama(self, size: Size, device: str) -> PreTrainedModel:
        return llama(size, device, self.num_kv_heads)

    def plan(self, model: PreTrainedModel) -> PruningPlan:
        """Half of the heads: of every key/value group, or unevenly over the layers."""
        structure = structure_of(model.config)
        size, num_heads = structure.group_size, structure.num_heads
        if size == 1:
            kept = [head for head in range(num_heads) if head % 2 == 0]
        else:
            kept = [head for head in range(num_heads) if head % size < size // 2]
        layers = [kept] * structure.num_layers
        if self.is_uneven:
            third = num_heads // 3
            wide, narrow = list(range(num_heads - third)), list(range(third))
            layers = [narrow if layer % 2 else wide for layer in range(structure.num_layers)]
        return make_plan(structure, layers)


CASES = (
    Case("llama_multi_head", "the same half of the heads of every layer"),
    Case("llama_grouped_query", "the same half of every group of 4 heads", num_kv_heads=3),
    Case("llama_grouped_by_2", "the same half of every group of 2 heads", num_kv_heads=6),
    Case("llama_uneven", "8 and 4 of 12 heads in turns, the same ones", is_uneven=True),
    Case("llama_as_loaded", "the same half of the heads, KV cache left on", has_cache=True),
    Case("llama_by_ratio", "head_pruning_ratio=0.5, pruning_ratio=0", by_ratio=0.0),
    Case("gpt2", "head_pruning_ratio=0.5, pruning_ratio=0.5", family="gpt2", by_ratio=0.5),
    Case(
        "gpt2_as_linear",
        "the same half of the heads, Conv1D rewritten as Linear for the peer",
        family="gpt2",
        as_linear=True,
    ),
)
