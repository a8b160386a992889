"""Score the units of a model, and say how sure the scores are."""

import hashlib
import math
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.errors import UsageError
from sentinel_research.models.layout import structure_of
from sentinel_research.pruning.calibrate import Statistics, Totals, collect
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.pruning.meters import METERS, Need
from sentinel_research.pruning.quantised import as_scored
from sentinel_research.pruning.scoring import ScoringInputs
from sentinel_research.registry import Plugin, get
from sentinel_research.specs import PruneSpec

UnitValues = dict[str, list[list[float]]]
"""Per kind and layer one number per unit."""
WEIGHT_KINDS = ("weight", "2:4")


@dataclass(frozen=True)
class Scores:
    """What a scorer said about every unit; it serves any fraction, scope and budget."""

    values: UnitValues
    """Importance, higher is more important."""
    errors: UnitValues | None
    """Standard errors over calibration sequences; None for scorers without text."""
    halves: tuple[UnitValues, UnitValues] | None
    """The same scores from two disjoint halves of the calibration text."""
    statistics: Statistics | None
    """What was measured on the text."""
    calibration: str | None
    """Fingerprint of the calibration request and its tokens; None for scorers without text."""
    seconds: float
    """Wall-clock time of scoring."""


def kinds_to_score(spec: PruneSpec) -> list[str]:
    """The kinds that the scorer is asked for, in the order of the spec.

    Raises:
        UsageError: if the scorer cannot score one of them.
    """
    plugin = get("scorers", spec.scorer)
    kinds: list[str] = []
    for kind in spec.granularities:
        asked = "weight" if kind in WEIGHT_KINDS else kind
        if asked not in plugin.units:
            raise UsageError(
                f"scorer '{spec.scorer}' cannot score units of kind '{kind}'",
                f"It scores: {', '.join(plugin.units)}. See: sentinel ls scorers",
            )
        if asked not in kinds:
            kinds.append(asked)
    return kinds


def needs_of(spec: PruneSpec) -> list[Need]:
    """The statistics that a pruning reads, for its scorer and for the bias compensation.

    Raises:
        UsageError: if the scorer cannot score a kind, or none of its statistics is for that kind.
    """
    plugin = get("scorers", spec.scorer)
    found: list[Need] = []
    for kind in kinds_to_score(spec):
        # a scorer may need one statistic for units and another for weights; names that nothing
        # measures are refused by `collect`
        names = [n for n in plugin.needs if n not in METERS or kind in METERS[n].kinds]
        if plugin.needs and not names:
            raise UsageError(
                f"scorer '{spec.scorer}' scores units of kind '{kind}', and none of its "
                f"statistics ({', '.join(plugin.needs)}) is measured for them",
            )
        found += [(name, kind) for name in names]
    if spec.compensate == "bias":
        found += [("channel_moments", "head"), ("channel_moments", "neuron")]
    return list(dict.fromkeys(found))


