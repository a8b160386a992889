"""How calm a training was: spikes of its loss, values that are not finite, sizes of gradients.

A spike is a logged loss above 2 times the median of the up to 5 logged losses before it. Papers
that count spikes either give no rule (PaLM [1]) or ask for deviations from a rolling mean of a
thousand steps (OLMo 2 [2]), which a log of some forty entries does not have; a median needs few
values and is not moved by the spike before.

References:
    [1] Chowdhery et al. 2022, PaLM, section 5.1. https://arxiv.org/abs/2204.02311
    [2] OLMo team 2024, 2 OLMo 2 Furious, the spike score. https://arxiv.org/abs/2501.00656
"""

import math
import statistics
from typing import Any

import numpy as np
from transformers import TrainerState

SPIKE_RATIO = 2.0
"""A spike is above this many times the median before it."""
SPIKE_WINDOW = 5
"""Logged losses of that median, at most."""
_QUANTILES = {"median": 0.5, "q90": 0.9, "max": 1.0}


def spikes(losses: list[float]) -> list[int]:
    """Places of the spikes among losses in the order of their steps.

    Args:
        losses: Finite, in nats per token.

    Example:
        >>> spikes([5.0, 4.0, 3.5, 9.0, 3.4])
        [3]
    """
    return [
        place
        for place in range(1, len(losses))
        if losses[place]
        > SPIKE_RATIO * statistics.median(losses[max(0, place - SPIKE_WINDOW) : place])
    ]


def stability(state: TrainerState) -> dict[str, Any]:
    """Count what was unsteady, over the entries of the log.

    Args:
        state: Trainer's, with its log; every entry has the mean loss of the steps since the one
            before, and the norm of one step's gradient before clipping.

    Returns:
        `num_logged`; `num_loss_spikes` and their `spike_steps`; how many logged losses and norms
        are not finite; `grad_norm` with median, 90% quantile and maximum of the finite ones, null
        without any.
    """
    entries = [entry for entry in state.log_history if "loss" in entry]
    finite = [entry for entry in entries if math.isfinite(entry["loss"])]
    norms = [entry["grad_norm"] for entry in entries if "grad_norm" in entry]
    usable = [norm for norm in norms if math.isfinite(norm)]
    found = spikes([entry["loss"] for entry in finite])
    return {
        "num_logged": len(entries),
        "num_loss_spikes": len(found),
        "spike_steps": [int(finite[place]["step"]) for place in found],
        "num_not_finite_losses": len(entries) - len(finite),
        "num_not_finite_grad_norms": len(norms) - len(usable),
        "grad_norm": {
            name: float(np.quantile(usable, share)) if usable else None
            for name, share in _QUANTILES.items()
        },
    }
