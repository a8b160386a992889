"""Scores of every scorer for every kind of unit, made when they are first asked for, and kept."""

from typing import NamedTuple

import numpy as np

from sentinel_research.errors import UsageError, did_you_mean
from sentinel_research.explorer.effects import COARSE, Effects
from sentinel_research.explorer.limits import check_time
from sentinel_research.explorer.shelf import Shelf
from sentinel_research.explorer.subject import Subject
from sentinel_research.models.fingerprint import model_fingerprint
from sentinel_research.pruning.apply import plan_units
from sentinel_research.pruning.calibrate import Statistics, collect
from sentinel_research.pruning.meters import Need
from sentinel_research.pruning.plan import PruningPlan
from sentinel_research.pruning.score import Scores, fingerprint_of, needs_of, score_units
from sentinel_research.registry import get, names
from sentinel_research.specs import PruneSpec

KINDS = ("head", "kv_group", "neuron", "attention", "ffn", "layer")
"""What can be chosen by score."""
ORACLE = "leave_one_out"
"""The scorer that is measured before the first page."""
_ABLATION = "ablation"


class Asked(NamedTuple):
    """A choice by score."""

    scorer: str
    kind: str
    fraction: float
    scope: str = "global"
    seed: int = 0


def scorers_of(kind: str) -> list[str]:
    """The registered scorers that rank single units of a kind."""
    return [name for name in names("scorers") if kind in get("scorers", name).units]


class Scorebook:
    """The scores of one model on one text.

    Args:
        subject: The model and the text.
        effects: What was measured unit by unit.
        shelf: Where scores are kept for the next start.
        seconds: Of one pass over the text, forward and back.
        patience: Minutes that a scorer may take.
    """

    def __init__(
        self, subject: Subject, effects: Effects, shelf: Shelf, seconds: float, patience: float
    ) -> None:
        self._subject, self._effects, self._shelf = subject, effects, shelf
        self._seconds, self._patience = seconds, patience
        self._found: dict[tuple[str, str, int], Scores] = {}
        self._statistics: dict[str, Statistics] = {}
        self._model = model_fingerprint(subject.model)

    def scores(self, scorer: str, kind: str, seed: int = 0) -> Scores:
        """What a scorer says of every unit of a kind, as `score_units` does.

        Raises:
            UsageError: for an unknown scorer or kind, or a scorer that cannot score it, or not in
                time.
        """
        key = self._key(scorer, kind, seed)
        if key not in self._found:
            self._found[key] = self._from_effects(scorer, kind) or self._scored(*key)
        return self._found[key]

    def known(self, scorer: str, kind: str, seed: int = 0) -> Scores | None:
        """What was asked for before, in any thread; None if that has to be made.

        Raises:
            UsageError: for an unknown scorer or kind, or a scorer that cannot score it.
        """
        return self._found.get(self._key(scorer, kind, seed))

    def _key(self, scorer: str, kind: str, seed: int) -> tuple[str, str, int]:
        if kind not in KINDS:
            raise UsageError(f"unknown kind of unit '{kind}'", did_you_mean(kind, KINDS))
        if scorer not in scorers_of(kind):
            raise UsageError(
                f"the scorer '{scorer}' does not score {kind}s",
                did_you_mean(scorer, scorers_of(kind)),
            )
        return scorer, kind, seed if get("scorers", scorer).seeded else 0

    def plan(self, asked: Asked) -> PruningPlan:
        """The plan that a choice by score makes of the whole model.

        Raises:
            UsageError: as `scores`; or for a fraction outside [0, 1] or an unknown scope.
        """
        scores = self.scores(asked.scorer, asked.kind, asked.seed)
        spec = self._spec(asked.scorer, asked.kind, asked.seed)
        if not 0 <= asked.fraction <= 1 or asked.scope not in ("local", "global"):
            raise UsageError(
                f"fraction {asked.fraction} in scope '{asked.scope}' cannot be chosen",
                "Fractions lie in [0, 1], scopes are local and global.",
            )
        changes = {"fraction": asked.fraction, "scope": asked.scope}
        # blocks and layers have no minimum, and may not be given one
        chosen = PruneSpec.model_validate({**spec.model_dump(), **changes})
        return plan_units(self._subject.model, chosen, scores=scores).plan

    def _spec(self, scorer: str, kind: str, seed: int) -> PruneSpec:
        return PruneSpec.model_validate(
            {
                "scorer": scorer,
                "fraction": 0,
                "granularity": kind,
                "seed": seed,
                "calibration": self._subject.calibration_spec,
            }
        )

    def _from_effects(self, scorer: str, kind: str) -> Scores | None:
        """Leave-one-out of what was left out one by one already."""
        if scorer != ORACLE or kind not in COARSE or not self._effects.is_measured:
            return None
        spec = self._spec(scorer, kind, 0)
        errors = self._effects.errors_by_layer(kind)
        return Scores(
            {kind: self._effects.by_layer(kind)},
            None if errors is None else {kind: errors},
            None,
            None,
            fingerprint_of(spec, self._subject.calibration),
            0.0,
        )

    def _scored(self, scorer: str, kind: str, seed: int) -> Scores:
        spec = self._spec(scorer, kind, seed)
        text = fingerprint_of(spec, self._subject.calibration)
        path = self._shelf.path(scores=scorer, kind=kind, seed=seed, model=self._model, text=text)
        kept = self._shelf.find(path)
        if kept is not None:
            return _unpacked(kept, kind, text)
        if scorer == ORACLE:
            num = sum(self._subject.structure.num_units(kind))  # type: ignore[arg-type]
            # without the way back
            length = len(self._subject.calibration)
            check_time(self._seconds / 3, num, length, self._patience)
            scores = score_units(self._subject.model, spec, self._subject.calibration)
        else:
            statistics = self._measured(kind)
            calibration = self._subject.calibration
            scores = score_units(self._subject.model, spec, calibration, statistics=statistics)
        self._shelf.keep(path, _packed(scores, kind))
        return scores

    def _measured(self, kind: str) -> Statistics:
        """One pass for all scorers of a kind but those that leave units out."""
        if kind not in self._statistics:
            needs: list[Need] = []
            for name in scorers_of(kind):
                asked = needs_of(self._spec(name, kind, 0))
                needs += [need for need in asked if need[0] != _ABLATION]
            self._statistics[kind] = collect(
                self._subject.model,
                self._subject.calibration,
                needs,
                batch_size=self._subject.calibration_spec.batch_size,
            )
        return self._statistics[kind]


def _packed(scores: Scores, kind: str) -> dict[str, np.ndarray]:
    """Layer by layer, with errors where there are any."""
    found = {}
    for name, values in (("values", scores.values), ("errors", scores.errors)):
        for layer, row in enumerate(values[kind] if values is not None else ()):
            found[f"{name}.{layer:05d}"] = np.array(row, dtype=np.float64)
    return found


def _unpacked(kept: dict[str, np.ndarray], kind: str, text: str | None) -> Scores:
    def rows(name: str) -> list[list[float]]:
        return [kept[key].tolist() for key in sorted(kept) if key.startswith(f"{name}.")]

    errors = rows("errors")
    return Scores({kind: rows("values")}, {kind: errors} if errors else None, None, None, text, 0.0)
