"""Carry out the prunings of one recipe, sharing what they have in common.

All scorers that read the same calibration draw share one pass over it, and one scoring serves every
fraction.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from sentinel_research.specs import CalibrationSpec, ModelSpec, PruneSpec, QuantiseSpec, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sentinel_research.data.calibration_set import CalibrationSet
    from sentinel_research.pruning import Pruned, PruningPlan, Scores
    from sentinel_research.pruning.calibrate import Statistics


class _Key(NamedTuple):
    """What scores depend on."""

    scorer: str
    seed: int
    draw: CalibrationSpec | None
    kinds: tuple[str, ...]
    grid: QuantiseSpec | None


class Pruner:
    """Prunes one model in the ways of a recipe.

    Args:
        model: Never changed.
        tokenizer: The model's.
        recipe: For the calibration, and for what its cells need to know together.
        specs: The prunings that will be asked for; their statistics are gathered together.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        recipe: Recipe,
        specs: Iterable[PruneSpec],
    ) -> None:
        from sentinel_research.data.calibration import calibration_sets

        self._model = model
        self._recipe = recipe
        self._specs = list(specs)
        self._calibrations: dict[CalibrationSpec, CalibrationSet] = calibration_sets(
            recipe, tokenizer
        )
        self._statistics: dict[tuple[CalibrationSpec, QuantiseSpec | None], Statistics] = {}
        self._scores: dict[_Key, Scores] = {}
        self._sources: dict[str, Pruner] = {}

    def prune(self, spec: PruneSpec) -> "Pruned":
        """Prune the model.

        Args:
            spec: One of the prunings that were announced.

        Returns:
            The pruned model and its report.

        Raises:
            UsageError, DataError, CheckpointError, CheckFailedError: as `pruning.prune`.
        """
        from sentinel_research.pruning import prune

        return prune(
            self._model,
            spec,
            calibration=self.calibration(spec),
            scores=self._scored(spec),
            pattern=self._pattern(spec) if spec.transfer_from is not None else None,
        )

    def calibration(self, spec: PruneSpec) -> "CalibrationSet | None":
        """The text that a pruning's scorer reads; None where it has none."""
        return None if spec.calibration is None else self._calibrations[spec.calibration]

    def _scored(self, spec: PruneSpec) -> "Scores":
        from sentinel_research.pruning import score_units
        from sentinel_research.pruning.quantised import scored_grid

        # bias compensation reads statistics of its own
        kinds = (*spec.granularities, spec.compensate)
        key = _Key(spec.scorer, spec.seed, spec.calibration, kinds, scored_grid(spec))
        if key not in self._scores:
            calibration = self.calibration(spec)
            statistics = self._measured(spec, calibration) if calibration is not None else None
            self._scores[key] = score_units(self._model, spec, calibration, statistics=statistics)
        return self._scores[key]

    def _measured(self, spec: PruneSpec, calibration: "CalibrationSet") -> "Statistics | None":
        """Everything that any of the prunings reads on one draw of one grid, from one pass."""
        from sentinel_research.pruning.calibrate import collect
        from sentinel_research.pruning.quantised import as_scored, scored_grid
        from sentinel_research.pruning.score import needs_of

        assert spec.calibration is not None  # the caller has its text
        draw, grid = spec.calibration, scored_grid(spec)
        if (draw, grid) not in self._statistics:
            same = [
                one for one in self._specs if (one.calibration, scored_grid(one)) == (draw, grid)
            ]
            needs = [need for one in [spec, *same] for need in needs_of(one)]
            if not needs:
                return None
            batch_size = spec.calibration.batch_size
            self._statistics[draw, grid] = collect(
                as_scored(self._model, spec), calibration, needs, batch_size=batch_size
            )
        return self._statistics[draw, grid]

    def _pattern(self, spec: PruneSpec) -> "PruningPlan":
        """The plan that the same pruning makes for another model."""
        from sentinel_research.pruning import load, plan_units

        name = str(spec.transfer_from)
        if name not in self._sources:
            model, tokenizer, _ = load(ModelSpec(pretrained=name, device=self._recipe.model.device))
            same = [s for s in self._specs if s.transfer_from == name]
            self._sources[name] = Pruner(model, tokenizer, self._recipe, same)
        source = self._sources[name]
        return plan_units(
            source._model, spec, source.calibration(spec), scores=source._scored(spec)
        ).plan