def score_units(
    model: PreTrainedModel,
    spec: PruneSpec,
    calibration: CalibrationSet | None = None,
    *,
    statistics: Statistics | None = None,
) -> Scores:
    """Score every unit of a model, without touching it.

    Args:
        model: Dense or already pruned model of a known family; with its own weights, also where
            the scorer is to see rounded ones.
        spec: Its scorer, granularity, seed, calibration and quantisation are used.
        calibration: Text for calibrated scorers.
        statistics: What `collect` measured on that text, if several scorers share one pass; it
            must hold `needs_of(spec)`, of `quantised.as_scored(model, spec)`.

    Returns:
        The scores. There are none for units that were named, nor for single weights, which are
        chosen matrix by matrix.

    Raises:
        UsageError: if the scorer or the family is unknown, the model's weights are quantised or not
            laid out as the family's are, calibration is missing or does not suit the model, or the
            scorer cannot score the kind, or returns another number of scores or one that is not
            finite.
    """
    start = time.perf_counter()
    check_layout(model)
    if spec.units:
        # they were named, whatever they are worth
        return Scores({}, None, None, None, None, 0.0)
    model = as_scored(model, spec)
    plugin, needs = get("scorers", spec.scorer), needs_of(spec)
    if not needs:
        # a pass for other scorers has nothing to do with this one
        statistics = None
    elif statistics is not None:
        # a pass that several scorers share counts in full for each of them
        start -= statistics.seconds
    if (needs or plugin.calibrated) and calibration is None:
        raise _no_text(spec, plugin)
    if needs and calibration is not None and statistics is None:
        batch_size = spec.calibration.batch_size if spec.calibration else 16
        statistics = collect(model, calibration, needs, batch_size=batch_size)
    kinds = kinds_to_score(spec)
    fingerprint = fingerprint_of(spec, calibration) if statistics or plugin.solver else None
    if "weight" in kinds:
        seconds = time.perf_counter() - start
        return Scores({}, None, None, statistics, fingerprint, seconds)
    total = statistics.total() if statistics else None
    values = _values(model, spec, plugin, kinds, total)
    errors = halves = None
    if statistics is not None and plugin.needs and statistics.num_folds > 1:
        parts = [_values(model, spec, plugin, kinds, t) for t in statistics.without_each()]
        errors = _jackknife(parts)
        first, second = (_values(model, spec, plugin, kinds, t) for t in statistics.halves())
        halves = first, second
    seconds = time.perf_counter() - start
    return Scores(values, errors, halves, statistics, fingerprint, seconds)


def _no_text(spec: PruneSpec, plugin: Plugin) -> UsageError:
    return UsageError(
        f"scorer '{spec.scorer}' reads calibration text, and none was given"
        if plugin.calibrated
        else "`compensate: bias` reads calibration text, and none was given",
        "Set `calibration` in the pruning spec (corpus, num_sequences, sequence_length).",
    )


def _values(
    model: PreTrainedModel, spec: PruneSpec, plugin: Plugin, kinds: list[str], totals: Totals | None
) -> UnitValues:
    structure = structure_of(model.config)

    def ask(kind: str) -> list[list[float]]:
        inputs = ScoringInputs(model=model, kind=kind, seed=spec.seed, totals=totals)
        layers = [layer.tolist() for layer in plugin(inputs)]
        expected = list(structure.num_units(kind))  # type: ignore[arg-type]
        if [len(layer) for layer in layers] != expected:
            raise UsageError(
                f"scorer '{spec.scorer}' returned {[len(layer) for layer in layers]} scores of "
                f"kind '{kind}' per layer, the model has {expected} units",
            )
        for index, layer in enumerate(layers):
            wrong = [unit for unit, value in enumerate(layer) if not math.isfinite(value)]
            if wrong:
                raise UsageError(
                    f"scorer '{spec.scorer}' scored {kind} {wrong[0]} of layer {index} with "
                    f"{layer[wrong[0]]}",
                    "Scores must be finite. Are the model's weights, and the text's loss, finite?",
                )
        return layers

    return {kind: ask(kind) for kind in kinds}


def _jackknife(parts: list[UnitValues]) -> UnitValues:
    """Standard errors from scores with one fold left out at a time."""
    count = len(parts)
    errors: UnitValues = {}
    for kind, layers in parts[0].items():
        errors[kind] = []
        for index, layer in enumerate(layers):
            row = []
            for unit in range(len(layer)):
                values = [part[kind][index][unit] for part in parts]
                mean = math.fsum(values) / count
                spread = math.fsum((value - mean) ** 2 for value in values)
                row.append(math.sqrt(spread * (count - 1) / count))
            errors[kind].append(row)
    return errors


def fingerprint_of(spec: PruneSpec, calibration: CalibrationSet | None) -> str | None:
    """The request's fingerprint, and sixteen digits of the SHA-256 of the tokens themselves."""
    if calibration is None:
        return None
    digest = hashlib.sha256()
    for tensor in (calibration.ids, calibration.is_text, calibration.is_target):
        digest.update(tensor.to(device="cpu", dtype=torch.int64).contiguous().numpy().tobytes())
    tokens = digest.hexdigest()[:16]
    return f"{spec.calibration.fingerprint()}:{tokens}" if spec.calibration else tokens
