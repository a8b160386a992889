"""Find the combination of least loss that reaches a speed-up.

Both searches go by what is predicted, and measure what they find: where it is slower than predicted
the prediction is corrected by what was measured, and the search goes on.

The greedy one goes up one step in the kind of unit whose loss per gain in log speed-up is least,
the gain counted only up to the target. Optuna samples combinations by TPE [1] with the target as a
constraint.

Reference: [1] Watanabe 2023, Tree-structured Parzen estimator, https://arxiv.org/abs/2304.11127.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sentinel_research.errors import UsageError
from sentinel_research.progress import Progress, Silent, piece
from sentinel_research.specs.profile import Combination, TargetSpec
from sentinel_research.timing import Median

Speeds = Mapping[str, float]
"""Phase -> times as fast as the dense model."""


class Meter(Protocol):
    """What a search asks."""

    def loss(self, combination: Combination) -> float:
        """Quality lost, nats per token."""

    def predicted(self, combination: Combination) -> Speeds:
        """Speed-ups by arithmetic."""

    def measured(self, combination: Combination) -> Mapping[str, Median]:
        """Speed-ups by the clock."""


class Tried(NamedTuple):
    """One combination that was looked at."""

    combination: Combination
    loss: float
    predicted: dict[str, float]
    """Not corrected."""


class Measured(NamedTuple):
    """One combination that was timed."""

    tried: Tried
    speed_up: dict[str, Median]
    reaches: bool
    """Whether every phase that counts has the target in its median."""


class Found(NamedTuple):
    """What a search came to."""

    best: Measured | None
    """The one of least loss that reaches the target, else the one that comes nearest to it; None
    where nothing could be measured."""
    tried: tuple[Tried, ...]
    """In order."""
    measured: tuple[Measured, ...]
    """In order."""

    @property
    def is_reached(self) -> bool:
        """Whether the best reaches the target."""
        return self.best is not None and self.best.reaches


Space = Mapping[str, Sequence[float]]
"""Kind of unit, or `bits` -> values, from nothing to most."""


def space_of(num_units: Mapping[str, int], target: TargetSpec) -> dict[str, list[float]]:
    """The values of every kind.

    Args:
        num_units: Kind -> units of a layer, or layers; of every kind of the target's.
        target: How finely a kind is cut.

    Example:
        >>> space_of({"head": 2}, TargetSpec(speed_up=2, units=("head",)))
        {'head': [0.0, 0.5], 'bits': [32.0]}
    """
    found: dict[str, list[float]] = {}
    for kind in target.units:
        num = num_units[kind]
        # whole units, and one stays
        counts = {step * num // target.num_steps for step in range(target.num_steps)}
        found[kind] = [count / num for count in sorted(counts)]
    found["bits"] = [float(bits) for bits in sorted(target.bits, reverse=True)]
    return found


def search(
    meter: Meter, space: Space, target: TargetSpec, progress: Progress | None = None
) -> Found:
    """Search, see the module.

    Args:
        meter: Judges combinations.
        space: What can be combined.
        target: What to reach, and how to search.
        progress: Who is told how far it is at most; a target that is reached ends it earlier.

    Raises:
        UsageError: if optuna is asked for and not installed, or heads and their groups both may go.
    """
    if "head" in space and "kv_group" in space:
        raise UsageError(
            "a search over heads and over KV groups would take heads twice",
            "Leave out one of them: --unit head --unit neuron --unit layer.",
        )
    state = _State(meter, target)
    progress = progress or Silent()
    if target.search == "greedy":
        most = 1 + sum(len(values) - 1 for values in space.values())
        with piece(progress, "search", most):
            _greedy(state, space, progress)
    else:
        with piece(progress, "search", target.num_trials):
            _by_optuna(state, space, progress)
    return state.found()


class _State:
    """What has been asked so far, and how wrong predictions were."""

    def __init__(self, meter: Meter, target: TargetSpec) -> None:
        self.meter, self.target = meter, target
        self.correction = dict.fromkeys(target.phases, 1.0)
        self._tried: dict[str, Tried] = {}
        self._measured: dict[str, Measured] = {}

    def look(self, combination: Combination) -> Tried:
        """Loss and prediction, asked for once."""
        name = combination.name
        if name not in self._tried:
            predicted = dict(self.meter.predicted(combination))
            loss = self.meter.loss(combination)
            self._tried[name] = Tried(combination, loss, predicted)
        return self._tried[name]

    def corrected(self, tried: Tried) -> dict[str, float]:
        """What is expected after what was measured."""
        return {phase: tried.predicted[phase] * self.correction[phase] for phase in self.correction}

    def is_expected(self, tried: Tried) -> bool:
        """Whether it is worth measuring."""
        return all(value >= self.target.speed_up for value in self.corrected(tried).values())

    def progress(self, tried: Tried) -> float:
        """Log speed-up, of every phase up to the target."""
        goal = self.target.speed_up
        return sum(math.log(min(value, goal)) for value in self.corrected(tried).values())

    def time(self, tried: Tried) -> Measured:
        """Measure, and correct predictions where they promised more."""
        name = tried.combination.name
        if name not in self._measured:
            speeds = self.meter.measured(tried.combination)
            found = {phase: speeds[phase] for phase in self.target.phases}
            reaches = all(one.median >= self.target.speed_up for one in found.values())
            self._measured[name] = Measured(tried, found, reaches)
            for phase, one in found.items():
                self.correction[phase] = one.median / tried.predicted[phase]
        return self._measured[name]

    def unmeasured(self) -> list[Tried]:
        """What has been looked at only, least loss first."""
        left = [one for name, one in self._tried.items() if name not in self._measured]
        return sorted(left, key=lambda one: one.loss)

    def found(self) -> Found:
        """The best so far."""
        measured = tuple(self._measured.values())
        reaching = [one for one in measured if one.reaches]
        best = None
        if reaching:
            best = min(reaching, key=lambda one: one.tried.loss)
        elif measured:
            best = max(measured, key=lambda one: min(m.median for m in one.speed_up.values()))
        return Found(best, tuple(self._tried.values()), measured)


def _greedy(state: _State, space: Space, progress: Progress) -> None:
    place = dict.fromkeys(space, 0)
    now = state.look(_at(space, place))
    while True:
        if state.is_expected(now) and state.time(now).reaches:
            return
        options: list[tuple[float, int, dict[str, int]]] = []
        for kind, values in space.items():
            if place[kind] + 1 < len(values):
                step = {**place, kind: place[kind] + 1}
                options.append(
                    (_price(state, now, state.look(_at(space, step))), len(options), step)
                )
        if not options:
            # the most that can go: where even that falls short, the user is told by how much
            state.time(now)
            return
        progress.advance(now.combination.name)
        place = min(options)[2]
        now = state.look(_at(space, place))


def _price(state: _State, now: Tried, then: Tried) -> float:
    """Loss for the gain; what gains nothing comes last, what costs nothing first."""
    gain = state.progress(then) - state.progress(now)
    lost = then.loss - now.loss
    if gain <= 0:
        return math.inf
    # a step that loses nothing is the better the more it gains
    return lost / gain if lost > 0 else lost * gain


def _at(space: Space, place: Mapping[str, int]) -> Combination:
    return _combination({kind: values[place[kind]] for kind, values in space.items()})


def _combination(values: Mapping[str, float]) -> Combination:
    return Combination.model_validate({**values, "bits": int(values["bits"])})


def _by_optuna(state: _State, space: Space, progress: Progress) -> None:
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    goal = state.target.speed_up

    def objective(trial: Any) -> float:
        values = {kind: trial.suggest_categorical(kind, list(vs)) for kind, vs in space.items()}
        tried = state.look(_combination(values))
        for phase, value in state.corrected(tried).items():
            trial.set_constraint(phase, goal - value)
        progress.advance(tried.combination.name)
        return tried.loss

    sampler = optuna.samplers.TPESampler(seed=state.target.seed)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    # the most that can go shows whether the target can be reached at all
    study.enqueue_trial({kind: values[-1] for kind, values in space.items()})
    study.optimize(objective, n_trials=state.target.num_trials)
    while True:
        candidates = [one for one in state.unmeasured() if state.is_expected(one)]
        if not candidates:
            break
        if state.time(candidates[0]).reaches:
            return
    if not state.found().is_reached:
        fastest = max(state.unmeasured(), key=state.progress, default=None)
        if fastest is not None:
            state.time(fastest)


def _optuna():  # type: ignore[no-untyped-def]
    try:
        import optuna
    except ImportError as error:
        raise UsageError(
            "this search needs optuna, which is not installed",
            "pip install sentinel-research[search], or --search greedy",
        ) from error
    return optuna
