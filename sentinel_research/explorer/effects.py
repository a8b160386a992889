"""What the loss is expected to gain when units go: measured one by one, estimated together.

With `L(S)` the mean negative log-likelihood per target token of the calibration text without the
units `S`, and `g_j(S) = dL/dgate_j` there, the prediction is

    L(S) - L  ~  sum over heads and blocks i in S of  d_i  +  sum over pairs i < j of  p_ij
                 + sum over neurons k in S of  (e_k + sum over i in S of  q_ik)

    d_i  = L({i}) - L                      leave-one-out, measured [1]
    p_ij = -(g_j({i}) - g_j + g_i({j}) - g_i) / 2     what j's gradient changes when i goes
    e_k  = -g_k + T / 2 * mean over sequences of g_k^2       second order in the neuron's own gate
    q_ik = -(g_k({i}) - g_k)

`p_ij` is the off-diagonal term of the second-order expansion of the loss in the gates [2], a
difference in the one gate and a derivative in the other; its mean over both orders makes it
symmetric. It costs one backward pass per unit beside the forward pass of `d_i`. The second
derivative of a neuron's own gate is the empirical Fisher information [3, 4]: that of the sum of `T`
target tokens is the expectation of the squared gradient of the sum, so that of their mean is `T`
times the squared gradient `g_k` of the mean. Neurons among each other are taken to add up.

Without leave-one-out (`gradients`), heads and blocks are estimated as neurons are, from one pass,
with `p_ij = T * mean of g_i g_j`.

It is an expansion around the whole model: it falls short where much goes at once. On two real
models it ranked 48 choices of a tenth to three quarters of the heads with a rank correlation of
0.99 and 0.97 to the truth (`d_i` alone: 0.96 and 0.94), and is at half of the heads a third to a
half of the true loss (docs/explore.md).

References:
    [1] Michel et al. 2019, section 3.1, https://arxiv.org/abs/1905.10650.
    [2] Hassibi, Stork 1992, Second order derivatives for network pruning: Optimal Brain Surgeon,
        equation 1, of which LeCun et al. 1989, Optimal Brain Damage, keeps the diagonal alone.
    [3] Molchanov et al. 2019, equation 8, https://arxiv.org/abs/1906.10771.
    [4] Kunstner et al. 2019, Limitations of the empirical Fisher approximation,
        https://arxiv.org/abs/1905.12558.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sentinel_research.explorer.choice import Choice, Unit
from sentinel_research.structure import Structure, UnitKind

COARSE: tuple[UnitKind, ...] = ("head", "attention", "ffn")
"""Kinds that are measured one by one."""


class Prediction(NamedTuple):
    """What the loss is expected to gain, nats per target token, and where that comes from."""

    alone: float
    """Of heads and blocks, each as if it went alone."""
    pairs: float
    """Of what each changes for the others."""
    neurons: float
    """Of neurons, with what heads and blocks change for them."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.alone + self.pairs + self.neurons


@dataclass(frozen=True)
class Effects:
    """See the module; `units` are heads and blocks, neurons are numbered layer by layer."""

    structure: Structure
    """Of the model."""
    is_measured: bool
    """Whether `alone` is leave-one-out; else it is of second order."""
    loss: float
    """Of the whole model, nats per target token."""
    alone: Float64[np.ndarray, " units"]
    """`d_i`."""
    errors: Float64[np.ndarray, " units"]
    """Standard errors of `alone` over sequences."""
    pairs: Float64[np.ndarray, "units units"]
    """`p_ij`; nothing on the diagonal."""
    neurons: Float64[np.ndarray, " neurons"]
    """`e_k`."""
    with_neurons: Float64[np.ndarray, "units neurons"]
    """`q_ik`."""

    @cached_property
    def _places(self) -> dict[Unit, int]:
        """Where a unit stands in the arrays: of heads and blocks, or of neurons."""
        coarse = {unit: place for place, unit in enumerate(coarse_units(self.structure))}
        neurons = _units(self.structure, ("neuron",))
        return {**coarse, **{unit: place for place, unit in enumerate(neurons)}}

    def predict(self, choice: Choice) -> Prediction:
        """What the loss is expected to gain without these units."""
        places = self._places
        acting = choice.acting
        coarse = [places[unit] for unit in acting if unit[0] in COARSE]
        fine = [places[unit] for unit in acting if unit[0] not in COARSE]
        together = self.pairs[np.ix_(coarse, coarse)].sum() / 2
        own, others = self.neurons[fine].sum(), self.with_neurons[np.ix_(coarse, fine)].sum()
        return Prediction(float(self.alone[coarse].sum()), float(together), float(own + others))

    def by_layer(self, kind: UnitKind) -> list[list[float]]:
        """What each unit of a kind is expected to cost alone, layer by layer."""
        values = self.alone if kind in COARSE else self.neurons
        return self._by_layer(kind, values)

    def errors_by_layer(self, kind: UnitKind) -> list[list[float]] | None:
        """Standard errors of those that were measured."""
        return self._by_layer(kind, self.errors) if kind in COARSE and self.is_measured else None

    def _by_layer(self, kind: UnitKind, values: Float64[np.ndarray, " any"]) -> list[list[float]]:
        return [
            [float(values[self._places[kind, index, unit]]) for unit in layer.units(kind)]
            for index, layer in enumerate(self.structure.layers)
        ]


def coarse_units(structure: Structure) -> list[Unit]:
    """Every head and every block of a model, in the order of all arrays."""
    return list(_units(structure, COARSE))


def _units(structure: Structure, kinds: Iterable[UnitKind]) -> Iterable[Unit]:
    for kind in kinds:
        for index, layer in enumerate(structure.layers):
            yield from ((kind, index, unit) for unit in layer.units(kind))
