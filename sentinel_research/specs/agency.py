"""Agency: head gates, the policy that moves heads between states, and optional extra paths."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from sentinel_research.specs.base import Spec

GateMode = Literal["static", "input", "hard_concrete"]
COMPARED_PREFIX = "compare:"
"""How `baseline` names another model of the same comparison instead of a checkpoint."""


class StatePolicy(Spec):
    """When a head changes its state, and what each state multiplies the head's output by.

    A state is entered at one threshold and left at another (hysteresis), so that a statistic that
    trembles around a threshold does not flip the state at every update. Where several hold, the
    order is: withdrawn, misaligned, overloaded, active.
    """

    decay: float = Field(default=0.9, ge=0, lt=1)
    """Weight of the past in the running means; the first update takes what it measured."""
    every: int = Field(default=20, gt=0)
    """Optimiser steps between two updates."""
    num_sequences: int = Field(default=8, gt=0)
    """Training sequences that an update reads."""
    overload_above: float = Field(default=0.85, ge=0, le=1)
    """Utilisation (1 less the normalised attention entropy) above which a head is overloaded."""
    relieve_below: float = Field(default=0.75, ge=0, le=1)
    """Utilisation below which an overloaded head no longer is."""
    misalign_below: float = Field(default=-0.05, ge=-1, le=1)
    """Alignment (cosine of output and negative gradient) below which a head is misaligned."""
    realign_above: float = Field(default=0.0, ge=-1, le=1)
    """Alignment above which a misaligned head no longer is."""
    withdraw_below: float = Field(default=0.05, ge=0)
    """Usage, as a multiple of an equal share, below which a head is withdrawn."""
    return_above: float = Field(default=0.1, ge=0)
    """Usage, as a multiple of an equal share, above which a withdrawn head returns."""
    active: float = Field(default=1.0, ge=0)
    """Multiplier of active heads; 1 changes no bit."""
    overloaded: float = Field(default=0.5, ge=0)
    """Multiplier of overloaded heads."""
    misaligned: float = Field(default=0.7, ge=0)
    """Multiplier of misaligned heads."""

    @model_validator(mode="after")
    def _thresholds_leave_a_gap(self) -> Self:
        for enter, leave in (
            ("relieve_below", "overload_above"),
            ("misalign_below", "realign_above"),
            ("withdraw_below", "return_above"),
        ):
            low, high = getattr(self, enter), getattr(self, leave)
            if low > high:
                raise ValueError(f"`{enter}` = {low} must not exceed `{leave}` = {high}")
        return self


class AgencySpec(Spec):
    """Gates on attention heads, the policy of their states, and optional extra paths.

    Everything is the identity at the start: the model computes, bit for bit, what it would without.
    """

    gate: GateMode | None = "static"
    """`static`: one learned scalar a head; `input`: a sigmoid of the layer's input, one value a
    head and token; `hard_concrete`: stochastic in training, with an L0 penalty; null: no gates."""
    l0_penalty: float = Field(default=0.0, ge=0)
    """Weight of the expected number of open heads in the training loss, nats per head."""
    policy: StatePolicy | None = None
    """Moves heads between states while training; null leaves every head as the operator sets it."""
    skips: bool = False
    """Layer L-1-i also receives, through a learned map, what layer i read (U-Net)."""
    baseline: str | None = None
    """Local folder or hub id of a model of the same family: its states are mixed, frozen, into the
    upper half of the layers. In `compare` also `compare:NAME`, its model NAME of the same seed."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.gate is None and not self.skips and self.baseline is None:
            raise ValueError("`agency` asks for nothing: give `gate`, `skips` or `baseline`")
        if self.gate is None and self.policy is not None:
            raise ValueError("`policy` acts through gates: give `gate`, or leave `policy` out")
        if self.l0_penalty and self.gate != "hard_concrete":
            raise ValueError(
                f"`l0_penalty` is for `gate: hard_concrete`, and the gate is '{self.gate}'"
            )
        return self

    @property
    def compared_baseline(self) -> str | None:
        """The model of the same comparison that `baseline` names, if it names one."""
        if self.baseline is None or not self.baseline.startswith(COMPARED_PREFIX):
            return None
        return self.baseline.removeprefix(COMPARED_PREFIX)

    def in_words(self) -> str:
        """What is added to the model, for tables.

        Example:
            >>> AgencySpec(gate="hard_concrete", l0_penalty=0.01, skips=True).in_words()
            'hard concrete gates (L0 penalty 0.01), U-Net skips'
        """
        parts = []
        if self.gate is not None:
            penalty = f" (L0 penalty {self.l0_penalty:g})" if self.l0_penalty else ""
            parts.append(f"{self.gate.replace('_', ' ')} gates{penalty}")
        if self.policy is not None:
            parts.append("states by policy")
        if self.skips:
            parts.append("U-Net skips")
        if self.baseline is not None:
            name = self.compared_baseline
            parts.append(f"frozen {self.baseline if name is None else f'{name} of its seed'}")
        return ", ".join(parts)
