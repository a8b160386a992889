"""Measure what `effects` predicts from: losses and gradients with one unit after the other gone."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from transformers import PreTrainedModel

from sentinel_research.data.calibration_set import CalibrationSet
from sentinel_research.explorer.choice import Unit
from sentinel_research.explorer.effects import COARSE, Effects, coarse_units
from sentinel_research.models.layout import structure_of
from sentinel_research.models.modes import evaluating, frozen
from sentinel_research.progress import Progress, piece
from sentinel_research.pruning.calibrate import check_calibration, forward, sequence_nll
from sentinel_research.pruning.gates import gate_units
from sentinel_research.pruning.layout_check import check_layout
from sentinel_research.structure import Structure, UnitKind

_KINDS: tuple[UnitKind, ...] = (*COARSE, "neuron")
_KEEP_SECONDS = 20.0
Readings = dict[str, np.ndarray]
"""What was measured so far, see `begin`; rows that are still to come are NaN."""


@dataclass(frozen=True)
class _Pass:
    """Of one batch with some unit gone."""

    losses: Float64[np.ndarray, " batch"]
    gradients: Float64[np.ndarray, "batch units"]
    neurons: Float64[np.ndarray, "batch neurons"]


def begin(model: PreTrainedModel, calibration: CalibrationSet, *, one_by_one: bool) -> Readings:
    """Arrays for what is to be measured.

    Args:
        model: Dense or pruned model of a known family.
        calibration: The text.
        one_by_one: False reads the whole model alone.

    Returns:
        `losses` [1 + units, sequences], `gradients` [1 + units, units] and `neurons` [1 + units,
        neurons] (means over sequences); of row 0, the whole model, also `squares` and
        `neuron_squares` (means of `T g^2`) and `products` [units, units]. Without units one by one
        there is row 0 alone.
    """
    structure = structure_of(model.config)
    num_units, num_neurons = len(coarse_units(structure)), sum(structure.num_units("neuron"))
    num_rows = 1 + num_units * one_by_one

    def absent(*shape: int) -> np.ndarray:
        return np.full(shape, np.nan, dtype=np.float32)

    return {
        "losses": np.full((num_rows, len(calibration)), np.nan),
        "gradients": absent(num_rows, num_units),
        "neurons": absent(num_rows, num_neurons),
        "neuron_squares": absent(num_neurons),
        "products": absent(num_units, num_units),
    }


def read(
    model: PreTrainedModel,
    calibration: CalibrationSet,
    readings: Readings,
    *,
    batch_size: int,
    progress: Progress,
    kept: Callable[[Readings], object],
) -> None:
    """Measure what is still missing.

    Args:
        model: Left as it was.
        calibration: The text.
        readings: From `begin`, or from an earlier call that was interrupted; filled in here.
        batch_size: Sequences a pass.
        progress: Who is told about every unit.
        kept: Called now and then, and at the end, with everything up to there.

    Raises:
        UsageError: if the text does not suit the model, or its weights are not laid out as its
            family's are.
    """
    check_layout(model)
    check_calibration(calibration, model)
    units: list[Unit | None] = [None, *coarse_units(structure_of(model.config))]
    missing = [row for row, losses in enumerate(readings["losses"]) if np.isnan(losses).any()]
    num = len(readings["losses"])
    since = time.monotonic()
    with (
        piece(progress, "leaving one out", num, done=num - len(missing)),
        evaluating(model),
        frozen(model),
    ):
        try:
            for row in missing:
                _read_row(model, calibration, readings, row, units[row], batch_size)
                progress.advance()
                if time.monotonic() - since > _KEEP_SECONDS:
                    kept(readings)
                    since = time.monotonic()
        finally:
            # also what was read before Ctrl-C
            if missing:
                kept(readings)


def seconds_of_a_pass(
    model: PreTrainedModel, calibration: CalibrationSet, batch_size: int
) -> float:
    """Wall-clock time of reading all of the text once, forward and back; from its first batch."""
    structure, part = structure_of(model.config), calibration.select(slice(0, batch_size))
    seconds = []
    with evaluating(model), frozen(model):
        for _ in range(2):
            began = time.perf_counter()
            _one_pass(model, part, structure, None)
            seconds.append(time.perf_counter() - began)
    # the first one warms up
    return min(seconds) * len(calibration) / len(part)


def effects_of(structure: Structure, readings: Readings) -> Effects:
    """What follows from complete readings, see `effects`."""
    losses, gradients = readings["losses"], readings["gradients"].astype(np.float64)
    neurons = readings["neurons"].astype(np.float64)
    own_neurons = -neurons[0] + readings["neuron_squares"].astype(np.float64) / 2
    is_measured = len(losses) > 1
    if is_measured:
        gained = losses[1:] - losses[0]
        alone = gained.mean(axis=1)
        spread = gained.std(axis=1, ddof=1) if gained.shape[1] > 1 else np.zeros(len(gained))
        errors = spread / np.sqrt(gained.shape[1])
        changed = -(gradients[1:] - gradients[0])
        pairs = (changed + changed.T) / 2
        with_neurons = -(neurons[1:] - neurons[0])
    else:
        products = readings["products"].astype(np.float64)
        alone = -gradients[0] + products.diagonal() / 2
        errors, pairs = np.zeros(len(alone)), products.copy()
        with_neurons = np.zeros((len(alone), len(own_neurons)))
    np.fill_diagonal(pairs, 0)
    return Effects(
        structure, is_measured, float(losses[0].mean()), alone, errors, pairs, own_neurons,
        with_neurons,
    )  # fmt: skip


def _read_row(
    model: PreTrainedModel,
    calibration: CalibrationSet,
    readings: Readings,
    row: int,
    gone: Unit | None,
    batch_size: int,
) -> None:
    structure, num = structure_of(model.config), len(calibration)
    found = []
    for start in range(0, num, batch_size):
        part = calibration.select(slice(start, start + batch_size))
        found.append((part, _one_pass(model, part, structure, gone)))
    readings["gradients"][row] = sum(one.gradients.sum(axis=0) for _, one in found) / num
    readings["neurons"][row] = sum(one.neurons.sum(axis=0) for _, one in found) / num
    if gone is None:
        squares, products = (
            np.zeros(readings["neuron_squares"].shape),
            np.zeros(readings["products"].shape),
        )
        for part, one in found:
            weights = part.is_target.sum(dim=1).double().numpy()  # T of each sequence
            squares = squares + (weights[:, None] * one.neurons**2).sum(axis=0)
            products = products + one.gradients.T @ (weights[:, None] * one.gradients)
        readings["neuron_squares"][:] = squares / num
        readings["products"][:] = products / num
    # last: a row with losses is complete
    readings["losses"][row] = np.concatenate([one.losses for _, one in found])


def _one_pass(
    model: PreTrainedModel, part: CalibrationSet, structure: Structure, gone: Unit | None
) -> _Pass:
    """Losses of a batch, and their gradients with respect to every gate."""
    part = part.to(model.device)
    # the caller may be in inference mode, under which nothing has a gradient
    with torch.inference_mode(False), torch.enable_grad():
        gates = {
            kind: [torch.ones(len(part), count, device=model.device) for count in counts]
            for kind in _KINDS
            if sum(counts := structure.num_units(kind))
        }
        if gone is not None:
            kind, layer, unit = gone
            gates[kind][layer][:, structure.layers[layer].units(kind).index(unit)] = 0
        leaves = [gate.requires_grad_() for layers in gates.values() for gate in layers]
        with gate_units(model, gates):
            losses = sequence_nll(forward(model, part), part)
        filled = [leaf for leaf in leaves if leaf.shape[1]]
        found = iter(torch.autograd.grad(losses.sum(), filled))
    by_kind = {
        kind: [next(found) if gate.shape[1] else gate.detach() for gate in layers]
        for kind, layers in gates.items()
    }
    coarse = [gate for kind in COARSE for gate in by_kind.get(kind, ())]
    return _Pass(
        _array(losses.detach()),
        _array(torch.cat(coarse, dim=1)),
        _array(torch.cat(by_kind.get("neuron", [losses.new_zeros(len(part), 0)]), dim=1)),
    )


def _array(values: Float[Tensor, "..."]) -> Float64[np.ndarray, "..."]:
    found: np.ndarray = values.double().cpu().numpy()
    return found
