"""What can be measured while a model reads calibration text, one statistic a module."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from sentinel_research.errors import UsageError
from sentinel_research.pruning.meters.ablation import AblationMeter
from sentinel_research.pruning.meters.attention import EntropyMeter, HeadGramMeter
from sentinel_research.pruning.meters.base import Batch, Meter, Need
from sentinel_research.pruning.meters.gradients import GateGradientMeter, WeightGradientMeter
from sentinel_research.pruning.meters.inputs import ChannelMeter, InputNormMeter
from sentinel_research.pruning.meters.residual import SimilarityMeter

METERS: dict[str, type[Meter]] = {
    "ablation": AblationMeter,
    "attention_entropy": EntropyMeter,
    "channel_moments": ChannelMeter,
    "gate_gradient": GateGradientMeter,
    "head_gram": HeadGramMeter,
    "input_norms": InputNormMeter,
    "similarity": SimilarityMeter,
    "weight_gradients": WeightGradientMeter,
}


def make_meters(model: PreTrainedModel, needs: Sequence[Need], num_folds: int) -> list[Meter]:
    """One meter per statistic.

    Raises:
        UsageError: for a statistic that nothing measures, or not for this kind of unit.
    """
    for name, kind in needs:
        if name not in METERS:
            raise UsageError(
                f"a scorer needs the statistic '{name}', which nothing measures",
                f"Known statistics: {', '.join(sorted(METERS))}.",
            )
        if kind not in METERS[name].kinds:
            raise UsageError(
                f"the statistic '{name}' is not measured for units of kind '{kind}'",
                f"It is for: {', '.join(METERS[name].kinds)}.",
            )
    return [METERS[name](model, kind, num_folds) for name, kind in needs]


__all__ = ["METERS", "Batch", "Meter", "Need", "make_meters"]
