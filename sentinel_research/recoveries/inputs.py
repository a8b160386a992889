"""What a recovery method may read, and what it may change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.data.training_set import TrainingSet
from sentinel_research.pruning import PruningPlan
from sentinel_research.specs import PruneSpec, RecoverSpec
from sentinel_research.training import Factors, LossTerm

if TYPE_CHECKING:
    from sentinel_research.pruning import PruneReport


@dataclass(frozen=True)
class RecoveryInputs:
    """What a method reads. It may change `model` in place: nobody else holds it."""

    model: PreTrainedModel
    """The model that will be trained: pruned, or dense for a method that prunes it itself."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    spec: RecoverSpec
    """What is asked for."""
    data: TrainingSet
    """Blocks to train and to validate on."""
    plan: PruningPlan | None
    """What pruning left, with its scores; None for a model that was not pruned here."""
    prune: PruneSpec | None
    """The pruning that was asked for; a method that prunes itself carries it out."""
    calibration: CalibrationSet | None
    """Text for scorers, if the pruning has some."""
    teacher: PreTrainedModel | None
    """The model before pruning; never changed. None where the caller has none."""
    folder: Path
    """For what a method has to keep between an interruption and the resumption."""


@dataclass(frozen=True)
class Phase:
    """One part of a recovery, a training of its own: optimiser and schedule begin anew."""

    name: str
    """For the record."""
    share: float
    """Of the tokens of the whole recovery, in (0, 1]; the shares of all phases sum to 1."""
    learning_rate_factor: float = 1.0
    """Times `train.learning_rate` is the peak."""
    batch_factor: int = 1
    """Times `train.batch_size` is the batch; the steps are fewer by as much."""
    factors: Factors = field(default_factory=dict)
    """Of updates in this phase, beside those of all phases."""


@dataclass(frozen=True)
class Adjustment:
    """What one method changes. Methods compose in their order; factors multiply."""

    model: PreTrainedModel | None = None
    """In place of the model that was given; None keeps it."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the model that was given which have another name in `model`."""
    factors: Factors = field(default_factory=dict)
    """See `training.Adjustments`."""
    changing: Mapping[str, Tensor] = field(default_factory=dict)
    """Factors that one of `callbacks` changes in place while training runs."""
    loss: LossTerm | None = None
    """Changes the loss of training batches."""
    forward_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Given to the model in training."""
    callbacks: tuple[TrainerCallback, ...] = ()
    """Trainer's."""
    phases: tuple[Phase, ...] = ()
    """In place of one training; only one method of a recovery may have any."""
    finish: Callable[[PreTrainedModel], PreTrainedModel] | None = None
    """Makes the result from the trained model; the last method's runs first."""
    seal: Callable[[PreTrainedModel, PruningPlan | None], None] | None = None
    """Changes the result in place once every method has finished, whatever their order; with the
    plan of what was pruned in the end."""
    report: Callable[[], dict[str, Any]] | None = None
    """For the record, called at the end."""
    pruned: Callable[[], "PruneReport"] | None = None
    """Of a method that prunes: what it did, called at the end."""
