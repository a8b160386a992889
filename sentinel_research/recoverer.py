"""Carry out the recoveries of one recipe, from one dense model and by one pruner."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_research import distributed
from sentinel_research.cell_plan import PlannedCell
from sentinel_research.progress import Progress
from sentinel_research.pruner import Pruner

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sentinel_research.pruning import PruningPlan
    from sentinel_research.recoveries import Recovered


class Recoverer:
    """Recovers the prunings of one model in the ways of a recipe.

    Args:
        model: The dense model: teacher, and start of methods that prune; never changed.
        tokenizer: Its tokenizer.
        pruner: Has the text that scorers read.
        progress: Who is told about every step.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        pruner: Pruner,
        progress: Progress,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._pruner, self._progress = pruner, progress

    def prunes(self, planned: PlannedCell) -> bool:
        """Whether a cell's recovery starts from the dense model and prunes it while it trains."""
        from sentinel_research.recoveries.methods import prunes_itself

        return planned.recover is not None and prunes_itself(planned.recover.methods)

    def check(self, cells: Iterable[PlannedCell]) -> None:
        """Refuse what no recovery can do, before any model is pruned or measured.

        Args:
            cells: Those that are still to be run; the ones without a recovery are passed over.

        Raises:
            UsageError: for text or a training that does not exist or does not fit.
            DataError: if the text cannot be had, or does not fill a batch.
        """
        specs = [cell.recover.train for cell in cells if cell.recover is not None]
        if not specs:
            return
        from sentinel_research.data.training_set import training_set, whole_batches
        from sentinel_research.training import check_training

        for spec in specs:
            check_training(self._model, spec, self._tokenizer)
            whole_batches(training_set(spec, self._tokenizer).blocks, spec.batch_size)

    def recover(
        self,
        model: "PreTrainedModel",
        planned: PlannedCell,
        plan: "PruningPlan | None",
        folder: Path,
    ) -> "Recovered":
        """Recover one model.

        Args:
            model: As pruning left it.
            planned: With a recovery.
            plan: What pruning left; None for the dense model.
            folder: For checkpoints.

        Raises:
            UsageError, DataError, DivergedError: as `recoveries.recover`.
        """
        from sentinel_research.data.training_set import training_set
        from sentinel_research.recoveries import recover

        assert planned.recover is not None  # the caller's cell has one
        spec = planned.recover
        return recover(
            model,
            spec,
            self._tokenizer,
            plan=plan,
            prune=planned.prune,
            calibration=self._pruner.calibration(planned.prune) if planned.prune else None,
            teacher=self._model,
            data=distributed.together(lambda: training_set(spec.train, self._tokenizer)),
            folder=folder,
            progress=self._progress,
            title="recovery",
        )
